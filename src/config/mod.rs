//! Configuration: from the words in a file to checked meaning.
//!
//! Three steps, three types. [`mod@file`] holds the words as the operator wrote them, each with its place.
//! [`check`] turns them into a [`Config`], or into every problem the file has. `state::build` makes the snapshot
//! that the data plane reads. A value of a type in this module is valid: nothing below asks again.
//!
//! [`Config::load`] is the way in: it reads the file and those it includes. [`reader`] reads tables that [`mod@file`]
//! declares out of [`words`], [`units`] and text with a [`syntax`]; [`shape`] describes the same language to whoever
//! documents it.
//!
//! [`diff`] says what differs between two configurations, [`Watched`] which files they were made of, and [`schema`] tells
//! editors what may be written.
//!
//! Values that can still fail later (an address to bind, a certificate to load) keep their [`Place`], so that the later
//! error shows the same line.

mod broken;
pub mod check;
pub mod defaults;
pub mod diff;
pub mod file;
mod include;
pub mod load;
pub mod problem;
pub mod reader;
pub mod schema;
pub mod shape;
pub mod syntax;
mod text;
pub mod units;
pub mod watched;
pub mod words;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::proto::proxy_header;

pub use diff::Change;
pub use problem::{Place, Problem, Problems, Severity, Sources};
pub use watched::Watched;

/// A value and where it was written. Equal values are equal wherever they stand.
#[derive(Clone, Debug)]
pub struct At<T> {
    /// The checked value.
    pub value: T,
    /// Where the operator wrote it; for a default, the table that lacks it.
    pub place: Place,
}

/// One accepted configuration. Two are equal when they mean the same: places, texts and the order of listeners and
/// of routes do not matter ([`diff::Change`] says what does).
#[derive(Clone, Debug)]
pub struct Config {
    /// The process: workers, stopping.
    pub server: Server,
    /// The bounds that hold for the whole process.
    pub limits: Limits,
    /// Options of every TCP socket.
    pub tcp: Tcp,
    /// The address of `/metrics`, `/healthz` and `/readyz`; `None` serves them nowhere.
    pub metrics: Option<At<SocketAddr>>,
    /// Where orders are taken, which no other machine reaches; `None` takes them nowhere.
    pub admin: Option<At<ListenAddress>>,
    /// What is logged, and how.
    pub log: Log,
    /// Sockets to bind, at least one, names unique.
    pub listeners: Vec<Listener>,
    /// Routes, names unique, no two with the same match.
    pub routes: Vec<Route>,
    /// Pools by name.
    pub pools: BTreeMap<String, Pool>,
    /// What is valid and dangerous.
    pub warnings: Problems,
    /// The text behind every [`Place`].
    pub sources: Sources,
    /// The files that it was made of. They can differ between equal configurations: an included file may have moved.
    pub watched: Watched,
}

/// `[server]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Worker threads; `None` is one per core.
    pub workers: Option<usize>,
    /// How the process stops.
    pub drain: Drain,
}

/// `server.drain`: what happens between SIGTERM and the exit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drain {
    /// From the failing `/readyz` to the closing of the listeners.
    pub delay: Duration,
    /// From the closing of the listeners to the cutting of what is left.
    pub deadline: Duration,
}

/// `[limits]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Client connections at once; `None` derives it from the descriptor limit.
    pub connections_max: Option<usize>,
    /// Tunnels at once; `None` derives it from the descriptor limit.
    pub tunnels_max: Option<usize>,
    /// Bytes of a request's head, or of a response's.
    pub head_bytes_max: usize,
    /// Header fields of a request, or of a response.
    pub head_fields_max: usize,
    /// Bytes of a request's target.
    pub target_bytes_max: usize,
    /// From the first byte of a request's head, or from accept for a connection's first one, to its end.
    pub head_timeout: Duration,
    /// From the end of an answer to the first byte of the next request.
    pub keepalive_timeout: Duration,
    /// WebSocket handshakes that wait for a backend's answer, at once.
    pub handshakes_max: usize,
    /// From accept to the end of the PROXY header, where one is expected.
    pub proxy_header_timeout: Duration,
    /// From accept, or the PROXY header, to the end of the TLS handshake.
    pub tls_handshake_timeout: Duration,
    /// Streams at once on an HTTP/2 connection, 1 to 1,000.
    pub http2_streams_max: u32,
    /// How long an HTTP/2 connection may be without a stream after its first.
    pub http2_idle_timeout: Duration,
    /// Between two PINGs on an HTTP/2 connection; `None` sends none.
    pub http2_ping_interval: Option<Duration>,
    /// How long an HTTP/2 client may take to answer a PING.
    pub http2_ping_timeout: Duration,
}

/// `[tcp]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// Idle time before keep-alive probes, and between them; `None` sends none.
    pub keepalive: Option<Duration>,
    /// How long sent bytes may stay unacknowledged, or unsent because the peer's window is closed (TCP_USER_TIMEOUT);
    /// `None` leaves it to the kernel.
    pub user_timeout: Option<Duration>,
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ListenAddress {
    /// An address and a port, never IPv4-mapped; port 0 takes any free one.
    Tcp(SocketAddr),
    /// The path of a socket, made absolute against the directory of its file, at most [`UNIX_PATH_BYTES_MAX`] long.
    Unix(PathBuf),
}

/// The longest path of a unix socket (`sun_path` of unix(7), with its NUL).
pub const UNIX_PATH_BYTES_MAX: usize = 107;

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The shape of a line.
    pub format: LogFormat,
    /// The least important level that is written.
    pub level: LogLevel,
    /// Whether each tunnel and each refused request leaves a record.
    pub access: bool,
}

/// The shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// Words and `key=value` pairs.
    Text,
}

/// How important a line must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Something is broken.
    Error,
    /// Something will break, or was ignored.
    Warn,
    /// What the operator did, and what changed.
    Info,
    /// What each connection does.
    Debug,
    /// Everything.
    Trace,
}

/// `[[listeners]]`: a bound socket and its TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Unique; the label in metrics and logs.
    pub name: At<String>,
    /// The address to bind.
    pub address: At<ListenAddress>,
    /// `None` speaks plain text.
    pub tls: Option<Tls>,
    /// `None` expects no PROXY header.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Peers whose `X-Forwarded-*` and `Forwarded` fields are believed; whoever comes by a unix socket is.
    pub trusted_networks: Vec<IpNet>,
}

/// `listeners.proxy_protocol`: every connection begins with a PROXY header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyProtocol {
    /// Who may send one; all others are turned away. Empty for a unix socket, where its file's mode decides.
    pub trusted_networks: Vec<IpNet>,
}

/// `listeners.tls`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Chosen by SNI; the first is the default. Never empty.
    pub certificates: Vec<Certificate>,
    /// What becomes of a client that asks for a name that no certificate is for.
    pub unknown_name: UnknownName,
    /// `None` asks clients for no certificate.
    pub client_certificates: Option<ClientCertificates>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
    /// Whether HTTP/2 is offered by ALPN.
    pub http2: bool,
    /// Whether WebSockets may be opened over HTTP/2 (RFC 8441); only with `http2`.
    pub extended_connect: bool,
    /// The cipher suites that are spoken, in no order; `None` is all of them.
    pub ciphers: Option<BTreeSet<Cipher>>,
    /// The file of secrets that session tickets are encrypted with; `None` is keys of this process alone.
    pub ticket_keys: Option<At<PathBuf>>,
}

/// What becomes of a client that asks for a name that no certificate is for (SNI, RFC 6066 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownName {
    /// It gets the default certificate, and says itself what it thinks of it.
    Default,
    /// It gets the alert `unrecognized_name`.
    Refuse,
}

/// `listeners.tls.client_certificates`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificates {
    /// The authorities whose certificates are believed.
    pub ca: At<Pem>,
    /// Whether a client may come without one.
    pub mode: ClientCertificateMode,
    /// What the authorities have revoked; `None` is nothing.
    pub crl: Option<At<Pem>>,
}

/// Whether a client may come without a certificate. One that is shown must be right in either case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificateMode {
    /// It may.
    Optional,
    /// It may not.
    Required,
}

/// The cipher suites that longhaul speaks: those of TLS 1.3 (RFC 8446 B.4), then those of TLS 1.2 by what their
/// certificate signs with (RFC 5289, RFC 7905).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Cipher {
    Tls13Aes256Gcm,
    Tls13Aes128Gcm,
    Tls13ChaCha20Poly1305,
    EcdsaAes256Gcm,
    EcdsaAes128Gcm,
    EcdsaChaCha20Poly1305,
    RsaAes256Gcm,
    RsaAes128Gcm,
    RsaChaCha20Poly1305,
}

impl Cipher {
    /// Whether it is of TLS 1.3; the others are of TLS 1.2.
    pub fn is_of_tls13(self) -> bool {
        self <= Self::Tls13ChaCha20Poly1305
    }
}

/// The TLS versions that longhaul speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// RFC 5246.
    V1_2,
    /// RFC 8446.
    V1_3,
}

/// A certificate chain and its key: PEM, from files or, in the demo, from memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The chain, leaf first.
    pub cert: At<Pem>,
    /// The key: PKCS#8, SEC1 or PKCS#1.
    pub key: At<Pem>,
}

/// Where PEM comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pem {
    /// A file, its path made absolute against the configuration file's directory.
    File(PathBuf),
    /// The text itself (the demo's certificate).
    Inline(String),
}

/// `[[routes]]`: a match, and what happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Unique; the route's identity.
    pub name: At<String>,
    /// The hosts it serves.
    pub host: HostMatch,
    /// The paths it serves.
    pub path: PathMatch,
    /// Who may open a WebSocket; `None` is anyone.
    pub origins: Option<Vec<OriginMatch>>,
    /// The name of a pool that exists.
    pub pool: At<String>,
    /// How long a tunnel may live without a byte in either direction, and an answer's body may pause.
    pub idle_timeout: Duration,
    /// How long one direction may go on after the other ended.
    pub half_close_timeout: Duration,
    /// Bytes of a request's body; `None` is any.
    pub body_bytes_max: Option<u64>,
}

/// Which hosts a route serves. Names are lower case, without port or trailing dot; IPv6 addresses have no brackets.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostMatch {
    /// This one.
    Exact(String),
    /// Every name below: `*.example.com` is kept as `example.com`. Any number of labels, at least one.
    Below(String),
    /// Every host.
    Any,
}

/// Which paths a route serves. Compared with the path as sent, without the query, not decoded.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PathMatch {
    /// This one.
    Exact(String),
    /// `/ws/*` is kept as `/ws/`: everything that begins with it, and `/ws` itself. `/*` (`/`) is every path.
    Prefix(String),
}

/// One entry of `origins` (RFC 6454), compared in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginMatch {
    /// `https://chat.example.com` or `https://chat.example.com:8443`; a default port is left out.
    Exact(String),
    /// `https://*.example.com`: scheme, the name below which any host matches, and the port when it is not the default.
    Below {
        /// `http` or `https`.
        scheme: String,
        /// `example.com`
        domain: String,
        /// `None` is the scheme's default.
        port: Option<u16>,
    },
    /// `null`: a sandboxed frame, a local file.
    Null,
    /// `absent`: no `Origin` field, so not a browser.
    Absent,
}

/// `[pools.NAME]`: backends, and how to choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// The table's key.
    pub name: At<String>,
    /// How a backend is chosen.
    pub balance: Balance,
    /// At least one, addresses unique.
    pub backends: Vec<Backend>,
    /// `None` speaks plain text to them.
    pub tls: Option<At<PoolTls>>,
    /// The PROXY header that each connection begins with; `None` sends none.
    pub proxy_protocol: Option<proxy_header::Version>,
    /// `None` never probes: backends count as up.
    pub health: Option<Health>,
    /// From the first packet to an established connection, TLS included, for each backend tried.
    pub connect_timeout: Duration,
    /// From the request to the head of the answer of a WebSocket handshake, for each backend tried.
    pub handshake_timeout: Duration,
    /// The longest silence between a plain HTTP request's last byte and the head of its answer.
    pub response_timeout: Duration,
}

/// `pools.NAME.tls`: TLS towards backends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolTls {
    /// Whose certificates are believed.
    pub trust: Trust,
    /// The name that is asked for and verified, in lower case, or an IP address; `None` is each backend's host.
    pub server_name: Option<String>,
    /// What is shown to a backend that asks for it.
    pub certificate: Option<Certificate>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
}

/// Whose certificates are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Those of the authorities that the system trusts.
    System,
    /// Those of the authorities in this PEM.
    Authorities(At<Pem>),
    /// Anybody's.
    Anyone,
}

/// How a pool chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// One after the other, as often as their weights say.
    RoundRobin,
    /// The fewest open tunnels and handshakes in flight by weight.
    LeastConnections,
}

/// One entry of `backends`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// `IP:port`, `name:port` that is resolved at each connect, or a unix socket.
    pub address: At<BackendAddress>,
    /// Its share, 1 to 1,000.
    pub weight: u32,
}

/// Where a backend listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BackendAddress {
    /// On the network.
    Tcp {
        /// An IP address (IPv6 without brackets, never IPv4-mapped) or a host name in lower case.
        host: String,
        /// Not 0.
        port: u16,
    },
    /// The path of a socket, as in [`ListenAddress::Unix`].
    Unix(PathBuf),
}

/// `pools.NAME.health`: how a backend is probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// What one probe does.
    pub kind: HealthKind,
    /// From the end of one probe to the start of the next.
    pub interval: Duration,
    /// How long one probe may take.
    pub timeout: Duration,
    /// Successes in a row until a backend is up.
    pub rise: u32,
    /// Failures in a row until a backend is down.
    pub fall: u32,
}

/// What one probe does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthKind {
    /// A connection that opens.
    Tcp,
    /// `GET path` that answers 200 to 399.
    Http {
        /// Begins with `/`.
        path: String,
    },
}

impl<T: PartialEq> PartialEq for At<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for At<T> {}

impl PartialEq for Config {
    fn eq(&self, other: &Self) -> bool {
        Change::between(self, other).is_empty()
    }
}

impl Eq for Config {}

impl std::fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl std::fmt::Display for BackendAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
