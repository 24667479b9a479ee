//! A pool: its backends, and how to choose, reach and probe them.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::{At, Discovery, PoolTls};
use crate::proto::proxy_header;

/// `[pools.NAME]`: backends, and how to choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// The table's key.
    pub name: At<String>,
    /// How a backend is chosen.
    pub balance: Balance,
    /// Addresses unique; none where `discovery` names them, else at least one.
    pub backends: Vec<Backend>,
    /// Who names the backends; `None` is this configuration.
    pub discovery: Option<Discovery>,
    /// `None` speaks plain text to them.
    pub tls: Option<At<PoolTls>>,
    /// The PROXY header that each connection begins with; `None` sends none.
    pub proxy_protocol: Option<proxy_header::Version>,
    /// Where connections to the backends come from, in turn, each of them once; a family without any leaves it to the kernel.
    pub source_addresses: Vec<IpAddr>,
    /// `None` never probes: backends count as up.
    pub health: Option<Health>,
    /// From the first packet to an established connection, TLS included, for each backend tried.
    pub connect_timeout: Duration,
    /// From the request to the head of the answer of a WebSocket handshake, for each backend tried.
    pub handshake_timeout: Duration,
    /// The longest silence between a plain HTTP request's last byte and the head of its answer.
    pub response_timeout: Duration,
}

impl Pool {
    /// How many backends it may have.
    pub fn backends_max(&self) -> usize {
        self.discovery.as_ref().map_or(self.backends.len(), |discovery| discovery.backends_max)
    }
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
    /// The path of a socket, as in [`super::ListenAddress::Unix`].
    Unix(PathBuf),
}

impl fmt::Display for BackendAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
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
