//! What paces those that come faster than they may: it lets so many through, others wait for their turn or are refused.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use crate::config::HandshakeRate;

/// A rate, and how many have come.
#[derive(Clone, Debug)]
pub struct Pace {
    /// How fast they may.
    pub words: HandshakeRate,
    /// The same in all generations.
    pub bucket: Arc<Bucket>,
}

/// How many have come. Shared by all workers. Those that wait are as many as come within [`HandshakeRate::wait`] at the
/// rate; each is only a timer, and who leaves has had its turn.
#[derive(Debug, Default)]
pub struct Bucket(AtomicU64);

impl Bucket {
    /// Lets one through: it has its turn after this time.
    ///
    /// # Errors
    /// The same, when it is longer than [`HandshakeRate::wait`]; then it has none.
    pub fn take(&self, words: &HandshakeRate) -> Result<Duration, Duration> {
        static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let (now, patience) = (nanoseconds(BEGINNING.elapsed()), nanoseconds(words.wait));
        let mut before = self.0.load(Relaxed);
        loop {
            let taken = words.rate.take(before, now, 1, patience).map_err(Duration::from_nanos)?;
            match self.0.compare_exchange_weak(before, taken.until, Relaxed, Relaxed) {
                Ok(_) => return Ok(Duration::from_nanos(taken.wait)),
                Err(other) => before = other,
            }
        }
    }
}
