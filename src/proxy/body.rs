//! Bodies on their way through: streamed, never gathered, and watched for what must be known of them.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::time::{Instant, sleep_until};

use super::account::RequestEnd;
use crate::outcome::Refusal;

/// What a client gets: a backend's body, or a line of longhaul's own.
pub type Body = Either<Relayed, Full<Bytes>>;

/// A backend's body on its way to the client.
pub struct Relayed {
    body: Incoming,
    end: RequestEnd,
}

impl Relayed {
    /// Passes `body` on; `end` is told what passes, and learns the end by being dropped.
    pub fn new(body: Incoming, end: RequestEnd) -> Relayed {
        Relayed { body, end }
    }
}

impl hyper::body::Body for Relayed {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let relayed = self.get_mut();
        let frame = Pin::new(&mut relayed.body).poll_frame(context);
        match &frame {
            Poll::Ready(Some(Ok(frame))) => relayed.end.passed(frame.data_ref().map_or(0, Bytes::len)),
            Poll::Ready(Some(Err(_))) => relayed.end.broke_off(),
            Poll::Ready(None) | Poll::Pending => {}
        }
        frame
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
