//! What the data plane reads: one immutable [`Snapshot`] behind one pointer, and what outlives it.
//!
//! Only the supervisor stores a snapshot. A request loads it once and keeps what it needs (a route's terms, a pool's
//! backend), so that no tunnel holds an old generation in memory.

pub mod action;
pub mod build;
pub mod orders;
pub mod pools;
pub mod registry;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use http::HeaderName;
use ipnet::IpNet;

use crate::config::{Config, HeaderEdits, ListenAddress, OriginMatch};
use crate::lifecycle::bucket::Pace;
use crate::net::tls::Terminator;
use crate::net::tls::certificate::LoadedCertificate;
use crate::proto::prefix::Replacement;
use crate::route::Table;
use crate::telemetry::metrics::ListenerMetrics;
use crate::tunnel::Terms;

use self::action::Action;
use self::pools::Pools;

/// One generation of the configuration, ready to use. Parts that the next snapshot does not change are the same `Arc`s
/// in both.
pub struct Snapshot {
    /// Counts accepted configurations, from 1.
    pub generation: u64,
    /// What it was built from: limits, socket options, and what the next one is compared with.
    pub config: Arc<Config>,
    /// Finds a request's route.
    pub routes: Arc<Table<Arc<Route>>>,
    /// All routes, by name.
    pub routes_by_name: Arc<HashMap<Arc<str>, Arc<Route>>>,
    /// All pools.
    pub pools: Pools,
    /// The sockets to listen on, in the order of the configuration.
    pub listeners: Vec<Arc<Listener>>,
}

/// Where a match leads.
pub struct Route {
    /// What its tunnels keep.
    pub terms: Arc<Terms>,
    /// The field of a backend's 101 that says how long the tunnel may live.
    pub deadline_header: Option<HeaderName>,
    /// Who may open a WebSocket; `None` is anyone.
    pub origins: Option<Vec<OriginMatch>>,
    /// What paces its WebSocket handshakes; `None` lets them come as they do.
    pub pace: Option<Pace>,
    /// Bytes of a request's body; `None` is any.
    pub body_bytes_max: Option<u64>,
    /// What becomes of its requests.
    pub action: Action,
    /// Which beginning of their path becomes which other.
    pub replacement: Option<Replacement>,
    /// What is changed of their fields for backends.
    pub request_headers: Option<HeaderEdits>,
    /// What is changed of the fields of answers for clients.
    pub response_headers: Option<HeaderEdits>,
}

/// A bound socket's settings.
pub struct Listener {
    /// The label in metrics and logs.
    pub name: Arc<str>,
    /// What it is bound to.
    pub key: ListenerKey,
    /// `None` speaks plain text.
    pub tls: Option<Terminator>,
    /// What `tls` shows, for comparison and for the expiry metric.
    pub certificates: Vec<LoadedCertificate>,
    /// Whether WebSockets may be opened over HTTP/2 (RFC 8441).
    pub extended_connect: bool,
    /// Who sends PROXY headers; `None` expects none. Everybody does on a unix socket.
    pub proxy_senders: Option<Vec<IpNet>>,
    /// Peers whose forwarding fields are believed.
    pub trusted_networks: Vec<IpNet>,
    /// Where it counts.
    pub metrics: ListenerMetrics,
}

/// The identity of a listening socket: its address as configured. A listener that only changes its name keeps it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListenerKey {
    /// As configured.
    pub address: ListenAddress,
    /// Port 0 is a different port each time, so there the name tells sockets apart.
    name: Option<Arc<str>>,
}

impl ListenerKey {
    /// The key of the listener `name` at `address`.
    pub fn new(address: ListenAddress, name: &Arc<str>) -> ListenerKey {
        let differs = matches!(address, ListenAddress::Tcp(address) if address.port() == 0);
        ListenerKey { address, name: differs.then(|| name.clone()) }
    }
}

/// The same text for the same socket in every process, and another for another.
impl fmt::Display for ListenerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{} {name}", self.address),
            None => self.address.fmt(f),
        }
    }
}

impl Snapshot {
    /// The settings of the socket that is bound to `key`.
    pub fn listener(&self, key: &ListenerKey) -> Option<&Arc<Listener>> {
        self.listeners.iter().find(|listener| listener.key == *key)
    }
}
