//! Listening sockets of either family: an address and a port, or the path of a unix socket.
//!
//! A stream socket is its descriptor, and the system calls that read, write and end it are the same for both families. So
//! both are held in the types that the standard library made for TCP; what is special to one family is done here and in
//! [`dial`](super::dial), and options of TCP are set on TCP alone.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

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
    /// Device and inode.
    identity: (u64, u64),
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
            ListenAddress::Unix(path) => {
                let socket = OwnedFd::from(socket::listen_unix(path)?).into();
                Ok(Listening { socket, file: Some(SocketFile::at(path)?) })
            }
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
        Ok(SocketFile { path: path.to_owned(), identity: identity(path)? })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|now| now == self.identity) {
            // Who removed it a moment ago has done the same.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let file = fs::symlink_metadata(path)?;
    Ok((file.dev(), file.ino()))
}
