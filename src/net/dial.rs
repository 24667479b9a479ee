//! Opens connections to backends, under one deadline that covers the name's resolution, every address it has, the PROXY
//! header, and TLS.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::socket;
use super::source::Sources;
use super::stream::{Boxed, Stream};
use super::tls::TlsError;
use super::tls::connect::{Connector, rustls_error};
use crate::config::{BackendAddress, Tcp};
use crate::outcome::ConnectError;

/// Between two tries of a unix socket whose queue is full.
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(10);

/// How long an address of a name may be silent until another one is tried beside it (RFC 8305, section 8).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

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
/// addresses of a name are tried one after the other; one that is silent does not hold up the others.
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
    let mut addresses = in_turn(addresses);
    match (addresses.len(), addresses.pop_front()) {
        (_, None) => Err(ConnectError::Name.into()),
        (1, Some(address)) => one(address, way, host, deadline).await,
        (_, Some(first)) => {
            addresses.push_front(first);
            // Few backends have several: the others need no room for it.
            Box::pin(any(addresses, way, host, deadline)).await
        }
    }
}

/// Families by turns, beginning with that of the first address (RFC 8305, section 4): where one of them leads nowhere,
/// every second address is of the other.
fn in_turn(addresses: impl Iterator<Item = SocketAddr>) -> VecDeque<SocketAddr> {
    let all: Vec<SocketAddr> = addresses.collect();
    let is_v4 = all.first().is_some_and(SocketAddr::is_ipv4);
    let count = all.len();
    let (first, second): (Vec<_>, Vec<_>) = all.into_iter().partition(|address| address.is_ipv4() == is_v4);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut ordered = VecDeque::with_capacity(count);
    while ordered.len() < count {
        ordered.extend(first.next());
        ordered.extend(second.next());
    }
    ordered
}

/// The one of the addresses of `host` that answers first; each has a head start over the next (RFC 8305, section 5). Only
/// one at a time is spoken to beyond that.
async fn any(
    mut waiting: VecDeque<SocketAddr>,
    way: &Way<'_>,
    host: &str,
    deadline: Instant,
) -> Result<Stream, DialError> {
    let count = u32::try_from(waiting.len()).unwrap_or(u32::MAX).max(1);
    let delay = ATTEMPT_DELAY.min(deadline.saturating_duration_since(Instant::now()) / count);
    let mut running = FuturesUnordered::new();
    let mut next_start = Instant::now();
    let mut failure = ConnectError::Name.into();
    loop {
        if next_start <= Instant::now()
            && let Some(address) = waiting.pop_front()
        {
            running.push(reach(address, way, deadline));
            next_start = Instant::now() + delay;
        }
        if running.is_empty() {
            return Err(failure);
        }
        let connected = tokio::select! {
            Some(connected) = running.next() => connected,
            () = sleep_until(next_start), if !waiting.is_empty() => continue,
        };
        let begun = match connected {
            Ok(tcp) => begin(tcp, way, host, deadline).await,
            Err(error) => Err(error),
        };
        match begun {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
        if deadline <= Instant::now() {
            return Err(failure);
        }
        next_start = Instant::now();
    }
}

/// One address of `host`.
async fn one(address: SocketAddr, way: &Way<'_>, host: &str, deadline: Instant) -> Result<Stream, DialError> {
    let tcp = reach(address, way, deadline).await?;
    begin(tcp, way, host, deadline).await
}

/// The connection alone, nothing said on it.
async fn reach(address: SocketAddr, way: &Way<'_>, deadline: Instant) -> Result<TcpStream, DialError> {
    let connecting = timeout_at(deadline, way.sources.connect(address)).await;
    let tcp = connecting.unwrap_or_else(|_| Err(ConnectError::Timeout.into()))?;
    socket::tune(&tcp, way.tcp).map_err(|error| failed(classify(&error), &error))?;
    Ok(tcp)
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

#[cfg(test)]
mod tests {
    use socket2::{Domain, Socket, Type};
    use tokio::net::TcpListener;

    use super::*;

    /// An address whose queue is full, for as long as these sockets live: what else wants to connect is not answered.
    fn silent() -> (Vec<Socket>, SocketAddr) {
        let socket = || Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let listener = socket();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
        listener.listen(0).expect("a listener");
        let address = listener.local_addr().ok().and_then(|address| address.as_socket()).expect("an address");
        let mut sockets = vec![listener];
        for _ in 0..4 {
            let caller = socket();
            caller.set_nonblocking(true).expect("a socket");
            let _ = caller.connect(&address.into());
            sockets.push(caller);
        }
        (sockets, address)
    }

    async fn dial(addresses: &[SocketAddr], time: Duration) -> Result<SocketAddr, ConnectError> {
        let tcp = Tcp { keepalive: None, user_timeout: None, unsent_max: None };
        let sources = Sources::default();
        let way = Way { hello: None, tls: None, tcp: &tcp, sources: &sources };
        let addresses = in_turn(addresses.iter().copied());
        match any(addresses, &way, "name", Instant::now() + time).await {
            Ok(Stream::Tcp(stream)) => Ok(stream.peer_addr().expect("it is connected")),
            Ok(_) => panic!("this is TCP"),
            Err(error) => Err(error.error),
        }
    }

    #[tokio::test]
    async fn a_silent_address_does_not_hold_up_the_others() {
        let (_sockets, silent) = silent();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let live = listener.local_addr().expect("a bound socket");
        let refusing = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        refusing.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
        let refuses = refusing.local_addr().ok().and_then(|address| address.as_socket()).expect("an address");
        let hour = Duration::from_secs(3600);
        for addresses in
            [&[live, silent][..], &[silent, live], &[refuses, silent, live], &[silent, refuses, live]]
        {
            assert_eq!(dial(addresses, hour).await, Ok(live), "{addresses:?}");
        }
        assert_eq!(dial(&[refuses, refuses], hour).await, Err(ConnectError::Refused));
        // Also where there is less time than that for each.
        assert_eq!(dial(&[silent, silent, silent, live], Duration::from_millis(400)).await, Ok(live));
        assert_eq!(dial(&[silent, silent], Duration::from_millis(50)).await, Err(ConnectError::Timeout));
    }

    #[test]
    fn families_take_turns() {
        let addresses = ["[::1]:1", "[::2]:1", "[::3]:1", "1.0.0.1:1", "1.0.0.2:1"];
        let ordered = in_turn(addresses.iter().map(|address| address.parse().expect("an address")));
        let ordered: Vec<_> = ordered.iter().map(ToString::to_string).collect();
        assert_eq!(ordered, ["[::1]:1", "1.0.0.1:1", "[::2]:1", "1.0.0.2:1", "[::3]:1"]);
        assert!(in_turn(std::iter::empty()).is_empty());
    }
}
