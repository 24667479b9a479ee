//! Takes connections off a listening socket.
//!
//! When descriptors run out the loop waits, because the connection that could not be accepted stays in the queue and
//! would make an impatient loop spin. When the socket is to be closed, everything that the kernel has already accepted
//! is taken first: those clients believe that they are connected.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{SocketAddrAny, SocketFlags, acceptfrom_with};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::listening::{Listening, SocketFile};
use super::socket;
use crate::config::Tcp;
use crate::proto::peer::Peer;

/// How long accepting rests after descriptors or memory ran out.
pub const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// A listening socket on the current runtime.
pub struct Acceptor {
    socket: AsyncFd<TcpListener>,
    /// Of a unix socket, until it takes nothing new.
    file: Option<SocketFile>,
    is_unix: bool,
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptError {
    /// None waits now (never of [`Acceptor::accept`]).
    Empty,
    /// No descriptor or memory is left: wait before the next try.
    Exhausted,
    /// This connection is lost; the next may do.
    Other(i32),
}

impl Acceptor {
    /// Listens on the current runtime.
    ///
    /// # Errors
    /// When the runtime's poller takes no more.
    #[expect(
        deprecated,
        reason = "its successor is unsafe because of descriptors that change; a TcpListener's does not"
    )]
    pub fn new(Listening { socket, file }: Listening) -> io::Result<Acceptor> {
        socket.set_nonblocking(true)?;
        let is_unix = file.is_some();
        Ok(Acceptor { socket: AsyncFd::with_interest(socket, Interest::READABLE)?, file, is_unix })
    }

    /// The next connection, not yet registered with any runtime. Cancel-safe.
    ///
    /// # Errors
    /// [`AcceptError::Exhausted`] or [`AcceptError::Other`].
    pub async fn accept(&self) -> Result<(TcpStream, Peer), AcceptError> {
        loop {
            let Ok(mut ready) = self.socket.readable().await else {
                return Err(AcceptError::Other(0));
            };
            match self.accept_from(self.socket.get_ref()) {
                Err(AcceptError::Empty) => ready.clear_ready(),
                other => return other,
            }
        }
    }

    /// Waits until a connection is ready to be taken, and leaves it where it is. Cancel-safe.
    ///
    /// # Errors
    /// [`AcceptError::Other`] when the runtime is ending.
    pub async fn ready(&self) -> Result<(), AcceptError> {
        let mut ready = self.socket.readable().await.map_err(|_| AcceptError::Other(0))?;
        ready.retain_ready();
        Ok(())
    }

    /// Takes what [`Acceptor::ready`] has seen; [`AcceptError::Empty`] if it is gone.
    ///
    /// # Errors
    /// All of [`AcceptError`].
    pub fn accept_ready(&self) -> Result<(TcpStream, Peer), AcceptError> {
        let accepted = self.socket.try_io(Interest::READABLE, |listener| match self.accept_from(listener) {
            Err(AcceptError::Empty) => Err(io::ErrorKind::WouldBlock.into()),
            other => Ok(other),
        });
        accepted.unwrap_or(Err(AcceptError::Empty))
    }

    /// Gives later connections the options of `tcp`.
    pub fn retune(&self, tcp: &Tcp) {
        if self.is_unix {
            return;
        }
        if let Err(error) = socket::retune(self.socket.get_ref(), tcp) {
            tracing::warn!(%error, "new connections keep the former options of [tcp]");
        }
    }

    /// Lets no new connection begin; those that have begun still arrive. A unix socket loses its file.
    pub fn drop_new_handshakes(&mut self) {
        if self.is_unix {
            self.file = None;
            return;
        }
        if let Err(error) = socket::drop_new_handshakes(self.socket.get_ref()) {
            tracing::debug!(%error, "connections may still begin while this socket is closed");
        }
    }

    /// Takes nothing more, and leaves the queue and the file to another process that has this socket, too.
    pub fn leave(self) {
        if let Some(file) = self.file {
            file.leave();
        }
    }

    fn accept_from(&self, listener: impl AsFd) -> Result<(TcpStream, Peer), AcceptError> {
        // One system call instead of the two of `TcpListener::accept` and `set_nonblocking`.
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        match acceptfrom_with(listener, flags) {
            // The other end of a unix socket has no name.
            Ok((descriptor, _)) if self.is_unix => Ok((TcpStream::from(descriptor), Peer::Unix)),
            Ok((descriptor, address)) => match address.and_then(peer) {
                Some(peer) => Ok((TcpStream::from(descriptor), peer)),
                None => Err(AcceptError::Other(0)),
            },
            Err(Errno::WOULDBLOCK) => Err(AcceptError::Empty),
            Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => Err(AcceptError::Exhausted),
            Err(errno) => Err(AcceptError::Other(errno.raw_os_error())),
        }
    }
}

/// IPv4-mapped addresses are IPv4 everywhere: in lists of networks, in keys and in logs.
fn peer(address: SocketAddrAny) -> Option<Peer> {
    SocketAddr::try_from(address).ok().map(Peer::new)
}
