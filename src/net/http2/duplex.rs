//! A stream of HTTP/2 as a stream of bytes (RFC 8441 5): END_STREAM is its end, RST_STREAM with CANCEL its reset.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use tokio::io::ReadBuf;
use tokio::time::timeout;

use super::inlet::Inlet;
use super::outlet::Outlet;
use super::{SEND_BUFFER_BYTES, gone};

/// Both halves of a stream.
pub struct Duplex {
    inlet: Inlet,
    outlet: Outlet,
}

impl Duplex {
    /// Joins the halves.
    pub fn new(inlet: Inlet, outlet: Outlet) -> Duplex {
        Duplex { inlet, outlet }
    }

    /// Reads; what was read before counts as gone on, and the client may send as much again.
    ///
    /// # Errors
    /// `ConnectionReset` when the stream was reset or its connection is gone.
    pub fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.inlet.poll_read(context, buffer)
    }

    /// Writes what the client's window takes.
    ///
    /// # Errors
    /// As [`Duplex::poll_read`].
    pub fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let count = ready!(self.outlet.poll_room(context, bytes.len().min(SEND_BUFFER_BYTES)))?;
        let bytes = Bytes::copy_from_slice(bytes.get(..count).unwrap_or_default());
        self.outlet.send(bytes)?;
        Poll::Ready(Ok(count))
    }

    /// Ends the sending direction.
    ///
    /// # Errors
    /// As [`Duplex::poll_read`].
    pub fn end(&mut self) -> io::Result<()> {
        self.outlet.end()
    }

    /// Empties h2 for a stream that is not read now, and looks out for its reset: ready when it has come.
    pub fn poll_unread(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        if ready!(self.inlet.poll_fill(context)).is_err() {
            return Poll::Ready(gone());
        }
        self.outlet.poll_reset(context).map(|()| gone())
    }

    /// Resets the stream.
    pub fn reset(mut self) {
        self.outlet.reset(Reason::CANCEL);
    }

    /// Ends the sending direction, and waits as long as `patience` for the client to end its own: a browser that is reset
    /// after the Close frames takes that for a failure of WebSockets over HTTP/2, and gives them up.
    pub async fn leave(mut self, patience: Duration) {
        if self.end().is_ok() {
            let discard = async {
                let mut room = [0; 1024];
                loop {
                    let mut buffer = ReadBuf::new(&mut room);
                    let read = poll_fn(|context| self.inlet.poll_read(context, &mut buffer)).await;
                    if read.is_err() || buffer.filled().is_empty() {
                        break;
                    }
                }
            };
            let _ = timeout(patience, discard).await;
        }
    }
}

impl fmt::Debug for Duplex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Duplex")
    }
}
