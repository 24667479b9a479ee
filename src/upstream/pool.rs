//! A pool: backends, and how to choose among them.

use std::sync::Arc;
use std::time::Duration;

use super::backend::{Backend, Health, Lease};
use super::balance::Balancer;
use crate::config;
use crate::net::source::Sources;
use crate::net::tls::connect::Connector;
use crate::proto::proxy_header::Version;

/// Backends that serve the same.
pub struct Pool {
    /// The pool's name.
    pub name: Arc<str>,
    /// Empty only as long as discovery has found none.
    pub members: Vec<Member>,
    /// What the members were made of.
    pub backends: Arc<[config::Backend]>,
    /// How they are spoken to; `None` is plain text.
    pub tls: Option<Connector>,
    /// The PROXY header that each connection begins with. Such a connection belongs to one client: it must never carry a
    /// request of another.
    pub proxy_protocol: Option<Version>,
    /// Where connections to them come from.
    pub sources: Sources,
    /// How one is chosen.
    pub balancer: Balancer,
    /// How members are probed; `None` takes them to be up.
    pub health: Option<config::Health>,
    /// For each connection.
    pub connect_timeout: Duration,
    /// For the head of the answer to a WebSocket handshake.
    pub handshake_timeout: Duration,
    /// For the head of the answer to a plain request.
    pub response_timeout: Duration,
}

/// A backend's place in a pool.
pub struct Member {
    /// The backend.
    pub backend: Arc<Backend>,
    /// Its share, from 1.
    pub weight: u32,
}

impl Pool {
    /// A lease on the backend that should carry the next tunnel, other than those that were `tried`, to which it is
    /// added. Backends that are up come first; when none is, those that have not been probed yet. `None` when none is
    /// left, and after [`TRIES_MAX`].
    pub fn pick(&self, tried: &mut Tried) -> Option<Lease> {
        let before = &*tried;
        let candidates = |health| {
            move |index: &usize| {
                let fits = |member: &Member| member.backend.health() == health;
                !before.contains(*index) && self.members.get(*index).is_some_and(fits)
            }
        };
        let up = self.balancer.pick(&self.members, candidates(Health::Up));
        let index = up.or_else(|| self.balancer.pick(&self.members, candidates(Health::Unknown)))?;
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
