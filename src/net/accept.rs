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

use super::socket;
use crate::config::Tcp;

/// How long accepting rests after descriptors or memory ran out.
pub const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// A listening socket on the current runtime.
pub struct Acceptor {
    socket: AsyncFd<TcpListener>,
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
    pub fn new(listener: TcpListener) -> io::Result<Acceptor> {
        listener.set_nonblocking(true)?;
        Ok(Acceptor { socket: AsyncFd::with_interest(listener, Interest::READABLE)? })
    }

    /// The next connection, not yet registered with any runtime. Cancel-safe.
    ///
    /// # Errors
    /// [`AcceptError::Exhausted`] or [`AcceptError::Other`].
    pub async fn accept(&self) -> Result<(TcpStream, SocketAddr), AcceptError> {
        loop {
            let Ok(mut ready) = self.socket.readable().await else {
                return Err(AcceptError::Other(0));
            };
            match accept(self.socket.get_ref()) {
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
    pub fn accept_ready(&self) -> Result<(TcpStream, SocketAddr), AcceptError> {
        let accepted = self.socket.try_io(Interest::READABLE, |listener| match accept(listener) {
            Err(AcceptError::Empty) => Err(io::ErrorKind::WouldBlock.into()),
            other => Ok(other),
        });
        accepted.unwrap_or(Err(AcceptError::Empty))
    }

    /// Gives later connections the options of `tcp`.
    pub fn retune(&self, tcp: &Tcp) {
        if let Err(error) = socket::retune(self.socket.get_ref(), tcp) {
            tracing::warn!(%error, "new connections keep the former options of [tcp]");
        }
    }

    /// Lets no new connection begin; those that have begun still arrive.
    pub fn drop_new_handshakes(&self) {
        if let Err(error) = socket::drop_new_handshakes(self.socket.get_ref()) {
            tracing::debug!(%error, "connections may still begin while this socket is closed");
        }
    }
}

fn accept(listener: impl AsFd) -> Result<(TcpStream, SocketAddr), AcceptError> {
    // One system call instead of the two of `TcpListener::accept` and `set_nonblocking`.
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    match acceptfrom_with(listener, flags) {
        Ok((descriptor, address)) => match address.map(address_of) {
            Some(Some(address)) => Ok((TcpStream::from(descriptor), address)),
            _ => Err(AcceptError::Other(0)),
        },
        Err(Errno::WOULDBLOCK) => Err(AcceptError::Empty),
        Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => Err(AcceptError::Exhausted),
        Err(errno) => Err(AcceptError::Other(errno.raw_os_error())),
    }
}

/// IPv4-mapped addresses are IPv4 everywhere: in lists of networks, in keys and in logs.
fn address_of(address: SocketAddrAny) -> Option<SocketAddr> {
    let address = SocketAddr::try_from(address).ok()?;
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}
