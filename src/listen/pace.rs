//! Whose turn it is on a client's HTTP/1 connection, and for how long: the clocks of heads and of rests between requests.
//!
//! Everything that changes the turn happens while the connection's task is polled, so [`Pace::overrun`] needs no waker
//! but its timer's when it is polled after it.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, sleep};

use crate::config::Limits;
use crate::proxy::body::Body;

/// The state of one connection's turns.
pub struct Pace {
    begun: Instant,
    turn: AtomicU8,
    /// Milliseconds from `begun` to the beginning of the turn.
    since_ms: AtomicU64,
    gone: AtomicBool,
    head_timeout: Duration,
    keepalive_timeout: Duration,
}

/// A head is awaited or on its way.
const HEAD: u8 = 0;
/// A request is being answered: other clocks run.
const ANSWER: u8 = 1;
/// The answer is done, and nothing of the next request has come.
const REST: u8 = 2;

/// Why a connection is not served any longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overrun {
    /// `limits.head_timeout` passed within a head, or before the first one.
    Head,
    /// `limits.keepalive_timeout` passed between two requests.
    Rest,
    /// The client left while it was being answered.
    Gone,
}

impl Pace {
    /// Begins with the wait for the first head.
    pub fn begin(limits: &Limits) -> Arc<Pace> {
        Arc::new(Pace {
            begun: Instant::now(),
            turn: AtomicU8::new(HEAD),
            since_ms: AtomicU64::new(0),
            gone: AtomicBool::new(false),
            head_timeout: limits.head_timeout,
            keepalive_timeout: limits.keepalive_timeout,
        })
    }

    /// A head is complete; its answer is over when the returned turn is dropped.
    pub fn answering(self: &Arc<Pace>) -> Turn {
        self.turn.store(ANSWER, Relaxed);
        Turn(self.clone())
    }

    /// Whether a request is being answered.
    pub fn is_answering(&self) -> bool {
        self.turn.load(Relaxed) == ANSWER
    }

    /// Bytes came from the client: after a rest they begin a head.
    pub fn received(&self) {
        if self.turn.load(Relaxed) == REST {
            self.enter(HEAD);
        }
    }

    /// Bytes went to the client: the end of an answer, when its last part was taken before it was written.
    pub fn sent(&self) {
        if self.turn.load(Relaxed) == REST {
            self.enter(REST);
        }
    }

    /// The client has left.
    pub fn left(&self) {
        self.gone.store(true, Relaxed);
    }

    /// Ready when a turn took too long, or the client has left.
    pub async fn overrun(&self) -> Overrun {
        let mut timer = pin!(sleep(self.head_timeout));
        poll_fn(|context| {
            if self.gone.load(Relaxed) {
                return Poll::Ready(Overrun::Gone);
            }
            loop {
                let Some((deadline, overrun)) = self.deadline() else { return Poll::Pending };
                // A timer that fires early is set again then: most answers come and go without touching it.
                if deadline < timer.deadline() || timer.is_elapsed() {
                    if deadline <= Instant::now() {
                        return Poll::Ready(overrun);
                    }
                    timer.as_mut().reset(deadline);
                }
                if timer.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
            }
        })
        .await
    }

    fn deadline(&self) -> Option<(Instant, Overrun)> {
        let since = self.begun + Duration::from_millis(self.since_ms.load(Relaxed));
        match self.turn.load(Relaxed) {
            HEAD => Some((since + self.head_timeout, Overrun::Head)),
            REST => Some((since + self.keepalive_timeout, Overrun::Rest)),
            _ => None,
        }
    }

    fn enter(&self, turn: u8) {
        let since = self.begun.elapsed().as_millis();
        self.since_ms.store(u64::try_from(since).unwrap_or(u64::MAX), Relaxed);
        self.turn.store(turn, Relaxed);
    }
}

/// A request is being answered as long as this lives.
pub struct Turn(Arc<Pace>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.enter(REST);
    }
}

/// An answer's body that holds its turn.
pub struct Paced {
    /// The body.
    pub body: Body,
    /// Ends with it.
    pub turn: Turn,
}

impl HttpBody for Paced {
    type Data = Bytes;
    type Error = <Body as HttpBody>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
