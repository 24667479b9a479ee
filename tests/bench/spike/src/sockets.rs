//! Sockets as the floor has them.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, ipproto, sockopt};

const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

/// As the floor.
const QUEUE: i32 = 4096;

/// A socket that listens.
pub fn listen(address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = net::socket_with(AddressFamily::INET, SocketType::STREAM, FLAGS, Some(ipproto::TCP))?;
    sockopt::set_socket_reuseport(&socket, true)?;
    net::bind(&socket, &address)?;
    net::listen(&socket, QUEUE)?;
    Ok(socket)
}

/// A connection that waits, if there is one.
pub fn accept(listener: &OwnedFd) -> io::Result<OwnedFd> {
    let socket = net::accept_with(listener, FLAGS)?;
    at_once(&socket)?;
    Ok(socket)
}

/// A connection that is on its way: it can be written to when it is there.
pub fn connect(address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = create()?;
    match net::connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(socket)
}

/// What is written leaves at once.
pub fn at_once(socket: &OwnedFd) -> io::Result<()> {
    Ok(sockopt::set_tcp_nodelay(socket, true)?)
}

/// Tells the peer that nothing more comes; it may be gone.
pub fn end(socket: impl AsFd) {
    let _ = net::shutdown(socket, net::Shutdown::Write);
}

/// Ends both ways.
pub fn cut(socket: impl AsFd) {
    let _ = net::shutdown(socket, net::Shutdown::Both);
}

/// For a connection to be made; what is written leaves at once.
pub fn create() -> io::Result<OwnedFd> {
    let socket = net::socket_with(AddressFamily::INET, SocketType::STREAM, FLAGS, Some(ipproto::TCP))?;
    at_once(&socket)?;
    Ok(socket)
}
