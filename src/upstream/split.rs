//! One of several pools, as often as their weights say; pure.
//!
//! What keeps requests together does so here, too: requests of one key get the same pool, everywhere and as long as the
//! weights stay. When they change, the keys that move are those of the part that changes hands.

use http::request::Parts;
use twox_hash::XxHash3_64;

use super::balance::key;
use crate::config::HashKey;
use crate::proto::peer::Peer;

/// Tells the choice of a pool from that of a backend in it, which hashes the same key: else each pool would see a part
/// of the keys that its own table sends to some of its backends alone.
const SEED: u64 = 1;

/// Pools by weight; `T` is what stands for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split<T> {
    /// Those that get something, and where each one's part of the sum of all weights ends.
    ends: Box<[(T, u64)]>,
    by: Option<HashKey>,
}

impl<T> Split<T> {
    /// Splits among these, each with its weight; those of weight 0 get nothing. Requests in which `by` is the same stay
    /// together.
    pub fn new(shares: impl IntoIterator<Item = (T, u32)>, by: Option<HashKey>) -> Split<T> {
        let mut sum = 0;
        let ends = shares.into_iter().filter(|(_, weight)| *weight > 0).map(|(pool, weight)| {
            sum += u64::from(weight);
            (pool, sum)
        });
        Split { ends: ends.collect(), by }
    }

    /// All that get something.
    pub fn pools(&self) -> impl Iterator<Item = &T> {
        self.ends.iter().map(|(pool, _)| pool)
    }

    /// The pool of a request of `client`: by its key, or drawn. `random` gives a number below its argument. `None` when
    /// nobody gets anything.
    pub fn pick(&self, head: &Parts, client: Peer, random: impl FnOnce(u64) -> u64) -> Option<&T> {
        let key = self.by.as_ref().and_then(|by| key::of(by, head, client));
        self.at(key, random)
    }

    fn at(&self, key: Option<u64>, random: impl FnOnce(u64) -> u64) -> Option<&T> {
        let (_, sum) = self.ends.last()?;
        let place = match key {
            Some(key) => scaled(XxHash3_64::oneshot_with_seed(SEED, &key.to_be_bytes()), *sum),
            None => random(*sum),
        };
        self.ends.iter().find(|(_, end)| place < *end).map(|(pool, _)| pool)
    }
}

/// A number below `sum`, in proportion to `hash`, so that it hardly moves with the sum.
fn scaled(hash: u64, sum: u64) -> u64 {
    let product = u128::from(hash) * u128::from(sum);
    u64::try_from(product >> 64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use fastrand::Rng;
    use proptest::prelude::*;

    use super::*;

    const DRAWS: u64 = 100_000;

    fn split(shares: &[(&'static str, u32)]) -> Split<&'static str> {
        Split::new(shares.iter().copied(), None)
    }

    /// How many of so many go to each.
    fn counts<'a>(picks: impl Iterator<Item = Option<&'a &'static str>>) -> BTreeMap<&'static str, u64> {
        let mut counts = BTreeMap::new();
        picks.for_each(|pool| *counts.entry(*pool.unwrap()).or_default() += 1);
        counts
    }

    /// Whether each count is within 2% of its share.
    #[track_caller]
    fn near(counts: &BTreeMap<&'static str, u64>, shares: &[(&'static str, f64)]) {
        assert_eq!(counts.len(), shares.len(), "{counts:?}");
        for (pool, share) in shares {
            let expected = share * DRAWS as f64;
            let count = counts[pool] as f64;
            assert!((count - expected).abs() <= expected * 0.02, "{pool} has {count}, not {expected}");
        }
    }

    /// What one request in the million is to get is drawn about so often: 2% of it is less than chance.
    #[test]
    fn each_is_drawn_as_often_as_its_weight_says() {
        let split = split(&[("chat", 80), ("none", 0), ("canary", 20)]);
        for seed in [1, 7, 2026] {
            let mut rng = Rng::with_seed(seed);
            let drawn = counts((0..DRAWS).map(|_| split.at(None, |sum| rng.u64(0..sum))));
            near(&drawn, &[("canary", 0.2), ("chat", 0.8)]);
        }
    }

    #[test]
    fn keys_are_spread_by_weight_and_stay() {
        let split = split(&[("canary", 1), ("chat", 4), ("none", 0)]);
        let of = |key: u64| {
            let key = XxHash3_64::oneshot(&key.to_be_bytes());
            split.at(Some(key), |_| panic!("nothing is drawn"))
        };
        near(&counts((0..DRAWS).map(of)), &[("canary", 0.2), ("chat", 0.8)]);
        assert!((0..1000).all(|key| of(key) == of(key)));
        // Others would move clients of every deployment.
        let canary: Vec<u64> = (0..20).filter(|key| of(*key) == Some(&"canary")).collect();
        assert_eq!(canary, [6, 10, 12, 17, 19]);
    }

    #[test]
    fn when_weights_change_only_that_part_moves() {
        let (before, after) =
            (split(&[("canary", 5), ("chat", 95)]), split(&[("canary", 20), ("chat", 180)]));
        let moved = (0..DRAWS).filter(|key| {
            let key = Some(XxHash3_64::oneshot(&key.to_be_bytes()));
            let [one, other] = [&before, &after].map(|split| *split.at(key, |_| 0).unwrap());
            assert!(one == other || (one, other) == ("chat", "canary"));
            one != other
        });
        let moved = moved.count() as f64 / DRAWS as f64;
        assert!((0.045..0.055).contains(&moved), "{moved}");
    }

    /// The keys of one pool must be any keys for the table of that pool.
    #[test]
    fn the_choice_of_a_pool_says_nothing_about_the_hash() {
        let split = split(&[("canary", 1), ("chat", 9)]);
        let keys = (0..DRAWS).map(|key| XxHash3_64::oneshot(&key.to_be_bytes()));
        let canary: Vec<u64> = keys.filter(|key| split.at(Some(*key), |_| 0) == Some(&"canary")).collect();
        for part in 0..4 {
            let [high, low] = [|key: u64| key >> 62, |key: u64| key % 4]
                .map(|of| canary.iter().filter(|key| of(**key) == part).count() as f64 / canary.len() as f64);
            assert!((0.23..0.27).contains(&high) && (0.23..0.27).contains(&low), "{part}: {high}, {low}");
        }
    }

    proptest! {
        #[test]
        fn only_what_has_a_weight_is_picked(
            weights in prop::collection::vec(0..1_000_000_u32, 0..8), key: Option<u64>, seed: u64,
        ) {
            let split = Split::new(weights.iter().copied().enumerate(), None);
            let picked = split.at(key, |sum| Rng::with_seed(seed).u64(0..sum));
            prop_assert_eq!(picked.is_some(), weights.iter().any(|weight| *weight > 0));
            prop_assert!(picked.is_none_or(|index| weights[*index] > 0));
        }
    }
}
