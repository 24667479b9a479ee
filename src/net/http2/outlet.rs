//! What a client receives on a stream: never more than its window, and h2's buffer, take.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http::HeaderMap;

use super::{gone, io_error};

/// The sending half of a stream, behind the head of the answer.
pub struct Outlet {
    stream: SendStream<Bytes>,
    ended: bool,
}

impl Outlet {
    /// Behind the head.
    pub fn new(stream: SendStream<Bytes>) -> Outlet {
        Outlet { stream, ended: false }
    }

    /// How many of `wanted` bytes may be sent now; at least one.
    ///
    /// # Errors
    /// The stream was reset, or its connection is gone.
    pub fn poll_room(&mut self, context: &mut Context<'_>, wanted: usize) -> Poll<io::Result<usize>> {
        self.stream.reserve_capacity(wanted);
        loop {
            let room = self.stream.capacity();
            if room > 0 {
                return Poll::Ready(Ok(room.min(wanted)));
            }
            match ready!(self.stream.poll_capacity(context)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(io_error(error))),
                None => return Poll::Ready(Err(gone())),
            }
        }
    }

    /// Sends bytes for which there is room.
    ///
    /// # Errors
    /// The stream was reset, or its connection is gone.
    pub fn send(&mut self, bytes: Bytes) -> io::Result<()> {
        self.stream.send_data(bytes, false).map_err(io_error)
    }

    /// Ends this direction with END_STREAM; a second time does nothing.
    ///
    /// # Errors
    /// The stream was reset, or its connection is gone.
    pub fn end(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.ended, true) {
            return Ok(());
        }
        self.stream.send_data(Bytes::new(), true).map_err(io_error)
    }

    /// Ends this direction with trailers.
    ///
    /// # Errors
    /// The stream was reset, or its connection is gone.
    pub fn end_with(&mut self, trailers: HeaderMap) -> io::Result<()> {
        self.ended = true;
        self.stream.send_trailers(trailers).map_err(io_error)
    }

    /// Resets the stream: nothing of what was sent looks complete.
    pub fn reset(&mut self, reason: Reason) {
        self.stream.send_reset(reason);
    }

    /// Ready when the client has reset the stream, or its connection is gone.
    pub fn poll_reset(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.stream.poll_reset(context).map(drop)
    }
}
