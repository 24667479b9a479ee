//! Bodies on their way through: streamed, never gathered, and watched for what must be known of them.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::io;
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
use crate::net::http2::inlet::Received;
use crate::outcome::Refusal;
use crate::proto::hop;

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

    /// The longest pause.
    pub fn idle_timeout(&self) -> Duration {
        self.idle_timeout
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
            Poll::Ready(Some(Ok(mut frame))) => {
                if let Some(trailers) = frame.trailers_mut() {
                    hop::strip_trailers(trailers);
                }
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

/// A client's body, as it comes in.
pub enum Upload {
    /// Over HTTP/1.
    Http1(Incoming),
    /// Over HTTP/2.
    Http2(Received),
}

/// A client's body broke off.
#[derive(Debug)]
pub enum UploadError {
    /// Over HTTP/1.
    Http1(hyper::Error),
    /// Over HTTP/2.
    Http2(io::Error),
}

impl fmt::Display for UploadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UploadError::Http1(error) => error.fmt(f),
            UploadError::Http2(error) => error.fmt(f),
        }
    }
}

impl Error for UploadError {}

impl hyper::body::Body for Upload {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        match self.get_mut() {
            Upload::Http1(body) => Pin::new(body).poll_frame(context).map_err(UploadError::Http1),
            Upload::Http2(body) => Pin::new(body).poll_frame(context).map_err(UploadError::Http2),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Upload::Http1(body) => body.is_end_stream(),
            Upload::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Upload::Http1(body) => body.size_hint(),
            Upload::Http2(body) => body.size_hint(),
        }
    }
}

/// A client's body on its way to the backend.
pub struct Sent {
    body: Upload,
    /// Bytes that may still come.
    left: u64,
    progress: Progress,
}

/// Why a client's body did not come to its end.
#[derive(Debug)]
pub enum SentError {
    /// The client broke off, or its chunks are malformed.
    Client(UploadError),
    /// It is larger than it may be.
    TooLarge,
}

impl fmt::Display for SentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SentError::Client(error) => error.fmt(f),
            SentError::TooLarge => f.write_str("larger than body_bytes_max"),
        }
    }
}

impl Error for SentError {}

impl Sent {
    /// Passes `body` on, up to `bytes_max`, and notes in `progress` when it moves.
    pub fn new(body: Upload, bytes_max: u64, progress: Progress) -> Sent {
        Sent { body, left: bytes_max, progress }
    }

    /// A part of the body, if there may be that much of it. Trailers are no place for what a head must not have.
    fn pass(&mut self, mut frame: Frame<Bytes>) -> Result<Frame<Bytes>, SentError> {
        if let Some(trailers) = frame.trailers_mut() {
            hop::strip_trailers(trailers);
        }
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        match self.left.checked_sub(u64::try_from(bytes).unwrap_or(u64::MAX)) {
            Some(left) => {
                self.left = left;
                Ok(frame)
            }
            None => {
                self.progress.seen.too_large.store(true, Relaxed);
                Err(SentError::TooLarge)
            }
        }
    }
}

impl hyper::body::Body for Sent {
    type Data = Bytes;
    type Error = SentError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, SentError>>> {
        let sent = self.get_mut();
        let frame = Pin::new(&mut sent.body).poll_frame(context);
        sent.progress.note(frame.is_ready());
        frame.map(|frame| Some(frame?.map_err(SentError::Client).and_then(|frame| sent.pass(frame))))
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
    /// The body is larger than it may be.
    too_large: AtomicBool,
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

    /// What the body itself was at fault for.
    pub fn refusal(&self) -> Option<Refusal> {
        self.seen.too_large.load(Relaxed).then_some(Refusal::BodyTooLarge)
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
