//! A request's body on its way from the client to the backend: streamed, never gathered, and watched for what must be known
//! of it.

use std::error::Error;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, sleep_until};

use crate::net::http2::inlet::Received;
use crate::outcome::Refusal;
use crate::proto::hop;

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

impl Body for Upload {
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
    /// Until it is dropped.
    body: Option<Upload>,
    /// Bytes that may still come.
    left: u64,
    /// Nothing of it was taken.
    is_untouched: bool,
    /// All of it was.
    is_over: bool,
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
    /// Passes `body` on, up to `bytes_max`, and notes in `progress` when it moves and what became of it.
    pub fn new(body: Upload, bytes_max: u64, progress: Progress) -> Sent {
        Sent { body: Some(body), left: bytes_max, is_untouched: true, is_over: false, progress }
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

impl Body for Sent {
    type Data = Bytes;
    type Error = SentError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, SentError>>> {
        let sent = self.get_mut();
        let Some(body) = &mut sent.body else { return Poll::Ready(None) };
        let frame = Pin::new(body).poll_frame(context);
        sent.progress.note(frame.is_ready());
        let Poll::Ready(frame) = frame else { return Poll::Pending };
        sent.is_untouched = false;
        sent.is_over = match &frame {
            Some(Ok(frame)) => frame.is_trailers(),
            Some(Err(_)) => false,
            None => true,
        };
        Poll::Ready(frame.map(|frame| frame.map_err(SentError::Client).and_then(|frame| sent.pass(frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

/// Who sends it lets go of it when all of it is sent, and when it cannot be sent.
impl Drop for Sent {
    fn drop(&mut self) {
        if self.is_over || self.is_end_stream() {
            self.progress.seen.is_sent.store(true, Relaxed);
        }
        if self.is_untouched {
            *self.progress.seen.untouched.lock().unwrap_or_else(PoisonError::into_inner) = self.body.take();
        }
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
    /// All of the body was taken, to be sent.
    is_sent: AtomicBool,
    /// The body, when it was let go before anything of it was taken.
    untouched: Mutex<Option<Upload>>,
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

    /// Whether all of the body was taken, to be sent: what comes from the backend is no early answer.
    pub fn is_sent(&self) -> bool {
        self.seen.is_sent.load(Relaxed)
    }

    /// The body, for another try; `None` when something of it was taken, or is still wanted.
    pub fn take_untouched(&self) -> Option<Upload> {
        self.seen.untouched.lock().unwrap_or_else(PoisonError::into_inner).take()
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
