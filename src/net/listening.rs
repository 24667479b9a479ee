//! Listening sockets of either family: an address and a port, or the path of a unix socket.
//!
//! A stream socket is its descriptor, and the system calls that read, write and end it are the same for both families. So
//! both are held in the types that the standard library made for TCP; what is special to one family is done here and in
//! [`dial`](super::dial), and options of TCP are set on TCP alone.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use rustix::net::sockopt::socket_acceptconn;

use super::socket;
use crate::config::{ListenAddress, Tcp};

/// A socket that is bound and listens.
pub struct Listening {
    /// The socket, of either family.
    pub socket: TcpListener,
    /// Of a unix socket, its place in the file system.
    pub file: Option<SocketFile>,
}

/// The file of a unix socket, removed with its value, unless another socket has taken its place.
pub struct SocketFile {
    path: PathBuf,
    /// Device and inode; `None` is another process's to remove.
    identity: Option<(u64, u64)>,
}

impl Listening {
    /// Binds `address` and listens; what is accepted has the options of `tcp`, where it is TCP.
    ///
    /// # Errors
    /// As [`socket::listen`] and [`socket::listen_unix`].
    pub fn bind(address: &ListenAddress, tcp: &Tcp) -> io::Result<Listening> {
        match address {
            ListenAddress::Tcp(address) => {
                Ok(Listening { socket: socket::listen(*address, tcp)?, file: None })
            }
            ListenAddress::Unix(path) => Listening::bind_unix(path, socket::GROUP_MODE),
        }
    }

    /// The same of a unix socket that only its owner may connect to.
    ///
    /// # Errors
    /// As [`socket::listen_unix`].
    pub fn bind_private(path: &Path) -> io::Result<Listening> {
        Listening::bind_unix(path, socket::OWNER_MODE)
    }

    fn bind_unix(path: &Path, mode: u32) -> io::Result<Listening> {
        let socket = OwnedFd::from(socket::listen_unix(path, mode)?).into();
        Ok(Listening { socket, file: Some(SocketFile::at(path)?) })
    }

    /// A socket that another process has bound to `address`. Its file stays that one's until it is
    /// [claimed](Listening::claim).
    ///
    /// # Errors
    /// When it does not listen, or not there; or its file is gone.
    pub fn adopt(address: &ListenAddress, socket: OwnedFd) -> io::Result<Listening> {
        let elsewhere = || io::Error::new(io::ErrorKind::InvalidInput, "it does not listen there");
        if !socket_acceptconn(&socket)? {
            return Err(elsewhere());
        }
        match address {
            ListenAddress::Tcp(wanted) => {
                let socket = TcpListener::from(socket);
                let bound = socket.local_addr()?;
                let is_there = bound.ip() == wanted.ip() && [0, bound.port()].contains(&wanted.port());
                if is_there { Ok(Listening { socket, file: None }) } else { Err(elsewhere()) }
            }
            ListenAddress::Unix(path) => {
                let socket = UnixListener::from(socket);
                if socket.local_addr()?.as_pathname() != Some(path)
                    || !fs::symlink_metadata(path)?.file_type().is_socket()
                {
                    return Err(elsewhere());
                }
                let file = SocketFile { path: path.clone(), identity: None };
                Ok(Listening { socket: OwnedFd::from(socket).into(), file: Some(file) })
            }
        }
    }

    /// This process alone has the socket from now on, and its file goes with it.
    pub fn claim(&mut self) {
        if let Some(file) = &mut self.file {
            file.identity = identity(&file.path).ok();
        }
    }
}

/// `IP:port` with the real port, or `unix:` and the path.
impl fmt::Display for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.socket.local_addr()) {
            (Some(file), _) => write!(f, "unix:{}", file.path.display()),
            (None, Ok(address)) => address.fmt(f),
            (None, Err(error)) => error.fmt(f),
        }
    }
}

impl SocketFile {
    fn at(path: &Path) -> io::Result<SocketFile> {
        Ok(SocketFile { path: path.to_owned(), identity: Some(identity(path)?) })
    }

    /// Leaves the file where it is, for a process that has taken the socket over.
    pub fn leave(mut self) {
        self.identity = None;
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.identity.is_some_and(|own| identity(&self.path).is_ok_and(|now| now == own)) {
            // Who removed it a moment ago has done the same.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let file = fs::symlink_metadata(path)?;
    Ok((file.dev(), file.ino()))
}
