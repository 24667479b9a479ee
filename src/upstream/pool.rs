//! A pool: backends, and how to choose among them.

use std::sync::Arc;
use std::time::Duration;

use super::backend::{Backend, Lease, Rank};
use super::balance::Balancer;
use crate::config::{self, Keepalive};
use crate::net::tls::connect::Connector;
use crate::proto::proxy_header::Version;
use crate::telemetry::metrics::PoolMetrics;

/// Backends that serve the same.
pub struct Pool {
    /// The pool's name.
    pub name: Arc<str>,
    /// Never empty.
    pub members: Vec<Member>,
    /// How they are spoken to; `None` is plain text.
    pub tls: Option<Connector>,
    /// The PROXY header that each connection begins with. Such a connection belongs to one client: it must never carry a
    /// request of another.
    pub proxy_protocol: Option<Version>,
    /// How connections are kept for further plain requests; `None` keeps none.
    pub keepalive: Option<Keepalive>,
    /// How one is chosen.
    pub balancer: Balancer,
    /// How members are probed; `None` takes them to be up.
    pub health: Option<config::Health>,
    /// When requests that fail take a member out; `None` never.
    pub ejection: Option<config::Ejection>,
    /// For each connection.
    pub connect_timeout: Duration,
    /// For the head of the answer to a WebSocket handshake.
    pub handshake_timeout: Duration,
    /// For the head of the answer to a plain request.
    pub response_timeout: Duration,
    /// Where it counts.
    pub metrics: PoolMetrics,
}

/// A backend's place in a pool.
pub struct Member {
    /// The backend.
    pub backend: Arc<Backend>,
    /// Its share, from 1.
    pub weight: u32,
}

impl Pool {
    /// Whether its backends are spoken to by these means; `None` is plain text.
    pub fn speaks(&self, tls: Option<&Connector>) -> bool {
        match (&self.tls, tls) {
            (None, None) => true,
            (Some(own), Some(tls)) => own.is(tls),
            _ => false,
        }
    }

    /// A lease on the backend that should carry the next tunnel, other than those that were `tried`, to which it is
    /// added. Backends that are up come first; when none is, those that have not been probed yet; then those that are
    /// ejected. `None` when none is left, and after [`TRIES_MAX`].
    pub fn pick(&self, tried: &mut Tried) -> Option<Lease> {
        let before = &*tried;
        let candidates = |rank| {
            move |index: &usize| {
                let fits = |member: &Member| member.backend.rank() == Some(rank);
                !before.contains(*index) && self.members.get(*index).is_some_and(fits)
            }
        };
        let first = |rank| self.balancer.pick(&self.members, candidates(rank));
        let index = first(Rank::Up).or_else(|| first(Rank::Unknown)).or_else(|| first(Rank::Ejected))?;
        let member = self.members.get(index)?;
        *tried.0.iter_mut().find(|place| place.is_none())? = Some(index);
        Some(Lease::new(member.backend.clone()))
    }
}

/// Backends that one request tries, at most: with more, a client would wait for the sum of their deadlines.
pub const TRIES_MAX: usize = 4;

/// Which members of a pool a request has tried, at most [`TRIES_MAX`].
#[derive(Debug, Default)]
pub struct Tried([Option<usize>; TRIES_MAX]);

impl Tried {
    fn contains(&self, index: usize) -> bool {
        self.0.contains(&Some(index))
    }
}
