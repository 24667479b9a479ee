//! A pool: backends, and how to choose among them.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::request::Parts;

use super::backend::{Backend, Health, Lease};
use super::balance::{Balancer, key};
use super::sticky::{Cookies, Shown};
use crate::config::{self, HashKey};
use crate::net::tls::connect::Connector;
use crate::net::tls::secrets::Secrets;
use crate::proto::forwarded;
use crate::proto::peer::Peer;
use crate::proto::proxy_header::Version;

/// Backends that serve the same.
pub struct Pool {
    /// The pool's name.
    pub name: Arc<str>,
    /// Who they are, and how one is chosen.
    pub members: Members,
    /// What `members` sign their cookies with; `None` sets none.
    pub secrets: Option<Secrets>,
    /// How they are spoken to; `None` is plain text.
    pub tls: Option<Connector>,
    /// The PROXY header that each connection begins with. Such a connection belongs to one client: it must never carry a
    /// request of another.
    pub proxy_protocol: Option<Version>,
    /// What of a request is hashed for the choice; `None` hashes nothing.
    pub hashed: Option<HashKey>,
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

/// The members of a pool, and how one is chosen.
pub struct Members {
    /// Never empty.
    all: Box<[Member]>,
    balancer: Balancer,
    cookies: Option<Cookies>,
}

/// What a request asks of the choice.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish {
    /// The hash of its key, in a pool that hashes and if it has one.
    pub key: Option<u64>,
    /// What its sticky cookie says, in a pool that sets one.
    pub cookie: Shown,
}

impl Pool {
    /// What a request asks of the choice: its head as the backend gets it, and who asks.
    pub fn wish(&self, head: &Parts, client: Peer) -> Wish {
        let key = self.hashed.as_ref().and_then(|hashed| key::of(hashed, head, client));
        let cookies = self.members.cookies.as_ref();
        let shown = |cookies: &Cookies| Shown {
            member: cookies.named(&head.headers),
            secure: forwarded::is_secure(&head.headers),
        };
        Wish { key, cookie: cookies.map(shown).unwrap_or_default() }
    }

    /// Makes an `answer` to a request of this `wish` remind the client of who served it, where clients are to come back.
    pub fn remind(&self, wish: Wish, lease: &Lease, answer: &mut HeaderMap) {
        let Some(cookies) = &self.members.cookies else { return };
        if let Some(index) = self.members.place(wish, lease.backend()) {
            cookies.set(index, wish.cookie, answer);
        }
    }
}

impl Members {
    /// These, of which one is chosen in this way.
    pub fn new(balance: &config::Balance, members: Vec<Member>) -> Members {
        Members { balancer: Balancer::new(balance, &members), all: members.into(), cookies: None }
    }

    /// The same, with cookies by which clients come back; they are of these members.
    pub fn with_cookies(self, cookies: Cookies) -> Members {
        Members { cookies: Some(cookies), ..self }
    }

    /// All of them.
    pub fn all(&self) -> &[Member] {
        &self.all
    }

    /// Where `backend` is; most likely where the client came back to.
    fn place(&self, wish: Wish, backend: &Arc<Backend>) -> Option<usize> {
        let is_it =
            |index: &usize| self.all.get(*index).is_some_and(|member| Arc::ptr_eq(&member.backend, backend));
        wish.cookie.member.filter(is_it).or_else(|| (0..self.all.len()).find(is_it))
    }

    /// A lease on the backend that should carry the next tunnel, other than those that were `tried`, to which it is
    /// added. The one that the client's cookie names comes first, unless it is down. Else, backends that are up come first; when none is, those that have not been probed yet. `None` when none is
    /// left, and after [`TRIES_MAX`].
    pub fn pick(&self, wish: Wish, tried: &mut Tried) -> Option<Lease> {
        let before = &*tried;
        let candidates = |health| {
            move |index: usize| {
                let fits = |member: &Member| member.backend.health() == health;
                !before.contains(index) && self.all.get(index).is_some_and(fits)
            }
        };
        let stays = |index: &usize| {
            let is_down = |member: &Member| member.backend.health() == Health::Down;
            !before.contains(*index) && !self.all.get(*index).is_none_or(is_down)
        };
        let up = wish.cookie.member.filter(stays);
        let up = up.or_else(|| self.balancer.pick(&self.all, candidates(Health::Up), wish.key));
        let index = up.or_else(|| self.balancer.pick(&self.all, candidates(Health::Unknown), wish.key))?;
        let member = self.all.get(index)?;
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
