//! What the data plane reads: one immutable [`Snapshot`] behind one pointer, and what outlives it.
//!
//! Only the supervisor stores a snapshot. A request loads it once and keeps what it needs (a route's terms, a pool's
//! backend), so that no tunnel holds an old generation in memory.

pub mod build;
pub mod registry;

use std::net::SocketAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::config::{Limits, OriginMatch, Tcp};
use crate::net::tls::Terminator;
use crate::net::tls::certificate::LoadedCertificate;
use crate::route::Table;
use crate::telemetry::metrics::ListenerMetrics;
use crate::tunnel::Terms;
use crate::upstream::pool::Pool;

/// One generation of the configuration, ready to use.
pub struct Snapshot {
    /// Counts accepted configurations, from 1.
    pub generation: u64,
    /// Finds a request's route.
    pub routes: Table<Arc<Route>>,
    /// All pools.
    pub pools: Vec<Arc<Pool>>,
    /// The sockets to listen on.
    pub listeners: Vec<Arc<Listener>>,
    /// Bounds of heads and their deadlines.
    pub limits: Limits,
    /// Options of sockets.
    pub tcp: Tcp,
}

/// Where a match leads.
pub struct Route {
    /// What its tunnels keep.
    pub terms: Arc<Terms>,
    /// Who may open a WebSocket; `None` is anyone.
    pub origins: Option<Vec<OriginMatch>>,
    /// Who serves it.
    pub pool: Arc<Pool>,
}

/// A bound socket's settings.
pub struct Listener {
    /// The label in metrics and logs.
    pub name: Arc<str>,
    /// The address to bind.
    pub address: SocketAddr,
    /// `None` speaks plain text.
    pub tls: Option<Terminator>,
    /// For the expiry metric.
    pub certificates: Vec<LoadedCertificate>,
    /// Peers whose forwarding fields are believed.
    pub trusted_networks: Vec<IpNet>,
    /// Where it counts.
    pub metrics: ListenerMetrics,
}
