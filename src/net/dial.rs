//! Opens connections to backends, under one deadline that covers the name's resolution and every address it has.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::socket;
use crate::config::{BackendAddress, Tcp};
use crate::outcome::ConnectError;

/// Connects to `address` and sets the options of `tcp`. The addresses of a name are tried one after the other.
///
/// # Errors
/// What failed last.
pub async fn connect(
    address: &BackendAddress,
    deadline: Duration,
    tcp: &Tcp,
) -> Result<TcpStream, ConnectError> {
    match timeout(deadline, connect_any(address, tcp)).await {
        Ok(result) => result,
        Err(_) => Err(ConnectError::Timeout),
    }
}

async fn connect_any(address: &BackendAddress, tcp: &Tcp) -> Result<TcpStream, ConnectError> {
    if let Ok(ip) = address.host.parse::<IpAddr>() {
        return connect_one(SocketAddr::new(ip, address.port), tcp).await;
    }
    let name = (address.host.as_str(), address.port);
    let addresses = lookup_host(name).await.map_err(|_| ConnectError::Name)?;
    let mut failure = ConnectError::Name;
    for address in addresses {
        match connect_one(address, tcp).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

async fn connect_one(address: SocketAddr, tcp: &Tcp) -> Result<TcpStream, ConnectError> {
    let stream = TcpStream::connect(address).await.map_err(|error| classify(&error))?;
    socket::tune(&stream, tcp).map_err(|error| classify(&error))?;
    Ok(stream)
}

fn classify(error: &io::Error) -> ConnectError {
    use rustix::io::Errno;
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => ConnectError::Refused,
        io::ErrorKind::TimedOut => ConnectError::Timeout,
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => ConnectError::Unreachable,
        _ => match error.raw_os_error().map(Errno::from_raw_os_error) {
            // EADDRNOTAVAIL: no source port is left.
            Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::ADDRNOTAVAIL) => {
                ConnectError::Exhausted
            }
            _ => ConnectError::Other,
        },
    }
}
