//! Opens connections to backends, under one deadline that covers the name's resolution, every address it has, the PROXY
//! header, and TLS.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::{Instant, sleep, timeout_at};

use super::socket;
use super::source::Sources;
use super::stream::{Boxed, Stream};
use super::tls::TlsError;
use super::tls::connect::{Connector, rustls_error};
use crate::config::{BackendAddress, Tcp};
use crate::outcome::ConnectError;

/// Between two tries of a unix socket whose queue is full.
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(10);

/// Why there is no connection.
#[derive(Debug)]
pub struct DialError {
    /// Its name.
    pub error: ConnectError,
    /// What the resolver, the kernel or rustls says of it; not for clients. It may quote the backend.
    pub detail: Option<String>,
}

/// What all backends of a pool have in common on the way to them.
pub struct Way<'a> {
    /// Sent first, before TLS: a PROXY header, short enough for the buffer of a fresh socket.
    pub hello: Option<Vec<u8>>,
    /// How they are spoken to; `None` is plain text.
    pub tls: Option<&'a Connector>,
    /// Options of the sockets.
    pub tcp: &'a Tcp,
    /// Where the connections come from.
    pub sources: &'a Sources,
}

/// Connects to `address` and sets the options of TCP; the first bytes and the TLS handshake of `way` are part of it. The
/// addresses of a name are tried one after the other.
///
/// # Errors
/// What failed last.
pub async fn connect(
    address: &BackendAddress,
    way: &Way<'_>,
    deadline: Duration,
) -> Result<Stream, DialError> {
    let deadline = Instant::now() + deadline;
    let (host, port) = match address {
        BackendAddress::Tcp { host, port } => (host.as_str(), *port),
        BackendAddress::Unix(path) => {
            let unix = within(deadline, connect_unix(path)).await?;
            return begin(unix, way, "localhost", deadline).await;
        }
    };
    if let Ok(ip) = host.parse::<IpAddr>() {
        return one(SocketAddr::new(ip, port), way, host, deadline).await;
    }
    let addresses = match timeout_at(deadline, lookup_host((host, port))).await {
        Ok(found) => found.map_err(|error| failed(ConnectError::Name, &error))?,
        Err(_) => return Err(ConnectError::Timeout.into()),
    };
    let mut failure = ConnectError::Name.into();
    for address in addresses {
        match one(address, way, host, deadline).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
        if deadline <= Instant::now() {
            break;
        }
    }
    Err(failure)
}

/// One address of `host`.
async fn one(address: SocketAddr, way: &Way<'_>, host: &str, deadline: Instant) -> Result<Stream, DialError> {
    let connecting = timeout_at(deadline, way.sources.connect(address)).await;
    let tcp = connecting.unwrap_or_else(|_| Err(ConnectError::Timeout.into()))?;
    socket::tune(&tcp, way.tcp).map_err(|error| failed(classify(&error), &error))?;
    begin(tcp, way, host, deadline).await
}

/// A unix socket, in the type of TCP ([`listening`](super::listening) says why).
async fn connect_unix(path: &Path) -> io::Result<TcpStream> {
    let unix = loop {
        match UnixStream::connect(path).await {
            // The backend's queue is full: the kernel does not wait for room in it.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(QUEUE_FULL_PAUSE).await,
            connected => break connected?,
        }
    };
    TcpStream::from_std(OwnedFd::from(unix.into_std()?).into())
}

/// What comes first on a connection: the first bytes, then TLS as the client of `host`.
async fn begin(
    mut stream: TcpStream,
    way: &Way<'_>,
    host: &str,
    deadline: Instant,
) -> Result<Stream, DialError> {
    if let Some(hello) = &way.hello {
        within(deadline, stream.write_all(hello)).await?;
    }
    let Some(tls) = way.tls else { return Ok(Stream::Tcp(stream)) };
    match tls.connect(stream, host, deadline).await {
        Ok(stream) => Ok(Stream::Boxed(Boxed::Tls(stream))),
        Err(TlsError::Timeout) => Err(ConnectError::TlsTimeout.into()),
        Err(TlsError::Failed(error)) => Err(failed(classify_tls(&error), &error)),
    }
}

/// What comes of `work` until the deadline.
async fn within<T>(deadline: Instant, work: impl Future<Output = io::Result<T>>) -> Result<T, DialError> {
    match timeout_at(deadline, work).await {
        Ok(done) => done.map_err(|error| failed(classify(&error), &error)),
        Err(_) => Err(ConnectError::Timeout.into()),
    }
}

impl From<ConnectError> for DialError {
    fn from(error: ConnectError) -> DialError {
        DialError { error, detail: None }
    }
}

pub(super) fn failed(error: ConnectError, source: &io::Error) -> DialError {
    DialError { error, detail: Some(source.to_string()) }
}

pub(super) fn classify(error: &io::Error) -> ConnectError {
    use rustix::io::Errno;
    match error.kind() {
        // Of a unix socket, a path where there is none is nobody who listens.
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset | io::ErrorKind::NotFound => {
            ConnectError::Refused
        }
        io::ErrorKind::TimedOut => ConnectError::Timeout,
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => ConnectError::Unreachable,
        _ => match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => ConnectError::Exhausted,
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
