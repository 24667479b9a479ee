//! A member at random, as often as its weight says.

use crate::upstream::members::Member;

/// As long as most members are candidates, one of the first draws meets one. After these all are looked at.
const DRAWS_MAX: usize = 8;

/// Draws members in proportion to their weights.
pub struct Draw {
    /// Where each member's part of the sum of all weights ends.
    ends: Box<[u64]>,
}

impl Draw {
    /// Draws among `members`.
    pub fn new(members: &[Member]) -> Draw {
        let mut sum = 0;
        let ends = members.iter().map(|member| {
            sum += u64::from(member.weight);
            sum
        });
        Draw { ends: ends.collect() }
    }

    /// One of those that are `eligible`. `random` gives a number below its argument.
    pub fn pick(
        &self,
        members: &[Member],
        eligible: impl Fn(usize) -> bool,
        random: impl Fn(u64) -> u64,
    ) -> Option<usize> {
        let sum = *self.ends.last()?;
        for _ in 0..DRAWS_MAX {
            let drawn = random(sum);
            let index = self.ends.partition_point(|end| *end <= drawn);
            if eligible(index) {
                return Some(index);
            }
        }
        among(members, eligible, random)
    }
}

/// The same, with a look at all of them.
fn among(members: &[Member], eligible: impl Fn(usize) -> bool, random: impl Fn(u64) -> u64) -> Option<usize> {
    let weight = |index: usize| u64::from(members[index].weight);
    let candidates = || (0..members.len()).filter(|index| eligible(*index));
    let sum: u64 = candidates().map(weight).sum();
    if sum == 0 {
        return None;
    }
    let mut left = random(sum);
    let mut last = None;
    for index in candidates() {
        // The last one stands for any that ceased to be a candidate meanwhile.
        last = Some(index);
        match left.checked_sub(weight(index)) {
            Some(rest) => left = rest,
            None => break,
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use fastrand::Rng;
    use proptest::prelude::*;

    use super::*;
    use crate::upstream::balance::tests::{members, near};

    const PICKS: usize = 100_000;

    #[test]
    fn each_is_drawn_as_often_as_its_weight_says() {
        let members = members(&[1, 2, 5, 2]);
        let draw = Draw::new(&members);
        let rng = RefCell::new(Rng::with_seed(3));
        for out in [None, Some(2)] {
            let mut counts = [0; 4];
            for _ in 0..PICKS {
                let random = |bound| rng.borrow_mut().u64(0..bound);
                counts[draw.pick(&members, |index| Some(index) != out, random).unwrap()] += 1;
            }
            match out {
                None => near(&counts, &[0.1, 0.2, 0.5, 0.2]),
                Some(_) => near(&counts, &[0.2, 0.4, 0.0, 0.4]),
            }
        }
    }

    #[test]
    fn the_rare_candidate_is_found_by_its_weight() {
        let mut weights = vec![1000; 100];
        (weights[17], weights[60]) = (1, 3);
        let members = members(&weights);
        let draw = Draw::new(&members);
        let rng = RefCell::new(Rng::with_seed(3));
        let mut counts = [0; 100];
        for _ in 0..PICKS {
            let random = |bound| rng.borrow_mut().u64(0..bound);
            counts[draw.pick(&members, |index| [17, 60].contains(&index), random).unwrap()] += 1;
        }
        near(&[counts[17], counts[60]], &[0.25, 0.75]);
    }

    proptest! {
        #[test]
        fn only_candidates_are_drawn(weights in prop::collection::vec(1..1_000_u32, 0..20), up: u32, seed: u64) {
            let members = members(&weights);
            let eligible = |index: usize| up >> index & 1 == 1;
            let rng = RefCell::new(Rng::with_seed(seed));
            let random = |bound| rng.borrow_mut().u64(0..bound);
            let picked = Draw::new(&members).pick(&members, eligible, random);
            prop_assert_eq!(picked.is_some(), (0..weights.len()).any(eligible));
            prop_assert!(picked.is_none_or(eligible));
        }
    }
}
