//! The life of the process, as everything long-lived sees it: its phase, and the permits that bound and count what is
//! alive.
//!
//! Stopping is told by one signal and counted by permits: when all permits are back, nothing is left.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

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

/// A bound on how many of something are alive at once, and their count.
#[derive(Clone, Debug)]
pub struct Permits {
    semaphore: Arc<Semaphore>,
    max: usize,
}

/// One of the bounded things is alive as long as this is.
#[derive(Debug)]
pub struct Permit {
    _semaphore: OwnedSemaphorePermit,
}

impl Permits {
    /// At most `max` at once (capped at what the semaphore can count).
    pub fn new(max: usize) -> Permits {
        let max = max.min(u32::MAX as usize).min(Semaphore::MAX_PERMITS);
        Permits { semaphore: Arc::new(Semaphore::new(max)), max }
    }

    /// The bound.
    pub fn max(&self) -> usize {
        self.max
    }

    /// How many are alive.
    pub fn used(&self) -> usize {
        self.max - self.semaphore.available_permits()
    }

    /// One more, or `None` at the bound.
    pub fn take(&self) -> Option<Permit> {
        let permit = self.semaphore.clone().try_acquire_owned().ok()?;
        Some(Permit { _semaphore: permit })
    }

    /// One more, as soon as the bound allows.
    pub async fn wait(&self) -> Permit {
        match self.semaphore.clone().acquire_owned().await {
            Ok(permit) => Permit { _semaphore: permit },
            Err(_) => unreachable!("the semaphore is never closed"),
        }
    }

    /// Waits until none is alive.
    pub async fn all_back(&self) {
        let all = u32::try_from(self.max).unwrap_or(u32::MAX);
        let _ = self.semaphore.acquire_many(all).await;
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
