//! The life of the process, as everything long-lived sees it: its phase, and the permits that bound and count what is
//! alive.
//!
//! Stopping is told by one signal and counted by permits: when all permits are back, nothing is left.

pub mod bucket;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use tokio::sync::{Notify, watch};

/// Where the process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// New connections are welcome.
    Serving,
    /// About to stop: `/readyz` fails, so that those who ask send clients elsewhere; all else goes on.
    Leaving,
    /// Listeners are closed; what is open may end by itself.
    Draining,
}

/// Tells everyone the phase.
pub type PhaseSender = watch::Sender<Phase>;

/// Sees the phase change.
pub type PhaseReceiver = watch::Receiver<Phase>;

/// The first phase, and the way to the next.
pub fn phases() -> (PhaseSender, PhaseReceiver) {
    watch::channel(Phase::Serving)
}

/// Waits until the process is in `phase` or later. Also returns when the sender is gone: then the process is ending.
pub async fn reached(receiver: &mut PhaseReceiver, phase: Phase) {
    let _ = receiver.wait_for(|now| *now >= phase).await;
}

/// A bound on how many of something are alive at once, and their count. The bound may change at any time.
#[derive(Clone, Debug)]
pub struct Permits(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    used: AtomicUsize,
    max: AtomicUsize,
    /// Told when a permit comes back and when the bound changes.
    changed: Notify,
}

/// One of the bounded things is alive as long as this is.
#[derive(Debug)]
pub struct Permit(Arc<Shared>);

impl Permits {
    /// At most `max` at once.
    pub fn new(max: usize) -> Permits {
        let (used, max) = (AtomicUsize::new(0), AtomicUsize::new(max));
        Permits(Arc::new(Shared { used, max, changed: Notify::new() }))
    }

    /// The bound.
    pub fn max(&self) -> usize {
        self.0.max.load(SeqCst)
    }

    /// Changes the bound. Those over it stay alive; no new ones come before enough of them have ended.
    pub fn set_max(&self, max: usize) {
        self.0.max.store(max, SeqCst);
        self.0.changed.notify_waiters();
    }

    /// How many are alive.
    pub fn used(&self) -> usize {
        self.0.used.load(SeqCst)
    }

    /// One more, or `None` at the bound.
    pub fn take(&self) -> Option<Permit> {
        let max = self.max();
        let more = |used| (used < max).then_some(used + 1);
        self.0.used.fetch_update(SeqCst, SeqCst, more).ok()?;
        Some(Permit(self.0.clone()))
    }

    /// One more, whatever the bound says: for what exists already and can only be counted.
    pub fn count(&self) -> Permit {
        self.0.used.fetch_add(1, SeqCst);
        Permit(self.0.clone())
    }

    /// One more, as soon as the bound allows.
    pub async fn wait(&self) -> Permit {
        self.wait_until(Permits::take).await
    }

    /// Waits until none is alive.
    pub async fn all_back(&self) {
        self.wait_until(|permits| (permits.used() == 0).then_some(())).await;
    }

    async fn wait_until<T>(&self, ready: impl Fn(&Permits) -> Option<T>) -> T {
        loop {
            // Listening begins before the look, so that no change falls between the two.
            let mut changed = pin!(self.0.changed.notified());
            changed.as_mut().enable();
            if let Some(value) = ready(self) {
                return value;
            }
            changed.await;
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.used.fetch_sub(1, SeqCst);
        self.0.changed.notify_waiters();
    }
}

/// A number that others read, of things that are alive.
#[derive(Clone, Debug, Default)]
pub struct Count(Arc<AtomicUsize>);

/// One of the counted things.
#[derive(Debug)]
pub struct Counted(Count);

impl Count {
    /// One more, until the guard is dropped.
    pub fn enter(&self) -> Counted {
        self.0.fetch_add(1, Relaxed);
        Counted(self.clone())
    }

    /// The same, unless there are `max` already.
    pub fn enter_below(&self, max: usize) -> Option<Counted> {
        let more = |now| (now < max).then_some(now + 1);
        self.0.fetch_update(Relaxed, Relaxed, more).ok()?;
        Some(Counted(self.clone()))
    }

    /// How many there are.
    pub fn get(&self) -> usize {
        self.0.load(Relaxed)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Relaxed);
    }
}
