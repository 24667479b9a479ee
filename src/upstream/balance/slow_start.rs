//! Slow start: a backend that has just become available gets a share that grows, where the others' load would otherwise
//! send everybody who comes next to it.

use std::cell::OnceCell;
use std::time::{Duration, Instant};

use crate::upstream::backend::Backend;

/// A share that has not to grow.
pub const FULL: u64 = 1_000;
/// What a share begins with.
const FIRST: u64 = FULL / 10;

/// The shares during one choice.
pub struct Shares {
    /// How long a share grows; `None` lets all begin with the full one.
    time: Option<Duration>,
    /// Asked only where somebody grows.
    now: OnceCell<Instant>,
}

impl Shares {
    /// With shares that grow for `time`.
    pub fn new(time: Option<Duration>) -> Shares {
        Shares { time, now: OnceCell::new() }
    }

    /// The share of `backend` now, in thousandths.
    pub fn of(&self, backend: &Backend) -> u64 {
        let Some(time) = self.time else { return FULL };
        if !backend.standing.is_risen() {
            return FULL;
        }
        let now = *self.now.get_or_init(Instant::now);
        let share = share(backend.standing.age(now), time);
        if share == FULL {
            backend.standing.settle();
        }
        share
    }
}

/// After `age`, of a share that grows for `time`: evenly, from a tenth, so that the first client need not wait.
fn share(age: Duration, time: Duration) -> u64 {
    if age >= time {
        return FULL;
    }
    // Below 1,000, as the age is below the time.
    let part = age.as_nanos() * u128::from(FULL) / time.as_nanos().max(1);
    u64::try_from(part).unwrap_or(FULL).max(FIRST)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TIME: Duration = Duration::from_secs(30);

    #[test]
    fn a_share_grows_from_a_tenth_to_the_whole() {
        for (seconds, expected) in [(0, 100), (1, 100), (3, 100), (6, 200), (15, 500), (29, 966), (30, 1_000)]
        {
            assert_eq!(share(Duration::from_secs(seconds), TIME), expected, "after {seconds} s");
        }
        assert_eq!(share(Duration::MAX, TIME), FULL);
        assert_eq!(share(Duration::ZERO, Duration::ZERO), FULL);
    }

    proptest! {
        #[test]
        fn it_never_shrinks(age in 0..40_000_u64, more in 0..40_000_u64) {
            let share = |age| share(Duration::from_millis(age), TIME);
            prop_assert!(share(age) <= share(age + more));
            prop_assert!((FIRST..=FULL).contains(&share(age)));
        }
    }
}
