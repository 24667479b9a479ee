//! How many retries a pool allows: a part of what was asked of it of late, and a few a second, so that requests that fail
//! do not multiply the load of a pool that is sick. Pure: callers say what the time is.
//!
//! The window slides by the second. Each second has one atomic, in which its number, its requests and its retries stand
//! together: no lock, and nothing that could be read torn. Two retries that ask at once may each take what is left for
//! one, so the bound is exceeded by no more than there are workers.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use crate::config::Retry;

/// Seconds that are looked back on, the one that has begun among them.
pub const WINDOW_SECONDS: u64 = 10;
const SLOTS: usize = 10;

const RETRIES_BITS: u32 = 20;
const REQUESTS_BITS: u32 = 24;
const RETRIES_MAX: u64 = (1 << RETRIES_BITS) - 1;
const REQUESTS_MAX: u64 = (1 << REQUESTS_BITS) - 1;
/// Of the number of a second; a slot of the same bits is twelve days old, and its counts are forgiven.
const NUMBER_MAX: u64 = (1 << (u64::BITS - RETRIES_BITS - REQUESTS_BITS)) - 1;

/// Requests and retries of the last seconds.
#[derive(Debug)]
pub struct Budget {
    begun: Instant,
    seconds: [AtomicU64; SLOTS],
}

/// What was asked in one second.
#[derive(Clone, Copy, Default)]
struct Second {
    number: u64,
    requests: u64,
    retries: u64,
}

impl Budget {
    /// One of which nothing is spent; times before `begun` count as it.
    pub fn new(begun: Instant) -> Budget {
        Budget { begun, seconds: array::from_fn(|_| AtomicU64::new(0)) }
    }

    /// A request begins; its first try is no retry.
    pub fn request(&self, now: Instant) {
        self.add(self.second(now), 1, 0);
    }

    /// Takes a retry out of it, if there is one left.
    pub fn take(&self, rules: &Retry, now: Instant) -> bool {
        let second = self.second(now);
        let sum = self.sum(second);
        let most = sum.requests * u64::from(rules.budget)
            + u64::from(rules.budget_per_second) * WINDOW_SECONDS * 100;
        let is_left = (sum.retries + 1) * 100 <= most;
        if is_left {
            self.add(second, 0, 1);
        }
        is_left
    }

    fn second(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.begun).as_secs()
    }

    fn slot(&self, second: u64) -> Option<&AtomicU64> {
        self.seconds.get(usize::try_from(second % WINDOW_SECONDS).ok()?)
    }

    fn add(&self, second: u64, requests: u64, retries: u64) {
        let Some(slot) = self.slot(second) else { return };
        let number = second & NUMBER_MAX;
        let _ = slot.fetch_update(Relaxed, Relaxed, |packed| {
            let before = Some(Second::unpack(packed)).filter(|before| before.number == number);
            let Second { requests: asked, retries: retried, .. } = before.unwrap_or_default();
            Some(Second { number, requests: asked + requests, retries: retried + retries }.pack())
        });
    }

    fn sum(&self, second: u64) -> Second {
        let mut sum = Second::default();
        for second in second.saturating_sub(WINDOW_SECONDS - 1)..=second {
            let Some(slot) = self.slot(second) else { continue };
            let found = Second::unpack(slot.load(Relaxed));
            if found.number == second & NUMBER_MAX {
                sum.requests += found.requests;
                sum.retries += found.retries;
            }
        }
        sum
    }
}

impl Second {
    fn unpack(packed: u64) -> Second {
        Second {
            number: packed >> (RETRIES_BITS + REQUESTS_BITS),
            requests: packed >> RETRIES_BITS & REQUESTS_MAX,
            retries: packed & RETRIES_MAX,
        }
    }

    fn pack(self) -> u64 {
        let (requests, retries) = (self.requests.min(REQUESTS_MAX), self.retries.min(RETRIES_MAX));
        self.number << (RETRIES_BITS + REQUESTS_BITS) | requests << RETRIES_BITS | retries
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::upstream::retry::tests::rules;

    fn budget(percent: u32, per_second: u32) -> (Budget, Retry, Instant) {
        let start = Instant::now();
        (Budget::new(start), Retry { budget: percent, budget_per_second: per_second, ..rules() }, start)
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn taken(budget: &Budget, rules: &Retry, now: Instant) -> usize {
        (0..10_000).take_while(|_| budget.take(rules, now)).count()
    }

    #[test]
    fn it_is_a_part_of_the_requests_and_a_few_a_second() {
        for (percent, per_second, requests, most) in [
            (20, 0, 100, 20),
            (20, 0, 4, 0),
            (20, 0, 5, 1),
            (0, 3, 100, 30),
            (20, 3, 100, 50),
            (0, 0, 100, 0),
            (300, 0, 7, 21),
        ] {
            let (budget, rules, start) = budget(percent, per_second);
            (0..requests).for_each(|_| budget.request(start));
            assert_eq!(
                taken(&budget, &rules, start),
                most,
                "{percent}% of {requests} and {per_second} a second"
            );
        }
    }

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let (budget, rules, start) = budget(50, 0);
        (0..100).for_each(|_| budget.request(start));
        assert_eq!(taken(&budget, &rules, start + seconds(5)), 50);
        assert_eq!(taken(&budget, &rules, start + seconds(9)), 0);
        (0..10).for_each(|_| budget.request(start + seconds(9)));
        // 110 requests and 50 retries, then 10 and 50, then 10 alone.
        assert_eq!(taken(&budget, &rules, start + seconds(9)), 5);
        assert_eq!(taken(&budget, &rules, start + seconds(10)), 0);
        assert_eq!(taken(&budget, &rules, start + seconds(14)), 0);
        assert_eq!(taken(&budget, &rules, start + seconds(15)), 0);
        assert_eq!(taken(&budget, &rules, start + seconds(18)), 0);
        (0..10).for_each(|_| budget.request(start + seconds(18)));
        assert_eq!(taken(&budget, &rules, start + seconds(18)), 5);
        assert_eq!(taken(&budget, &rules, start + seconds(1_000)), 0);
    }

    #[test]
    fn counts_that_find_no_room_stay_at_their_most() {
        let second = Second { number: 5, requests: REQUESTS_MAX + 1, retries: RETRIES_MAX + 1 };
        let Second { number, requests, retries } = Second::unpack(second.pack());
        assert_eq!((number, requests, retries), (5, REQUESTS_MAX, RETRIES_MAX));
    }

    proptest! {
        /// Whatever comes when: in no window are there more retries than its requests and its seconds allow.
        #[test]
        fn it_is_never_exceeded(
            percent in 0..=300_u32,
            per_second in 0..5_u32,
            steps in prop::collection::vec((0..4_u64, 0..20_u64, 0..20_usize), 1..60),
        ) {
            let (budget, rules, start) = budget(percent, per_second);
            let mut now = 0;
            let (mut requests, mut retries) = (Vec::new(), Vec::new());
            for (pause, asked, wanted) in steps {
                now += pause;
                let at = start + seconds(now);
                (0..asked).for_each(|_| budget.request(at));
                requests.extend((0..asked).map(|_| now));
                for _ in 0..wanted {
                    if !budget.take(&rules, at) {
                        break;
                    }
                    retries.push(now);
                    let recent = |all: &[u64]| all.iter().filter(|at| **at + WINDOW_SECONDS > now).count() as u64;
                    let most = recent(&requests) * u64::from(percent) + u64::from(per_second) * WINDOW_SECONDS * 100;
                    prop_assert!(recent(&retries) * 100 <= most);
                }
            }
        }
    }
}
