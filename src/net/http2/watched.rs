//! A client's stream below h2, which reads along what h2 says to the client.
//!
//! Why it ends a connection, h2 tells the client (in the debug data of GOAWAY, RFC 9113 6.8) and the streams that are
//! open; whoever drives the connection gets a code, and there may be no stream. And of what a client may demand without
//! one, answers to PING and SETTINGS, h2 gives any number.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::stream::Stream;
use crate::proto::http2::frames::{Told, Walk};
use crate::telemetry::labels::ConnectionFault;

/// PINGs and SETTINGS that a client may have answered at once.
const ANSWERS_MAX: u32 = 1000;
/// How soon it may have one more.
const ANSWER_EVERY: Duration = Duration::from_millis(10);

/// A client's stream, and what h2 has said on it.
#[derive(Debug)]
pub struct Watched {
    stream: Stream,
    walk: Walk,
    answers: Allowance,
    grounds: Grounds,
}

impl Watched {
    /// Watches `stream`; `grounds` learns why its connection ends.
    pub fn new(stream: Stream, grounds: Grounds) -> Watched {
        Watched { stream, walk: Walk::default(), answers: Allowance::full(Instant::now()), grounds }
    }

    /// These bytes are on their way to the client.
    fn note(&mut self, bytes: &[u8]) {
        let Watched { walk, answers, grounds, .. } = self;
        let mut answer = |fault| {
            if !answers.take(Instant::now()) {
                grounds.condemn(fault);
            }
        };
        walk.feed(bytes, |told| match told {
            Told::Pong => answer(ConnectionFault::PingFlood),
            Told::SettingsTaken => answer(ConnectionFault::SettingsFlood),
            Told::Farewell(words) => grounds.told(words),
        });
    }
}

/// How many answers there may be: full at first, and never more than that.
#[derive(Clone, Copy, Debug)]
struct Allowance {
    /// When all of it would be there again.
    full: Instant,
}

impl Allowance {
    fn full(now: Instant) -> Allowance {
        Allowance { full: now }
    }

    /// Takes one, if there is one.
    fn take(&mut self, now: Instant) -> bool {
        let full = self.full.max(now) + ANSWER_EVERY;
        let is_there = full - now <= ANSWER_EVERY * ANSWERS_MAX;
        if is_there {
            self.full = full;
        }
        is_there
    }
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// It is ended.
    End,
    /// The client is told to go elsewhere; what is open goes on.
    Go,
}

/// Why a connection ends.
#[derive(Clone, Debug, Default)]
pub struct Grounds(Arc<Verdict>);

#[derive(Debug, Default)]
struct Verdict {
    fault: OnceLock<ConnectionFault>,
    /// h2 would go on, and is not to.
    is_condemned: AtomicBool,
    /// The client is to go elsewhere, in its time.
    is_asked_to_go: AtomicBool,
    driver: AtomicWaker,
}

impl Grounds {
    /// What the connection's end is counted as, if h2 said why, or somebody else.
    pub fn fault(&self) -> Option<ConnectionFault> {
        self.0.fault.get().copied()
    }

    /// The connection is to be ended for this.
    pub fn condemn(&self, fault: ConnectionFault) {
        // The first reason counts.
        let _ = self.0.fault.set(fault);
        self.0.is_condemned.store(true, Relaxed);
        self.0.driver.wake();
    }

    /// The client is to be told to go elsewhere.
    pub fn ask_to_go(&self) {
        self.0.is_asked_to_go.store(true, Relaxed);
        self.0.driver.wake();
    }

    /// Waits until the connection is to be ended, or the client to be told to go, which is said once. For whoever drives it,
    /// alone.
    pub async fn called(&self) -> Call {
        poll_fn(|context| {
            self.0.driver.register(context.waker());
            if self.0.is_condemned.load(Relaxed) {
                return Poll::Ready(Call::End);
            }
            // A load is cheaper, and there is hardly ever anything to take.
            let go = self.0.is_asked_to_go.load(Relaxed) && self.0.is_asked_to_go.swap(false, Relaxed);
            if go { Poll::Ready(Call::Go) } else { Poll::Pending }
        })
        .await
    }

    /// h2 has told the client that it ends the connection, in words of its own.
    fn told(&self, words: &[u8]) {
        let fault = match words {
            b"too_many_data_frames" => ConnectionFault::DataFlood,
            b"too_many_continuations" => ConnectionFault::HeaderFlood,
            b"header_list_way_too_large" => ConnectionFault::HeadTooLarge,
            b"too_many_resets" | b"too_many_internal_resets" => ConnectionFault::ResetFlood,
            _ => return,
        };
        let _ = self.0.fault.set(fault);
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let watched = self.get_mut();
        let written = Pin::new(&mut watched.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(count)) = written {
            watched.note(bytes.get(..count).unwrap_or_default());
        }
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let watched = self.get_mut();
        let written = Pin::new(&mut watched.stream).poll_write_vectored(context, slices);
        if let Poll::Ready(Ok(mut left)) = written {
            for slice in slices {
                let (now, _) = slice.split_at(left.min(slice.len()));
                watched.note(now);
                left -= now.len();
            }
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_answers_at_once_and_then_a_hundred_a_second() {
        let begin = Instant::now();
        let mut allowance = Allowance::full(begin);
        let taken = |allowance: &mut Allowance, at| (0..5000).filter(|_| allowance.take(at)).count();
        assert_eq!(taken(&mut allowance, begin), 1000);
        assert_eq!(taken(&mut allowance, begin + Duration::from_millis(9)), 0);
        assert_eq!(taken(&mut allowance, begin + Duration::from_secs(1)), 100);
        assert_eq!(taken(&mut allowance, begin + Duration::from_secs(3600)), 1000);
    }
}
