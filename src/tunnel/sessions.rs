//! The live table: what every open tunnel is and does, and the way to reach it from another thread.
//!
//! Entries hold ids, labels and numbers, never streams. The worker writes the numbers, without locks; others read them.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::Waker;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures_util::task::AtomicWaker;
use http::Version;
use tokio::time::Instant;

use super::Terms;
use super::goodbye::Goodbye;
use super::seldom::{Control, Seldom};
use crate::proto::peer::Address;
use crate::proto::scan::{Close, Kind};
use crate::telemetry::access::Id;
use crate::telemetry::labels::Direction;

/// Parts of the table, each with a lock of its own, taken when a tunnel opens and ends.
const SHARDS: u64 = 16;

/// All live tunnels.
#[derive(Default)]
pub struct Sessions {
    shards: [Mutex<BTreeMap<Id, Arc<Session>>>; SHARDS as usize],
    /// All tunnels were told to end, and so is who comes late.
    cut: AtomicBool,
}

/// One live tunnel.
pub struct Session {
    /// Its name in records.
    pub id: Id,
    /// The client.
    pub client: Address,
    /// What its route gave it.
    pub terms: Arc<Terms>,
    /// The backend it leads to: its label itself, for the same words may be a backend of another pool.
    pub backend: Arc<str>,
    /// What client and backend agreed to speak: in a box more than it needs, for most tunnels have none.
    subprotocol: Option<Box<Box<str>>>,
    /// The version of HTTP that it came by.
    pub http: Version,
    /// The number of its HTTP/2 connection among the [carriers](super::carriers); 0 is none.
    pub carrier: u32,
    /// When it opened: nanoseconds of this process, which are half of an [`Instant`].
    opened_ns: u64,
    moved: [Moved; 2],
    /// From `opened` to the last byte, in [`TICK`]s.
    active_ticks: AtomicU32,
    /// It was told to end now.
    cut: AtomicBool,
    /// There is a goodbye in `seldom`.
    has_goodbye: AtomicBool,
    waker: AtomicWaker,
    /// Made when there is something to put there.
    seldom: ArcSwapOption<Seldom>,
}

/// What is told of when a tunnel was active: in 32 bits six years of it.
const TICK: Duration = Duration::from_millis(50);

/// From here the tunnels of this process count.
fn epoch() -> Instant {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    *EPOCH.get_or_init(Instant::now)
}

/// What has moved in one direction.
#[derive(Default)]
struct Moved {
    bytes: AtomicU64,
    texts: AtomicU64,
    binaries: AtomicU64,
}

/// Keeps a tunnel in the table.
pub struct Registration {
    sessions: Arc<Sessions>,
    session: Arc<Session>,
}

impl Sessions {
    /// Enters a tunnel.
    pub fn register(self: &Arc<Sessions>, session: Session) -> Registration {
        let session = Arc::new(session);
        self.shard(session.id).insert(session.id, session.clone());
        // After the entry, so that it is told either here or by who goes through the table.
        if self.cut.load(Ordering::SeqCst) {
            session.end();
        }
        Registration { sessions: self.clone(), session }
    }

    /// At most `limit` tunnels with an id after `after`, in the order of their ids, which is that of their handshakes.
    pub fn page(&self, after: Option<Id>, limit: usize) -> Vec<Arc<Session>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut page = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            page.extend(
                shard.range((from, Bound::Unbounded)).take(limit).map(|(_, session)| session.clone()),
            );
        }
        page.sort_unstable_by_key(|session| session.id);
        page.truncate(limit);
        page
    }

    /// The tunnel with this id.
    pub fn get(&self, id: Id) -> Option<Arc<Session>> {
        self.shard(id).get(&id).cloned()
    }

    /// Tells every tunnel to end now, those that are still to come included.
    pub fn cut_all(&self) {
        self.cut.store(true, Ordering::SeqCst);
        for shard in &self.shards {
            for session in shard.lock().unwrap_or_else(PoisonError::into_inner).values() {
                session.end();
            }
        }
    }

    /// The parts of the table, for [`Sessions::visit`].
    pub fn shards() -> std::ops::Range<u64> {
        0..SHARDS
    }

    /// Shows all tunnels of a part of the table, which stays locked meanwhile.
    pub fn visit(&self, shard: u64, mut each: impl FnMut(&Arc<Session>)) {
        let index = (shard % SHARDS) as usize;
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner).values().for_each(&mut each);
    }

    /// How many tunnels are open.
    pub fn len(&self) -> usize {
        let count =
            |shard: &Mutex<BTreeMap<_, _>>| shard.lock().unwrap_or_else(PoisonError::into_inner).len();
        self.shards.iter().map(count).sum()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shard(&self, id: Id) -> std::sync::MutexGuard<'_, BTreeMap<Id, Arc<Session>>> {
        let index = (id.number() % SHARDS) as usize;
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// A tunnel that opens now.
    pub fn new(
        id: Id,
        client: Address,
        terms: Arc<Terms>,
        backend: Arc<str>,
        subprotocol: Option<Box<str>>,
        http: Version,
    ) -> Session {
        Session {
            id,
            client,
            terms,
            backend,
            subprotocol: subprotocol.map(Box::new),
            http,
            carrier: 0,
            opened_ns: u64::try_from(epoch().elapsed().as_nanos()).unwrap_or(u64::MAX),
            moved: Default::default(),
            active_ticks: AtomicU32::new(0),
            cut: AtomicBool::new(false),
            has_goodbye: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            seldom: ArcSwapOption::empty(),
        }
    }

    /// The same, on an HTTP/2 connection.
    pub fn on(self, carrier: u32) -> Session {
        Session { carrier, ..self }
    }

    /// What client and backend agreed to speak.
    pub fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_ref().map(|subprotocol| &***subprotocol)
    }

    /// When it opened.
    pub fn opened(&self) -> Instant {
        epoch() + Duration::from_nanos(self.opened_ns)
    }

    /// Counts what was taken from one side. Only the tunnel's own task calls this, so plain loads and stores do.
    pub fn count_bytes(&self, direction: Direction, bytes: u64) {
        add(&self.moved[direction as usize].bytes, bytes);
    }

    /// Counts a frame from one side, as [`Session::count_bytes`] does; `close` is the first Close so far.
    pub fn count_frame(&self, direction: Direction, kind: Kind, close: Option<Close>) {
        let moved = &self.moved[direction as usize];
        match kind {
            Kind::Fragment => {}
            Kind::Text => add(&moved.texts, 1),
            Kind::Binary => add(&moved.binaries, 1),
            Kind::Close | Kind::Ping | Kind::Pong => self.seldom().count(direction, kind, close),
        }
    }

    /// Notes that bytes moved at `now`.
    pub fn touch(&self, now: Instant) {
        let since = now.saturating_duration_since(self.opened()).as_millis();
        let ticks = u32::try_from(since.div_ceil(TICK.as_millis())).unwrap_or(u32::MAX);
        self.active_ticks.store(ticks, Ordering::Relaxed);
    }

    /// When the last byte moved, or when the tunnel opened; at most 50 ms later than it was.
    pub fn active(&self) -> Instant {
        self.opened() + TICK * self.active_ticks.load(Ordering::Relaxed)
    }

    /// Bytes taken from the sender of `direction`.
    pub fn bytes(&self, direction: Direction) -> u64 {
        self.moved[direction as usize].bytes.load(Ordering::Relaxed)
    }

    /// Messages taken from the sender of `direction`.
    pub fn messages(&self, direction: Direction) -> u64 {
        let moved = &self.moved[direction as usize];
        moved.texts.load(Ordering::Relaxed) + moved.binaries.load(Ordering::Relaxed)
    }

    /// Those of them that are binary.
    pub fn binary_messages(&self, direction: Direction) -> u64 {
        self.moved[direction as usize].binaries.load(Ordering::Relaxed)
    }

    /// Control frames of the sender of `direction`.
    pub fn control(&self, direction: Direction) -> Control {
        self.seldom.load().as_ref().map(|seldom| seldom.control(direction)).unwrap_or_default()
    }

    /// Notes that a Ping of the proxy's in this direction was answered after so long.
    pub fn answered(&self, direction: Direction, took: Duration) {
        self.seldom().answered(direction, took);
    }

    /// How long the way to the side is and back that `direction` leads to, as the last Ping of the proxy's found it.
    pub fn round_trip(&self, direction: Direction) -> Option<Duration> {
        self.seldom.load().as_ref()?.round_trip(direction)
    }

    /// Orders the tunnel to say goodbye, as [`goodbye`](super::goodbye) tells; whether nobody had ordered one before.
    pub fn part(&self, goodbye: Goodbye) -> bool {
        let is_first = self.seldom().part(goodbye);
        self.has_goodbye.store(true, Ordering::Release);
        self.waker.wake();
        is_first
    }

    /// The goodbye that was ordered, if one was.
    pub fn goodbye(&self) -> Option<Goodbye> {
        let is_there = self.has_goodbye.load(Ordering::Acquire);
        is_there.then(|| self.seldom.load().as_ref()?.goodbye().cloned()).flatten()
    }

    fn seldom(&self) -> Arc<Seldom> {
        if let Some(seldom) = self.seldom.load_full() {
            return seldom;
        }
        let made = Arc::new(Seldom::default());
        // Whoever comes first.
        self.seldom.compare_and_swap(&None::<Arc<Seldom>>, Some(made.clone()));
        self.seldom.load_full().unwrap_or(made)
    }

    /// Wakes `waker` when an order comes.
    pub fn listen(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// Tells the tunnel to end now.
    fn end(&self) {
        self.cut.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Whether the tunnel was told to end now.
    pub fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }
}

impl Registration {
    /// The entry.
    pub fn session(&self) -> &Session {
        &self.session
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.sessions.shard(self.session.id).remove(&self.session.id);
    }
}

fn add(cell: &AtomicU64, amount: u64) {
    cell.store(cell.load(Ordering::Relaxed) + amount, Ordering::Relaxed);
}
