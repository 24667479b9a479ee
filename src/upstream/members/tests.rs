//! Who is chosen, and who is not, whatever the balancer.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::outcome::Fault;
use crate::upstream::balance::tests::{self, balances, members};
use crate::upstream::ejection::record::tests::rules;

fn pool(count: usize, backups: usize) -> Members {
    let mut members = members(&vec![1; count + backups]);
    // Wherever they stand in the file.
    members.iter_mut().take(backups).for_each(|member| member.rank = 1);
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
        members.all.iter().map(|member| member.rank > 0).collect::<Vec<_>>(),
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

#[test]
fn backups_stand_in_rank_after_rank() {
    let members = [2, 0, 7, 1, 2].into_iter().zip(members(&[1; 5]));
    let members = members.map(|(rank, member)| Member { rank, ..member });
    let members = Members::new(&Balance::RoundRobin, members.collect());
    // One that serves, and backups of the ranks 1, 2, 2 and 7.
    let set = |place: usize, health| {
        members.all[place].backend.set_health(health);
    };
    for (down, next) in [(0, &[1][..]), (1, &[2, 3]), (2, &[3]), (3, &[4]), (4, &[])] {
        set(down, Health::Down);
        assert_eq!(seen(&members), next);
    }
    // Who has not been probed comes before those of the next rank.
    set(2, Health::Unknown);
    set(4, Health::Up);
    assert_eq!(seen(&members), [2]);
    // Who comes back to a backup gets it as long as nobody better is up.
    set(3, Health::Up);
    assert!((0..6).all(|_| next(&members, Some(2)) == Some(2) && next(&members, Some(3)) == Some(3)));
    assert_eq!(next(&members, Some(4)), Some(3));
    set(1, Health::Up);
    assert!([2, 3, 4].iter().all(|named| next(&members, Some(*named)) == Some(1)));
    // Of those that are ejected the best are the last resort.
    (0..5).for_each(|place| set(place, Health::Up));
    members.all.iter().for_each(eject);
    assert_eq!(seen(&members), [0]);
    set(0, Health::Down);
    assert_eq!(seen(&members), [1]);
}

#[test]
fn there_may_be_none_or_backups_alone() {
    assert_eq!(seen(&Members::new(&Balance::RoundRobin, Vec::new())), [0_usize; 0]);
    assert_eq!(seen(&pool(0, 2)), [0, 1]);
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

/// Nobody has come through to a member for a while, and it is to be left alone for ten seconds.
fn lose(member: &Member) {
    let now = Instant::now();
    (0..5).for_each(|failure| member.backend.unreached(now + Duration::from_secs(failure)));
}

#[test]
fn who_is_out_of_reach_is_the_last_resort_also_for_clients_that_come_back() {
    let members = pool(2, 1);
    lose(&members.all[1]);
    assert_eq!(seen(&members), [0]);
    assert!((0..6).all(|_| next(&members, Some(1)) == Some(0)));
    lose(&members.all[0]);
    assert_eq!(seen(&members), [2]);
    lose(&members.all[2]);
    assert_eq!(seen(&members), [0, 1]);
    eject(&members.all[0]);
    assert_eq!(seen(&members), [0, 1]);
    members.all[0].backend.configure(State::Draining);
    members.all[1].backend.set_health(Health::Down);
    assert_eq!(seen(&members), [2]);
    // The first connection ends it, and who comes back is new among the others.
    let backend = &members.all[1].backend;
    backend.set_health(Health::Up);
    backend.standing.settle();
    backend.reached();
    assert!(backend.standing.is_risen());
    assert_eq!(seen(&members), [1]);
    assert_eq!(next(&members, Some(1)), Some(1));
}

#[test]
fn who_could_not_be_reached_for_a_moment_is_not_new_for_it() {
    let members = pool(1, 0);
    let backend = &members.all[0].backend;
    backend.unreached(Instant::now());
    assert!(backend.standing.is_unreached());
    backend.reached();
    assert!(!backend.standing.is_unreached() && !backend.standing.is_risen());
}

/// And not as a second try: if all are tried that were out of reach, nobody is left whom a request could reach.
#[test]
fn one_request_tries_who_was_out_of_reach_and_others_go_past() {
    for is_limited in [false, true] {
        for balance in balances() {
            let mut all = members(&[1; 4]);
            if is_limited {
                all.iter_mut().for_each(|member| member.seats_max = Some(1_000));
            }
            let members = Members::new(&balance, all);
            let lost = |place: usize| members.all[place].backend.standing.is_unreached();
            members.all[..3].iter().for_each(lose);
            members.all[..3].iter().for_each(|member| member.backend.reach.end());
            let wish = |key| Wish { key: Some(key), ..Wish::default() };
            let pick = |tried: &mut Tried| {
                let key = fastrand::u64(..);
                let seat = members.seat(wish(key), tried).unwrap();
                members.all.iter().position(|member| Arc::ptr_eq(&member.backend, seat.backend())).unwrap()
            };
            let mut found = Vec::new();
            for _ in 0..200 {
                let mut tried = Tried::default();
                let first = pick(&mut tried);
                if lost(first) {
                    found.push(first);
                    assert_eq!(pick(&mut tried), 3, "{balance:?}");
                }
            }
            found.sort_unstable();
            assert_eq!(found, [0, 1, 2], "{balance:?}");
        }
    }
}

#[test]
fn having_tried_four_nobody_is_given_one_that_is_out_of_reach() {
    let members = pool(7, 0);
    members.all[..6].iter().for_each(lose);
    let mut tried = Tried::default();
    let mut leases = Vec::new();
    while let Some(lease) = members.pick(Wish::default(), &mut tried) {
        leases.push(lease);
    }
    assert_eq!((leases.len(), members.all[6].backend.load()), (LAST_RESORTS_MAX, 1));
}

proptest! {
    /// Whoever is chosen, there is nobody better; and there is nobody only when nobody may be chosen.
    #[test]
    fn nobody_is_chosen_while_there_is_somebody_better(
        kinds in prop::collection::vec((0..3_u8, 0..3_u8, 0..4_u8, any::<bool>()), 1..8),
        key: Option<u64>,
        named in prop::option::of(0..8_usize),
    ) {
        for balance in balances() {
            let mut all = tests::members(&vec![1; kinds.len()]);
            for (member, (health, state, out, backup)) in all.iter_mut().zip(&kinds) {
                let states = [State::Active, State::Draining, State::Disabled];
                member.backend.set_health([Health::Up, Health::Unknown, Health::Down][usize::from(*health)]);
                member.backend.configure(states[usize::from(*state)]);
                if out & 1 == 1 {
                    eject(member);
                }
                if out & 2 == 2 {
                    lose(member);
                }
                member.rank = u16::from(*backup);
            }
            let members = Members::new(&balance, all);
            let rank = |backend: &Backend, backup: bool| match (backend.standing.state(), backend.health()) {
                (State::Draining | State::Disabled, _) | (_, Health::Down) => None,
                _ if !backend.is_in(true) => Some(4 + u8::from(backup)),
                (_, health) => Some(2 * u8::from(backup) + u8::from(health == Health::Unknown)),
            };
            let best = members.all.iter().filter_map(|member| rank(&member.backend, member.rank > 0)).min();
            let picked = |named| {
                let wish = Wish { key, cookie: Shown { member: named, secure: false } };
                members.pick(wish, &mut Tried::default()).map(|lease| lease.backend().clone())
            };
            let backup = |picked: &Arc<Backend>| {
                members.all.iter().any(|member| member.rank > 0 && Arc::ptr_eq(&member.backend, picked))
            };
            let found = picked(None).map(|picked| rank(&picked, backup(&picked)));
            prop_assert_eq!(found, best.map(Some));
            if let Some(found) = picked(named) {
                // A cookie leads to who drains, but never to who is out while there is another.
                prop_assert!(found.is_in(true) || best.is_none_or(|best| best >= 4));
                prop_assert!(found.standing.state() != State::Disabled && found.health() != Health::Down);
            }
        }
    }
}

#[test]
fn who_was_tried_is_not_tried_again_and_there_is_an_end_of_it() {
    let members = pool(7, 3);
    let mut tried = Tried::default();
    let mut leases = Vec::new();
    while let Some(lease) = members.pick(Wish::default(), &mut tried) {
        leases.push(lease);
    }
    assert_eq!(leases.len(), TRIES_MAX);
    let places =
        |wanted: Range<usize>| members.all[wanted].iter().map(|member| member.backend.load()).sum::<usize>();
    assert_eq!((places(0..7), places(7..10)), (7, 1));
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

#[test]
fn who_is_full_gets_no_tunnels_and_backups_none_for_it() {
    let mut all = members(&[1, 1, 1]);
    all[2].rank = 1;
    for member in &mut all {
        member.seats_max = Some(1);
        member.backend.set_seats_max(Some(1));
    }
    let members = Members::new(&Balance::RoundRobin, all);
    let seat = |wish| members.seat(wish, &mut Tried::default());
    let coming_back = Wish { key: None, cookie: Shown { member: Some(1), secure: false } };
    let first = seat(coming_back).unwrap();
    assert!(Arc::ptr_eq(first.backend(), &members.all[1].backend));
    let second = seat(coming_back).unwrap();
    assert!(Arc::ptr_eq(second.backend(), &members.all[0].backend));
    assert_eq!(seat(coming_back).unwrap_err(), Lack::Seats);
    // Requests take no seats.
    assert!(members.pick(Wish::default(), &mut Tried::default()).is_some());
    let lease = second.leave();
    assert_eq!((members.all[0].backend.load(), members.all[0].backend.seats_free()), (1, Some(1)));
    assert!(seat(Wish::default()).is_ok());
    drop(lease);
    for member in &members.all[..2] {
        member.backend.set_health(Health::Down);
    }
    let backup = seat(Wish::default()).unwrap();
    assert!(Arc::ptr_eq(backup.backend(), &members.all[2].backend));
    members.all[2].backend.configure(State::Draining);
    assert_eq!(seat(Wish::default()).unwrap_err(), Lack::Backends);
}

proptest! {
    /// A seat is at one of those whom a request might get, if one of them has a free seat; others never stand in.
    #[test]
    fn a_seat_is_where_a_request_would_go_or_nowhere(
        kinds in prop::collection::vec((0..3_u8, 0..3_u8, 0..4_u8, any::<bool>(), any::<bool>()), 1..8),
        key: Option<u64>,
    ) {
        for balance in balances() {
            let mut all = tests::members(&vec![1; kinds.len()]);
            for (member, (health, state, out, backup, full)) in all.iter_mut().zip(&kinds) {
                let states = [State::Active, State::Draining, State::Disabled];
                member.backend.set_health([Health::Up, Health::Unknown, Health::Down][usize::from(*health)]);
                member.backend.configure(states[usize::from(*state)]);
                if out & 1 == 1 {
                    eject(member);
                }
                if out & 2 == 2 {
                    lose(member);
                }
                (member.rank, member.seats_max) = (u16::from(*backup), Some(usize::from(!full)));
                member.backend.set_seats_max(member.seats_max);
            }
            let members = Members::new(&balance, all);
            let rank = |backend: &Backend, backup: bool| match (backend.standing.state(), backend.health()) {
                (State::Draining | State::Disabled, _) | (_, Health::Down) => None,
                _ if !backend.is_in(true) => Some(4 + u8::from(backup)),
                (_, health) => Some(2 * u8::from(backup) + u8::from(health == Health::Unknown)),
            };
            let ranked = || members.all.iter().filter_map(|member| {
                rank(&member.backend, member.rank > 0).map(|rank| (rank, &member.backend))
            });
            let best = ranked().map(|(rank, _)| rank).min();
            let free = |backend: &Backend| {
                ranked().any(|(rank, other)| Some(rank) == best && std::ptr::eq(&**other, backend) && other.has_seat())
            };
            let has_free = ranked().any(|(_, backend)| free(backend));
            match members.seat(Wish { key, ..Wish::default() }, &mut Tried::default()) {
                Ok(seat) => {
                    // It is the only one there, and taken now.
                    prop_assert_eq!(seat.backend().seats_free(), Some(0));
                    let backend = seat.backend().clone();
                    drop(seat);
                    prop_assert!(free(&backend));
                }
                Err(Lack::Seats) => prop_assert!(best.is_some() && !has_free),
                Err(Lack::Backends) => prop_assert!(best.is_none()),
            }
        }
    }
}
