//! What paces those that come faster than they may: it lets so many through, others wait for their turn or are refused.
//!
//! Those that wait stand in a line. Only the first of them has taken its turn, and gives it back if it leaves before; the
//! others have taken nothing. So who leaves costs nobody anything, and how long one would have to wait is told by those that
//! still do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep, timeout};

use crate::config::HandshakeRate;

/// By how much a turn may come later than it was told: timers are late, and so are workers.
const LATE_MAX: Duration = Duration::from_secs(1);

/// A rate, and how many have come.
#[derive(Clone, Debug)]
pub struct Pace {
    /// How fast they may.
    pub words: HandshakeRate,
    /// The same in all generations.
    pub bucket: Arc<Bucket>,
}

/// How many have come, and who waits. Shared by all workers. Those that wait are at most as many as come within
/// [`HandshakeRate::wait`] at the rate.
#[derive(Debug)]
pub struct Bucket {
    beginning: Instant,
    /// What [`Rate::take`](crate::proto::rate::Rate::take) keeps of those that had their turn, and of the first in line.
    until: AtomicU64,
    /// Those behind the first.
    waiting: AtomicU64,
    /// Whose it is stands first. They get it in the order in which they came, and it guards nothing.
    first: Semaphore,
}

impl Default for Bucket {
    fn default() -> Bucket {
        let (until, waiting) = Default::default();
        Bucket { beginning: Instant::now(), until, waiting, first: Semaphore::new(1) }
    }
}

impl Bucket {
    /// Lets one through, at once (`None`) or when it is its turn.
    ///
    /// # Errors
    /// How long it would have to wait, when that is longer than [`HandshakeRate::wait`].
    pub fn take(&self, words: &HandshakeRate) -> Result<Option<Turn<'_>>, Duration> {
        let before = self.waiting.fetch_add(1, Relaxed);
        let turn = Turn { bucket: self, words: *words, state: State::Waits };
        if before == 0 && self.advance(words, 0).is_ok() {
            return Ok(None);
        }
        let (until, patience) = (self.until.load(Relaxed), nanoseconds(words.wait));
        let all = before.saturating_add(1);
        words.rate.take(until, self.now(), all, patience).map_err(Duration::from_nanos)?;
        Ok(Some(turn))
    }

    /// Takes one turn; in how many nanoseconds it comes.
    fn advance(&self, words: &HandshakeRate, patience: u64) -> Result<u64, u64> {
        let now = self.now();
        let mut before = self.until.load(Relaxed);
        loop {
            let taken = words.rate.take(before, now, 1, patience)?;
            match self.until.compare_exchange_weak(before, taken.until, Relaxed, Relaxed) {
                Ok(_) => return Ok(taken.wait),
                Err(other) => before = other,
            }
        }
    }

    fn now(&self) -> u64 {
        nanoseconds(self.beginning.elapsed())
    }
}

/// A place in the line, until it is dropped.
#[derive(Debug)]
pub struct Turn<'b> {
    bucket: &'b Bucket,
    words: HandshakeRate,
    state: State<'b>,
}

#[derive(Debug)]
enum State<'b> {
    Waits,
    /// Its turn comes at this time.
    First {
        due: u64,
        _permit: Option<SemaphorePermit<'b>>,
    },
    /// It has had its turn.
    Over,
}

impl Turn<'_> {
    /// Waits for it.
    ///
    /// # Errors
    /// How long it may wait, when it did: others before it had more time, by the words of another generation.
    pub async fn wait(mut self) -> Result<(), Duration> {
        let (bucket, patience) = (self.bucket, self.words.wait);
        let turn = async {
            // It is never closed.
            let permit = bucket.first.acquire().await.ok();
            let wait = bucket.advance(&self.words, u64::MAX).unwrap_or_default();
            bucket.waiting.fetch_sub(1, Relaxed);
            self.state = State::First { due: bucket.now().saturating_add(wait), _permit: permit };
            sleep(Duration::from_nanos(wait)).await;
            self.state = State::Over;
        };
        timeout(patience.saturating_add(LATE_MAX), turn).await.map_err(|_| patience)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let Turn { bucket, words, state } = self;
        match state {
            State::Waits => {
                bucket.waiting.fetch_sub(1, Relaxed);
            }
            // The next one is not first before this is over.
            State::First { due, .. } if bucket.now() < *due => {
                let give_back = |until| Some(words.rate.give_back(until, 1));
                let _ = bucket.until.fetch_update(Relaxed, Relaxed, give_back);
            }
            State::First { .. } | State::Over => {}
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use tokio::task::unconstrained;

    use super::*;
    use crate::proto::rate::Rate;

    const HOUR: Duration = Duration::from_secs(3600);

    fn words(per_second: u64, wait: Duration) -> HandshakeRate {
        HandshakeRate { rate: Rate::new(per_second, 1), wait }
    }

    fn looks(turn: Pin<&mut impl Future>) -> bool {
        // In the one poll of a test there are more than tokio would let through.
        pin!(unconstrained(turn)).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    fn told(turn: Result<Option<Turn<'_>>, Duration>) -> Duration {
        turn.expect_err("it would have to wait for long")
    }

    #[tokio::test]
    async fn who_leaves_the_line_costs_nobody_anything() {
        let (bucket, words) = (Bucket::default(), words(1, HOUR));
        let hasty = HandshakeRate { wait: Duration::ZERO, ..words };
        assert!(bucket.take(&words).unwrap().is_none());
        for _ in 0..3 {
            let mut turns: Vec<_> =
                (0..100).map(|_| Box::pin(bucket.take(&words).unwrap().unwrap().wait())).collect();
            assert!(!turns.iter_mut().any(|turn| looks(turn.as_mut())));
            let wait = told(bucket.take(&hasty));
            assert!(wait <= Duration::from_secs(101) && wait > Duration::from_secs(90), "{wait:?}");
            // From the middle, and the first.
            turns.drain(20..60);
            drop(turns.remove(0));
            assert!(!turns.iter_mut().any(|turn| looks(turn.as_mut())));
            let wait = told(bucket.take(&hasty));
            assert!(wait <= Duration::from_secs(60) && wait > Duration::from_secs(49), "{wait:?}");
        }
        let wait = told(bucket.take(&hasty));
        assert!(wait <= Duration::from_secs(1), "{wait:?}");
    }

    #[tokio::test]
    async fn they_have_their_turns_in_order_and_at_the_rate() {
        let (bucket, words) = (Bucket::default(), words(200, HOUR));
        let begun = Instant::now();
        assert!(bucket.take(&words).unwrap().is_none());
        let turns: Vec<_> = (0..20).map(|_| bucket.take(&words).unwrap().unwrap()).collect();
        let mut waits: Vec<_> = turns.into_iter().map(|turn| Box::pin(turn.wait())).collect();
        let mut rest = &mut waits[..];
        for over in 1_u32.. {
            let Some((first, others)) = rest.split_first_mut() else { break };
            let is_over = looks(first.as_mut());
            assert!(!others.iter_mut().any(|turn| looks(turn.as_mut())));
            if !is_over {
                first.await.unwrap();
            }
            assert!(begun.elapsed() >= over * Duration::from_millis(5), "{over} {:?}", begun.elapsed());
            rest = others;
        }
        assert_eq!(bucket.waiting.load(Relaxed), 0);
    }

    /// The line of another generation was longer than this one has patience for.
    #[tokio::test]
    async fn nobody_waits_for_ever() {
        let (bucket, slow) = (Bucket::default(), words(1, HOUR));
        let hasty = words(1_000_000, Duration::from_millis(1));
        assert!(bucket.take(&slow).unwrap().is_none());
        let mut first = pin!(bucket.take(&slow).unwrap().unwrap().wait());
        let mut second = pin!(bucket.take(&slow).unwrap().unwrap().wait());
        assert!(!looks(first.as_mut()) && !looks(second.as_mut()));
        // By its own words it would have its turn soon.
        bucket.until.store(0, Relaxed);
        let turn = bucket.take(&hasty).unwrap().unwrap();
        assert_eq!(turn.wait().await, Err(Duration::from_millis(1)));
        assert_eq!(second.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Pending);
    }
}
