//! A pool: backends, and how to choose among them.

use std::sync::Arc;
use std::time::Duration;

use super::backend::{Backend, Health, Lease};
use super::balance::Balancer;
use crate::config;
use crate::outcome::Refusal;

/// Backends that serve the same.
pub struct Pool {
    /// The pool's name.
    pub name: Arc<str>,
    /// Never empty.
    pub members: Vec<Member>,
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
    /// A lease on the backend that should carry the next tunnel, other than those that were `tried`. Backends that are
    /// up come first; when none is, those that have not been probed yet.
    ///
    /// # Errors
    /// [`Refusal::NoBackend`] when none is left.
    pub fn pick(&self, tried: &Tried) -> Result<Lease, Refusal> {
        let candidates = |health| {
            move |index: &usize| {
                let fits = |member: &Member| member.backend.health() == health;
                !tried.0.contains(index) && self.members.get(*index).is_some_and(fits)
            }
        };
        let index = self
            .balancer
            .pick(&self.members, candidates(Health::Up))
            .or_else(|| self.balancer.pick(&self.members, candidates(Health::Unknown)));
        let member = index.and_then(|index| self.members.get(index)).ok_or(Refusal::NoBackend)?;
        Ok(Lease::new(member.backend.clone()))
    }

    /// Adds the backend of `lease` to those that were tried.
    pub fn note_tried(&self, tried: &mut Tried, lease: &Lease) {
        let tells = |member: &Member| Arc::ptr_eq(&member.backend, lease.backend());
        tried.0.extend(self.members.iter().position(tells));
    }
}

/// Which members of a pool a request has tried.
#[derive(Debug, Default)]
pub struct Tried(Vec<usize>);
