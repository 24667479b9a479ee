//! A client's stream as hyper sees it: it tells the [`Pace`] what moves, and goes on looking at the client when hyper does
//! not.
//!
//! hyper reads nothing from a client while it still has unread bytes of it (the beginning of another request, say), and
//! so would not see it leave. While a request is being answered, this stream reads a little further by itself.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::pace::Pace;
use crate::net::stream::Stream;

/// Bytes that are read ahead of hyper, at most. A client that sends more behind its request and leaves is noticed by the
/// clocks of the answer alone.
const AHEAD_BYTES_MAX: usize = 16 * 1024;

/// The most that one look reads.
const LOOK_BYTES: usize = 2048;

/// A client's stream, watched.
pub struct Front {
    stream: Stream,
    pace: Arc<Pace>,
    /// What came ahead of hyper, from `taken` on.
    ahead: Vec<u8>,
    taken: usize,
    /// The stream has ended or failed; hyper learns of it when it has taken all of `ahead`.
    ended: Option<io::Result<()>>,
    /// hyper waits for bytes by itself.
    awaited: bool,
}

impl Front {
    /// Watches `stream`.
    pub fn new(stream: Stream, pace: Arc<Pace>) -> Front {
        Front { stream, pace, ahead: Vec::new(), taken: 0, ended: None, awaited: false }
    }

    /// The stream, and what was read from it behind the bytes `before`, which hyper had read: together in one piece.
    pub fn into_parts(self, before: &[u8]) -> (Stream, Vec<u8>) {
        let after = self.ahead.get(self.taken..).unwrap_or_default();
        (self.stream, [before, after].concat())
    }

    /// Reads on while hyper does not, to see an end.
    fn look(&mut self, context: &mut Context<'_>) {
        let mut found = false;
        while self.ended.is_none() && self.ahead.len() < AHEAD_BYTES_MAX {
            let mut space = [0; LOOK_BYTES];
            let mut buffer = ReadBuf::new(&mut space);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Pending => break,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    self.ahead.extend_from_slice(buffer.filled());
                    found = true;
                }
                Poll::Ready(end) => {
                    self.ended = Some(end);
                    self.pace.left();
                    found = true;
                }
            }
        }
        if found {
            // Whoever waited for these bytes below must come and get them here.
            context.waker().wake_by_ref();
        }
    }
}

impl AsyncRead for Front {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let front = self.get_mut();
        let ahead = front.ahead.get(front.taken..).unwrap_or_default();
        if !ahead.is_empty() {
            let (now, _) = ahead.split_at(ahead.len().min(buffer.remaining()));
            buffer.put_slice(now);
            front.taken += now.len();
            if front.taken == front.ahead.len() {
                (front.ahead, front.taken) = (Vec::new(), 0);
            }
            front.pace.received();
            return Poll::Ready(Ok(()));
        }
        if let Some(end) = front.ended.take() {
            // Whoever asks again sees an end.
            front.ended = Some(Ok(()));
            return Poll::Ready(end);
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut front.stream).poll_read(context, buffer);
        front.awaited = read.is_pending();
        if buffer.filled().len() > before {
            front.pace.received();
        }
        read
    }
}

impl AsyncWrite for Front {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let front = self.get_mut();
        front.pace.sent();
        Pin::new(&mut front.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let front = self.get_mut();
        front.pace.sent();
        Pin::new(&mut front.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes each time it has done what it could; that is when there is time to look.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let front = self.get_mut();
        let flushed = Pin::new(&mut front.stream).poll_flush(context);
        if !std::mem::take(&mut front.awaited) && front.pace.is_answering() {
            front.look(context);
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
