//! A pool: backends, and how to choose and reach them.

use std::sync::Arc;
use std::time::Duration;

use super::members::Members;
use super::queue::Queue;
use super::retry::Retry;
use crate::config::{self, HandshakeRate, Keepalive};
use crate::net::source::Sources;
use crate::net::tls::connect::Connector;
use crate::net::tls::secrets::Secrets;
use crate::proto::proxy_header::Version;
use crate::telemetry::metrics::PoolMetrics;

/// Backends that serve the same.
pub struct Pool {
    /// The pool's name.
    pub name: Arc<str>,
    /// Who they are, and how one is chosen.
    pub members: Members,
    /// What `members` were made of.
    pub backends: Arc<[config::Backend]>,
    /// What `members` sign their cookies with; `None` sets none.
    pub secrets: Option<Secrets>,
    /// How they are spoken to; `None` is plain text.
    pub tls: Option<Connector>,
    /// The PROXY header that each connection begins with. Such a connection belongs to one client: it must never carry a
    /// request of another.
    pub proxy_protocol: Option<Version>,
    /// How connections are kept for further plain requests; `None` keeps none.
    pub keepalive: Option<Keepalive>,
    /// Where connections to them come from.
    pub sources: Sources,
    /// How members are probed; `None` takes them to be up.
    pub health: Option<config::Health>,
    /// When requests that fail take a member out; `None` never.
    pub ejection: Option<config::Ejection>,
    /// When a request goes on to another member after one that had it; `None` never.
    pub retry: Option<Retry>,
    /// Where WebSocket handshakes wait while all backends are full.
    pub queue: Arc<Queue>,
    /// How many may wait there, and for how long.
    pub queue_bounds: config::Queue,
    /// How fast WebSocket handshakes may come to each member; `None` is as fast as they do.
    pub handshake_rate: Option<HandshakeRate>,
    /// For each connection.
    pub connect_timeout: Duration,
    /// For the head of the answer to a WebSocket handshake.
    pub handshake_timeout: Duration,
    /// For the head of the answer to a plain request.
    pub response_timeout: Duration,
    /// Where it counts.
    pub metrics: PoolMetrics,
}

impl Pool {
    /// Whether the backends of `other` are reached in the same way.
    pub fn is_reached_as(&self, other: &Pool) -> bool {
        self.speaks(other.tls.as_ref()) && self.proxy_protocol == other.proxy_protocol
    }

    /// Whether its backends are spoken to by these means; `None` is plain text.
    pub fn speaks(&self, tls: Option<&Connector>) -> bool {
        match (&self.tls, tls) {
            (None, None) => true,
            (Some(own), Some(tls)) => own.is(tls),
            _ => false,
        }
    }
}
