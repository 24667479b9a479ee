//! Ways on which no port is left. The kernel looks at every port before it says so (milliseconds of a core), so who asked in
//! vain is remembered for a moment: else clients that try again and again would take the time of those who are well. Pure.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Where a connection comes from (`None`: the kernel chooses), and where it goes.
pub type Ends = (Option<IpAddr>, SocketAddr);

/// How long the kernel is not asked again.
const PAUSE: Duration = Duration::from_millis(100);
/// How many are remembered; of any more the kernel is asked each time.
const ENDS_MAX: usize = 64;

/// What was asked for in vain.
#[derive(Debug, Default)]
pub struct Spent {
    /// Whether there may be any. Nearly always there is none, and no lock is taken.
    any: AtomicBool,
    until: Mutex<Vec<(Ends, Instant)>>,
}

impl Spent {
    /// Whether no port was left between these a moment ago.
    pub fn has(&self, ends: Ends, now: Instant) -> bool {
        self.any.load(Relaxed) && self.left(now, |left| left.iter().any(|(spent, _)| *spent == ends))
    }

    /// No port is left between these now.
    pub fn add(&self, ends: Ends, now: Instant) {
        self.left(now, |left| {
            left.retain(|(spent, _)| *spent != ends);
            if left.len() < ENDS_MAX {
                left.push((ends, now + PAUSE));
            }
        });
    }

    fn left<T>(&self, now: Instant, look: impl FnOnce(&mut Vec<(Ends, Instant)>) -> T) -> T {
        let mut left = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        left.retain(|(_, until)| *until > now);
        let found = look(&mut left);
        self.any.store(!left.is_empty(), Relaxed);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(from: Option<&str>, port: u16) -> Ends {
        (from.map(|from| from.parse().unwrap()), SocketAddr::from(([10, 0, 0, 1], port)))
    }

    #[test]
    fn it_is_of_two_ends_and_for_a_moment() {
        let (spent, now) = (Spent::default(), Instant::now());
        let all = [ends(None, 1), ends(Some("10.0.0.2"), 1), ends(Some("10.0.0.3"), 1), ends(None, 2)];
        let known = |now| all.map(|ends| spent.has(ends, now));
        assert_eq!(known(now), [false; 4]);
        spent.add(all[1], now);
        spent.add(all[3], now + PAUSE / 2);
        assert_eq!(known(now + PAUSE / 2), [false, true, false, true]);
        assert_eq!(known(now + PAUSE), [false, false, false, true]);
        assert_eq!(known(now + 2 * PAUSE), [false; 4]);
        assert!(!spent.any.load(Relaxed));
        // Asked again in vain, it begins anew.
        spent.add(all[0], now);
        spent.add(all[0], now + PAUSE / 2);
        assert!(spent.has(all[0], now + PAUSE));
    }

    #[test]
    fn so_many_are_remembered_and_no_more() {
        let (spent, now) = (Spent::default(), Instant::now());
        for port in 0..200 {
            spent.add(ends(None, port), now);
        }
        assert_eq!((0..200).filter(|port| spent.has(ends(None, *port), now)).count(), ENDS_MAX);
        assert!(spent.until.lock().unwrap().capacity() <= ENDS_MAX);
    }
}
