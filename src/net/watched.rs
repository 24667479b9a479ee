//! A stream to a backend on which it is noted whether anything came, as hyper sees it.
//!
//! Whether a request may be sent again depends on it, and hyper does not tell.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::stream::Stream;

/// What the stream and who asks tell each other.
#[derive(Debug, Default)]
pub struct Signs {
    /// A request waits for the socket to be looked at.
    look: AtomicBool,
    /// Something came since the request was handed over.
    heard: AtomicBool,
}

impl Signs {
    /// A request is handed over. With `look`, the socket itself is asked ahead of it whether anything has come.
    pub fn begin(&self, look: bool) {
        self.heard.store(false, Relaxed);
        self.look.store(look, Relaxed);
    }

    /// Whether anything has come since.
    pub fn heard(&self) -> bool {
        self.heard.load(Relaxed)
    }
}

/// The stream.
pub struct Watched {
    /// Without them nothing is noted.
    signs: Option<Arc<Signs>>,
    stream: Stream,
}

impl Watched {
    /// Watches `stream`, and tells `signs` if there are any.
    pub fn new(stream: Stream, signs: Option<Arc<Signs>>) -> Watched {
        Watched { signs, stream }
    }

    /// The stream back.
    pub fn into_inner(self) -> Stream {
        self.stream
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Watched { stream, signs } = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut *stream).poll_read(context, buffer);
        let Some(signs) = signs else { return read };
        if buffer.filled().len() > before {
            signs.heard.store(true, Relaxed);
        }
        // hyper reads an idle connection before it takes a request for it.
        if read.is_pending() && signs.look.swap(false, Relaxed) {
            return match stream.peek() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
                Err(error) => Poll::Ready(Err(error)),
                Ok(0) => Poll::Ready(Ok(())),
                Ok(_) => Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "unasked bytes"))),
            };
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, slices)
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
