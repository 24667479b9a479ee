//! The members of a pool, and the choice among them.
//!
//! The member that a client's cookie names comes first, as long as it may go on. Then who is up and active, by the pool's
//! balancer; if there is nobody, who has not been probed yet; where that is nobody either, the backups, rank after rank, in
//! the same order; and only then who is ejected, or was out of reach a moment ago. One who was out of reach longer ago is
//! as good as the others to one request, if it has not tried any before: whatever becomes of that, others are left to it.
//!
//! Who is full gets no tunnels. A client that comes back to such a one goes to another, but those that would be next in
//! that order are not asked: full is not down, and a place comes free sooner than backups warm up.

#[cfg(test)]
mod tests;
mod tried;

use std::cell::Cell;
use std::iter;
use std::ops::Range;
use std::sync::Arc;

use http::HeaderMap;
use http::request::Parts;

use self::tried::LAST_RESORTS_MAX;
pub use self::tried::{TRIES_MAX, Tried};
use super::backend::{Backend, Health, Lease, Seat};
use super::balance::{Balancer, key};
use super::sticky::{Cookies, Shown};
use crate::config::{Balance, HashKey, State};
use crate::proto::forwarded;
use crate::proto::peer::Peer;

/// A backend's place in a pool.
pub struct Member {
    /// The backend.
    pub backend: Arc<Backend>,
    /// Its share, from 1.
    pub weight: u32,
    /// The state that the configuration gives it.
    pub state: State,
    /// Clients come back to it also while it drains: what it has is not asked to go.
    pub is_kept: bool,
    /// 0 serves. A backup has another one, and is chosen only while nobody of a lower one is up.
    pub rank: u16,
    /// How many tunnels and WebSocket handshakes the configuration lets it carry; `None` is any number.
    pub seats_max: Option<usize>,
}

/// The members of a pool, and how one is chosen.
pub struct Members {
    /// Empty only as long as discovery has found none; backups last, by their ranks.
    all: Box<[Member]>,
    first: Group,
    /// Those of one rank each, in the order in which they are asked.
    backups: Box<[Group]>,
    /// What of a request is hashed.
    hashed: Option<HashKey>,
    cookies: Option<Cookies>,
    is_limited: bool,
}

/// Why there is no seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// Those that may be chosen are full.
    Seats,
    /// None may be chosen.
    Backends,
}

/// Members among which one is chosen.
struct Group {
    places: Range<usize>,
    balancer: Balancer,
}

/// What a request asks of the choice.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish {
    /// The hash of its key, in a pool that hashes and if it has one.
    pub key: Option<u64>,
    /// What its sticky cookie says, in a pool that sets one.
    pub cookie: Shown,
}

impl Members {
    /// These, of which one is chosen in this way.
    pub fn new(balance: &Balance, mut members: Vec<Member>) -> Members {
        members.sort_by_key(|member| member.rank);
        let group = |places: Range<usize>| {
            let balancer = Balancer::new(balance, members.get(places.clone()).unwrap_or_default());
            Group { places, balancer }
        };
        let count = members.iter().filter(|member| member.rank == 0).count();
        let mut begin = count;
        let ranks = members.get(count..).unwrap_or_default().chunk_by(|one, other| one.rank == other.rank);
        let backups = ranks.map(|alike| {
            let places = begin..begin + alike.len();
            begin = places.end;
            group(places)
        });
        Members {
            backups: backups.collect(),
            first: group(0..count),
            is_limited: members.iter().any(|member| member.seats_max.is_some()),
            all: members.into(),
            hashed: balance.hashed().cloned(),
            cookies: None,
        }
    }

    /// The same, where members take turns from this one on: who are made anew again and again, and begin with the first
    /// one each time, would choose no other.
    pub fn at_turn(self, turn: u64) -> Members {
        let at = |group: Group| Group { balancer: group.balancer.at(turn), ..group };
        let backups = self.backups.into_iter().map(at).collect();
        Members { first: at(self.first), backups, ..self }
    }

    /// The same, with cookies by which clients come back; they are of these members, in this order.
    pub fn with_cookies(self, cookies: Cookies) -> Members {
        Members { cookies: Some(cookies), ..self }
    }

    /// All of them, backups last.
    pub fn all(&self) -> &[Member] {
        &self.all
    }

    /// Whether any of them may carry so many tunnels and not more.
    pub fn is_limited(&self) -> bool {
        self.is_limited
    }

    /// What a request asks of the choice: its head as the backend gets it, and who asks.
    pub fn wish(&self, head: &Parts, client: Peer) -> Wish {
        let key = self.hashed.as_ref().and_then(|hashed| key::of(hashed, head, client));
        let shown = |cookies: &Cookies| Shown {
            member: cookies.named(&head.headers),
            secure: forwarded::is_secure(&head.headers),
        };
        Wish { key, cookie: self.cookies.as_ref().map(shown).unwrap_or_default() }
    }

    /// Makes an `answer` to a request of this `wish` remind the client of who served it, where clients are to come back.
    pub fn remind(&self, wish: Wish, backend: &Arc<Backend>, answer: &mut HeaderMap) {
        let Some(cookies) = &self.cookies else { return };
        let is_it =
            |place: &usize| self.all.get(*place).is_some_and(|member| Arc::ptr_eq(&member.backend, backend));
        let place = wish.cookie.member.filter(is_it).or_else(|| (0..self.all.len()).find(is_it));
        if let Some(place) = place {
            cookies.set(place, wish.cookie, answer);
        }
    }

    /// A lease on the backend that should carry the next request, other than those that were `tried`, to which it is
    /// added. `None` when none is left, and after [`TRIES_MAX`].
    pub fn pick(&self, wish: Wish, tried: &mut Tried) -> Option<Lease> {
        let place = self.find::<false>(&wish, tried, &Cell::default())?;
        let member = self.all.get(place)?;
        tried.add(place)?;
        Some(Lease::new(member.backend.clone()))
    }

    /// A seat at the backend that should carry the next tunnel; else as [`Members::pick`].
    ///
    /// # Errors
    /// [`Lack::Seats`] when there would be one, were it not full.
    pub fn seat(&self, wish: Wish, tried: &mut Tried) -> Result<Seat, Lack> {
        if !self.is_limited {
            let lease = self.pick(wish, tried).ok_or(Lack::Backends)?;
            // A reload may have set a bound a moment ago.
            return Seat::take(lease).ok_or(Lack::Seats);
        }
        loop {
            let is_full = Cell::new(false);
            let place = self.find::<true>(&wish, tried, &is_full).filter(|_| !tried.is_full());
            let Some(member) = place.and_then(|place| self.all.get(place)) else {
                return Err(if is_full.get() { Lack::Seats } else { Lack::Backends });
            };
            // Another may have just taken the last one.
            if let Some(seat) = Seat::take(Lease::new(member.backend.clone())) {
                place.and_then(|place| tried.add(place));
                return Ok(seat);
            }
        }
    }

    /// `SEATED`: only those with a free seat; `is_full` tells whether others stood in the way.
    #[inline]
    fn find<const SEATED: bool>(&self, wish: &Wish, tried: &Tried, is_full: &Cell<bool>) -> Option<usize> {
        match self.choose::<SEATED>(wish, tried, is_full) {
            Some(place) if !self.is_unreached(place) => Some(place),
            doubtful => self.doubt::<SEATED>(doubtful, wish, tried, is_full),
        }
    }

    /// Who was out of reach is for one request, and who else may not be chosen for those who find nobody.
    #[cold]
    fn doubt<const SEATED: bool>(
        &self,
        mut found: Option<usize>,
        wish: &Wish,
        tried: &Tried,
        is_full: &Cell<bool>,
    ) -> Option<usize> {
        while let Some(place) = found {
            let backend = &self.all.get(place)?.backend;
            if !backend.standing.is_unreached() || backend.may_be_tried() {
                return found;
            }
            // Another one was faster to try it, so it is not the next any more.
            is_full.set(false);
            found = self.choose::<SEATED>(wish, tried, is_full);
        }
        self.last_resort::<SEATED>(wish, tried, is_full)
    }

    fn is_unreached(&self, place: usize) -> bool {
        self.all.get(place).is_some_and(|member| member.backend.standing.is_unreached())
    }

    fn choose<const SEATED: bool>(&self, wish: &Wish, tried: &Tried, is_full: &Cell<bool>) -> Option<usize> {
        let is_first = tried.is_empty();
        if let Some(named) = wish.cookie.member
            && !tried.contains(named)
            && self.may_go_on(named, is_first)
            && (!SEATED || self.all.get(named).is_some_and(|member| member.backend.has_seat()))
        {
            return Some(named);
        }
        let is_up = |backend: &Backend| backend.is_ready_and(Health::Up, is_first);
        // Nearly always there is one.
        self.among::<SEATED>(&self.first, wish, tried, is_full, is_first, is_up)
            .or_else(|| self.others::<SEATED>(wish, tried, is_full))
    }

    #[cold]
    fn others<const SEATED: bool>(&self, wish: &Wish, tried: &Tried, is_full: &Cell<bool>) -> Option<usize> {
        let may_try = tried.is_empty();
        let look = |group, health| {
            let is_ready = |backend: &Backend| backend.is_ready_and(health, may_try);
            self.among::<SEATED>(group, wish, tried, is_full, false, is_ready)
        };
        let stand_in = |group| look(group, Health::Up).or_else(|| look(group, Health::Unknown));
        look(&self.first, Health::Unknown).or_else(|| self.backups.iter().find_map(stand_in))
    }

    #[cold]
    fn last_resort<const SEATED: bool>(
        &self,
        wish: &Wish,
        tried: &Tried,
        is_full: &Cell<bool>,
    ) -> Option<usize> {
        let look = |group| self.among::<SEATED>(group, wish, tried, is_full, false, Backend::is_last_resort);
        let all = || iter::once(&self.first).chain(&self.backups);
        (tried.count() < LAST_RESORTS_MAX).then(all)?.find_map(look)
    }

    fn among<const SEATED: bool>(
        &self,
        group: &Group,
        wish: &Wish,
        tried: &Tried,
        is_full: &Cell<bool>,
        is_first: bool,
        fits: impl Fn(&Backend) -> bool,
    ) -> Option<usize> {
        if SEATED && is_full.get() {
            return None;
        }
        let first = group.places.start;
        let members = self.all.get(group.places.clone())?;
        let fits = |index: usize| {
            let member = members.get(index);
            !tried.contains(first + index) && member.is_some_and(|member| fits(&member.backend))
        };
        let has_seat = |index: usize| {
            let has_seat = members.get(index).is_some_and(|member| member.backend.has_seat());
            is_full.set(is_full.get() || !has_seat);
            has_seat
        };
        let balancer = &group.balancer;
        let picked = match SEATED {
            true => balancer.pick(members, |index| fits(index) && has_seat(index), wish.key, is_first),
            false => balancer.pick(members, fits, wish.key, is_first),
        };
        picked.map(|index| first + index)
    }

    /// Whether clients that come back to this member get it: also while it drains, if its tunnels are kept then, but not
    /// while it is ejected or out of reach, nor a backup that is not needed.
    fn may_go_on(&self, place: usize, may_try: bool) -> bool {
        let Some(member) = self.all.get(place) else { return false };
        let standing = &member.backend.standing;
        // Those before it are in the groups before its own.
        let is_better = |group: &&Group| group.places.end <= place;
        let is_needed = || {
            let better = iter::once(&self.first).chain(&self.backups).take_while(is_better);
            let mut better = better.filter_map(|group| self.all.get(group.places.clone())).flatten();
            !better.any(|other| other.backend.is_ready_and(Health::Up, may_try))
        };
        standing.health() != Health::Down
            && match standing.state() {
                State::Active => true,
                State::Draining => member.is_kept,
                State::Disabled => false,
            }
            && member.backend.is_in(may_try)
            && (member.rank == 0 || is_needed())
    }
}
