//! How old a tunnel may become, each one another age, so that a crowd that came together does not go together.

use std::time::Duration;

/// The age at which the tunnel of this `seed` is asked to go: `max_age`, less up to `jitter_percent` of it.
pub fn age(max_age: Duration, jitter_percent: u32, seed: u64) -> Duration {
    let share = fastrand::Rng::with_seed(seed).f64() * f64::from(jitter_percent.min(100)) / 100.0;
    max_age.mul_f64(1.0 - share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_spread_below_the_most() {
        let max_age = Duration::from_secs(1000);
        let ages: Vec<_> = (0..10_000).map(|seed| age(max_age, 20, seed).as_secs_f64()).collect();
        assert_eq!(ages[3], age(max_age, 20, 3).as_secs_f64());
        assert!(ages.iter().all(|age| (800.0..=1000.0).contains(age)));
        for tenth in 0..10 {
            let from = 800.0 + 20.0 * f64::from(tenth);
            let within = ages.iter().filter(|age| (from..from + 20.0).contains(age)).count();
            assert!((800..1200).contains(&within), "{within} from {from}");
        }
        assert_eq!(age(max_age, 0, 3), max_age);
        assert!(age(Duration::MAX, 100, 3) <= Duration::MAX);
    }
}
