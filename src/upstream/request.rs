//! One plain request to a backend, on a kept connection or a new one.
//!
//! A kept connection may have died unnoticed, or be closed just as the request comes. Then the request is sent again on a
//! new one, where that cannot make it happen twice: when nothing of it was sent, or when its method is idempotent (RFC
//! 9110 9.2.2), not a byte of an answer came, and its body is still whole.
//!
//! On a new connection such a request may go on to another backend, in a pool with rules for it; so may one that was
//! answered by a status of theirs. A backend's silence ends it: long polling is silent by design, and there is no time left.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{Request, Response};
use hyper::body::{Body as _, Incoming};
use tokio::time::{Instant, timeout_at};

use super::backend::{Backend, Lease};
use super::retry::Search;
use super::reuse::{self, Connection};
use super::upload::{Progress, Sent, Upload};
use crate::config::{Limits, Retry};
use crate::net::line::Failure;
use crate::outcome::{Refusal, RetryCause};

/// A request that is ready to be sent.
pub struct Outgoing {
    /// Its head.
    pub head: Parts,
    /// Its body, still with the client.
    pub body: Upload,
    /// Bytes that the body may have.
    pub body_bytes_max: u64,
}

/// A backend's answer.
pub struct Answer {
    /// Its body is on its way.
    pub response: Response<Incoming>,
    /// To be given back when the body has ended; `None` when the connection must not be kept.
    pub connection: Option<Box<Connection>>,
    /// The request, when it may go on to another backend because this is the answer.
    again: Option<Box<Outgoing>>,
}

/// Why there is no answer.
struct Unanswered {
    /// Its name.
    refusal: Refusal,
    /// The request, when it may be sent again.
    again: Option<Box<Outgoing>>,
    /// It was sent on a connection that was kept from an earlier one: that was no try.
    is_stale: bool,
}

/// Sends a request to a backend of the search's pool, and to others after it where the pool's rules say so; `told` hears
/// who gets it. What comes is the last answer that there was: it outlives failures behind it.
///
/// A backend may be silent for the pool's `response_timeout`; from the first time that the request is sent, this bounds all
/// later ones together.
///
/// # Errors
/// As [`Search::connect`], [`Connection::begin`] and [`Connection::send`]; [`Refusal::BackendTimeout`], [`Refusal::RequestBody`] or
/// [`Refusal::BodyTooLarge`].
pub async fn ask(
    search: &mut Search<'_>,
    limits: &Limits,
    mut outgoing: Outgoing,
    mut told: impl FnMut(&Arc<Backend>),
) -> Result<(Lease, Answer), Refusal> {
    let pool = search.pool;
    let lease = search.pick()?;
    let (mut lease, mut connection) = connect(search, lease, limits).await?;
    let deadline = Instant::now() + pool.response_timeout;
    let mut silence = pool.response_timeout;
    // What the client gets if nothing better comes.
    let mut last: Result<Box<(Lease, Answer)>, Refusal> = Err(Refusal::NoBackend);
    loop {
        told(lease.backend());
        let (again, cause) = match outgoing.send(connection, silence, search.rules()).await {
            Ok(mut answer) => {
                let Some(again) = answer.again.take() else { return Ok((lease, answer)) };
                last = Ok(Box::new((lease, answer)));
                (Some(again), RetryCause::Status)
            }
            // A kept connection had died: the backend is asked again, on a new one.
            Err(Unanswered { again: Some(again), is_stale: true, .. }) => {
                pool.metrics.resent.increment();
                outgoing = *again;
                match connect_anew(search, lease, limits).await {
                    Ok(connected) => (lease, connection) = connected,
                    Err(refusal) => return settle(last, refusal),
                }
                continue;
            }
            Err(Unanswered { refusal, again, .. }) => {
                last = last.or(Err(refusal));
                (again, RetryCause::Reset)
            }
        };
        let Some(again) = again else { return last.map(|last| *last) };
        let Some(next) = search.go_on(cause, deadline).await else { return last.map(|last| *last) };
        outgoing = *again;
        let connected = timeout_at(deadline, connect(search, next, limits)).await;
        match connected.unwrap_or(Err(Refusal::BackendTimeout)) {
            Ok(connected) => (lease, connection) = connected,
            Err(refusal) => return settle(last, refusal),
        }
        silence = deadline.saturating_duration_since(Instant::now());
    }
}

/// A connection to the backend of `lease`: one that was kept, if it has one, else a new one.
async fn connect(
    search: &mut Search<'_>,
    lease: Lease,
    limits: &Limits,
) -> Result<(Lease, Box<Connection>), Refusal> {
    match reuse::take(lease.backend(), search.pool) {
        Some(connection) => {
            search.pool.metrics.reused.increment();
            lease.backend().reached();
            Ok((lease, connection))
        }
        None => connect_anew(search, lease, limits).await,
    }
}

/// The same, without a look at what was kept.
async fn connect_anew(
    search: &mut Search<'_>,
    lease: Lease,
    limits: &Limits,
) -> Result<(Lease, Box<Connection>), Refusal> {
    let (lease, stream) = search.connect_from(lease).await?;
    search.pool.metrics.opened.increment();
    let connection = Connection::begin(stream, lease.backend(), search.pool, limits).await?;
    Ok((lease, connection))
}

/// The answer that there was, or else this.
fn settle(last: Result<Box<(Lease, Answer)>, Refusal>, refusal: Refusal) -> Result<(Lease, Answer), Refusal> {
    last.map(|last| *last).or(Err(refusal))
}

impl Outgoing {
    /// Sends the request and waits for the head of its answer; the backend may be silent for so long. By the `rules` it may
    /// be sent again, to another backend, when it is answered by one of their statuses, or not at all.
    ///
    /// # Errors
    /// As [`Connection::send`]; [`Refusal::BackendTimeout`], [`Refusal::RequestBody`] or [`Refusal::BodyTooLarge`].
    async fn send(
        self,
        mut connection: Box<Connection>,
        silence: Duration,
        rules: Option<&Retry>,
    ) -> Result<Answer, Unanswered> {
        let Outgoing { head, body, body_bytes_max } = self;
        let is_used = connection.is_used();
        let may_repeat = is_used || rules.is_some();
        // A request whose body does not come is not acted on.
        let is_harmless = head.method.is_idempotent() || rules.is_some() && !body.is_end_stream();
        let spare = (may_repeat && is_harmless).then(|| head.clone());
        let progress = Progress::begin();
        let request = Request::from_parts(head, Sent::new(body, body_bytes_max, progress.clone()));
        let sent = tokio::select! {
            sent = connection.send(request) => sent,
            refusal = progress.stalled(silence) => {
                return Err(Unanswered { refusal, again: None, is_stale: false });
            }
        };
        let again = |head: Option<Parts>| {
            let (head, body) = head.zip(progress.take_untouched())?;
            Some(Box::new(Outgoing { head, body, body_bytes_max }))
        };
        match sent {
            Ok(response) => {
                let is_failure = rules.is_some_and(|rules| rules.statuses.contain(response.status()));
                let again = if is_failure { again(spare) } else { None };
                let (head, body) = response.into_parts();
                // An answer before the end of its request leaves the two sides in doubt about what comes next.
                let connection = if progress.is_sent() { connection.after(&head) } else { None };
                Ok(Answer { response: Response::from_parts(head, body), connection, again })
            }
            Err(failure) => {
                let again = if may_repeat { again(head_again(&failure, spare)) } else { None };
                let refusal = progress.refusal().unwrap_or(failure.refusal);
                Err(Unanswered { refusal, again, is_stale: is_used })
            }
        }
    }
}

/// The head of a request that was not answered, if it may be sent again.
fn head_again(failure: &Failure, spare: Option<Parts>) -> Option<Parts> {
    let has_died = matches!(failure.refusal, Refusal::BackendClosed | Refusal::BackendAlert(_));
    match &failure.unsent {
        Some(head) => Some((**head).clone()),
        None => spare.filter(|_| has_died && failure.is_silent),
    }
}
