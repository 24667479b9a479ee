//! One backend: its identity, its health and what it carries. It outlives configurations; counts and health are atomics
//! that all workers share, because a choice must know the load that all of them put on it.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

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

impl Backend {
    /// A backend that carries nothing.
    pub fn new(pool: Arc<str>, address: BackendAddress, health: Health) -> Backend {
        let label = Arc::from(address.to_string());
        let (load, health) = (AtomicUsize::new(0), AtomicU8::new(health as u8));
        let (idle, complained) = (Count::default(), Mutex::default());
        Backend { pool, address, label, load, idle, health, complained }
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
