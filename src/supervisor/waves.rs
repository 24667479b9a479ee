//! The one place from which tunnels are asked to go, many at a time: those of a process that stops, of a backend that
//! drains, is down or was removed, of a route that was removed.
//!
//! A [`Cause`](causes::Cause) stands for as long as it holds. While any does, the live table is looked through once a second:
//! tunnels that are new to it get a slot each, idle ones first, within what is left of the cause's window ([`line`]). In its
//! slot a tunnel is asked to go if that cause still holds: a wave is called off by its cause being gone. If the tunnel is to go
//! for another, it gets another slot, and so do all when the process stops. What is kept of a tunnel that waits are its id, its
//! slot, and the numbers of both. When the process stops, the tunnels of an HTTP/2 connection have one slot, and GOAWAY
//! follows.

mod causes;
mod line;
mod look;

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};

pub use self::causes::key;
use self::causes::{Cause, Causes};
use self::line::{Line, Unit};
use self::look::Look;
use crate::config::Drain;
use crate::state::Snapshot;
use crate::telemetry::access::Id;
use crate::tunnel::carriers::Carriers;
use crate::tunnel::goodbye::{Goodbye, Why};
use crate::tunnel::inject::code::SERVICE_RESTART;
use crate::tunnel::sessions::Sessions;
use crate::upstream::backend::Backend;

/// Between two looks at the live table.
const LOOK: Duration = Duration::from_secs(1);
/// Tunnels that are asked to go before others on the thread have their turn.
const AT_ONCE_MAX: u64 = 256;
/// Why waves run.
pub const REASONS: [Why; 6] = [
    Why::Drain,
    Why::BackendDraining,
    Why::BackendRemoved,
    Why::BackendDown,
    Why::RouteRemoved,
    Why::Rebalance,
];

/// All waves.
#[derive(Clone)]
pub struct Waves(Arc<Shared>);

struct Shared {
    sessions: Arc<Sessions>,
    carriers: Arc<Carriers>,
    state: Mutex<State>,
    /// There is another cause, or another rate.
    changed: Notify,
}

struct State {
    /// Of the configuration in force.
    terms: Drain,
    causes: Causes,
    /// There is another look to come.
    looks: bool,
    /// How many tunnels were left when they were last counted, by the cause's reason.
    left: BTreeMap<&'static str, usize>,
}

impl Waves {
    /// None yet.
    pub fn new(sessions: Arc<Sessions>, carriers: Arc<Carriers>, terms: Drain) -> Waves {
        let state = State { terms, causes: Causes::default(), looks: false, left: BTreeMap::new() };
        Waves(Arc::new(Shared { sessions, carriers, state: Mutex::new(state), changed: Notify::new() }))
    }

    /// Windows and texts of waves that are still to begin, and the rate of all.
    pub fn renew(&self, terms: &Drain) {
        self.state().terms = terms.clone();
        self.0.changed.notify_one();
    }

    /// Asks all tunnels to go, those that are still to come included.
    pub fn part_all(&self) {
        self.begin(Why::Drain, |state, cause| state.causes.add_all(cause));
    }

    /// Asks the tunnels of a backend to go, for as long as `why` holds of it.
    pub fn part_backend(&self, backend: &Arc<Backend>, why: Why) {
        self.begin(why, |state, cause| state.causes.add_backend(backend, cause));
    }

    /// Lets the rest of them stay, if they were asked to go because of `why`.
    pub fn spare_backend(&self, backend: &Backend, why: Why) {
        self.state().causes.remove_backend(backend, why);
    }

    /// Asks the tunnels of a route to go.
    pub fn part_route(&self, route: &str) {
        self.begin(Why::RouteRemoved, |state, cause| state.causes.add_route(route, cause));
    }

    /// Asks these tunnels to go within `window`, for the sake of other backends.
    pub fn part_some(&self, tunnels: Vec<Id>, window: Duration) {
        self.begin(Why::Rebalance, |state, cause| state.causes.add_some(tunnels, cause.within(window)));
    }

    /// Those of them that are still open, be it that they were asked already.
    pub fn chosen(&self) -> HashSet<Id> {
        self.state().causes.chosen()
    }

    /// Brings the waves of backends and of routes in line with a snapshot, and with the states that backends have. After every
    /// change of either: what ended and begins again is another wave.
    pub fn settle(&self, snapshot: &Snapshot) {
        self.state().causes.tidy_backends();
        for member in snapshot.pools.iter().flat_map(|pool| pool.members.all()) {
            let backend = &member.backend;
            if backend.standing.state() == crate::config::State::Draining && !member.is_kept {
                self.part_backend(backend, Why::BackendDraining);
            } else {
                self.spare_backend(backend, Why::BackendDraining);
            }
        }
        self.state().causes.retain_routes(|route| !snapshot.routes_by_name.contains_key(route));
    }

    /// How many tunnels are left of those that are asked to go, by reason; a second old at most.
    pub fn left(&self) -> BTreeMap<&'static str, usize> {
        self.state().left.clone()
    }

    /// `add` tells whether the cause is new. For one that is known and that nobody was left of, there may be somebody now.
    fn begin(&self, why: Why, add: impl FnOnce(&mut State, Cause) -> bool) {
        let mut state = self.state();
        // Elsewhere the client's next connection is welcome at once.
        let code = if why == Why::Drain { state.terms.code } else { SERVICE_RESTART };
        let Some(goodbye) = Goodbye::new(code, state.terms.reason.clone(), why) else { return };
        let cause = Cause::new(goodbye, &state.terms);
        if add(&mut state, cause) || !state.looks {
            self.0.changed.notify_one();
        }
    }

    /// Carries the waves out, until it is dropped.
    pub async fn run(self) {
        let mut line = Line::new();
        let mut look: Option<Instant> = None;
        loop {
            tokio::select! {
                () = self.0.changed.notified() => look = self.look(&mut line).await,
                () = until(look) => look = self.look(&mut line).await,
                () = until(line.due()) => {
                    self.carry_out(&mut line);
                    yield_now().await;
                }
            }
        }
    }

    /// Goes through the live table. When it is to be done again, if at all.
    async fn look(&self, line: &mut Line) -> Option<Instant> {
        line.set_rate(self.state().terms.rate);
        let mut look = Look::default();
        if self.state().causes.is_expecting() {
            for shard in Sessions::shards() {
                {
                    let state = self.state();
                    self.0.sessions.visit(shard, |session| look.note(session, &state.causes, line));
                }
                yield_now().await;
            }
        }
        look.line_up(line);
        let mut state = self.state();
        if state.causes.is_stopping() {
            look.send_away_idle(&self.0.carriers, line);
        }
        state.causes.tidy(|cause| look.has_left(cause), |id| look.has_seen(id));
        state.left = look.left();
        let goes_on = !state.left.is_empty() || state.causes.is_expecting();
        state.looks = goes_on;
        goes_on.then(|| Instant::now() + LOOK)
    }

    /// Asks those whose turn it is.
    fn carry_out(&self, line: &mut Line) {
        let (now, mut count) = (Instant::now(), 0);
        while count < AT_ONCE_MAX {
            let Some(turn) = line.take(now) else { return };
            let asked = match turn.unit {
                Unit::Tunnel(id) => u64::from(self.ask(id, line)),
                Unit::Connection(carrier) => {
                    let tunnels = line.disperse(carrier);
                    let asked = tunnels.into_iter().filter(|id| self.ask(*id, line)).count();
                    self.0.carriers.ask_to_go(carrier);
                    asked as u64
                }
            };
            line.note(turn, now, asked);
            count += 1 + asked;
        }
    }

    /// Asks a tunnel to go, if it still is to for the cause that has given it its slot; it is told the first that holds by
    /// now. Whether it was asked.
    fn ask(&self, id: Id, line: &Line) -> bool {
        let Some(session) = self.0.sessions.get(id) else { return false };
        let Some(number) = line.place(id).map(|place| place.cause) else { return false };
        let state = self.state();
        let holds = state.causes.of(&session, Some(number)).is_some_and(|cause| cause.number == number);
        let cause = state.causes.of(&session, None).filter(|_| holds);
        let goodbye = cause.map(|cause| cause.goodbye.clone());
        drop(state);
        goodbye.is_some_and(|goodbye| session.part(goodbye))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for a time; for ever where there is none.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
