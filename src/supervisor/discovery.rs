//! The sources of backends that run, one for each pool that has discovery, and what becomes of what they find: a snapshot
//! in which one pool is another. Who is no longer named gets no new tunnels at once, and is [`Leaving`].

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, watch as channel};
use tokio::task::{AbortHandle, JoinSet, spawn_blocking};

use super::leaving::Leaving;
use super::{Supervisor, idle, states, watch};
use crate::config::discovery::Source;
use crate::config::{self, Watched};
use crate::state::Snapshot;
use crate::state::build::pool::with_backends;
use crate::telemetry::Metrics;
use crate::tunnel::goodbye::Why;
use crate::upstream::backend::Backend;
use crate::upstream::discovery::{Errand, Found, asking, file};

/// Answers that may wait for the supervisor; then their sources do.
const FOUND_MAX: usize = 64;

/// All running sources.
pub struct Discovery {
    running: HashMap<Arc<str>, Running>,
    tasks: JoinSet<()>,
    /// How many sources there have been.
    count: u64,
    found: mpsc::Sender<Found>,
    inbox: mpsc::Receiver<Found>,
    pub(super) leaving: Leaving,
    status: Status,
    metrics: Metrics,
}

struct Running {
    number: u64,
    /// What it was started with.
    words: config::Pool,
    task: AbortHandle,
}

/// What wakes the supervisor.
pub enum Event {
    /// A source has found something.
    Found(Found),
    /// It is time to look after those that leave.
    Sweep,
}

/// What metrics show of discovery, by pool.
#[derive(Clone, Default)]
pub struct Status(Arc<Mutex<BTreeMap<Arc<str>, PoolStatus>>>);

/// Of one pool.
#[derive(Clone, Copy, Default)]
pub struct PoolStatus {
    /// When its source last had an answer, since 1970; zero if it never had.
    pub answered: Duration,
    /// Backends that are no longer named, and still there.
    pub leaving: usize,
}

impl Status {
    /// Of every pool with discovery.
    pub fn pools(&self) -> Vec<(Arc<str>, PoolStatus)> {
        let pools = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pools.iter().map(|(name, status)| (name.clone(), *status)).collect()
    }

    fn update(&self, change: impl FnOnce(&mut BTreeMap<Arc<str>, PoolStatus>)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn note_answer(&self, pool: &Arc<str>) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.update(|pools| pools.entry(pool.clone()).or_default().answered = now);
    }
}

impl Discovery {
    /// Starts the sources of the first generation, on the current runtime. `unready` is dropped when each has looked once,
    /// and what it found was probed.
    pub fn start(snapshot: &Snapshot, metrics: &Metrics, unready: &mpsc::Sender<()>) -> Discovery {
        let (found, inbox) = mpsc::channel(FOUND_MAX);
        let mut discovery = Discovery {
            running: HashMap::new(),
            tasks: JoinSet::new(),
            count: 0,
            found,
            inbox,
            leaving: Leaving::default(),
            status: Status::default(),
            metrics: metrics.clone(),
        };
        discovery.update(snapshot, Some(unready));
        discovery
    }

    /// For the metrics.
    pub fn status(&self) -> Status {
        self.status.clone()
    }

    /// Makes the running sources those of `snapshot`; those that would do the same go on. Until each new one has looked once
    /// it has a clone of `unready`.
    pub fn update(&mut self, snapshot: &Snapshot, unready: Option<&mpsc::Sender<()>>) {
        let mut before = std::mem::take(&mut self.running);
        for pool in snapshot.pools.iter() {
            let Some(words) = snapshot.config.pools.get(&*pool.name) else { continue };
            if words.discovery.is_none() {
                continue;
            }
            let running = match before.remove(&pool.name) {
                Some(same) if is_as(&same.words, words) => same,
                other => {
                    other.inspect(|other| other.task.abort());
                    self.begin(&pool.name, words, unready)
                }
            };
            self.running.insert(pool.name.clone(), running);
        }
        before.into_values().for_each(|gone| gone.task.abort());
        while self.tasks.try_join_next().is_some() {}
        self.status.update(|pools| {
            pools.retain(|name, _| self.running.contains_key(name));
            for name in self.running.keys() {
                pools.entry(name.clone()).or_default();
            }
        });
    }

    fn begin(
        &mut self,
        pool: &Arc<str>,
        words: &config::Pool,
        unready: Option<&mpsc::Sender<()>>,
    ) -> Running {
        self.count += 1;
        let errand = Errand {
            pool: pool.clone(),
            words: words.clone(),
            source: self.count,
            found: self.found.clone(),
            metrics: self.metrics.clone(),
            unready: unready.cloned(),
            complained: None,
        };
        let task = self.tasks.spawn(run(errand));
        Running { number: self.count, words: words.clone(), task }
    }

    /// Waits for something to do.
    pub async fn next(&mut self) -> Event {
        tokio::select! {
            Some(found) = self.inbox.recv() => Event::Found(found),
            () = self.leaving.due() => Event::Sweep,
        }
    }

    /// Notes who of the pools between these snapshots left, which it returns, and who came back.
    pub fn note_change(&mut self, previous: &Snapshot, next: &Snapshot) -> Vec<Arc<Backend>> {
        let departed = self.leaving.note(previous, next);
        self.count_leaving();
        departed
    }

    fn count_leaving(&self) {
        let counts = self.leaving.counts();
        self.status.update(|pools| {
            for (name, status) in pools {
                status.leaving = counts.get(name).copied().unwrap_or(0);
            }
        });
    }

    /// Ends all sources.
    pub async fn stop(&mut self) {
        self.tasks.shutdown().await;
    }
}

/// Whether a source would do the same under both words.
fn is_as(one: &config::Pool, other: &config::Pool) -> bool {
    one.discovery == other.discovery && one.tls == other.tls
}

/// Works for a pool until it is dropped.
async fn run(mut errand: Errand) {
    let Some(discovery) = errand.words.discovery.clone() else { return };
    match discovery.source {
        Source::File { path } => {
            let (change, changed) = mpsc::channel(1);
            // What it held was read when the snapshot was built.
            errand.unready = None;
            let watching = watch_file(path.value.clone(), change);
            tokio::join!(watching, file::run(errand, &path.value, discovery.backends_max, changed));
        }
        source => asking::run(errand, &source).await,
    }
}

/// Says whenever the file has another content than before, and once at the beginning.
async fn watch_file(path: PathBuf, change: mpsc::Sender<()>) {
    let watched = Watched { files: [path].into(), ..Watched::default() };
    // Nobody else tells of other files, so the sender is only held.
    let (_only, watched) = channel::channel(watched);
    watch::run(watched, change, || ()).await;
}

impl Supervisor {
    /// Does what discovery asks for.
    pub(super) async fn attend(&mut self, event: Event) {
        match event {
            Event::Found(found) => self.take_in(found).await,
            Event::Sweep => self.sweep(),
        }
    }

    /// Puts what was found into force, if it is another list than before.
    async fn take_in(&mut self, found: Found) {
        let Found { pool, source, backends, unready } = found;
        if self.discovery.running.get(&pool).is_none_or(|running| running.number != source) {
            return;
        }
        self.discovery.status.note_answer(&pool);
        let previous = self.plane.snapshot.load_full();
        let next = match self.re_made(&previous, &pool, backends).await {
            Ok(Some(next)) => Arc::new(next),
            Ok(None) => return self.plane.metrics.discovered(&pool, false),
            Err(error) => return tracing::error!(%pool, error, "what was found cannot be used"),
        };
        // Ahead of the first request, that a new backend may be full for.
        states::settle(&next);
        self.plane.snapshot.store(next.clone());
        idle::leave(&self.workers, &self.discovery.note_change(&previous, &next).into());
        self.probes.update(&next, unready);
        self.waves.settle(&next);
        self.plane.metrics.discovered(&pool, true);
        tell_log(&pool, &previous, &next);
    }

    /// The snapshot with these backends in one pool, if that is another one.
    async fn re_made(
        &self,
        previous: &Arc<Snapshot>,
        pool: &Arc<str>,
        backends: Arc<[config::Backend]>,
    ) -> Result<Option<Snapshot>, String> {
        let (previous, pool) = (previous.clone(), pool.clone());
        let (registry, metrics) = (self.registry.clone(), self.plane.metrics.clone());
        // The tables and cookies of thousands of backends take a while: not on the thread that accepts connections.
        let made = spawn_blocking(move || with_backends(&previous, &pool, backends, &registry, &metrics));
        match made.await {
            Ok(made) => made.map_err(|error| format!("cannot sign cookies: {error}")),
            Err(panic) => Err(panic.to_string()),
        }
    }

    /// Asks the tunnels to go of those whose time is over, and forgets who carries nothing any more.
    fn sweep(&mut self) {
        let swept = self.discovery.leaving.sweep();
        for backend in &swept.overdue {
            self.waves.part_backend(backend, Why::BackendRemoved);
        }
        if swept.is_smaller {
            // Who is counted no longer has left nothing behind.
            self.forget_backends();
            self.discovery.count_leaving();
        }
    }
}

/// Says who came and who went.
fn tell_log(pool: &Arc<str>, previous: &Snapshot, next: &Snapshot) {
    let addresses = |snapshot: &Snapshot| {
        let backends = snapshot.pools.get(pool).map(|pool| pool.backends.clone()).unwrap_or_default();
        backends
            .iter()
            .map(|backend| backend.address.value.clone())
            .collect::<std::collections::BTreeSet<_>>()
    };
    let (before, now) = (addresses(previous), addresses(next));
    let (added, removed) = (now.difference(&before).count(), before.difference(&now).count());
    tracing::info!(%pool, backends = now.len(), added, removed, "backends changed");
}
