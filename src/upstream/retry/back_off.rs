//! How long a request waits before it goes on to another backend. Pure.

use std::time::Duration;

use crate::config::Retry;

/// Full jitter: anything from nothing to a bound that doubles with each of the `retries` before this one, so that those who
/// failed together do not come back together. `seed` is from 0 to 1.
pub fn back_off(rules: &Retry, retries: u32, seed: f64) -> Duration {
    let doubled = 2_u32.saturating_pow(retries);
    rules.back_off.saturating_mul(doubled).min(rules.back_off_max).mul_f64(seed.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::upstream::retry::tests::rules;

    fn milliseconds(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn the_bound_doubles_up_to_the_most() {
        let rules = Retry { back_off: milliseconds(25), back_off_max: milliseconds(150), ..rules() };
        let longest: Vec<u128> = (0..5).map(|retries| back_off(&rules, retries, 1.0).as_millis()).collect();
        assert_eq!(longest, [25, 50, 100, 150, 150]);
        assert_eq!(back_off(&rules, 2, 0.5), milliseconds(50));
        assert_eq!(back_off(&rules, 2, 0.0), Duration::ZERO);
        let at_once = Retry { back_off: Duration::ZERO, ..rules };
        assert_eq!(back_off(&at_once, 3, 1.0), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn it_is_never_more_than_the_most(retries: u32, seed in 0.0..=1.0_f64, first in 0..10_000_u64, most in 0..10_000_u64) {
            let rules = Retry { back_off: milliseconds(first), back_off_max: milliseconds(most), ..rules() };
            prop_assert!(back_off(&rules, retries, seed) <= milliseconds(most));
        }
    }
}
