//! One stream of an HTTP/2 connection: a request and its answer, or the beginning of a tunnel.

use std::future::{pending, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::header::{CONTENT_LENGTH, EXPECT};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Either;
use hyper::body::Body as _;
use tokio::time::timeout;

use crate::config::Limits;
use crate::net::http2::duplex::Duplex;
use crate::net::http2::inlet::{self, Pump};
use crate::net::http2::outlet::Outlet;
use crate::net::http2::watched::Grounds;
use crate::net::stream::{Boxed, Stream};
use crate::proto::{hop, http2 as fields};
use crate::proxy::body::Body;
use crate::proxy::exchange::exchange;
use crate::proxy::websocket::Switch;
use crate::proxy::{Caller, Plane};
use crate::telemetry::labels::ConnectionFault;
use crate::upstream::upload::Upload;

/// How many more streams a client may reset before their answer than it waits for (CVE-2023-44487). Each has cost a
/// connection to a backend, or will.
const RESETS_MORE_MAX: u32 = 200;
/// How long a client may take for a line of longhaul's own.
const OWN_ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// What a stream needs.
pub struct Visit {
    /// What all share.
    pub plane: Arc<Plane>,
    /// Who asks.
    pub caller: Arc<Caller>,
    /// Counts those that are not waited for.
    pub resets: Resets,
    /// Takes the answer.
    pub respond: SendResponse<Bytes>,
    /// What its head may be.
    pub bounds: HeadBounds,
}

/// What a request's head may be.
#[derive(Clone, Copy)]
pub struct HeadBounds {
    /// `limits.head_bytes_max`
    bytes_max: usize,
    /// `limits.head_fields_max`
    fields_max: usize,
}

impl HeadBounds {
    /// Those of `limits`.
    pub fn of(limits: &Limits) -> HeadBounds {
        HeadBounds { bytes_max: limits.head_bytes_max, fields_max: limits.head_fields_max }
    }

    fn allow(&self, head: &Parts) -> bool {
        fields::field_count(&head.headers) <= self.fields_max && fields::head_bytes(head) <= self.bytes_max
    }
}

impl Visit {
    /// Answers the request. A tunnel that it becomes goes on by itself.
    pub async fn serve(mut self, request: Request<RecvStream>) {
        let has_body = *request.method() != Method::HEAD;
        let mut awaits_leave = awaits_leave(&request);
        let (head, stream) = request.into_parts();
        let (pump, received) = inlet::body(stream);
        if !self.bounds.allow(&head) {
            self.plane.metrics.connection_fault(&self.caller.listener.name, ConnectionFault::HeadTooLarge);
            let mut answer = Response::new(());
            *answer.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            let _ = self.respond.send_response(answer, true);
            return;
        }
        let request = Request::from_parts(head, Upload::Http2(received));
        let switch = Switch::default();
        let exchange = exchange(self.plane.clone(), self.caller.clone(), request, switch.clone());
        let Ok(answer) = tokio::select! {
            biased;
            answer = exchange => answer,
            () = poll_fn(|context| {
                if awaits_leave && pump.poll_awaited(context).is_ready() {
                    awaits_leave = false;
                    let _ = self.respond.send_informational(go_on());
                }
                poll_gone(&pump, &mut self.respond, context)
            }) => {
                self.resets.count();
                return;
            }
        };
        self.resets.answered();
        match switch.take() {
            Some(tunnel) => {
                let sent = self.respond.send_response(answer.map(drop), false);
                // A tunnel that is dropped is a client that has left.
                if let (Ok(stream), Some(inlet)) = (sent, pump.into_inlet()) {
                    let duplex = Duplex::new(inlet, Outlet::new(stream));
                    tunnel.spawn(Stream::Boxed(Boxed::Http2(Box::new(duplex))), Vec::new());
                }
            }
            None => self.answer(answer, has_body, &pump).await,
        }
    }

    /// Sends an answer, while the request's body may still be coming in.
    async fn answer(mut self, answer: Response<Body>, has_body: bool, pump: &Pump) {
        let (mut head, body) = answer.into_parts();
        if let (Some(length), true) = (body.size_hint().exact(), own_length(&head)) {
            head.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        let end = !has_body || body.is_end_stream();
        let Ok(stream) = self.respond.send_response(Response::from_parts(head, ()), end) else { return };
        if end {
            return;
        }
        let mut outlet = Outlet::new(stream);
        let fill = async {
            poll_fn(|context| pump.poll(context)).await;
            // Its reset shows where the answer is sent.
            pending::<()>().await;
        };
        tokio::select! {
            biased;
            // What does not come to its end must not look as if it did.
            sent = send(body, &mut outlet) => if sent.is_err() { outlet.reset(Reason::INTERNAL_ERROR) },
            () = fill => {}
        }
    }
}

/// Whether the client waits for leave to send its body (RFC 9110 10.1.1).
fn awaits_leave(request: &Request<RecvStream>) -> bool {
    let expects = request
        .headers()
        .get(EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    expects && !request.body().is_end_stream()
}

/// The leave.
fn go_on() -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::CONTINUE;
    response
}

/// Whether a length may be added: to longhaul's own answers, for a backend's have what they have.
fn own_length(head: &http::response::Parts) -> bool {
    !head.headers.contains_key(CONTENT_LENGTH)
        && !head.status.is_informational()
        && !matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Ready when the client has reset the stream, or has gone.
fn poll_gone(pump: &Pump, respond: &mut SendResponse<Bytes>, context: &mut Context<'_>) -> Poll<()> {
    if pump.poll(context).is_ready() {
        return Poll::Ready(());
    }
    respond.poll_reset(context).map(drop)
}

/// Why an answer's body did not get through.
enum SendError {
    /// The client has left, or does not read.
    Client,
    /// The backend broke off.
    Backend,
}

impl From<io::Error> for SendError {
    fn from(_: io::Error) -> SendError {
        SendError::Client
    }
}

/// Sends a body as fast as the client takes it.
async fn send(mut body: Body, outlet: &mut Outlet) -> Result<(), SendError> {
    let patience = match &body {
        Either::Left(relayed) => relayed.idle_timeout(),
        Either::Right(_) => OWN_ANSWER_TIMEOUT,
    };
    loop {
        let frame = poll_fn(|context| {
            if outlet.poll_reset(context).is_ready() {
                return Poll::Ready(Err(SendError::Client));
            }
            let frame = ready!(Pin::new(&mut body).poll_frame(context));
            Poll::Ready(frame.transpose().map_err(|_| SendError::Backend))
        });
        let Some(frame) = frame.await? else { break };
        match frame.into_data() {
            Ok(data) => pass(data, outlet, patience).await?,
            Err(frame) => {
                let mut trailers: HeaderMap = frame.into_trailers().unwrap_or_default();
                hop::strip(&mut trailers);
                return Ok(outlet.end_with(trailers)?);
            }
        }
    }
    Ok(outlet.end()?)
}

/// Sends `data`, unless the client takes nothing of it for as long as `patience`.
async fn pass(mut data: Bytes, outlet: &mut Outlet, patience: Duration) -> Result<(), SendError> {
    while !data.is_empty() {
        let room = poll_fn(|context| outlet.poll_room(context, data.len()));
        let room = timeout(patience, room).await.map_err(|_| SendError::Client)??;
        outlet.send(data.split_to(room))?;
    }
    Ok(())
}

/// What a connection's streams did that were not waited for.
#[derive(Clone)]
pub struct Resets(Arc<Tally>);

struct Tally {
    /// Resets that no answer has made up for.
    unpaid: AtomicU32,
    grounds: Grounds,
}

impl Resets {
    /// None yet; `grounds` hears of too many.
    pub fn new(grounds: Grounds) -> Resets {
        Resets(Arc::new(Tally { unpaid: AtomicU32::new(0), grounds }))
    }

    /// A stream was reset before its answer.
    fn count(&self) {
        if self.0.unpaid.fetch_add(1, Relaxed) >= RESETS_MORE_MAX {
            self.0.grounds.condemn(ConnectionFault::ResetFlood);
        }
    }

    /// A stream has had its answer.
    fn answered(&self) {
        let less = |unpaid: u32| unpaid.checked_sub(1);
        let _ = self.0.unpaid.fetch_update(Relaxed, Relaxed, less);
    }
}
