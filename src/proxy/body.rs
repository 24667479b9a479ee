//! Bodies on their way through: streamed, never gathered, and watched for what must be known of them.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::account::RequestEnd;
use crate::outcome::Refusal;

/// What a client gets: a backend's body, or a line of longhaul's own.
pub type Body = Either<Relayed, Full<Bytes>>;

/// A backend's body on its way to the client.
///
/// Silence ends it after a while: a backend may hang in the middle, and a client may have gone unnoticed (hyper does not
/// look at a socket from which it has unread bytes).
pub struct Relayed {
    body: Incoming,
    end: RequestEnd,
    idle_timeout: Duration,
    moved: Instant,
    /// Fires at the deadline that was known when it was last set; later bytes only move the deadline.
    timer: Pin<Box<Sleep>>,
}

/// Why a backend's body did not come to its end.
#[derive(Debug)]
pub enum BodyError {
    /// The backend broke off.
    Backend(hyper::Error),
    /// Nothing moved for the route's `idle_timeout`.
    Idle,
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BodyError::Backend(error) => error.fmt(f),
            BodyError::Idle => f.write_str("nothing moved for idle_timeout"),
        }
    }
}

impl Error for BodyError {}

/// A line of longhaul's own cannot fail.
impl From<Infallible> for BodyError {
    fn from(never: Infallible) -> BodyError {
        match never {}
    }
}

impl Relayed {
    /// Passes `body` on, unless nothing moves for `idle_timeout`; `end` is told what passes, and learns the end by being
    /// dropped.
    pub fn new(body: Incoming, idle_timeout: Duration, end: RequestEnd) -> Relayed {
        let moved = Instant::now();
        Relayed { body, end, idle_timeout, moved, timer: Box::pin(sleep_until(moved + idle_timeout)) }
    }

    /// Ready when nothing has moved for too long.
    fn poll_idle(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.timer.as_mut().poll(context));
            let deadline = self.moved + self.idle_timeout;
            if deadline <= Instant::now() {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(deadline);
        }
    }
}

impl hyper::body::Body for Relayed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let relayed = self.get_mut();
        match Pin::new(&mut relayed.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                relayed.moved = Instant::now();
                relayed.end.passed(frame.data_ref().map_or(0, Bytes::len));
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                relayed.end.broke_off("backend_broke_off");
                Poll::Ready(Some(Err(BodyError::Backend(error))))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                ready!(relayed.poll_idle(context));
                relayed.end.broke_off("idle_timeout");
                Poll::Ready(Some(Err(BodyError::Idle)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A client's body on its way to the backend.
pub struct Sent {
    body: Incoming,
    progress: Progress,
}

impl Sent {
    /// Passes `body` on and notes in `progress` when it moves.
    pub fn new(body: Incoming, progress: Progress) -> Sent {
        Sent { body, progress }
    }
}

impl hyper::body::Body for Sent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let sent = self.get_mut();
        let frame = Pin::new(&mut sent.body).poll_frame(context);
        sent.progress.note(frame.is_ready());
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// When a request's body last moved, and who was waited for: a slow upload is not a backend's silence.
#[derive(Clone)]
pub struct Progress {
    begun: Instant,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    /// Milliseconds from the beginning to the last part of the body, or its end.
    last_ms: AtomicU64,
    /// The backend would take more than the client has sent.
    awaits_client: AtomicBool,
}

impl Progress {
    /// Begins now.
    pub fn begin() -> Progress {
        Progress { begun: Instant::now(), seen: Arc::default() }
    }

    fn note(&self, moved: bool) {
        self.seen.awaits_client.store(!moved, Relaxed);
        if moved {
            let since = self.begun.elapsed().as_millis();
            self.seen.last_ms.store(u64::try_from(since).unwrap_or(u64::MAX), Relaxed);
        }
    }

    /// Waits until nothing has moved for `silence`; who is to blame.
    pub async fn stalled(&self, silence: Duration) -> Refusal {
        loop {
            let last = self.begun + Duration::from_millis(self.seen.last_ms.load(Relaxed));
            if last.elapsed() >= silence {
                let awaits_client = self.seen.awaits_client.load(Relaxed);
                return if awaits_client { Refusal::RequestBody } else { Refusal::BackendTimeout };
            }
            sleep_until(last + silence).await;
        }
    }
}
