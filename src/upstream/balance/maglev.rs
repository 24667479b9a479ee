//! A Maglev table (Eisenbud et al., NSDI 2016, section 3.4): which member each of a prime number of slots belongs to.
//!
//! Every member has an order of its own in which it would like the slots, made from its address alone; they take turns,
//! and each takes the first slot in its order that is still free. The table depends on addresses and weights, on nothing
//! else: not on the order in the file, the machine, or the version of longhaul. A member that goes leaves its slots to the
//! others, and few other slots change hands.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use twox_hash::XxHash3_64;

use crate::upstream::members::Member;

/// Up to this many members, slots are [`SLOTS`]: 128 for each, so that shares are right to a hundredth.
const MEMBERS_MAX: usize = 512;
/// A prime.
const SLOTS: u64 = 65_537;
/// A prime, for more members. To come from one to the other moves nearly every key.
const SLOTS_MANY: u64 = 1_048_573;
/// Of the hash that a member's order begins at.
const SEED_OFFSET: u64 = 1;
/// Of the hash that is its step.
const SEED_STEP: u64 = 2;

/// Who has which slot.
pub struct Maglev {
    slots: Box<[u32]>,
    members: usize,
}

impl Maglev {
    /// The table of `members`.
    pub fn new(members: &[Member]) -> Maglev {
        if members.is_empty() {
            return Maglev { slots: Box::default(), members: 0 };
        }
        let slots = if members.len() <= MEMBERS_MAX { SLOTS } else { SLOTS_MANY };
        let mut sorted: Vec<(&str, u32)> =
            (0..).zip(members).map(|(index, member)| (&*member.backend.label, index)).collect();
        sorted.sort_unstable();
        // Who has the least of its share takes the next turn; of equals the first by address.
        let mut turns: BinaryHeap<_> = sorted
            .into_iter()
            .enumerate()
            .map(|(rank, (label, index))| {
                let weight = members.get(index as usize).map_or(1, |member| member.weight);
                Reverse(Turn { taken: 1, weight, rank, index, walk: Walk::of(label, slots) })
            })
            .collect();
        let mut owners = vec![None; slots as usize];
        let mut free = slots;
        while free > 0
            && let Some(mut turn) = turns.peek_mut()
        {
            let turn = &mut turn.0;
            let wanted =
                std::iter::repeat_with(|| turn.walk.next(slots)).find(|slot| owners[*slot].is_none());
            if let Some(slot) = wanted {
                owners[slot] = Some(turn.index);
            }
            turn.taken += 1;
            free -= 1;
        }
        Maglev { slots: owners.into_iter().flatten().collect(), members: members.len() }
    }

    /// The owner of `key`, if it is `eligible`; otherwise the next that is, in an order that the key has of its own. So
    /// the keys of one that is out are spread over all others by their weights, and come back with it.
    pub fn pick(&self, key: u64, eligible: impl Fn(usize) -> bool) -> Option<usize> {
        let count = self.slots.len() as u64;
        let mut slots = Walk { next: key.checked_rem(count)?, step: key / count % (count - 1) + 1 };
        let mut owner = || self.slots[slots.next(count)] as usize;
        let first = owner();
        if eligible(first) {
            return Some(first);
        }
        // A walk in vain would see every slot.
        if !(0..self.members).any(&eligible) {
            return None;
        }
        std::iter::repeat_with(owner).take(self.slots.len()).find(|owner| eligible(*owner))
    }
}

/// A member that waits for its turn. Less is earlier.
struct Turn {
    /// Slots that it will have after it.
    taken: u32,
    weight: u32,
    /// By address.
    rank: usize,
    index: u32,
    walk: Walk,
}

impl Ord for Turn {
    fn cmp(&self, other: &Turn) -> std::cmp::Ordering {
        let part = |taken: u32, weight: u32| u64::from(taken) * u64::from(weight);
        let by_part = part(self.taken, other.weight).cmp(&part(other.taken, self.weight));
        by_part.then(self.rank.cmp(&other.rank))
    }
}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Turn) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Turn {
    fn eq(&self, other: &Turn) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Turn {}

/// All slots, one after the other: as their number is a prime, every step visits all of them.
struct Walk {
    next: u64,
    step: u64,
}

impl Walk {
    /// The order in which a member would like `count` slots.
    fn of(label: &str, count: u64) -> Walk {
        let hash = |seed| XxHash3_64::oneshot_with_seed(seed, label.as_bytes());
        Walk { next: hash(SEED_OFFSET) % count, step: hash(SEED_STEP) % (count - 1) + 1 }
    }

    fn next(&mut self, count: u64) -> usize {
        let slot = self.next;
        self.next = (slot + self.step) % count;
        slot as usize
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::upstream::balance::tests::{members, near};

    const KEYS: u64 = 100_000;

    fn keys() -> impl Iterator<Item = u64> {
        (0..KEYS).map(|key| XxHash3_64::oneshot(&key.to_be_bytes()))
    }

    /// The address of whoever has each key, all being up.
    fn owners(members: &[Member]) -> Vec<&str> {
        let table = Maglev::new(members);
        keys().map(|key| &*members[table.pick(key, |_| true).unwrap()].backend.label).collect()
    }

    fn moved(before: &[&str], after: &[&str]) -> f64 {
        before.iter().zip(after).filter(|(one, other)| one != other).count() as f64 / before.len() as f64
    }

    #[test]
    fn slots_are_shared_by_weight() {
        for weights in [&[1, 1, 1][..], &[1000, 1, 499], &[7; 100], &[3, 1, 1, 1, 1, 3]] {
            let table = Maglev::new(&members(weights));
            assert_eq!(table.slots.len(), SLOTS as usize);
            let sum: u32 = weights.iter().sum();
            for (index, weight) in weights.iter().enumerate() {
                let owned = table.slots.iter().filter(|owner| **owner as usize == index).count() as f64;
                let share = SLOTS as f64 * f64::from(*weight) / f64::from(sum);
                assert!((owned - share).abs() <= 1.0, "{owned} are not {share}");
            }
        }
    }

    #[test]
    fn many_members_have_enough_slots_each() {
        let table = Maglev::new(&members(&[1; 5_000]));
        let mut counts = vec![0; 5_000];
        table.slots.iter().for_each(|owner| counts[*owner as usize] += 1);
        near(&counts, &[1.0 / 5_000.0; 5_000]);
    }

    #[test]
    fn the_order_in_the_file_does_not_matter() {
        let weights: Vec<u32> = (0..40).map(|index| index % 5 + 1).collect();
        let mut members = members(&weights);
        let before: Vec<String> = owners(&members).into_iter().map(str::to_owned).collect();
        members.reverse();
        members.rotate_left(7);
        assert_eq!(owners(&members), before);
    }

    /// A table is the same in every version: another would move every client of every deployment.
    #[test]
    fn the_table_stays_what_it_is() {
        let table = Maglev::new(&members(&[1, 2, 3]));
        assert_eq!(table.slots[..20], [1_u32, 1, 2, 2, 0, 0, 2, 2, 1, 1, 2, 2, 2, 0, 0, 0, 0, 0, 1, 1]);
    }

    #[test]
    fn who_goes_leaves_few_other_keys_moved() {
        for (count, moved_max) in [(3, 0.01), (10, 0.01), (100, 0.01), (500, 0.01)] {
            let all = members(&vec![1; count]);
            let mut left = members(&vec![1; count]);
            let gone = left.remove(count / 2);
            let (before, after) = (owners(&all), owners(&left));
            let moved = moved(&before, &after);
            let its =
                before.iter().filter(|owner| **owner == &*gone.backend.label).count() as f64 / KEYS as f64;
            println!("{count}: {moved} {its}");
            assert!(moved - its <= moved_max, "of {count}: {moved}, {its} were its own");
        }
    }

    #[test]
    fn who_is_out_moves_nothing_but_its_own_keys_and_spreads_them() {
        let members = members(&[1; 10]);
        let table = Maglev::new(&members);
        let mut counts = [0_usize; 10];
        for key in keys() {
            let owner = table.pick(key, |_| true).unwrap();
            let instead = table.pick(key, |index| index != 4).unwrap();
            if owner == 4 {
                counts[instead] += 1;
            } else {
                assert_eq!(instead, owner);
            }
        }
        let expected = KEYS as usize / 10 / 9;
        for (index, count) in counts.into_iter().enumerate() {
            let expected = if index == 4 { 0 } else { expected };
            assert!(count.abs_diff(expected) <= expected / 5, "{counts:?}");
        }
    }

    proptest! {
        #[test]
        fn a_key_goes_to_the_first_in_its_order(key: u64, out: u16) {
            let members = members(&[1; 16]);
            let table = Maglev::new(&members);
            let mut order = Vec::new();
            while let Some(next) = table.pick(key, |index| !order.contains(&index)) {
                order.push(next);
            }
            prop_assert_eq!(order.len(), 16);
            let is_up = |index: usize| out >> index & 1 == 0;
            let first = order.iter().copied().find(|index| is_up(*index));
            prop_assert_eq!(table.pick(key, is_up), first);
        }
    }
}
