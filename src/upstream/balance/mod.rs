//! How a pool chooses: a closed set, one file each.

mod draw;
mod hash;
pub mod key;
mod least_connections;
mod maglev;
mod power_of_two;
mod round_robin;
mod share;
pub mod slow_start;

use std::time::Duration;

use self::draw::Draw;
use self::hash::Hash;
use self::round_robin::RoundRobin;
use super::members::Member;
use crate::config::Balance;

/// One way to choose, with what it must remember.
pub enum Balancer {
    /// One after the other, as often as their weights say.
    RoundRobin(RoundRobin),
    /// The least load by weight; and how long a share grows.
    LeastConnections(Option<Duration>),
    /// Any, as often as their weights say.
    Random(Draw),
    /// The one with less load by weight, of two that are drawn; and how long a share grows.
    PowerOfTwo(Draw, Option<Duration>),
    /// The same one for the same key.
    Hash(Hash),
}

impl Balancer {
    /// A balancer for these members.
    pub fn new(balance: &Balance, members: &[Member]) -> Balancer {
        match balance {
            Balance::RoundRobin => Balancer::RoundRobin(RoundRobin::new(members)),
            Balance::LeastConnections { slow_start } => Balancer::LeastConnections(*slow_start),
            Balance::Random => Balancer::Random(Draw::new(members)),
            Balance::PowerOfTwo { slow_start } => Balancer::PowerOfTwo(Draw::new(members), *slow_start),
            Balance::Hash(hash) => Balancer::Hash(Hash::new(members, hash.load_max)),
        }
    }

    /// The same, where members take turns from this one on.
    pub fn at(self, turn: u64) -> Balancer {
        match self {
            Balancer::RoundRobin(state) => Balancer::RoundRobin(state.at(turn)),
            other => other,
        }
    }

    /// The index of the member that is next, among those that are `eligible`. `key` is that of the request, where there
    /// is one. `is_first`: it is what a request gets if all is well; others do not count where members take turns.
    pub fn pick(
        &self,
        members: &[Member],
        eligible: impl Fn(usize) -> bool,
        key: Option<u64>,
        is_first: bool,
    ) -> Option<usize> {
        let candidates = || (0..members.len()).filter(|index| eligible(*index));
        let random = |bound| fastrand::u64(0..bound);
        match self {
            Balancer::RoundRobin(state) if is_first => state.pick(members, eligible),
            Balancer::RoundRobin(state) => state.pick_apart(members, eligible),
            Balancer::LeastConnections(slow_start) => {
                least_connections::pick(members, candidates(), *slow_start, |bound| fastrand::u32(0..bound))
            }
            Balancer::Random(draw) => draw.pick(members, eligible, random),
            Balancer::PowerOfTwo(draw, slow_start) => {
                power_of_two::pick(draw, members, eligible, *slow_start, random)
            }
            Balancer::Hash(hash) => hash.pick(members, eligible, key, random),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::config::{self, BackendAddress, HashKey, State};
    use crate::upstream::backend::{Backend, Health};

    /// Members with these weights, all up.
    pub fn members(weights: &[u32]) -> Vec<Member> {
        let member = |(index, weight): (usize, &u32)| {
            let host = format!("192.0.{}.{}", index / 256, index % 256);
            let address = BackendAddress::Tcp { host, port: 80 };
            let backend = Arc::new(Backend::new(Arc::from("pool"), address, Health::Up));
            Member { backend, weight: *weight, state: State::Active, is_kept: true, rank: 0, seats_max: None }
        };
        weights.iter().enumerate().map(member).collect()
    }

    /// Whether each count is its share of the sum of all, but for 2% of that share.
    #[track_caller]
    pub fn near(counts: &[usize], shares: &[f64]) {
        let sum: usize = counts.iter().sum();
        for (count, share) in counts.iter().zip(shares) {
            let expected = share * sum as f64;
            assert!((*count as f64 - expected).abs() <= expected * 0.02, "{counts:?} are not {shares:?}");
        }
    }

    /// One of each kind.
    pub fn balances() -> Vec<Balance> {
        let hash = |load_max| Balance::Hash(config::Hash { key: HashKey::Client, load_max });
        vec![
            Balance::RoundRobin,
            Balance::LeastConnections { slow_start: None },
            Balance::Random,
            Balance::PowerOfTwo { slow_start: None },
            hash(None),
            hash(Some(125)),
        ]
    }

    #[test]
    fn every_balancer_keeps_to_the_weights() {
        let members = members(&[3, 1, 2]);
        for balance in balances() {
            let balancer = Balancer::new(&balance, &members);
            let (mut counts, mut leases) = ([0; 3], Vec::new());
            for key in 0..100_000_u64 {
                let key = twox_hash::XxHash3_64::oneshot(&key.to_be_bytes());
                let index = balancer.pick(&members, |_| true, Some(key), true).unwrap();
                counts[index] += 1;
                leases.push(crate::upstream::backend::Lease::new(members[index].backend.clone()));
            }
            near(&counts, &[0.5, 1.0 / 6.0, 1.0 / 3.0]);
        }
    }

    proptest! {
        #[test]
        fn every_balancer_picks_of_the_eligible_if_there_are_any(
            weights in prop::collection::vec(1..1_000_u32, 0..20), up: u32, key: Option<u64>, is_first: bool,
        ) {
            let members = members(&weights);
            let eligible = |index: usize| up >> index & 1 == 1;
            for balance in balances() {
                let picked = Balancer::new(&balance, &members).pick(&members, eligible, key, is_first);
                prop_assert_eq!(picked.is_some(), (0..weights.len()).any(eligible));
                prop_assert!(picked.is_none_or(eligible));
            }
        }
    }
}
