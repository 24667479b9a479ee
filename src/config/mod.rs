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

mod action;
mod balance;
mod broken;
pub mod check;
mod condition;
pub mod defaults;
pub mod diff;
pub mod discovery;
pub mod drain;
mod ejection;
pub mod file;
mod frames;
mod handshake_rate;
mod health;
mod include;
pub mod list;
pub mod load;
mod pattern;
mod pings;
mod pool;
pub mod problem;
pub mod reader;
mod rebalance;
mod retry;
mod route;
pub mod schema;
pub mod shape;
pub mod syntax;
mod template;
mod text;
mod tls;
pub mod units;
pub mod watched;
pub mod words;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

pub use action::{Action, BODY_BYTES_MAX, Body, HeaderEdits, Redirect, Respond, Share, Split};
pub use balance::{Balance, Hash, HashKey, SameSite, Sticky};
pub use condition::{Condition, Kind, ValueMatch};
pub use diff::Change;
pub use discovery::Discovery;
pub use drain::{Drain, OnDraining};
pub use ejection::Ejection;
pub use frames::{Frames, Over};
pub use handshake_rate::HandshakeRate;
pub use health::{BodyMatch, Health, HealthKind, HttpProbe, OnDown, ProbeTarget, Statuses, WebSocketProbe};
pub use pattern::{Case, PATTERNS_MAX, Pattern};
pub use pings::Pings;
pub use pool::{Backend, BackendAddress, Keepalive, Pool, Queue, State};
pub use problem::{Place, Problem, Problems, Severity, Sources};
pub use rebalance::Rebalance;
pub use retry::{ATTEMPTS_MAX, Retry};
pub use route::{HostMatch, Inspect, Match, MaxAge, OriginMatch, PathMatch, Route};
pub use template::{Part, Template, Variable};
pub use tls::{
    Certificate, Cipher, ClientCertificateMode, ClientCertificates, Pem, PoolTls, Tls, TlsVersion, Trust,
    UnknownName,
};
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
    /// Where a new process takes over from this one: an absolute path, at most [`UNIX_PATH_BYTES_MAX`] long. `None` is
    /// nowhere.
    pub handover: Option<At<PathBuf>>,
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
    /// TLS handshakes of each worker that are computed before others on it have their turn, at least 1.
    pub tls_handshakes_max: usize,
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
    /// Bytes that may wait in the kernel to be sent to a client (TCP_NOTSENT_LOWAT), and one write more; `None` leaves it to the kernel.
    pub unsent_max: Option<usize>,
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
