//! A socket of which is kept what was read from it, for who is to read it once more.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A socket, and what was read from it. The reader has a bound.
pub struct Overheard {
    tcp: TcpStream,
    bytes: Vec<u8>,
}

impl Overheard {
    /// Nothing was read yet.
    pub fn new(tcp: TcpStream) -> Overheard {
        Overheard { tcp, bytes: Vec::new() }
    }

    /// The socket, and what was read.
    pub fn into_parts(self) -> (TcpStream, Vec<u8>) {
        (self.tcp, self.bytes)
    }
}

impl AsyncRead for Overheard {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Overheard { tcp, bytes } = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(tcp).poll_read(context, buffer))?;
        bytes.extend_from_slice(buffer.filled().get(before..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Overheard {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().tcp).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(context)
    }
}
