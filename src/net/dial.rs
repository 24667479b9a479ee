//! Opens connections to backends, under one deadline that covers the name's resolution, every address it has, and TLS.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};

use super::socket;
use super::stream::{Boxed, Stream};
use super::tls::TlsError;
use super::tls::connect::{Connector, rustls_error};
use crate::config::{BackendAddress, Tcp};
use crate::outcome::ConnectError;

/// Why there is no connection.
#[derive(Debug)]
pub struct DialError {
    /// Its name.
    pub error: ConnectError,
    /// What the resolver, the kernel or rustls says of it; not for clients. It may quote the backend.
    pub detail: Option<String>,
}

/// Connects to `address` and sets the options of `tcp`; with `tls` the handshake is part of it. The addresses of a name
/// are tried one after the other.
///
/// # Errors
/// What failed last.
pub async fn connect(
    address: &BackendAddress,
    tls: Option<&Connector>,
    deadline: Duration,
    tcp: &Tcp,
) -> Result<Stream, DialError> {
    let dial = Dial { host: &address.host, tls, deadline: Instant::now() + deadline, tcp };
    if let Ok(ip) = address.host.parse::<IpAddr>() {
        return dial.one(SocketAddr::new(ip, address.port)).await;
    }
    let addresses = match timeout_at(dial.deadline, lookup_host((address.host.as_str(), address.port))).await
    {
        Ok(found) => found.map_err(|error| failed(ConnectError::Name, &error))?,
        Err(_) => return Err(ConnectError::Timeout.into()),
    };
    let mut failure = ConnectError::Name.into();
    for address in addresses {
        match dial.one(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
        if dial.deadline <= Instant::now() {
            break;
        }
    }
    Err(failure)
}

/// What all addresses of a name have in common.
struct Dial<'a> {
    host: &'a str,
    tls: Option<&'a Connector>,
    deadline: Instant,
    tcp: &'a Tcp,
}

impl Dial<'_> {
    async fn one(&self, address: SocketAddr) -> Result<Stream, DialError> {
        let tcp = match timeout_at(self.deadline, TcpStream::connect(address)).await {
            Ok(connected) => connected.map_err(|error| failed(classify(&error), &error))?,
            Err(_) => return Err(ConnectError::Timeout.into()),
        };
        socket::tune(&tcp, self.tcp).map_err(|error| failed(classify(&error), &error))?;
        let Some(tls) = self.tls else { return Ok(Stream::Tcp(tcp)) };
        match tls.connect(tcp, self.host, self.deadline).await {
            Ok(stream) => Ok(Stream::Boxed(Boxed::Tls(stream))),
            Err(TlsError::Timeout) => Err(ConnectError::TlsTimeout.into()),
            Err(TlsError::Failed(error)) => Err(failed(classify_tls(&error), &error)),
        }
    }
}

impl From<ConnectError> for DialError {
    fn from(error: ConnectError) -> DialError {
        DialError { error, detail: None }
    }
}

fn failed(error: ConnectError, source: &io::Error) -> DialError {
    DialError { error, detail: Some(source.to_string()) }
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

fn classify_tls(error: &io::Error) -> ConnectError {
    match rustls_error(error) {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
            ConnectError::Certificate
        }
        _ => ConnectError::Tls,
    }
}
