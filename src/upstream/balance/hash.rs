//! Consistent hash: the same member for the same key, whichever process or machine chooses, by a [`Maglev`] table; and
//! few keys move when members come or go.
//!
//! A key whose member is out goes to the next in the order of the table, and comes back with it. With a bound on load a
//! member that has more than its part of it passes keys on in the same order (Mirrokni et al., Consistent Hashing with
//! Bounded Loads); then processes agree only as far as they see the same loads. A request without a key goes anywhere,
//! as often as weights say.

use super::draw::Draw;
use super::maglev::Maglev;
use crate::upstream::members::Member;

/// A table, and what holds beside it.
pub struct Hash {
    table: Maglev,
    /// In percent of a member's share, from 100.
    load_max: Option<u32>,
    keyless: Draw,
}

impl Hash {
    /// Of these members.
    pub fn new(members: &[Member], load_max: Option<u32>) -> Hash {
        Hash { table: Maglev::new(members), load_max, keyless: Draw::new(members) }
    }

    /// The one for `key` among those that are `eligible`. `random` gives a number below its argument.
    pub fn pick(
        &self,
        members: &[Member],
        eligible: impl Fn(usize) -> bool,
        key: Option<u64>,
        random: impl Fn(u64) -> u64,
    ) -> Option<usize> {
        let Some(key) = key else {
            return self.keyless.pick(members, eligible, random);
        };
        let bounded = self.load_max.and_then(|percent| {
            let bound = Bound::new(members, &eligible, percent);
            self.table.pick(key, |index| eligible(index) && bound.admits(&members[index]))
        });
        // One is below the bound, unless others add load at this moment.
        bounded.or_else(|| self.table.pick(key, eligible))
    }
}

/// How much each may carry.
struct Bound {
    percent: u64,
    /// Of all that are eligible, and one more.
    load: u64,
    /// Of all that are eligible.
    weight: u64,
}

impl Bound {
    fn new(members: &[Member], eligible: impl Fn(usize) -> bool, percent: u32) -> Bound {
        let mut bound = Bound { percent: percent.into(), load: 1, weight: 0 };
        for index in (0..members.len()).filter(|index| eligible(*index)) {
            bound.load += members[index].backend.load() as u64;
            bound.weight += u64::from(members[index].weight);
        }
        bound
    }

    /// Whether one more keeps the member within its part, rounded up. As the parts come to no less than the whole, there
    /// is always one.
    fn admits(&self, member: &Member) -> bool {
        let part = self.percent * self.load * u64::from(member.weight);
        (member.backend.load() as u64) < part.div_ceil(100 * self.weight.max(1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::upstream::backend::Lease;
    use crate::upstream::balance::tests::{members, near};

    fn take(hash: &Hash, members: &[Member], key: u64) -> (usize, Lease) {
        let index = hash.pick(members, |_| true, Some(key), |_| panic!("it has a key")).unwrap();
        (index, Lease::new(members[index].backend.clone()))
    }

    #[test]
    fn without_a_bound_a_key_stays_whatever_the_load() {
        let members = members(&[1, 1, 1]);
        let hash = Hash::new(&members, None);
        let leases: Vec<_> = (0..100).map(|_| take(&hash, &members, 7)).collect();
        assert!(leases.iter().all(|(index, _)| *index == leases[0].0));
    }

    #[test]
    fn over_the_bound_a_key_goes_on_and_comes_back() {
        let members = members(&[1, 1, 1, 1]);
        let hash = Hash::new(&members, Some(150));
        let mut leases: Vec<_> = (0..100).map(|_| take(&hash, &members, 7)).collect();
        let mut loads: Vec<usize> = members.iter().map(|member| member.backend.load()).collect();
        loads.sort_unstable();
        // Of 100 each may have 38: the first two in the key's order fill up, the third has the rest.
        assert_eq!(loads, [0, 24, 38, 38]);
        let first = leases[0].0;
        assert_ne!(take(&hash, &members, 7).0, first);
        leases.retain(|(index, _)| *index != first);
        assert_eq!(take(&hash, &members, 7).0, first);
    }

    #[test]
    fn without_a_key_anybody_serves_by_weight() {
        let members = members(&[1, 3]);
        let hash = Hash::new(&members, Some(125));
        let mut counts = [0; 2];
        for _ in 0..100_000 {
            counts[hash.pick(&members, |_| true, None, |bound| fastrand::u64(0..bound)).unwrap()] += 1;
        }
        near(&counts, &[0.25, 0.75]);
    }

    proptest! {
        #[test]
        fn the_bound_is_never_exceeded(
            weights in prop::collection::vec(1..20_u32, 1..8),
            keys in prop::collection::vec(0..6_u64, 1..200),
            percent in 100..300_u32,
        ) {
            let members = members(&weights);
            let hash = Hash::new(&members, Some(percent));
            let sum: u32 = weights.iter().sum();
            let mut leases = Vec::new();
            for key in keys {
                let (index, lease) = take(&hash, &members, key);
                leases.push(lease);
                let part = f64::from(percent) / 100.0 * leases.len() as f64 * f64::from(weights[index]) / f64::from(sum);
                let load = members[index].backend.load();
                prop_assert!(load as f64 <= (part - 1e-9).ceil(), "{load} of {}", leases.len());
            }
        }
    }
}
