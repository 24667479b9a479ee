//! One byte stream, whatever carries it: what hyper reads and writes, and what a tunnel is made of.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::http2::duplex::Duplex;
use super::socket;
use super::tls::stream::TlsStream;

/// A connection to a client or to a backend.
#[derive(Debug)]
pub enum Stream {
    /// Plain TCP.
    Tcp(TcpStream),
    /// Anything larger. An enum of its own: a socket has room to tell one more variant apart, not two.
    Boxed(Boxed),
}

/// What is larger than a socket.
#[derive(Debug)]
pub enum Boxed {
    /// TLS over TCP, as its server towards clients, as its client towards backends: rustls' state is over a kilobyte, of
    /// either kind about the same.
    Tls(Box<TlsStream>),
    /// A stream of a client's HTTP/2 connection (RFC 8441).
    Http2(Box<Duplex>),
    /// One that was there and is not any more: it has ended, and what is written to it is lost.
    Gone,
}

impl Stream {
    /// Ends the connection by a reset: what is queued is thrown away, and the peer sees that it was cut.
    pub fn reset(self) {
        match self {
            Stream::Tcp(tcp) => socket::reset_on_close(&tcp),
            Stream::Boxed(Boxed::Tls(tls)) => socket::reset_on_close(tls.socket()),
            Stream::Boxed(Boxed::Http2(duplex)) => duplex.reset(),
            Stream::Boxed(Boxed::Gone) => {}
        }
    }

    /// How much could be read from the socket at once, a byte at most, without reading it: the kernel is asked, whatever the
    /// runtime knows. Over TLS the byte is an encrypted one. Nothing means that it has ended.
    ///
    /// # Errors
    /// `WouldBlock` when nothing came; the socket's own.
    pub fn peek(&self) -> io::Result<usize> {
        match self {
            Stream::Tcp(tcp) => socket::peek(tcp),
            Stream::Boxed(Boxed::Tls(tls)) => socket::peek(tls.socket()),
            Stream::Boxed(Boxed::Http2(_)) => Err(io::ErrorKind::WouldBlock.into()),
            Stream::Boxed(Boxed::Gone) => Ok(0),
        }
    }

    /// Ends a connection on which all has been said. A socket is just closed; of an HTTP/2 stream the client's end is
    /// awaited as long as `patience`, by a task of its own.
    pub fn leave(self, patience: Duration) {
        if let Stream::Boxed(Boxed::Http2(duplex)) = self {
            tokio::spawn(duplex.leave(patience));
        }
    }

    /// To be called when it is not read for now: what its sender goes on to send must not be in the way of others. Ready
    /// when it was reset meanwhile. Of a socket the kernel takes care, and its reset shows when it is read.
    pub fn poll_unread(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        match self {
            Stream::Tcp(_) | Stream::Boxed(Boxed::Tls(_) | Boxed::Gone) => Poll::Pending,
            Stream::Boxed(Boxed::Http2(duplex)) => duplex.poll_unread(context),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_read(context, buffer),
            Stream::Boxed(Boxed::Tls(tls)) => Pin::new(tls).poll_read(context, buffer),
            Stream::Boxed(Boxed::Http2(duplex)) => duplex.poll_read(context, buffer),
            Stream::Boxed(Boxed::Gone) => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_write(context, bytes),
            Stream::Boxed(Boxed::Tls(tls)) => Pin::new(tls).poll_write(context, bytes),
            Stream::Boxed(Boxed::Http2(duplex)) => duplex.poll_write(context, bytes),
            Stream::Boxed(Boxed::Gone) => Poll::Ready(Ok(bytes.len())),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_write_vectored(context, slices),
            Stream::Boxed(Boxed::Tls(tls)) => Pin::new(tls).poll_write_vectored(context, slices),
            Stream::Boxed(Boxed::Http2(duplex)) => {
                let bytes = slices.iter().find(|slice| !slice.is_empty());
                duplex.poll_write(context, bytes.map_or(&[], |slice| slice))
            }
            Stream::Boxed(Boxed::Gone) => Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum())),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Stream::Tcp(tcp) => tcp.is_write_vectored(),
            Stream::Boxed(Boxed::Tls(tls)) => tls.is_write_vectored(),
            Stream::Boxed(Boxed::Http2(_) | Boxed::Gone) => false,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_flush(context),
            Stream::Boxed(Boxed::Tls(tls)) => Pin::new(tls).poll_flush(context),
            // The connection's task sends what was written.
            Stream::Boxed(Boxed::Http2(_) | Boxed::Gone) => Poll::Ready(Ok(())),
        }
    }

    /// Ends this direction: FIN, and close_notify before it over TLS; END_STREAM.
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_shutdown(context),
            Stream::Boxed(Boxed::Tls(tls)) => Pin::new(tls).poll_shutdown(context),
            Stream::Boxed(Boxed::Http2(duplex)) => Poll::Ready(duplex.end()),
            Stream::Boxed(Boxed::Gone) => Poll::Ready(Ok(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tunnel has two, and hyper moves them about.
    #[test]
    fn a_stream_is_no_larger_than_a_socket() {
        assert_eq!(size_of::<Stream>(), size_of::<TcpStream>());
    }
}
