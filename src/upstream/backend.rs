//! One backend: its identity, its health and what it carries. It outlives configurations; counts and health are atomics
//! that all workers share, because a choice must know the load that all of them put on it.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::ejection::Conduct;
use super::queue::Queue;
use super::reach::Reach;
pub use super::standing::Health;
use super::standing::{Standing, since_origin_ms};
use crate::config::{BackendAddress, State};
use crate::lifecycle::Count;
use crate::lifecycle::bucket::Bucket;

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
    /// Seats that are taken: tunnels and WebSocket handshakes, a part of the load.
    seats: AtomicUsize,
    seats_max: AtomicUsize,
    /// Where those wait who find no seat.
    pub queue: Arc<Queue>,
    /// What paces its WebSocket handshakes, where its pool has a rate.
    pub bucket: Bucket,
    /// Connections that are kept for further requests and carry none: no load.
    pub idle: Count,
    /// Its health, its state, and since when it can be chosen.
    pub standing: Standing,
    wanted: Mutex<Wanted>,
    /// Discovery does not name it any more.
    leaving: AtomicBool,
    /// What requests have found out of it.
    pub conduct: Conduct,
    /// Whether it could be reached of late.
    pub(super) reach: Reach,
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
    /// A backend that carries nothing, and may carry any number of tunnels.
    pub fn new(pool: Arc<str>, address: BackendAddress, health: Health) -> Backend {
        let label = Arc::from(address.to_string());
        let wanted = Mutex::new(Wanted { configured: State::Active, ordered: None });
        Backend {
            pool,
            address,
            label,
            load: AtomicUsize::new(0),
            seats: AtomicUsize::new(0),
            seats_max: AtomicUsize::new(usize::MAX),
            queue: Arc::default(),
            bucket: Bucket::default(),
            idle: Count::default(),
            standing: Standing::new(health),
            wanted,
            leaving: AtomicBool::new(false),
            conduct: Conduct::default(),
            reach: Reach::default(),
            probe_us: AtomicU64::new(0),
            complained: Mutex::default(),
        }
    }

    /// The same, with the line of its pool.
    pub fn with_queue(self, queue: Arc<Queue>) -> Backend {
        Backend { queue, ..self }
    }

    /// Open tunnels, handshakes and requests in flight, over all workers.
    pub fn load(&self) -> usize {
        self.load.load(Relaxed)
    }

    /// Whether it may carry one more tunnel.
    pub fn has_seat(&self) -> bool {
        self.seats.load(SeqCst) < self.seats_max.load(SeqCst)
    }

    /// How many tunnels and WebSocket handshakes it may carry; `None` is any number.
    pub fn seats_max(&self) -> Option<usize> {
        Some(self.seats_max.load(SeqCst)).filter(|max| *max < usize::MAX)
    }

    /// How many more of them it may carry; `None` is any number.
    pub fn seats_free(&self) -> Option<usize> {
        self.seats_max().map(|max| max.saturating_sub(self.seats.load(SeqCst)))
    }

    /// Sets how many it may carry; `None` is any number. What it carries beyond that stays.
    pub fn set_seats_max(&self, max: Option<usize>) {
        self.seats_max.store(max.unwrap_or(usize::MAX), SeqCst);
        self.queue.wake();
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

    /// Whether it is active, of this health, and not out: neither ejected, nor out of reach a moment ago. One that was
    /// longer ago is for those who `may_try` it.
    #[inline]
    pub fn is_ready_and(&self, health: Health, may_try: bool) -> bool {
        self.standing.is_active_and(health) || self.has_come_back_as(health, may_try)
    }

    /// The same of one that may be out: apart, so that the choice is short for the others.
    #[cold]
    fn has_come_back_as(&self, health: Health, may_try: bool) -> bool {
        self.standing.is_doubted_and(health) && self.is_in(may_try)
    }

    /// Whether it is neither ejected nor out of reach, whatever its health and its state.
    pub fn is_in(&self, may_try: bool) -> bool {
        !self.is_ejected() && (!self.standing.is_unreached() || may_try && self.reach.is_due(now_ms()))
    }

    /// Whether it may be chosen when nobody is ready: that requests fail there is known, that it refuses all is not.
    pub fn is_last_resort(&self) -> bool {
        let is_out = self.standing.is_unreached() || self.is_ejected();
        is_out && self.standing.state() == State::Active && self.health() != Health::Down
    }

    /// A connection to it that began then did not come about: for a while it is chosen only where nobody else can be.
    pub fn unreached(&self, begun: Instant) {
        self.reach.fail(since_origin_ms(begun), now_ms());
        self.standing.set_unreached();
    }

    /// A connection to it came about. It is new among the others if it had been out of reach for longer than a moment.
    pub fn reached(&self) {
        if self.standing.is_unreached() {
            self.standing.set_reached(self.reach.succeed() > 1);
            self.queue.wake();
        }
    }

    /// Whether the caller is the one who tries whether it is in reach again.
    pub fn may_be_tried(&self) -> bool {
        self.reach.claim(now_ms())
    }

    /// Whether requests that failed have taken it out, and its time is not over.
    pub fn is_ejected(&self) -> bool {
        self.standing.is_ejected() && self.conduct.is_out(&self.standing)
    }

    /// Sets the health; returns what it was.
    pub fn set_health(&self, health: Health) -> Health {
        let before = self.standing.set_health(health);
        if before != health {
            self.queue.wake();
        }
        before
    }

    /// Tells it the state that the configuration gives it. Where that is another than before, it ends an order.
    pub fn configure(&self, state: State) {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        if wanted.configured != state {
            *wanted = Wanted { configured: state, ordered: None };
        }
        self.standing.set_state(wanted.ordered.unwrap_or(state));
        self.queue.wake();
    }

    /// Orders a state, or `None`: the one of the configuration. Returns the one that it has now.
    pub fn order(&self, state: Option<State>) -> State {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        wanted.ordered = state;
        let state = state.unwrap_or(wanted.configured);
        self.standing.set_state(state);
        self.queue.wake();
        state
    }

    /// The state that the configuration gives it.
    pub fn configured(&self) -> State {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).configured
    }

    /// The state that was ordered and still holds.
    pub fn ordered(&self) -> Option<State> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).ordered
    }

    /// Whether discovery does not name it any more: what is open of it goes on for a while, and nothing is kept for later.
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Relaxed)
    }

    /// Whether it is to be there for longer: named, and active.
    pub fn is_staying(&self) -> bool {
        !self.is_leaving() && self.standing.state() == State::Active
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

fn now_ms() -> u64 {
    since_origin_ms(Instant::now())
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

/// A seat at a backend: one of the tunnels that it may carry, and the lease for it, for as long as it is held.
#[derive(Debug)]
pub struct Seat {
    lease: Lease,
}

impl Seat {
    /// One seat more at the backend of `lease`; `None` when all are taken.
    pub fn take(lease: Lease) -> Option<Seat> {
        let backend = lease.backend();
        let max = backend.seats_max.load(SeqCst);
        let more = |seats| (seats < max).then_some(seats + 1);
        backend.seats.fetch_update(SeqCst, SeqCst, more).ok()?;
        Some(Seat { lease })
    }

    /// The backend.
    pub fn backend(&self) -> &Arc<Backend> {
        self.lease.backend()
    }

    /// The lease alone, where no tunnel comes of it: an answer other than 101 takes no seat.
    pub fn leave(self) -> Lease {
        Lease::new(self.backend().clone())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let backend = self.backend();
        backend.seats.fetch_sub(1, SeqCst);
        backend.queue.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    fn backend(seats_max: Option<usize>) -> Arc<Backend> {
        let backend = Backend::new("p".into(), BackendAddress::Unix("/a".into()), Health::Up);
        backend.set_seats_max(seats_max);
        Arc::new(backend)
    }

    fn take(backend: &Arc<Backend>) -> Option<Seat> {
        Seat::take(Lease::new(backend.clone()))
    }

    #[test]
    fn no_more_seats_are_taken_than_there_are() {
        let backend = backend(Some(2));
        let (first, second) = (take(&backend).unwrap(), take(&backend).unwrap());
        assert!(take(&backend).is_none());
        // Nothing is left of who got none.
        assert_eq!((backend.load(), backend.seats_free()), (2, Some(0)));
        drop(first);
        let third = take(&backend).unwrap();
        assert!(take(&backend).is_none());
        // Who has one keeps it when there are fewer.
        backend.set_seats_max(Some(1));
        assert_eq!(backend.seats_free(), Some(0));
        drop(second);
        assert!(take(&backend).is_none());
        drop(third);
        let last = take(&backend).unwrap();
        backend.set_seats_max(Some(0));
        drop(last);
        assert!(take(&backend).is_none());
        backend.set_seats_max(None);
        let many: Vec<_> = (0..100).map_while(|_| take(&backend)).collect();
        assert_eq!((many.len(), backend.load(), backend.seats_free()), (100, 100, None));
    }

    #[test]
    fn nor_when_many_threads_take_them_at_once() {
        const SEATS: usize = 3;
        const THREADS: usize = 8;
        let backend = backend(Some(SEATS));
        let (held, begin) = (AtomicUsize::new(0), Barrier::new(THREADS));
        let taken = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    begin.wait();
                    for _ in 0..20_000 {
                        let Some(seat) = take(&backend) else { continue };
                        let before = held.fetch_add(1, SeqCst);
                        assert!(before < SEATS, "{} of {SEATS}", before + 1);
                        taken.fetch_add(1, SeqCst);
                        held.fetch_sub(1, SeqCst);
                        drop(seat);
                    }
                });
            }
        });
        assert!(taken.load(SeqCst) > 0);
        assert_eq!((backend.load(), backend.seats_free()), (0, Some(SEATS)));
    }
}
