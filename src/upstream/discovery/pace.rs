//! When to look again. Records hold for their time to live, within bounds, and a little longer: a cache on the way that is
//! asked a moment too early has nothing new, and many proxies should not ask in step.

use std::time::Duration;

use crate::config::discovery::Lookup;

/// After faults, the longest rest.
const FAULT_REST_MAX: Duration = Duration::from_secs(30);

/// How far the next look is away. `random` is from 0 to 1.
pub fn after_answer(ttl: Duration, lookup: &Lookup, random: f64) -> Duration {
    spread(ttl.clamp(lookup.ttl_min, lookup.ttl_max), random)
}

/// The same after so many looks without an answer in a row, at least one: longer and longer, up to half a minute.
pub fn after_faults(count: u32, lookup: &Lookup, random: f64) -> Duration {
    let longest = FAULT_REST_MAX.clamp(lookup.ttl_min, lookup.ttl_max);
    let doubled = 1_u32.checked_shl(count.saturating_sub(1)).unwrap_or(u32::MAX);
    spread(lookup.ttl_min.saturating_mul(doubled).min(longest), random)
}

/// Up to a tenth more.
fn spread(rest: Duration, random: f64) -> Duration {
    rest.mul_f64(1.0 + 0.1 * random)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    const BOUNDS: Lookup =
        Lookup { resolvers: Vec::new(), ttl_min: seconds(2), ttl_max: seconds(60), timeout: seconds(5) };

    #[test]
    fn an_answer_holds_for_its_time_within_the_bounds() {
        for (ttl, rest) in [(0, 2), (1, 2), (2, 2), (30, 30), (60, 60), (61, 60), (86_400, 60)] {
            assert_eq!(after_answer(seconds(ttl), &BOUNDS, 0.0), seconds(rest));
            let latest = after_answer(seconds(ttl), &BOUNDS, 1.0);
            assert!(latest >= seconds(rest) && latest <= seconds(rest).mul_f64(1.11));
        }
    }

    #[test]
    fn faults_are_followed_by_longer_rests_up_to_a_bound() {
        let rests: Vec<u64> = (1..8).map(|count| after_faults(count, &BOUNDS, 0.0).as_secs()).collect();
        assert_eq!(rests, [2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(after_faults(u32::MAX, &BOUNDS, 0.0), seconds(30));
        let slow = Lookup { ttl_min: seconds(90), ttl_max: seconds(120), ..BOUNDS };
        assert_eq!(after_faults(1, &slow, 0.0), seconds(90));
        assert_eq!(after_faults(9, &slow, 0.0), seconds(90));
        let quick = Lookup { ttl_min: seconds(1), ttl_max: seconds(3), ..BOUNDS };
        assert_eq!(after_faults(9, &quick, 0.0), seconds(3));
    }
}
