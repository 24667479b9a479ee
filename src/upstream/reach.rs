//! What is remembered of a backend that could not be reached: for a short time it is chosen only where nobody else can be.
//!
//! The time is a second after the first failure, doubles with each one that follows, and is never more than ten. When it is
//! over one request tries the backend, not all that come; the first connection that comes about ends it. Unlike an
//! ejection this asks for no rules: to ask the next one is what a request does that could not reach this one, and others
//! need not wait for a silent backend to find out the same.
//!
//! Pure: callers say what the time is, in milliseconds.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// After the first failure.
const TIME_MS_MIN: u64 = 1_000;
/// However many there were. Also, who tries the backend has so long to find out, until another one may.
const TIME_MS_MAX: u64 = 10_000;

const FAILURES_BITS: u32 = 8;
const FAILURES_MAX: u64 = (1 << FAILURES_BITS) - 1;

/// Whether one backend could be reached of late.
#[derive(Debug, Default)]
pub struct Reach {
    /// When the last failure was known, and in the lowest bits how many there were in a row; 0 is none.
    failed: AtomicU64,
    /// Until then nobody tries it who has another.
    until_ms: AtomicU64,
}

impl Reach {
    /// A connection that was begun then has just failed. Says nothing new if another had failed meanwhile: of many that were
    /// on their way at once, each would count for a time that none of them has waited for.
    pub fn fail(&self, begun_ms: u64, now_ms: u64) {
        let next = |before: u64| {
            let (last_ms, failures) = (before >> FAILURES_BITS, before & FAILURES_MAX);
            let is_new = failures == 0 || begun_ms > last_ms;
            is_new.then(|| now_ms << FAILURES_BITS | (failures + 1).min(FAILURES_MAX))
        };
        if let Ok(before) = self.failed.fetch_update(Relaxed, Relaxed, next) {
            self.until_ms.store(now_ms.saturating_add(time_ms(before & FAILURES_MAX)), Relaxed);
        }
    }

    /// A connection came about. How many had failed in a row before.
    pub fn succeed(&self) -> u64 {
        self.failed.swap(0, Relaxed) & FAILURES_MAX
    }

    /// Whether its time is over.
    pub fn is_due(&self, now_ms: u64) -> bool {
        self.until_ms.load(Relaxed) <= now_ms
    }

    /// Whoever would be the one to try it asks whether he is: of many that find it due one is.
    pub fn claim(&self, now_ms: u64) -> bool {
        let until = self.until_ms.load(Relaxed);
        let claimed = now_ms.saturating_add(TIME_MS_MAX);
        until <= now_ms && self.until_ms.compare_exchange(until, claimed, Relaxed, Relaxed).is_ok()
    }

    /// Its time is over.
    #[cfg(test)]
    pub fn end(&self) {
        self.until_ms.store(0, Relaxed);
    }
}

/// How long a backend is left alone that had failed so often before.
fn time_ms(failures: u64) -> u64 {
    let doubled = 1_u64.checked_shl(u32::try_from(failures).unwrap_or(u32::MAX)).unwrap_or(u64::MAX);
    TIME_MS_MIN.saturating_mul(doubled).min(TIME_MS_MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    #[test]
    fn the_time_doubles_up_to_the_most_and_begins_anew_after_a_success() {
        let reach = Reach::default();
        assert!(reach.is_due(0));
        for _ in 0..2 {
            let mut now = 5;
            let mut times = Vec::new();
            for _ in 0..300 {
                reach.fail(now, now);
                let begun = now;
                while !reach.is_due(now) {
                    now += 1_000;
                }
                times.push((now - begun) / 1_000);
            }
            assert_eq!(times[..6], [1, 2, 4, 8, 10, 10]);
            assert!(times[6..].iter().all(|time| *time == 10));
            assert_eq!(reach.succeed(), FAILURES_MAX);
            assert_eq!(reach.succeed(), 0);
        }
    }

    #[test]
    fn those_that_were_on_their_way_together_fail_once() {
        let reach = Reach::default();
        for now in 2_000..2_100 {
            reach.fail(now - 1_900, now);
        }
        assert!(!reach.is_due(2_999) && reach.is_due(3_000));
        assert_eq!(reach.succeed(), 1);
    }

    #[test]
    fn one_tries_and_if_he_never_tells_another_one_does() {
        let reach = Reach::default();
        reach.fail(0, 1);
        assert!(!reach.claim(1_000));
        assert!(reach.claim(1_001) && !reach.is_due(1_001) && !reach.claim(1_001));
        assert!(!reach.is_due(11_000) && reach.is_due(11_001));
        reach.fail(1_001, 3_000);
        assert!(!reach.is_due(4_999) && reach.is_due(5_000));
    }

    #[test]
    fn of_many_threads_one_tries() {
        const THREADS: usize = 8;
        for round in 0..200 {
            let reach = Reach::default();
            reach.fail(0, 1);
            let barrier = Barrier::new(THREADS);
            let now = 2_000 + round;
            let claim = || {
                barrier.wait();
                reach.claim(now)
            };
            let tried = thread::scope(|scope| {
                let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(claim)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).filter(|tried| *tried).count()
            });
            assert_eq!(tried, 1);
        }
    }
}
