//! The members of a pool, and the choice among them.
//!
//! The member that a client's cookie names comes first, as long as it may go on. Then who is up and active, by the pool's
//! balancer; if there is nobody, who has not been probed yet; where that is nobody either, the backups, in the same
//! order; and only then who is ejected.

use std::ops::Range;
use std::sync::Arc;

use http::HeaderMap;
use http::request::Parts;

use super::backend::{Backend, Health, Lease};
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
    /// It is chosen only while no other one is up.
    pub backup: bool,
}

/// The members of a pool, and how one is chosen.
pub struct Members {
    /// Empty only as long as discovery has found none; backups last.
    all: Box<[Member]>,
    first: Group,
    backups: Group,
    /// What of a request is hashed.
    hashed: Option<HashKey>,
    cookies: Option<Cookies>,
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
        members.sort_by_key(|member| member.backup);
        let count = members.iter().filter(|member| !member.backup).count();
        let group = |places: Range<usize>| {
            let balancer = Balancer::new(balance, members.get(places.clone()).unwrap_or_default());
            Group { places, balancer }
        };
        let (first, backups) = (group(0..count), group(count..members.len()));
        Members { first, backups, all: members.into(), hashed: balance.hashed().cloned(), cookies: None }
    }

    /// The same, with cookies by which clients come back; they are of these members, in this order.
    pub fn with_cookies(self, cookies: Cookies) -> Members {
        Members { cookies: Some(cookies), ..self }
    }

    /// All of them, backups last.
    pub fn all(&self) -> &[Member] {
        &self.all
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
    pub fn remind(&self, wish: Wish, lease: &Lease, answer: &mut HeaderMap) {
        let Some(cookies) = &self.cookies else { return };
        let is_it = |place: &usize| {
            self.all.get(*place).is_some_and(|member| Arc::ptr_eq(&member.backend, lease.backend()))
        };
        let place = wish.cookie.member.filter(is_it).or_else(|| (0..self.all.len()).find(is_it));
        if let Some(place) = place {
            cookies.set(place, wish.cookie, answer);
        }
    }

    /// A lease on the backend that should carry the next tunnel, other than those that were `tried`, to which it is
    /// added. `None` when none is left, and after [`TRIES_MAX`].
    pub fn pick(&self, wish: Wish, tried: &mut Tried) -> Option<Lease> {
        let place = self.choose(wish, tried)?;
        let member = self.all.get(place)?;
        tried.add(place)?;
        Some(Lease::new(member.backend.clone()))
    }

    fn choose(&self, wish: Wish, tried: &Tried) -> Option<usize> {
        if let Some(named) = wish.cookie.member
            && !tried.contains(named)
            && self.may_go_on(named)
        {
            return Some(named);
        }
        let ready = [&self.first, &self.backups].into_iter().find_map(|group| {
            [Health::Up, Health::Unknown]
                .into_iter()
                .find_map(|health| self.among(group, wish, tried, |backend| backend.is_ready_and(health)))
        });
        ready.or_else(|| self.last_resort(wish, tried))
    }

    #[cold]
    fn last_resort(&self, wish: Wish, tried: &Tried) -> Option<usize> {
        let mut groups = [&self.first, &self.backups].into_iter();
        groups.find_map(|group| self.among(group, wish, tried, Backend::is_last_resort))
    }

    fn among(
        &self,
        group: &Group,
        wish: Wish,
        tried: &Tried,
        fits: impl Fn(&Backend) -> bool,
    ) -> Option<usize> {
        let first = group.places.start;
        let members = self.all.get(group.places.clone())?;
        let fits = |index: usize| {
            let member = members.get(index);
            !tried.contains(first + index) && member.is_some_and(|member| fits(&member.backend))
        };
        group.balancer.pick(members, fits, wish.key).map(|index| first + index)
    }

    /// Whether clients that come back to this member get it: also while it drains, but not while it is ejected, nor a
    /// backup that is not needed.
    fn may_go_on(&self, place: usize) -> bool {
        let Some(member) = self.all.get(place) else { return false };
        let standing = &member.backend.standing;
        let is_needed =
            || !self.all.iter().any(|other| !other.backup && other.backend.is_ready_and(Health::Up));
        standing.health() != Health::Down
            && standing.state() != State::Disabled
            && !member.backend.is_ejected()
            && (!member.backup || is_needed())
    }
}

/// Backends that one request tries, at most: with more, a client would wait for the sum of their deadlines.
pub const TRIES_MAX: usize = 4;

/// Which members of a pool a request has tried, at most [`TRIES_MAX`].
#[derive(Debug, Default)]
pub struct Tried {
    places: [usize; TRIES_MAX],
    count: usize,
}

impl Tried {
    fn contains(&self, place: usize) -> bool {
        self.places.iter().take(self.count).any(|tried| *tried == place)
    }

    /// `None` when there is no room for one more.
    fn add(&mut self, place: usize) -> Option<()> {
        *self.places.get_mut(self.count)? = place;
        self.count += 1;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use proptest::prelude::*;

    use super::*;
    use crate::outcome::Fault;
    use crate::upstream::balance::tests::{self, balances, members};
    use crate::upstream::ejection::record::tests::rules;

    fn pool(count: usize, backups: usize) -> Members {
        let mut members = members(&vec![1; count + backups]);
        // Wherever they stand in the file.
        members.iter_mut().take(backups).for_each(|member| member.backup = true);
        Members::new(&Balance::RoundRobin, members)
    }

    /// The next member for a client whose cookie names this one, by its place.
    fn next(members: &Members, named: Option<usize>) -> Option<usize> {
        let wish = Wish { key: None, cookie: Shown { member: named, secure: false } };
        let lease = members.pick(wish, &mut Tried::default())?;
        members.all.iter().position(|member| Arc::ptr_eq(&member.backend, lease.backend()))
    }

    fn seen(members: &Members) -> Vec<usize> {
        let mut seen: Vec<usize> = (0..12).filter_map(|_| next(members, None)).collect();
        seen.sort_unstable();
        seen.dedup();
        seen
    }

    #[test]
    fn who_drains_or_is_disabled_gets_nothing_new() {
        let members = pool(3, 0);
        members.all[0].backend.configure(State::Draining);
        members.all[1].backend.configure(State::Disabled);
        assert_eq!(seen(&members), [2]);
        members.all[2].backend.configure(State::Draining);
        assert_eq!(seen(&members), [0_usize; 0]);
        members.all[0].backend.configure(State::Active);
        assert_eq!(seen(&members), [0]);
    }

    #[test]
    fn a_cookie_leads_to_who_drains_but_not_to_who_is_disabled_or_down() {
        let members = pool(3, 0);
        let backend = &members.all[1].backend;
        for (state, health, goes_on) in [
            (State::Active, Health::Up, true),
            (State::Active, Health::Unknown, true),
            (State::Active, Health::Down, false),
            (State::Draining, Health::Up, true),
            (State::Draining, Health::Down, false),
            (State::Disabled, Health::Up, false),
        ] {
            backend.configure(state);
            backend.set_health(health);
            let all_lead_there = (0..6).all(|_| next(&members, Some(1)) == Some(1));
            assert_eq!(all_lead_there, goes_on, "{state:?} {health:?}");
        }
    }

    #[test]
    fn backups_wait_until_nobody_else_is_left() {
        let members = pool(2, 2);
        assert_eq!(seen(&members), [0, 1]);
        assert_eq!(
            members.all.iter().map(|member| member.backup).collect::<Vec<_>>(),
            [false, false, true, true]
        );
        members.all[0].backend.set_health(Health::Down);
        assert_eq!(seen(&members), [1]);
        // Who may be up is tried first.
        members.all[1].backend.set_health(Health::Unknown);
        assert_eq!(seen(&members), [1]);
        assert_ne!(next(&members, Some(2)), None);
        members.all[1].backend.configure(State::Draining);
        assert_eq!(seen(&members), [2, 3]);
        assert!((0..6).all(|_| next(&members, Some(3)) == Some(3)));
        members.all[0].backend.set_health(Health::Up);
        assert_eq!(seen(&members), [0]);
        assert_eq!(next(&members, Some(3)), Some(0));
    }

    /// Takes a member out, for half a minute.
    fn eject(member: &Member) {
        let (backend, now) = (&member.backend, Instant::now());
        backend.conduct.eject(&backend.standing, Fault::Connect, &rules(), now);
    }

    #[test]
    fn who_is_ejected_is_the_last_resort_also_for_clients_that_come_back() {
        let members = pool(2, 1);
        eject(&members.all[1]);
        assert_eq!(seen(&members), [0]);
        assert!((0..6).all(|_| next(&members, Some(1)) == Some(0)));
        // The backup comes first.
        eject(&members.all[0]);
        assert_eq!(seen(&members), [2]);
        eject(&members.all[2]);
        assert_eq!(seen(&members), [0, 1]);
        members.all[0].backend.configure(State::Draining);
        assert_eq!(seen(&members), [1]);
        members.all[1].backend.set_health(Health::Down);
        assert_eq!(seen(&members), [2]);
        members.all[2].backend.configure(State::Disabled);
        assert_eq!(seen(&members), [0_usize; 0]);
        // Who comes back is new among the others.
        let backend = &members.all[1].backend;
        backend.set_health(Health::Up);
        backend.standing.settle();
        backend.conduct.forgive(&backend.standing);
        assert!(backend.standing.is_risen());
        assert_eq!(seen(&members), [1]);
    }

    proptest! {
        /// Whoever is chosen, there is nobody better; and there is nobody only when nobody may be chosen.
        #[test]
        fn nobody_is_chosen_while_there_is_somebody_better(
            kinds in prop::collection::vec((0..3_u8, 0..3_u8, any::<bool>(), any::<bool>()), 1..8),
            key: Option<u64>,
            named in prop::option::of(0..8_usize),
        ) {
            for balance in balances() {
                let mut all = tests::members(&vec![1; kinds.len()]);
                for (member, (health, state, ejected, backup)) in all.iter_mut().zip(&kinds) {
                    let states = [State::Active, State::Draining, State::Disabled];
                    member.backend.set_health([Health::Up, Health::Unknown, Health::Down][usize::from(*health)]);
                    member.backend.configure(states[usize::from(*state)]);
                    if *ejected {
                        eject(member);
                    }
                    member.backup = *backup;
                }
                let members = Members::new(&balance, all);
                let rank = |backend: &Backend, backup: bool| match (backend.standing.state(), backend.health()) {
                    (State::Draining | State::Disabled, _) | (_, Health::Down) => None,
                    _ if backend.is_ejected() => Some(4 + u8::from(backup)),
                    (_, health) => Some(2 * u8::from(backup) + u8::from(health == Health::Unknown)),
                };
                let best = members.all.iter().filter_map(|member| rank(&member.backend, member.backup)).min();
                let picked = |named| {
                    let wish = Wish { key, cookie: Shown { member: named, secure: false } };
                    members.pick(wish, &mut Tried::default()).map(|lease| lease.backend().clone())
                };
                let backup = |picked: &Arc<Backend>| {
                    members.all.iter().any(|member| member.backup && Arc::ptr_eq(&member.backend, picked))
                };
                let found = picked(None).map(|picked| rank(&picked, backup(&picked)));
                prop_assert_eq!(found, best.map(Some));
                if let Some(found) = picked(named) {
                    // A cookie leads to who drains, but never to who is ejected while there is another.
                    prop_assert!(!found.is_ejected() || best.is_none_or(|best| best >= 4));
                    prop_assert!(found.standing.state() != State::Disabled && found.health() != Health::Down);
                }
            }
        }
    }

    #[test]
    fn who_was_tried_is_not_tried_again_and_there_is_an_end_of_it() {
        let members = pool(3, 3);
        let mut tried = Tried::default();
        let mut leases = Vec::new();
        while let Some(lease) = members.pick(Wish::default(), &mut tried) {
            leases.push(lease);
        }
        assert_eq!(leases.len(), TRIES_MAX);
        let places = |wanted: Range<usize>| {
            members.all[wanted].iter().map(|member| member.backend.load()).sum::<usize>()
        };
        assert_eq!((places(0..3), places(3..6)), (3, 1));
    }

    #[test]
    fn an_order_holds_until_the_configuration_changes_its_mind() {
        let members = pool(2, 0);
        let backend = &members.all[0].backend;
        backend.configure(State::Active);
        assert_eq!(backend.order(Some(State::Disabled)), State::Disabled);
        backend.configure(State::Active);
        assert_eq!((backend.ordered(), backend.standing.state()), (Some(State::Disabled), State::Disabled));
        assert_eq!(seen(&members), [1]);
        backend.configure(State::Draining);
        assert_eq!((backend.ordered(), backend.standing.state()), (None, State::Draining));
        backend.order(Some(State::Active));
        assert_eq!(seen(&members), [0, 1]);
        assert_eq!(backend.order(None), State::Draining);
    }
}
