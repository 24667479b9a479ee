//! A pool: its backends, and how to choose and reach them.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::{
    At, Balance, Discovery, Ejection, HandshakeRate, Health, OnDraining, PoolTls, Rebalance, Retry, Sticky,
};
use crate::proto::proxy_header;

/// `[pools.NAME]`: backends, and how to choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// The table's key.
    pub name: At<String>,
    /// How a backend is chosen.
    pub balance: Balance,
    /// `None` sets no cookie.
    pub sticky: Option<Sticky>,
    /// Addresses unique; none where `discovery` names them, else at least one.
    pub backends: Vec<Backend>,
    /// Who names the backends; `None` is this configuration.
    pub discovery: Option<Discovery>,
    /// `None` speaks plain text to them.
    pub tls: Option<At<PoolTls>>,
    /// The PROXY header that each connection begins with; `None` sends none.
    pub proxy_protocol: Option<proxy_header::Version>,
    /// How connections are kept for further plain requests; `None` keeps none.
    pub keepalive: Option<Keepalive>,
    /// Where connections to the backends come from, in turn, each of them once; a family without any leaves it to the kernel.
    pub source_addresses: Vec<IpAddr>,
    /// `None` never probes: backends count as up.
    pub health: Option<Health>,
    /// `None` never ejects one.
    pub ejection: Option<Ejection>,
    /// When a request goes on to another backend after one that had it; `None` never.
    pub retry: Option<Retry>,
    /// Tunnels and WebSocket handshakes at once to each backend without a number of its own, from 1; `None` is any number.
    pub max_tunnels: Option<usize>,
    /// How tunnels are evened out when a backend has come; `None` leaves it to clients that come and go.
    pub rebalance: Option<Rebalance>,
    /// What becomes of the tunnels of a backend whose state is [`State::Draining`].
    pub on_draining: OnDraining,
    /// How clients wait while all backends carry their `max_tunnels`.
    pub queue: Queue,
    /// How fast WebSocket handshakes may come to each backend; `None` is as fast as they do.
    pub handshake_rate: Option<HandshakeRate>,
    /// From the first packet to an established connection, TLS included, for each backend tried.
    pub connect_timeout: Duration,
    /// From the request to the head of the answer of a WebSocket handshake, for all backends that get it together.
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

/// One entry of `backends`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// `IP:port`, `name:port` that is resolved at each connect, or a unix socket.
    pub address: At<BackendAddress>,
    /// Its share, 1 to 1,000.
    pub weight: u32,
    /// Which tunnels it gets.
    pub state: State,
    /// 0 serves. All others stand by, and are used only while nobody of a lower one is up.
    pub rank: u16,
    /// Tunnels and WebSocket handshakes at once, from 1; `None` is as the pool says.
    pub max_tunnels: Option<usize>,
}

/// `pools.NAME.queue`: the line in front of a pool whose backends are full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// How many may wait; 0 turns everybody away.
    pub waiting_max: usize,
    /// For how long.
    pub timeout: Duration,
}

/// Which tunnels a backend gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Those that fall to it.
    Active,
    /// No new ones; the old ones are asked to go, unless [`OnDraining::Keep`] lets them, and clients that come back by
    /// their cookie.
    Draining,
    /// None at all, and it is not probed; it keeps what it has.
    Disabled,
}

impl State {
    /// As it is written.
    pub fn label(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Disabled => "disabled",
        }
    }
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

/// `pools.NAME.keepalive`: which connections to backends are kept when their request is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Idle ones to each backend, over all workers.
    pub idle_max: usize,
    /// How long one may be idle.
    pub timeout: Duration,
    /// How old one may be that is kept.
    pub age_max: Duration,
}
