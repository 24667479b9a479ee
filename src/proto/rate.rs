//! How often something may happen: so often a second, and so often at once after a rest.
//!
//! A token bucket in the shape of the generic cell rate algorithm (ITU-T I.371): one number says until when all that was let
//! through so far lasts at the rate, and how far that may lie ahead of now is the burst. So nothing fills a bucket, and a
//! bucket is one word. Times are nanoseconds since any beginning; they saturate.

/// A rate and its burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// A second, at least one.
    per_second: u64,
    /// At once, after a rest.
    burst: u64,
}

/// One that was let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The number to keep for the next one.
    pub until: u64,
    /// How long it has to wait for its turn.
    pub wait: u64,
}

impl Rate {
    /// `per_second` a second, of which zero means one, and `burst` at once.
    pub fn new(per_second: u64, burst: u64) -> Rate {
        Rate { per_second: per_second.max(1), burst }
    }

    /// Lets `amount` through at `now`, after all that made `until` what it is (0 at the beginning), unless it would have to
    /// wait for longer than `patience`. Those that wait have their turns in the order in which they were let through. An
    /// `amount` over the burst waits even after a rest.
    ///
    /// # Errors
    /// How long it would have to wait; nothing is taken.
    pub fn take(&self, until: u64, now: u64, amount: u64, patience: u64) -> Result<Taken, u64> {
        let until = until.max(now).saturating_add(self.lasts(amount));
        let wait = until.saturating_sub(now.saturating_add(self.lasts(self.burst)));
        if wait > patience { Err(wait) } else { Ok(Taken { until, wait }) }
    }

    /// What `until` is when `amount` has not been let through after all. Only for what was let through last: the turns of
    /// those behind it stay where they are.
    pub fn give_back(&self, until: u64, amount: u64) -> u64 {
        until.saturating_sub(self.lasts(amount))
    }

    /// How much may be let through at `now` without a wait, at least one.
    ///
    /// # Errors
    /// When there will be room again: for what a hundredth of a second brings, or for one.
    pub fn room(&self, until: u64, now: u64) -> Result<u64, u64> {
        let free = now.saturating_add(self.lasts(self.burst)).saturating_sub(until.max(now));
        let room = u128::from(free) * u128::from(self.per_second) / 1_000_000_000;
        match u64::try_from(room).unwrap_or(u64::MAX).min(self.burst) {
            0 => {
                let share = (self.per_second / 100).clamp(1, self.burst.max(1));
                let then = until.saturating_add(self.lasts(share)).saturating_sub(self.lasts(self.burst));
                Err(then.max(now).saturating_add(1))
            }
            room => Ok(room),
        }
    }

    /// How long `amount` lasts at the rate.
    fn lasts(&self, amount: u64) -> u64 {
        let nanoseconds = u128::from(amount) * 1_000_000_000 / u128::from(self.per_second);
        u64::try_from(nanoseconds).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_burst_passes_and_the_next_waits_for_its_turn() {
        let rate = Rate::new(10, 3);
        let mut until = 0;
        for wait in [0, 0, 0, SECOND / 10, SECOND / 5] {
            let taken = rate.take(until, 5 * SECOND, 1, SECOND).unwrap();
            assert_eq!(taken.wait, wait);
            until = taken.until;
        }
        assert_eq!(rate.take(until, 5 * SECOND, 1, SECOND / 5), Err(SECOND * 3 / 10));
        // What was refused has taken nothing, and time gives back no more than the burst.
        assert_eq!(rate.take(until, 6 * SECOND, 3, 0).map(|taken| taken.wait), Ok(0));
        assert_eq!(rate.take(until, 60 * SECOND, 4, 0), Err(SECOND / 10));
    }

    #[test]
    fn what_is_immense_waits_and_does_not_wrap() {
        let rate = Rate::new(1, u64::MAX);
        assert_eq!(rate.take(0, u64::MAX, u64::MAX, 0).map(|taken| taken.wait), Ok(0));
        assert_eq!(Rate::new(0, 0).take(u64::MAX, 0, u64::MAX, 0), Err(u64::MAX));
    }

    proptest! {
        /// However they come, in any span of time no more begin than the burst and what the span is worth.
        #[test]
        fn no_span_sees_more_than_the_burst_and_its_share(
            per_second in 1..2_000_u64,
            burst in 1..50_u64,
            patience in 0..SECOND,
            gaps in prop::collection::vec(0..SECOND / 50, 1..200),
        ) {
            let rate = Rate::new(per_second, burst);
            let (mut now, mut until) = (SECOND, 0);
            let mut begun: Vec<u64> = Vec::new();
            for gap in gaps {
                now += gap;
                if let Ok(taken) = rate.take(until, now, 1, patience) {
                    prop_assert!(taken.wait <= patience);
                    until = taken.until;
                    begun.push(now + taken.wait);
                }
            }
            prop_assert!(begun.is_sorted());
            for (index, first) in begun.iter().enumerate() {
                for (count, last) in begun[index..].iter().enumerate() {
                    // One for each quotient that was rounded down.
                    let span = u128::from(last - first) + count as u128 + 1;
                    let worth = span * u128::from(per_second) / u128::from(SECOND) + u128::from(burst) + 1;
                    prop_assert!(count as u128 <= worth, "{} in {span} ns", count + 1);
                }
            }
        }
    }
}
