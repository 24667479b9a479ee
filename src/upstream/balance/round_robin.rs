//! Weighted round robin without a lock: in every cycle each member is chosen as often as its weight says, and heavy ones
//! are spread over the cycle instead of being chosen in a row.
//!
//! One counter, which all workers share, gives each choice its turn in the cycle; everything else follows from the turn.
//! Members of one weight are chosen in their order. Others are halved, again and again: of the turns that come to some of
//! them, those in their first half get each time what its weight asks for, rounded. The half that a turn falls to, and which
//! of that half's turns it is, takes one division. Hence after any number of choices each member has had its share, but
//! for half a choice for each halving: `log2(members) / 2`, rounded up, whatever the weights.
//!
//! (Multiples of a step near the golden section of the cycle spread less well where few steps have no divisor in common
//! with it; bits in reverse order leave out some turns of a cycle that is no power of two.)
//!
//! The turn of a member that may not be chosen passes to the next one, so that the others keep their shares. Where most may
//! not be chosen, a few turns are in vain; then all are looked at, and who may be chosen has a cycle apart. So has who is
//! chosen instead of another that was tried: with turns of the one cycle, of two members of which one refuses everybody the
//! same one would always come first.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::upstream::members::Member;

/// As long as most members are candidates, one of the first turns meets one.
const TURNS_MAX: usize = 8;

/// Whose turn it is. Shared by all workers, so that the cycle holds over all of them.
pub struct RoundRobin {
    /// Where each member's part of the sum of all weights ends.
    ends: Box<[u64]>,
    is_even: bool,
    turns: AtomicU64,
    /// Of the cycle apart.
    turns_apart: AtomicU64,
}

impl RoundRobin {
    /// The first turn is the next.
    pub fn new(members: &[Member]) -> RoundRobin {
        let mut sum = 0;
        let ends = members.iter().map(|member| {
            sum += u64::from(member.weight);
            sum
        });
        let ends = ends.collect();
        let is_even = members.windows(2).all(|two| two[0].weight == two[1].weight);
        RoundRobin { ends, is_even, turns: AtomicU64::new(0), turns_apart: AtomicU64::new(0) }
    }

    /// The same, whose next turn is this one.
    pub fn at(self, turn: u64) -> RoundRobin {
        RoundRobin { turns: AtomicU64::new(turn), turns_apart: AtomicU64::new(turn), ..self }
    }

    /// The next among those that are `eligible`.
    pub fn pick(&self, members: &[Member], eligible: impl Fn(usize) -> bool) -> Option<usize> {
        for _ in 0..members.len().min(TURNS_MAX) {
            let index = self.next();
            if eligible(index) {
                return Some(index);
            }
        }
        self.pick_apart(members, eligible)
    }

    /// The same in the cycle apart, with a look at all of them. Where none is eligible no turn is used.
    pub fn pick_apart(&self, members: &[Member], eligible: impl Fn(usize) -> bool) -> Option<usize> {
        let candidates = |part: Range<usize>| part.filter(|index| eligible(*index));
        let weight =
            |part: Range<usize>| candidates(part).map(|index| u64::from(members[index].weight)).sum::<u64>();
        let first = candidates(0..members.len()).next()?;
        let turn = self.turns_apart.fetch_add(1, Ordering::Relaxed);
        // The first one stands for any that ceased to be a candidate meanwhile.
        Some(fall(0..members.len(), weight, turn)).filter(|index| eligible(*index)).or(Some(first))
    }

    /// Whose turn is next.
    fn next(&self) -> usize {
        let turn = self.turns.fetch_add(1, Ordering::Relaxed);
        if self.is_even {
            return (turn % self.ends.len() as u64) as usize;
        }
        let end = |count: usize| count.checked_sub(1).map_or(0, |last| self.ends[last]);
        let weight = |part: Range<usize>| end(part.end) - end(part.start);
        fall(0..self.ends.len(), weight, turn)
    }
}

/// Whom of `part`, which are some, a turn falls to; a turn beyond the cycle is one of a further cycle. Weights may change
/// meanwhile: then it is anyone.
fn fall(mut part: Range<usize>, weight: impl Fn(Range<usize>) -> u64, turn: u64) -> usize {
    let mut whole = weight(part.clone());
    let mut turn = turn % whole.max(1);
    while part.len() > 1 {
        let middle = part.start.midpoint(part.end);
        let first = weight(part.start..middle).min(whole);
        // How many of the turns before this one fell to the first half: they are rounded to the nearest number.
        let product = u128::from(turn) * u128::from(first) + u128::from(whole / 2);
        let divisor = u128::from(whole.max(1));
        let (before, rest) = ((product / divisor) as u64, (product % divisor) as u64);
        if rest + first >= whole {
            (part.end, whole, turn) = (middle, first, before);
        } else {
            (part.start, whole, turn) = (middle, whole - first, turn - before);
        }
    }
    part.start
}

#[cfg(test)]
mod tests {
    use std::thread;

    use proptest::prelude::*;

    use super::*;
    use crate::upstream::balance::tests::{members, near};

    /// So many choices in a row, by members' letters.
    fn picks(weights: &[u32], count: usize, out: &str) -> String {
        let members = members(weights);
        let state = RoundRobin::new(&members);
        let letter = |index: usize| char::from(b'a' + index as u8);
        let pick = |_| letter(state.pick(&members, |index| !out.contains(letter(index))).unwrap());
        (0..count).map(pick).collect()
    }

    #[test]
    fn equals_are_chosen_in_their_order_and_others_spread_out() {
        for (weights, expected) in [
            (&[1, 1, 1][..], "abcabcabc"),
            (&[7, 7], "abab"),
            (&[2, 1, 1], "abacabac"),
            (&[3, 1, 2], "acabacacabac"),
            (&[6, 2, 4], "acabacacabac"),
            (&[5, 1, 1], "abaaacaabaaaca"),
            (&[1, 3, 1], "bbacbbbacb"),
            (&[9, 1], "aaaaabaaaa"),
        ] {
            assert_eq!(picks(weights, expected.len(), ""), expected, "{weights:?}");
        }
    }

    #[test]
    fn the_turn_of_who_may_not_be_chosen_passes_to_the_next() {
        assert_eq!(picks(&[1, 1, 1], 6, "b"), "acacac");
        assert_eq!(picks(&[1, 1, 1, 1], 6, "bc"), "adadad");
        assert_eq!(picks(&[2, 1, 1], 6, "b"), "aacaac");
    }

    #[test]
    fn who_comes_instead_of_another_takes_no_turn_away() {
        let members = members(&[1, 1, 1]);
        let state = RoundRobin::new(&members);
        let picked: Vec<_> = (0..6)
            .map(|_| {
                let first = state.pick(&members, |_| true).unwrap();
                (first, state.pick_apart(&members, |index| index != first).unwrap())
            })
            .collect();
        assert!(picked.iter().map(|(first, _)| *first).eq([0, 1, 2, 0, 1, 2]), "{picked:?}");
        for _ in 0..5 {
            assert_eq!(state.pick_apart(&members, |_| false), None);
        }
        let apart: Vec<_> = (0..4).map(|_| state.pick_apart(&members, |index| index != 0).unwrap()).collect();
        assert!(apart == [1, 2, 1, 2] || apart == [2, 1, 2, 1], "{apart:?}");
    }

    #[test]
    fn none_is_picked_of_none() {
        assert_eq!(RoundRobin::new(&[]).pick(&[], |_| true), None);
        let members = members(&[1, 2]);
        assert_eq!(RoundRobin::new(&members).pick(&members, |_| false), None);
    }

    #[test]
    fn threads_at_once_keep_the_shares_of_whole_cycles() {
        for weights in [&[1, 1, 1, 1][..], &[5, 1, 30, 12, 2]] {
            let members = members(weights);
            let state = RoundRobin::new(&members);
            let cycle: u32 = weights.iter().sum();
            let begin = || {
                let mut counts = vec![0; weights.len()];
                for _ in 0..100 * cycle {
                    counts[state.pick(&members, |_| true).unwrap()] += 1;
                }
                counts
            };
            let counts = thread::scope(|scope| {
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(begin)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
            });
            for (index, weight) in weights.iter().enumerate() {
                assert_eq!(counts.iter().map(|counts| counts[index]).sum::<u32>(), 400 * weight);
            }
        }
    }

    #[test]
    fn weights_and_turns_may_be_as_large_as_they_get() {
        let members = members(&[u32::MAX, 1, u32::MAX, u32::MAX - 1]);
        let state = RoundRobin::new(&members);
        let mut counts = [0; 4];
        state.turns.store(u64::MAX - 1_500, Ordering::Relaxed);
        for _ in 0..3_000 {
            counts[state.pick(&members, |_| true).unwrap()] += 1;
        }
        assert!([0, 2, 3].into_iter().all(|index| (998..=1_002_u32).contains(&counts[index])), "{counts:?}");
        let state = RoundRobin::new(&members[..1]);
        state.turns.store(u64::MAX, Ordering::Relaxed);
        assert_eq!([0, 1].map(|_| state.pick(&members[..1], |_| true)), [Some(0); 2]);
    }

    fn some_weights() -> impl Strategy<Value = Vec<u32>> {
        let below = |bound| prop::collection::vec(1..bound, 1..40);
        prop_oneof![below(4_u32), below(20), below(1_001)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn after_any_number_of_choices_each_has_its_share_but_for_half_a_choice_a_halving(
            weights in some_weights(), start: u32,
        ) {
            let members = members(&weights);
            let state = RoundRobin::new(&members);
            let cycle = weights.iter().map(|weight| i64::from(*weight)).sum::<i64>();
            state.turns.store(u64::from(start) * cycle as u64, Ordering::Relaxed);
            let halvings = i64::from(weights.len().next_power_of_two().ilog2()).max(1);
            let mut counts = vec![0; weights.len()];
            for before in 0..cycle {
                let index = state.pick(&members, |_| true).unwrap();
                // Nobody is further from its share than just before and after it is chosen.
                for choices in [before, before + 1] {
                    let off = (counts[index] * cycle - choices * i64::from(weights[index])).abs();
                    prop_assert!(2 * off <= halvings * cycle, "{counts:?} after {choices}");
                    counts[index] += before + 1 - choices;
                }
            }
            prop_assert_eq!(counts, weights.into_iter().map(i64::from).collect::<Vec<_>>());
        }

        #[test]
        fn who_may_be_chosen_gets_its_share_whoever_may_not(
            weights in prop::collection::vec(1..20_u32, 2..20), mask: u32,
        ) {
            let eligible = |index: usize| mask >> index & 1 == 1;
            let sum: u32 = weights.iter().enumerate().filter(|(index, _)| eligible(*index)).map(|(_, weight)| weight).sum();
            prop_assume!(sum > 0);
            let members = members(&weights);
            let state = RoundRobin::new(&members);
            let share = |index: usize| if eligible(index) { f64::from(weights[index]) / f64::from(sum) } else { 0.0 };
            for is_apart in [false, true] {
                let mut counts = vec![0; weights.len()];
                for _ in 0..100_000 {
                    let picked = match is_apart {
                        false => state.pick(&members, eligible),
                        true => state.pick_apart(&members, eligible),
                    };
                    counts[picked.unwrap()] += 1;
                }
                near(&counts, &(0..weights.len()).map(share).collect::<Vec<_>>());
            }
        }
    }
}
