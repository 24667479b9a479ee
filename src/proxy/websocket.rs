//! From a checked handshake to a live tunnel.
//!
//! The client gets its 101 after the backend's was checked, never before. The tunnel is a task of its own, as small as
//! what a tunnel needs: everything that only the handshake needed is gone by then.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, Response, StatusCode, Version};
use http_body_util::{Either, Full};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use tracing::warn;

use super::account::{self, Account};
use super::body::Body;
use super::{Caller, Plane, Presence, http as plain};
use crate::config::Inspect;
use crate::lifecycle::bucket::Pace;
use crate::lifecycle::{Permit, Phase};
use crate::net::stream::Stream;
use crate::outcome::{Ending, Refusal};
use crate::proto::handshake::{Answer, AnswerError, Offer, write_connected, write_switching};
use crate::proto::scan::{Scanner, Side};
use crate::proto::{expiry, hop};
use crate::state::{Route, Snapshot};
use crate::telemetry::Metrics;
use crate::telemetry::registry::GaugeGuard;
use crate::tunnel::sessions::Session;
use crate::tunnel::splice::{Leg, Splice};
use crate::upstream::backend::{Backend, Seat};
use crate::upstream::ejection;
use crate::upstream::handshake::{Reply, Switched, ask};
use crate::upstream::retry::Search;

/// A client's handshake, checked and admitted.
pub struct Handshake<'a> {
    /// What it offers.
    pub offer: &'a Offer,
    /// Its head, ready for a backend but for the handshake's own fields.
    pub head: &'a mut Parts,
    /// The version of HTTP that it came by.
    pub version: Version,
    /// One of the tunnels that may be open.
    pub permit: Permit,
    /// Who asks.
    pub caller: Arc<Caller>,
}

/// Offers the handshake to a backend of one of the route's pools. The answer is the client's 101 (over HTTP/2 a 200), behind
/// which the tunnel in `switch` begins, or whatever else the backend said.
///
/// # Errors
/// As [`Snapshot::serving`] and [`ask`]; [`Refusal::RouteRate`].
pub async fn open(
    plane: &Arc<Plane>,
    snapshot: &Snapshot,
    route: &Arc<Route>,
    handshake: Handshake<'_>,
    switch: &Switch,
    account: &mut Account,
) -> Result<Response<Body>, Refusal> {
    paced(route, &plane.metrics).await?;
    let client = handshake.caller.introduces(account.client());
    let (pool, wish) = snapshot.serving(route, handshake.head, account.client())?;
    account.goes_to(pool);
    let mut search = Search::begin(pool, wish, &client, &snapshot.config.tcp, &plane.metrics);
    handshake.head.method = Method::GET;
    handshake.offer.write(&mut handshake.head.headers);
    let is_http2 = handshake.version == Version::HTTP_2;
    let (head, limits) = (handshake.head, &snapshot.config.limits);
    let is_strict = route.terms.inspect == Inspect::Strict;
    let known = is_strict.then(|| handshake.offer.without_unknown_extensions(&mut head.headers));
    let offer = known.as_ref().unwrap_or(handshake.offer);
    let (seat, reply) = ask(&mut search, limits, head, offer, |backend| account.leased(backend)).await?;
    account.leased(seat.backend());
    let switched = match reply {
        Reply::Switched(switched) => switched,
        // Over HTTP/2 any 2xx would tell the client that the tunnel is open (RFC 9110 9.3.6).
        Reply::Declined(response) if is_http2 && response.status().is_success() => {
            return Err(Refusal::Answer(AnswerError::NotWebSocket));
        }
        Reply::Declined(mut response) => {
            pool.members.remind(wish, seat.backend(), response.headers_mut());
            return plain::relay(response, route, seat.leave(), None, account);
        }
    };
    let Switched { stream, early, answer, mut head } = switched;
    pool.members.remind(wish, seat.backend(), &mut head.headers);
    let expires = expires(route, seat.backend(), &mut head.headers, &plane.metrics);
    switch.set(Beginning {
        backend: Leg { stream, early, scanner: scanner(Side::Backend, &answer, route) },
        answer,
        seat,
        permit: handshake.permit,
        caller: handshake.caller,
        account: account.hand_over(),
        plane: plane.clone(),
        route: route.clone(),
        deadline: pool.handshake_timeout,
        expires,
    });
    Ok(if is_http2 { connected(head) } else { switching(head, offer) })
}

/// Waits until it is a handshake's turn at the rate of its route.
async fn paced(route: &Route, metrics: &Metrics) -> Result<(), Refusal> {
    let Some(Pace { words, bucket }) = &route.pace else { return Ok(()) };
    if let Some(turn) = bucket.take(words).map_err(Refusal::RouteRate)? {
        // Few wait, and all would have to make room for the timers.
        Box::pin(turn.wait()).await.map_err(Refusal::RouteRate)?;
        metrics.delayed(&route.terms.route);
    }
    Ok(())
}

/// Of a value that is not understood, in the log.
const SHOWN_BYTES_MAX: usize = 64;

/// When the tunnel is to be over, if the backend's answer says so; the client is not told.
fn expires(route: &Route, backend: &Backend, headers: &mut HeaderMap, metrics: &Metrics) -> Option<Instant> {
    let name = route.deadline_header.as_ref()?;
    let mut values = headers.get_all(name).iter();
    let (value, has_more) = (values.next().cloned()?, values.next().is_some());
    headers.remove(name);
    let left = expiry::left(value.as_bytes(), SystemTime::now()).filter(|_| !has_more);
    if left.is_none() {
        metrics.deadline_refused(&route.terms.route);
        let (route, backend) = (&*route.terms.route, &*backend.label);
        let value = value.as_bytes().get(..SHOWN_BYTES_MAX).unwrap_or(value.as_bytes()).escape_ascii();
        warn!(route, backend, %name, %value, "a backend's deadline is not understood: write seconds, or a UTC time of RFC 3339");
    }
    Some(Instant::now() + left?)
}

/// The backend's 101 as the client gets it.
fn switching(mut head: http::response::Parts, offer: &Offer) -> Response<Body> {
    hop::strip(&mut head.headers);
    head.extensions.clear();
    head.version = Version::HTTP_11;
    write_switching(offer, &mut head.headers);
    Response::from_parts(head, Either::Right(Full::new(Bytes::new())))
}

/// The backend's 101 as a client of HTTP/2 gets it (RFC 8441 5).
fn connected(mut head: http::response::Parts) -> Response<Body> {
    hop::strip(&mut head.headers);
    head.extensions.clear();
    head.status = StatusCode::OK;
    head.version = Version::HTTP_2;
    write_connected(&mut head.headers);
    Response::from_parts(head, Either::Right(Full::new(Bytes::new())))
}

/// Frames of extensions that nobody here knows cannot be read.
fn scanner(side: Side, answer: &Answer, route: &Route) -> Scanner {
    if answer.unknown_extension || route.terms.inspect == Inspect::Off {
        return Scanner::blind();
    }
    Scanner::new(side, answer.permessage_deflate)
}

/// Where a request leaves the tunnel that its 101 promises, for whoever owns the client's connection.
#[derive(Clone, Default)]
pub struct Switch(Arc<Promise>);

#[derive(Default)]
struct Promise {
    tunnel: Mutex<Option<Beginning>>,
    made: Notify,
}

impl Switch {
    fn set(&self, beginning: Beginning) {
        *self.0.tunnel.lock().unwrap_or_else(PoisonError::into_inner) = Some(beginning);
        self.0.made.notify_one();
    }

    /// The tunnel, if the last answer was a 101.
    pub fn take(&self) -> Option<Beginning> {
        self.0.tunnel.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Returns when a client has not taken its 101 for as long as a backend may take to make one.
    pub async fn overdue(&self) {
        self.0.made.notified().await;
        let deadline = |beginning: &Beginning| beginning.deadline;
        let deadline = self.0.tunnel.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(deadline);
        sleep(deadline.unwrap_or_default()).await;
    }
}

/// A tunnel whose client has not taken its 101 yet. Dropped, it is a handshake whose client left.
pub struct Beginning {
    backend: Leg,
    answer: Answer,
    seat: Seat,
    permit: Permit,
    caller: Arc<Caller>,
    account: Account,
    plane: Arc<Plane>,
    route: Arc<Route>,
    /// How long the client may take.
    deadline: Duration,
    /// When the backend wants the tunnel to be over.
    expires: Option<Instant>,
}

impl Beginning {
    /// Spawns the tunnel. `stream` is the client's, behind the 101; `early` came on it together with the handshake.
    pub fn spawn(mut self, stream: Stream, early: Vec<u8>) {
        let client = Leg { stream, early, scanner: scanner(Side::Client, &self.answer, &self.route) };
        let terms = self.route.terms.clone();
        let session = Session::new(
            self.account.id(),
            self.account.client().address(),
            terms.clone(),
            self.seat.backend().label.clone(),
            self.answer.subprotocol.map(String::into_boxed_str),
            self.account.http(),
        )
        .on(self.caller.carrier);
        let active = terms.metrics.enter(self.account.http());
        self.account.opened(&session);
        let registration = self.plane.sessions.register(session);
        let mut splice = Splice::new(client, self.backend, registration);
        if let Some(deadline) = self.expires {
            splice.expire(deadline);
        }
        tokio::spawn(Tunnel {
            splice,
            seat: self.seat,
            _permit: self.permit,
            _active: active,
            _presence: self.caller.presence.clone(),
            listener: self.caller.listener.name.clone(),
            plane: self.plane,
        });
    }
}

/// A live tunnel: the splice, and what it holds until its end.
struct Tunnel {
    splice: Splice,
    seat: Seat,
    _permit: Permit,
    _active: GaugeGuard,
    _presence: Arc<Presence>,
    listener: Arc<str>,
    plane: Arc<Plane>,
}

impl Tunnel {
    /// What its end says of the backend.
    fn judge(&self, ending: Ending) {
        let (backend, opened) = (self.seat.backend(), self.splice.session().opened());
        match self.splice.backend_died(ending) {
            None => backend.conduct.tunnel_lived(opened.into_std()),
            // By the rules of today: those of its opening may be days old.
            Some(died) => {
                if let Some(pool) = self.plane.snapshot.load().pools.get(&backend.pool) {
                    let lived = died.saturating_duration_since(opened);
                    ejection::died(pool, backend, opened.into_std(), lived, &self.plane.metrics);
                }
            }
        }
    }
}

impl Future for Tunnel {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let tunnel = &mut *self;
        let (plane, backend) = (&tunnel.plane, tunnel.seat.backend());
        let leaves = || *plane.phase.borrow() != Phase::Serving || !backend.is_staying();
        let ending = ready!(tunnel.splice.poll(context, &leaves));
        account::closed(&self.plane, &self.listener, &self.splice, ending);
        self.judge(ending);
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tunnel_is_a_small_task() {
        let bytes = size_of::<Tunnel>();
        assert!(bytes <= 352, "{bytes}");
    }
}
