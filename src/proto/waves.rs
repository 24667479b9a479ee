//! When many are to go: who goes when, so that those who come back do not come all at once.
//!
//! A [`Wave`] spreads its members over a window, each at a random place in a share of its own; a [`Pace`] holds them to a
//! rate, over all waves that run at once. The rate beats the window: a wave that is too large for it takes longer. For some
//! few a short window is [`enough`]. All times are nanoseconds since any beginning; they saturate.

/// So many clients a second are no burden for whoever they come back to.
const GENTLE_PER_SECOND: u64 = 10;

/// A window in which `count` of them go gently.
pub fn enough(count: u64) -> u64 {
    count.saturating_mul(1_000_000_000 / GENTLE_PER_SECOND)
}

/// Members of a window, in the order in which they go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wave {
    count: u64,
    seed: u64,
    window: u64,
}

/// How soon the next one may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Between two of them.
    gap: u64,
    next: u64,
}

impl Wave {
    /// `count` of them, spread over `window`; the same `seed` gives the same slots.
    pub fn new(count: u64, seed: u64, window: u64) -> Wave {
        Wave { count, seed, window }
    }

    /// When the member `index` goes, from 0 to the window: `(index + u) * window / count`, where `u` below 1 is drawn by lot.
    pub fn slot(&self, index: u64) -> u64 {
        let (count, window) = (u128::from(self.count.max(1)), u128::from(self.window));
        let begin = u128::from(index) * window / count;
        let jitter = u128::from(draw(self.seed, index)) * window / (count << u32::BITS);
        u64::try_from(begin + jitter).map_or(self.window, |slot| slot.min(self.window))
    }

    /// When each of them goes, in their order.
    pub fn slots(self) -> impl Iterator<Item = u64> {
        (0..self.count).map(move |index| self.slot(index))
    }
}

impl Pace {
    /// At most `per_second` in any second; `None` and 0 are any number.
    pub fn new(per_second: Option<u32>) -> Pace {
        let gap =
            per_second.filter(|rate| *rate > 0).map_or(0, |rate| 1_000_000_000_u64.div_ceil(rate.into()));
        Pace { gap, next: 0 }
    }

    /// The same, at another rate from the next one on.
    pub fn at(self, per_second: Option<u32>) -> Pace {
        Pace { next: self.next, ..Pace::new(per_second) }
    }

    /// When one may go whose slot is `slot`.
    pub fn turn(&self, slot: u64) -> u64 {
        slot.max(self.next)
    }

    /// So many have gone at `at`.
    pub fn note(&mut self, at: u64, amount: u64) {
        self.next = self.next.max(at.saturating_add(self.gap.saturating_mul(amount)));
    }
}

/// 32 bits that look like chance (splitmix64, by Sebastiano Vigna).
fn draw(seed: u64, index: u64) -> u32 {
    let mut mixed = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let [a, b, c, d, ..] = (mixed ^ (mixed >> 31)).to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// When each goes, of waves that begin at these times and run at once.
    fn run(waves: &[(u64, Wave)], per_second: Option<u32>) -> Vec<u64> {
        let mut slots: Vec<_> =
            waves.iter().flat_map(|(begin, wave)| wave.slots().map(move |slot| begin + slot)).collect();
        slots.sort_unstable();
        let mut pace = Pace::new(per_second);
        let go = |slot| {
            let at = pace.turn(slot);
            pace.note(at, 1);
            at
        };
        slots.into_iter().map(go).collect()
    }

    #[test]
    fn none_one_and_no_window() {
        assert_eq!(Wave::new(0, 1, SECOND).slots().count(), 0);
        let [only] = *Wave::new(1, 1, SECOND).slots().collect::<Vec<_>>() else { panic!("one") };
        assert!(only < SECOND);
        assert_eq!(Wave::new(5, 1, 0).slots().collect::<Vec<_>>(), [0; 5]);
        assert_eq!(run(&[(0, Wave::new(3, 1, 0))], Some(10)), [0, SECOND / 10, SECOND / 5]);
        assert_eq!(run(&[(0, Wave::new(3, 1, 0))], Some(0)), [0; 3]);
    }

    #[test]
    fn what_is_immense_does_not_overflow() {
        let wave = Wave::new(u64::MAX, u64::MAX, u64::MAX);
        assert!(wave.slot(0) <= 1 && wave.slot(u64::MAX - 1) >= u64::MAX - 2);
        assert_eq!(Wave::new(0, 0, u64::MAX).slot(u64::MAX), u64::MAX);
        let mut pace = Pace::new(Some(1));
        pace.note(u64::MAX - 1, u64::MAX);
        assert_eq!(pace.turn(0), u64::MAX);
        assert_eq!(enough(u64::MAX), u64::MAX);
    }

    #[test]
    fn many_go_together_and_the_rest_waits() {
        let mut pace = Pace::new(Some(100));
        pace.note(SECOND, 50);
        assert_eq!(pace.turn(SECOND), SECOND + SECOND / 2);
        // Another rate holds from the next one on.
        let mut pace = pace.at(None);
        assert_eq!(pace.turn(SECOND), SECOND + SECOND / 2);
        pace.note(SECOND + SECOND / 2, 1);
        assert_eq!(pace.turn(SECOND), SECOND + SECOND / 2);
    }

    proptest! {
        #[test]
        fn slots_are_in_order_within_the_window_and_the_same_again(
            count in 0..3_000_u64, seed: u64, window in 0..100 * SECOND,
        ) {
            let wave = Wave::new(count, seed, window);
            let slots: Vec<_> = wave.slots().collect();
            prop_assert!(slots.is_sorted());
            prop_assert!(slots.iter().all(|slot| *slot <= window));
            prop_assert_eq!(&slots, &Wave::new(count, seed, window).slots().collect::<Vec<_>>());
        }

        /// Each tenth of the window has its tenth of them, and where in its share one goes is not the same for all.
        #[test]
        fn the_whole_window_is_used(count in 10..3_000_u64, seed: u64, window in SECOND..100 * SECOND) {
            let slots: Vec<_> = Wave::new(count, seed, window).slots().collect();
            for tenth in 0..10 {
                let span = window * tenth / 10..window * (tenth + 1) / 10;
                let there = slots.iter().filter(|slot| span.contains(slot)).count() as u64;
                prop_assert!(there.abs_diff(count / 10) <= 2, "{there} of {count} in tenth {tenth}");
            }
            let places: std::collections::BTreeSet<_> =
                slots.iter().enumerate().map(|(index, slot)| slot - index as u64 * window / count).collect();
            prop_assert!(places.len() as u64 > count / 2);
        }

        /// However many waves run at once: nobody goes before its slot, and no second sees more than the rate.
        #[test]
        fn the_rate_holds_over_all_waves(
            waves in prop::collection::vec((0..20 * SECOND, 0..300_u64, any::<u64>(), 0..10 * SECOND), 1..5),
            per_second in 1..500_u32,
        ) {
            let waves: Vec<_> = waves
                .into_iter()
                .map(|(begin, count, seed, window)| (begin, Wave::new(count, seed, window)))
                .collect();
            let (wanted, gone) = (run(&waves, None), run(&waves, Some(per_second)));
            prop_assert!(gone.is_sorted());
            prop_assert!(wanted.iter().zip(&gone).all(|(slot, at)| slot <= at));
            for (index, first) in gone.iter().enumerate() {
                let within = gone[index..].iter().take_while(|at| **at < first + SECOND).count();
                prop_assert!(within <= per_second as usize, "{within} in a second");
            }
        }

        /// Each has a tenth of a second, so that any second touches eleven of them at most.
        #[test]
        fn few_go_gently_in_a_window_that_is_enough(count in 1..500_u64, seed: u64) {
            let slots: Vec<_> = Wave::new(count, seed, enough(count)).slots().collect();
            prop_assert!(slots.iter().all(|slot| *slot <= count * SECOND / 10));
            for (index, first) in slots.iter().enumerate() {
                let within = slots[index..].iter().take_while(|slot| **slot < first + SECOND).count();
                prop_assert!(within <= 11, "{within} in a second");
            }
        }

        #[test]
        fn where_the_rate_allows_it_the_window_holds(count in 1..2_000_u64, seed: u64) {
            let window = 10 * SECOND;
            // The first share may be empty until its end, so that two go right behind each other.
            let rate = u32::try_from(count / 5 + 2).expect("a small number");
            let last = run(&[(0, Wave::new(count, seed, window))], Some(rate)).last().copied();
            prop_assert!(last.is_some_and(|last| last <= window + SECOND / u64::from(rate)), "{last:?}");
        }
    }
}
