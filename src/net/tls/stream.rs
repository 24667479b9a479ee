//! A stream over TLS that owns no buffer while nothing is under way.
//!
//! What comes is read into a buffer of the thread, decrypted there, and copied to whoever reads; what goes is encrypted
//! into the same buffer and written from it. Kept is only what cannot move on, and no longer than that: an incomplete record,
//! decrypted bytes that the reader had no room for, encrypted ones that the socket would not take.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::CommonState;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::kept::{Incoming, Kept, RECORD_BYTES_MAX};
use super::session::{Opened, Session};

/// What one record may carry (RFC 8446 5.1).
const PAYLOAD_BYTES_MAX: usize = 1 << 14;
/// What one write encrypts: a tunnel's whole scratch buffer, in four records, which are a little less than a TCP segment over
/// loopback.
const WRITE_BYTES_MAX: usize = 63 * 1024;
/// What one read takes. A message of the handshake may come in several records and is kept until it is complete; it must be
/// shorter than this.
const SCRATCH_BYTES: usize = 64 * 1024;

thread_local! {
    /// Where bytes are while they are encrypted or decrypted, and behind it, where slices are joined to a record.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES + PAYLOAD_BYTES_MAX].into_boxed_slice());
}

/// TLS over `IO`, of either side.
pub struct TlsStream<IO = TcpStream> {
    io: IO,
    session: Session,
    /// What came and could not be dealt with yet.
    incoming: Incoming,
    /// Decrypted, and not read yet.
    plain: Kept,
    /// Encrypted, and not taken by the socket yet.
    sealed: Kept,
    /// How the peer's direction ended.
    end: Option<End>,
    /// Whether close_notify was sent.
    is_shut: bool,
}

/// The end of what a peer sends.
enum End {
    /// Announced, by close_notify.
    Closed,
    /// Not announced: what came last may be missing.
    Cut,
    /// Something was wrong, with what came or with what the peer said of what was sent to it.
    Failed(Box<rustls::Error>),
}

impl<IO: AsyncRead + AsyncWrite + Unpin> TlsStream<IO> {
    /// Performs the handshake. `came` was read from `io` before.
    ///
    /// # Errors
    /// Of the socket; `UnexpectedEof` when it ended; `InvalidData` around rustls' own, of which the peer was told.
    pub async fn handshake(io: IO, session: Session, mut came: Vec<u8>) -> io::Result<Box<TlsStream<IO>>> {
        let (incoming, plain, sealed) = Default::default();
        let mut stream =
            Box::new(TlsStream { io, session, incoming, plain, sealed, end: None, is_shut: false });
        stream.take(&mut came, &mut ReadBuf::new(&mut []));
        poll_fn(|context| stream.poll_handshake(context)).await?;
        Ok(stream)
    }

    fn poll_handshake(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let sent = self.poll_sealed(context);
            match &self.end {
                Some(failed @ End::Failed(_)) => return Poll::Ready(failed.told()),
                Some(_) if self.session.is_handshaking() => {
                    let error = io::Error::new(io::ErrorKind::UnexpectedEof, "eof in the TLS handshake");
                    return Poll::Ready(Err(error));
                }
                _ => ready!(sent)?,
            }
            if !self.session.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_fill(context, &mut ReadBuf::new(&mut [])))?;
        }
    }

    /// Reads once, and deals with it: what was decrypted goes to `reader`, and what it has no room for is kept.
    fn poll_fill(&mut self, context: &mut Context<'_>, reader: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let kept = self.incoming.bytes.len();
            // What comes is no more than the reader has room for, or a record's worth.
            let most =
                if kept < RECORD_BYTES_MAX { reader.remaining().max(RECORD_BYTES_MAX) } else { usize::MAX };
            let (earlier, room) = scratch.split_at_mut(kept.min(SCRATCH_BYTES));
            let room = room.get_mut(..most.min(SCRATCH_BYTES).saturating_sub(kept)).unwrap_or_default();
            if room.is_empty() {
                self.end = Some(End::Failed(Box::new(rustls::Error::PeerSentOversizedRecord)));
                return Poll::Ready(Ok(()));
            }
            let mut fresh = ReadBuf::new(room);
            ready!(Pin::new(&mut self.io).poll_read(context, &mut fresh))?;
            let fresh = fresh.filled();
            if fresh.is_empty() {
                self.end = Some(End::Cut);
                self.incoming.end();
            } else if kept == 0 || !self.incoming.add_if_incomplete(fresh) {
                let end = kept + fresh.len();
                earlier.copy_from_slice(&self.incoming.bytes);
                self.take(scratch.get_mut(..end).unwrap_or_default(), reader);
            }
            // An alert, or an answer. If it cannot go now, it goes ahead of what is written next.
            if !self.sealed.is_empty() {
                let _ = self.poll_sealed(context);
            }
            Poll::Ready(Ok(()))
        })
    }

    /// Deals with what `came`, what was kept of it at its beginning.
    fn take(&mut self, came: &mut [u8], reader: &mut ReadBuf<'_>) {
        let border = self.incoming.border(came);
        let TlsStream { session, plain, sealed, .. } = self;
        let give = |bytes: &[u8]| {
            let (given, rest) = bytes.split_at(bytes.len().min(reader.remaining()));
            reader.put_slice(given);
            plain.bytes.extend_from_slice(rest);
        };
        let Opened { done, is_closed } = session.open(came, give, &mut sealed.bytes);
        self.end = match is_closed {
            Ok(false) => None,
            Ok(true) => Some(End::Closed),
            Err(error) => Some(End::Failed(Box::new(error))),
        };
        self.incoming.keep(came, if self.end.is_none() { done } else { came.len() }, border);
    }

    /// Encrypts and writes; what the socket does not take is kept.
    fn write(&mut self, context: &mut Context<'_>, plain: &[u8], room: &mut [u8]) -> io::Result<usize> {
        if let Some(failed @ End::Failed(_)) = &self.end {
            failed.told()?;
        }
        let plain = plain.get(..WRITE_BYTES_MAX).unwrap_or(plain);
        let owed = &mut self.sealed.bytes;
        let sealed = self.session.seal(&mut self.incoming.bytes, plain, room, owed).map_err(told)?;
        let mut rest = room.get(..sealed).unwrap_or_default();
        if self.sealed.is_empty() {
            while let Poll::Ready(count) = Pin::new(&mut self.io).poll_write(context, rest)? {
                rest = some(rest, count)?;
                if rest.is_empty() {
                    return Ok(plain.len());
                }
            }
        }
        self.sealed.bytes.extend_from_slice(rest);
        let _ = self.poll_sealed(context)?;
        Ok(plain.len())
    }

    /// Sends what is kept.
    fn poll_sealed(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.sealed.is_empty() {
            let count = ready!(Pin::new(&mut self.io).poll_write(context, self.sealed.rest()))?;
            some(self.sealed.rest(), count)?;
            self.sealed.pass(count);
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO> TlsStream<IO> {
    /// What was agreed on.
    pub fn session(&self) -> &CommonState {
        &self.session
    }

    /// How many bytes it keeps of what cannot move on.
    pub fn kept_bytes(&self) -> usize {
        self.incoming.bytes.capacity() + self.plain.bytes.capacity() + self.sealed.bytes.capacity()
    }

    /// What is below TLS.
    pub fn socket(&self) -> &IO {
        &self.io
    }

    /// The same, for who wants nothing decrypted any more.
    pub fn socket_mut(&mut self) -> &mut IO {
        &mut self.io
    }
}

impl<IO> fmt::Debug for TlsStream<IO> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TlsStream").finish_non_exhaustive()
    }
}

impl End {
    /// What a reader is told: of an announced end, no error.
    fn told(&self) -> io::Result<()> {
        match self {
            End::Closed => Ok(()),
            End::Cut => {
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the peer ended without close_notify"))
            }
            End::Failed(error) => Err(told((**error).clone())),
        }
    }
}

fn told(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// What is left of `bytes` when `count` were written.
fn some(bytes: &[u8], count: usize) -> io::Result<&[u8]> {
    if count == 0 {
        return Err(io::ErrorKind::WriteZero.into());
    }
    Ok(bytes.get(count..).unwrap_or_default())
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<IO> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        reader: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        let before = reader.filled().len();
        while reader.filled().len() == before && reader.remaining() > 0 {
            if !stream.plain.is_empty() {
                let count = stream.plain.rest().len().min(reader.remaining());
                reader.put_slice(stream.plain.rest().get(..count).unwrap_or_default());
                stream.plain.pass(count);
            } else if let Some(end) = &stream.end {
                return Poll::Ready(end.told());
            } else {
                ready!(stream.poll_fill(context, reader))?;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<IO> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let stream = self.get_mut();
        ready!(stream.poll_sealed(context))?;
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        Poll::Ready(SCRATCH.with_borrow_mut(|scratch| stream.write(context, bytes, scratch)))
    }

    /// Slices that are less than a record together go in one.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut slices = slices.iter().filter(|slice| !slice.is_empty()).peekable();
        let Some(first) = slices.next() else { return self.poll_write(context, &[]) };
        if first.len() >= PAYLOAD_BYTES_MAX || slices.peek().is_none() {
            return self.poll_write(context, first);
        }
        let stream = self.get_mut();
        ready!(stream.poll_sealed(context))?;
        Poll::Ready(SCRATCH.with_borrow_mut(|scratch| {
            let (room, joined) = scratch.split_at_mut(SCRATCH_BYTES);
            let mut record = ReadBuf::new(joined);
            record.put_slice(first);
            for slice in slices {
                record.put_slice(slice.get(..record.remaining()).unwrap_or(slice));
            }
            stream.write(context, record.filled(), room)
        }))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        ready!(stream.poll_sealed(context))?;
        Pin::new(&mut stream.io).poll_flush(context)
    }

    /// Announces the end (close_notify), and ends the socket's direction.
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        if !stream.is_shut {
            stream.is_shut = true;
            if !matches!(stream.end, Some(End::Failed(_))) {
                stream.session.close(&mut stream.incoming.bytes, &mut stream.sealed.bytes).map_err(told)?;
            }
        }
        ready!(stream.poll_sealed(context))?;
        match ready!(Pin::new(&mut stream.io).poll_shutdown(context)) {
            // It is at its end already.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            result => Poll::Ready(result),
        }
    }
}
