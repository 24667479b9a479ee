//! Which tunnels are to go, and why.
//!
//! A cause ends when whoever knows says that what it stands for is over, also while nobody is looking: what begins then is
//! another cause. A backend may have several, one of each kind.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::{Drain, State};
use crate::proto::waves::enough;
use crate::telemetry::access::Id;
use crate::tunnel::goodbye::{Goodbye, Why};
use crate::tunnel::sessions::Session;
use crate::upstream::backend::{Backend, Health};

/// A handshake that began on a route which was removed meanwhile has become a tunnel by then, or nothing.
const ROUTE_REMEMBERED: Duration = Duration::from_secs(60);

/// Who was chosen is looked for for so long, before it is taken to have ended, and so are tunnels of a backend that seems to
/// carry nothing: a handshake may have chosen it the moment before.
const GATHERED: Duration = Duration::from_secs(5);

/// Why tunnels are to go, and what they are told.
pub struct Cause {
    /// No other has it.
    pub number: u64,
    /// The same for all.
    pub goodbye: Goodbye,
    begun: Instant,
    window: Duration,
    /// Nobody has asked for just this window: few need less.
    shrinks: bool,
    /// So many can be asked before the rest is cut.
    asked_max: Option<u64>,
    told_log: AtomicBool,
}

/// All of them. As many as there are backends that something is open of, and routes removed of late.
#[derive(Default)]
pub struct Causes {
    all: Option<Arc<Cause>>,
    /// By the address of the backend's label, which is kept: the same words may be a backend of another pool.
    backends: HashMap<usize, OfBackend>,
    routes: HashMap<Box<str>, Arc<Cause>>,
    /// Tunnels that were chosen.
    some: HashMap<Id, Arc<Cause>>,
}

struct OfBackend {
    backend: Weak<Backend>,
    _label: Arc<str>,
    /// In the order in which they came.
    causes: Vec<Arc<Cause>>,
}

impl Cause {
    /// It begins now, and its tunnels go by these terms.
    pub fn new(goodbye: Goodbye, terms: &Drain) -> Cause {
        let asked_max = terms.asked_max().filter(|_| goodbye.why() == Why::Drain);
        static COUNT: AtomicU64 = AtomicU64::new(0);
        Cause {
            number: COUNT.fetch_add(1, Relaxed),
            goodbye,
            begun: Instant::now(),
            window: terms.window,
            shrinks: terms.window_shrinks,
            asked_max,
            told_log: AtomicBool::new(false),
        }
    }

    /// The same in another window, of which the log need not hear.
    pub fn within(self, window: Duration) -> Cause {
        Cause { window, shrinks: false, told_log: AtomicBool::new(true), ..self }
    }

    /// Over how long so many tunnels are to be spread from now on: what is left of the window, or less.
    pub fn window_of(&self, tunnels: u64) -> Duration {
        self.whole_window_of(tunnels).min(self.window.saturating_sub(self.begun.elapsed()))
    }

    fn whole_window_of(&self, tunnels: u64) -> Duration {
        let enough = Duration::from_nanos(enough(tunnels));
        if self.shrinks { self.window.min(enough) } else { self.window }
    }

    /// Says once how many there are.
    pub fn tell_log(&self, tunnels: usize) {
        if !self.told_log.swap(true, Relaxed) {
            let (reason, code) = (self.goodbye.why().ending().label(), self.goodbye.code());
            let window_ms =
                u64::try_from(self.whole_window_of(tunnels as u64).as_millis()).unwrap_or(u64::MAX);
            tracing::info!(reason, code, tunnels, window_ms, "tunnels are asked to go");
            if let Some(asked_max) = self.asked_max.filter(|asked_max| *asked_max < tunnels as u64) {
                tracing::warn!(
                    tunnels,
                    asked_max,
                    "the rest will be cut at drain.deadline without a Close: raise drain.rate or drain.deadline"
                );
            }
        }
    }

    fn is_young(&self) -> bool {
        self.begun.elapsed() < ROUTE_REMEMBERED
    }
}

impl OfBackend {
    /// Those that hold.
    fn present(&self) -> impl Iterator<Item = &Arc<Cause>> {
        let backend = self.backend.upgrade();
        let holds = move |cause: &&Arc<Cause>| {
            backend.as_ref().is_some_and(|backend| match cause.goodbye.why() {
                Why::BackendDraining => backend.standing.state() == State::Draining,
                Why::BackendDown => backend.health() == Health::Down,
                Why::BackendRemoved => backend.is_leaving(),
                _ => true,
            })
        };
        self.causes.iter().filter(holds)
    }

    fn tidy(&mut self) -> bool {
        self.causes = self.present().cloned().collect();
        !self.causes.is_empty()
    }

    fn is_expecting(&self) -> bool {
        let carries = self.backend.upgrade().is_some_and(|backend| backend.load() > 0);
        self.present().any(|cause| carries || cause.begun.elapsed() < GATHERED)
    }
}

impl Causes {
    /// All tunnels, for good. Whether that is new.
    pub fn add_all(&mut self, cause: Cause) -> bool {
        let is_new = self.all.is_none();
        self.all.get_or_insert_with(|| Arc::new(cause));
        is_new
    }

    /// The tunnels of a backend, unless they are to go for this reason already. Whether that is new.
    pub fn add_backend(&mut self, backend: &Arc<Backend>, cause: Cause) -> bool {
        let of = self.backends.entry(key(&backend.label)).or_insert_with(|| OfBackend {
            backend: Arc::downgrade(backend),
            _label: backend.label.clone(),
            causes: Vec::new(),
        });
        let is_new = of.causes.iter().all(|other| other.goodbye.why() != cause.goodbye.why());
        if is_new {
            of.causes.push(Arc::new(cause));
        }
        is_new
    }

    /// They may stay, as far as this reason goes.
    pub fn remove_backend(&mut self, backend: &Backend, why: Why) {
        let key = key(&backend.label);
        if let Some(of) = self.backends.get_mut(&key) {
            of.causes.retain(|cause| cause.goodbye.why() != why);
            if of.causes.is_empty() {
                self.backends.remove(&key);
            }
        }
    }

    /// Forgets what does not hold any more of backends.
    pub fn tidy_backends(&mut self) {
        self.backends.retain(|_, of| of.tidy());
    }

    /// The tunnels of a route. Whether that is new.
    pub fn add_route(&mut self, route: &str, cause: Cause) -> bool {
        let is_new = !self.routes.contains_key(route);
        self.routes.entry(route.into()).or_insert_with(|| Arc::new(cause));
        is_new
    }

    /// Single tunnels. Whether there are any.
    pub fn add_some(&mut self, tunnels: Vec<Id>, cause: Cause) -> bool {
        let cause = Arc::new(cause);
        self.some.extend(tunnels.into_iter().map(|id| (id, cause.clone())));
        !self.some.is_empty()
    }

    /// Which single ones there are.
    pub fn chosen(&self) -> HashSet<Id> {
        self.some.keys().copied().collect()
    }

    /// Those of other routes may stay.
    pub fn retain_routes(&mut self, is_gone: impl Fn(&str) -> bool) {
        self.routes.retain(|route, _| is_gone(route));
    }

    /// Why a tunnel is to go, if it is. A stop comes before all others; of those the one of this number, as long as it holds.
    pub fn of(&self, session: &Session, number: Option<u64>) -> Option<&Arc<Cause>> {
        if self.all.is_some() {
            return self.all.as_ref();
        }
        let others = || {
            let of_backend =
                self.backends.get(&key(&session.backend)).into_iter().flat_map(OfBackend::present);
            let of_route = self.routes.get(&*session.terms.route).into_iter();
            of_backend.chain(of_route).chain(self.some.get(&session.id))
        };
        let same = number.and_then(|number| others().find(|cause| cause.number == number));
        same.or_else(|| others().next())
    }

    /// Whether all are to go.
    pub fn is_stopping(&self) -> bool {
        self.all.is_some()
    }

    /// Whether there may be tunnels that are to go.
    pub fn is_expecting(&self) -> bool {
        self.all.is_some()
            || !self.routes.is_empty()
            || !self.some.is_empty()
            || self.backends.values().any(OfBackend::is_expecting)
    }

    /// Forgets those that do not hold any more. `has_left` tells of which routes there are still tunnels, `has_seen` which of
    /// those that were chosen are still open.
    pub fn tidy(&mut self, has_left: impl Fn(&Arc<Cause>) -> bool, has_seen: impl Fn(Id) -> bool) {
        self.some.retain(|id, cause| has_seen(*id) || cause.begun.elapsed() < GATHERED);
        self.tidy_backends();
        self.routes.retain(|_, cause| cause.is_young() || has_left(cause));
    }
}

/// Of a backend: the address of its label itself.
pub fn key(label: &Arc<str>) -> usize {
    Arc::as_ptr(label).cast::<u8>().addr()
}
