//! One backend: its identity, its health and what it carries. It outlives configurations; counts and health are atomics
//! that all workers share, because a choice must know the load that all of them put on it.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::ejection::Conduct;
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
    /// Discovery does not name it any more.
    leaving: AtomicBool,
    /// What requests have found out of it.
    pub conduct: Conduct,
    /// Microseconds that its last probe took, and one more; 0 if there was none.
    probe_us: AtomicU64,
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
        Backend {
            pool,
            address,
            label,
            load: AtomicUsize::new(0),
            idle: Count::default(),
            standing: Standing::new(health),
            wanted,
            leaving: AtomicBool::new(false),
            conduct: Conduct::default(),
            probe_us: AtomicU64::new(0),
            complained: Mutex::default(),
        }
    }

    /// Open tunnels, handshakes and requests in flight, over all workers.
    pub fn load(&self) -> usize {
        self.load.load(Relaxed)
    }

    /// What is known of its health.
    pub fn health(&self) -> Health {
        self.standing.health()
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

    /// Whether it is active, of this health, and not ejected.
    pub fn is_ready_and(&self, health: Health) -> bool {
        self.standing.is_active_and(health) || self.has_come_back_as(health)
    }

    /// The same of one that may be out: apart, so that the choice is short for the others.
    #[cold]
    fn has_come_back_as(&self, health: Health) -> bool {
        self.standing.is_ejected() && !self.is_ejected() && self.standing.is_active_and(health)
    }

    /// Whether it may be chosen when nobody is ready: that requests fail there is known, that it refuses all is not.
    pub fn is_last_resort(&self) -> bool {
        self.is_ejected() && self.standing.state() == State::Active && self.health() != Health::Down
    }

    /// Whether requests that failed have taken it out, and its time is not over.
    pub fn is_ejected(&self) -> bool {
        self.standing.is_ejected() && self.conduct.is_out(&self.standing)
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

    /// Whether discovery does not name it any more: what is open of it goes on for a while, and nothing is kept for later.
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Relaxed)
    }

    /// Says whether discovery has ceased to name it.
    pub fn set_leaving(&self, leaving: bool) {
        self.leaving.store(leaving, Relaxed);
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
