//! One backend: its identity, its health and what it carries. It outlives configurations; counts and health are atomics
//! that all workers share, because a choice must know the load that all of them put on it.

use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::ejection::Conduct;
use crate::config::BackendAddress;
use crate::lifecycle::Count;

/// Between two warnings of the same backend.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// One address of a pool.
#[derive(Debug)]
pub struct Backend {
    /// The name of its pool.
    pub pool: Arc<str>,
    /// Where it listens.
    pub address: BackendAddress,
    /// The address as metrics and logs show it.
    pub label: Arc<str>,
    load: AtomicUsize,
    /// Connections that are kept for further requests and carry none: no load.
    pub idle: Count,
    health: AtomicU8,
    /// What requests have found out of it.
    pub conduct: Conduct,
    /// Microseconds that its last probe took, and one more; 0 if there was none.
    probe_us: AtomicU64,
    /// When a failure of it was last warned of.
    complained: Mutex<Option<Instant>>,
}

/// What is known of a backend's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Health {
    /// Not yet probed: picked only when none is up.
    Unknown = 0,
    /// Probes pass, or there are none.
    Up = 1,
    /// Probes fail: never picked.
    Down = 2,
}

/// Who is asked first. Those that are down are never asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// Who is up.
    Up,
    /// Who has not been probed yet.
    Unknown,
    /// Who is ejected, up or not probed yet: that requests fail there is known, that it refuses all of them is not.
    Ejected,
}

impl Health {
    /// The word in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Health::Unknown => "unknown",
            Health::Up => "up",
            Health::Down => "down",
        }
    }
}

impl Backend {
    /// A backend that carries nothing.
    pub fn new(pool: Arc<str>, address: BackendAddress, health: Health) -> Backend {
        let label = Arc::from(address.to_string());
        let (load, health) = (AtomicUsize::new(0), AtomicU8::new(health as u8));
        let (idle, conduct, complained) = (Count::default(), Conduct::default(), Mutex::default());
        let probe_us = AtomicU64::new(0);
        Backend { pool, address, label, load, idle, health, conduct, probe_us, complained }
    }

    /// Open tunnels, handshakes and requests in flight, over all workers.
    pub fn load(&self) -> usize {
        self.load.load(Relaxed)
    }

    /// What is known of its health.
    pub fn health(&self) -> Health {
        match self.health.load(Relaxed) {
            1 => Health::Up,
            2 => Health::Down,
            _ => Health::Unknown,
        }
    }

    /// A probe of it took that long.
    pub fn probed(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.probe_us.store(took.saturating_add(1), Relaxed);
    }

    /// How long its last probe took; `None` if there was none.
    pub fn probe_duration(&self) -> Option<Duration> {
        self.probe_us.load(Relaxed).checked_sub(1).map(Duration::from_micros)
    }

    /// Its place in the choice; `None` is never picked.
    pub fn rank(&self) -> Option<Rank> {
        match self.health() {
            Health::Down => None,
            _ if self.conduct.is_ejected() => Some(Rank::Ejected),
            Health::Up => Some(Rank::Up),
            Health::Unknown => Some(Rank::Unknown),
        }
    }

    /// Sets the health; returns what it was.
    pub fn set_health(&self, health: Health) -> Health {
        let before = self.health();
        self.health.store(health as u8, Relaxed);
        before
    }

    /// Whether a failure of it may be warned of: once in ten seconds, however many requests meet it.
    pub fn may_complain(&self) -> bool {
        let mut last = self.complained.lock().unwrap_or_else(PoisonError::into_inner);
        let may = last.is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY);
        if may {
            *last = Some(Instant::now());
        }
        may
    }
}

/// One unit of load on a backend, for as long as it is held.
#[derive(Debug)]
pub struct Lease {
    backend: Arc<Backend>,
}

impl Lease {
    /// One unit more.
    pub fn new(backend: Arc<Backend>) -> Lease {
        backend.load.fetch_add(1, Relaxed);
        Lease { backend }
    }

    /// The backend.
    pub fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.backend.load.fetch_sub(1, Relaxed);
    }
}
