//! The line of those who wait for a seat, where backends may carry so many tunnels and not more.
//!
//! There is one for each pool name, which outlives generations as backends do: whoever came first is served first, whatever
//! was reloaded meanwhile. Only the first in line looks for a seat; the others wait for their turn. A seat that becomes
//! free wakes the first, and so does everything else that may give one: a backend that comes up, becomes active, or may
//! carry more.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;

use super::pool::Pool;

/// The first in line looks again at the latest after this time.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Who waits, and in which order.
#[derive(Debug)]
pub struct Queue {
    waiting: AtomicUsize,
    /// One permit, which goes from one to the next in the order of asking.
    turn: Semaphore,
    changed: Notify,
    /// The pool as the newest generation has it.
    newest: Mutex<Weak<Pool>>,
}

impl Default for Queue {
    fn default() -> Queue {
        Queue {
            waiting: AtomicUsize::new(0),
            turn: Semaphore::new(1),
            changed: Notify::new(),
            newest: Mutex::default(),
        }
    }
}

impl Queue {
    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(SeqCst)
    }

    /// Waits in line, and at its head until `look` gives something; it is asked again whenever there may be a seat. `None`
    /// when `waiting_max` wait already. Who is dropped has left the line.
    pub async fn wait<T>(&self, waiting_max: usize, mut look: impl FnMut() -> Option<T>) -> Option<T> {
        let _waiter = self.join(waiting_max)?;
        // Never closed.
        let _turn = self.turn.acquire().await.ok()?;
        loop {
            // Listening begins before the look, so that no change falls between the two.
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(found) = look() {
                return Some(found);
            }
            // No event tells that an ejection is over.
            let _ = timeout(LOOK_EVERY, changed).await;
        }
    }

    /// There may be a seat: the first in line looks.
    pub fn wake(&self) {
        // Who joins counts first and looks then, who gives a seat free does so first and asks then: one sees the other.
        if self.waiting() > 0 {
            self.changed.notify_one();
        }
    }

    /// From now on who waits looks at the members of `pool`.
    pub fn renew(&self, pool: &Arc<Pool>) {
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(pool);
        self.wake();
    }

    /// The pool as the newest generation has it; `None` when that has none of this name.
    pub fn newest(&self) -> Option<Arc<Pool>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).upgrade()
    }

    fn join(&self, waiting_max: usize) -> Option<Waiter<'_>> {
        let more = |waiting| (waiting < waiting_max).then_some(waiting + 1);
        self.waiting.fetch_update(SeqCst, SeqCst, more).ok()?;
        Some(Waiter(self))
    }
}

/// A place in line.
struct Waiter<'a>(&'a Queue);

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, SeqCst);
    }
}
