//! The health checks that run: one task for each backend of each pool that has them. A reload starts and stops what the
//! new generation changes; the others go on, with the streaks they have.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use super::states;
use super::waves::Waves;
use crate::config::{BackendAddress, State};
use crate::state::Snapshot;
use crate::telemetry::Metrics;
use crate::tunnel::goodbye::Why;
use crate::upstream::backend::{Backend, Health};
use crate::upstream::health::{self, Terms};
use crate::upstream::members::Member;

/// Readiness waits this long for the first round, at most.
const FIRST_ROUND_MAX: Duration = Duration::from_secs(5);

/// Whether the first look of every discovery and the first round of probes are over, or have taken too long. Backends that
/// are down or not found do not matter: to send clients to another proxy would not bring them up.
#[derive(Clone, Default)]
pub struct Readiness(Arc<Gate>);

#[derive(Default)]
struct Gate {
    is_open: AtomicBool,
    opened: Notify,
}

impl Readiness {
    /// Whether clients may be sent here.
    pub fn is_ready(&self) -> bool {
        self.0.is_open.load(Relaxed)
    }

    /// Waits until they may.
    pub async fn wait(&self) {
        let mut opened = pin!(self.0.opened.notified());
        opened.as_mut().enable();
        if !self.is_ready() {
            opened.await;
        }
    }

    fn open(&self) {
        self.0.is_open.store(true, Relaxed);
        self.0.opened.notify_waiters();
    }
}

/// All running health checks.
pub struct Probes {
    watched: HashMap<(Arc<str>, BackendAddress), Watched>,
    tasks: JoinSet<()>,
    metrics: Metrics,
    waves: Waves,
    /// Bounds how many run at once.
    turns: Arc<Semaphore>,
}

struct Watched {
    backend: Arc<Backend>,
    /// What it was started with.
    terms: Terms,
    task: AbortHandle,
}

/// Whether a watcher would do the same under both terms. Of the limits only those of heads concern it.
fn is_as(one: &Terms, other: &Terms) -> bool {
    let heads = |terms: &Terms| (terms.limits.head_bytes_max, terms.limits.head_fields_max);
    let tls = match (&one.tls, &other.tls) {
        (Some(one), Some(other)) => one.is(other),
        (None, None) => true,
        _ => false,
    };
    let proxy_protocol = one.proxy_protocol == other.proxy_protocol;
    let sources = one.sources == other.sources;
    tls && proxy_protocol
        && sources
        && one.check == other.check
        && one.tcp == other.tcp
        && heads(one) == heads(other)
}

impl Probes {
    /// Starts the health checks of the first generation, on the current runtime. Whoever holds a clone of the sender that
    /// comes with it keeps the process from being ready. At most `probes_max` run at once.
    pub fn start(
        snapshot: &Snapshot,
        metrics: &Metrics,
        waves: &Waves,
        probes_max: usize,
    ) -> (Probes, Readiness, mpsc::Sender<()>) {
        let (metrics, waves) = (metrics.clone(), waves.clone());
        let turns = Arc::new(Semaphore::new(probes_max));
        let mut probes = Probes { watched: HashMap::new(), tasks: JoinSet::new(), metrics, waves, turns };
        let (unready, mut all_ready) = mpsc::channel(1);
        probes.start_and_stop(snapshot, &unready);
        let readiness = Readiness::default();
        let ready = readiness.clone();
        probes.tasks.spawn(async move {
            // The channel ends when every watcher has dropped its sender.
            let _ = timeout(FIRST_ROUND_MAX, all_ready.recv()).await;
            ready.open();
        });
        (probes, readiness, unready)
    }

    /// Makes the running health checks those of `snapshot`. New ones hold a clone of `unready` until they have probed once.
    pub fn update(&mut self, snapshot: &Snapshot, unready: Option<mpsc::Sender<()>>) {
        self.start_and_stop(snapshot, &unready.unwrap_or_else(|| mpsc::channel(1).0));
        while self.tasks.try_join_next().is_some() {}
    }

    /// Ends them all.
    pub async fn stop(&mut self) {
        self.tasks.shutdown().await;
    }

    /// Before, it brings the states of all backends in line with the configuration: who is disabled is not probed.
    fn start_and_stop(&mut self, snapshot: &Snapshot, unprobed: &mpsc::Sender<()>) {
        states::settle(snapshot);
        let mut before = std::mem::take(&mut self.watched);
        let config = &snapshot.config;
        for pool in snapshot.pools.iter() {
            let Some(check) = &pool.health else { continue };
            let terms = Terms {
                check: check.clone(),
                tls: pool.tls.clone(),
                proxy_protocol: pool.proxy_protocol,
                tcp: config.tcp.clone(),
                sources: pool.sources.clone(),
                limits: config.limits.clone(),
            };
            let wanted = |member: &&Member| member.backend.standing.state() != State::Disabled;
            for member in pool.members.all().iter().filter(wanted) {
                let key = (pool.name.clone(), member.backend.address.clone());
                let watched = match before.remove(&key) {
                    Some(same)
                        if is_as(&same.terms, &terms) && Arc::ptr_eq(&same.backend, &member.backend) =>
                    {
                        same
                    }
                    other => {
                        other.inspect(|other| other.task.abort());
                        self.watch(&member.backend, terms.clone(), unprobed)
                    }
                };
                self.watched.insert(key, watched);
            }
        }
        for watched in before.into_values() {
            watched.task.abort();
            // What it showed goes out of date; if it comes back it is probed at once.
            watched.backend.set_health(Health::Unknown);
        }
        // Where nobody asks, backends count as up.
        let unchecked = snapshot.pools.iter().filter(|pool| pool.health.is_none());
        for member in unchecked.flat_map(|pool| pool.members.all()) {
            member.backend.set_health(Health::Up);
        }
    }

    fn watch(&mut self, backend: &Arc<Backend>, terms: Terms, unprobed: &mpsc::Sender<()>) -> Watched {
        let (waves, whole) = (self.waves.clone(), Arc::downgrade(backend));
        let drain = move |backend: &Backend, drains: bool| {
            if !drains {
                waves.spare_backend(backend, Why::BackendDown);
            } else if backend.load() > 0
                && let Some(backend) = whole.upgrade()
            {
                waves.part_backend(&backend, Why::BackendDown);
            }
        };
        let metrics = self.metrics.clone();
        let turns = self.turns.clone();
        let watch = health::watch(backend.clone(), terms.clone(), metrics, turns, unprobed.clone(), drain);
        Watched { backend: backend.clone(), terms, task: self.tasks.spawn(watch) }
    }
}
