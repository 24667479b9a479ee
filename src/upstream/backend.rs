//! One backend: its identity, its health and what it carries. It outlives configurations; counts and health are atomics
//! that all workers share, because a choice must know the load that all of them put on it.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use super::standing::Health;
use super::standing::Standing;
use crate::config::{BackendAddress, State};
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
    /// Its health, its state, and since when it can be chosen.
    pub standing: Standing,
    wanted: Mutex<Wanted>,
    /// When a failure of it was last warned of.
    complained: Mutex<Option<Instant>>,
}

/// The states that are wanted of a backend.
#[derive(Debug)]
struct Wanted {
    /// In the configuration.
    configured: State,
    /// By an order.
    ordered: Option<State>,
}

impl Backend {
    /// A backend that carries nothing.
    pub fn new(pool: Arc<str>, address: BackendAddress, health: Health) -> Backend {
        let label = Arc::from(address.to_string());
        let wanted = Mutex::new(Wanted { configured: State::Active, ordered: None });
        let (load, idle, complained) = (AtomicUsize::new(0), Count::default(), Mutex::default());
        Backend { pool, address, label, load, idle, standing: Standing::new(health), wanted, complained }
    }

    /// Open tunnels, handshakes and requests in flight, over all workers.
    pub fn load(&self) -> usize {
        self.load.load(Relaxed)
    }

    /// What is known of its health.
    pub fn health(&self) -> Health {
        self.standing.health()
    }

    /// Sets the health; returns what it was.
    pub fn set_health(&self, health: Health) -> Health {
        self.standing.set_health(health)
    }

    /// Tells it the state that the configuration gives it. Where that is another than before, it ends an order.
    pub fn configure(&self, state: State) {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        if wanted.configured != state {
            *wanted = Wanted { configured: state, ordered: None };
        }
        self.standing.set_state(wanted.ordered.unwrap_or(state));
    }

    /// Orders a state, or `None`: the one of the configuration. Returns the one that it has now.
    pub fn order(&self, state: Option<State>) -> State {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        wanted.ordered = state;
        let state = state.unwrap_or(wanted.configured);
        self.standing.set_state(state);
        state
    }

    /// The state that was ordered and still holds.
    pub fn ordered(&self) -> Option<State> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).ordered
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
