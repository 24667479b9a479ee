//! Starts the health checks of a snapshot, and knows when their first round is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::proxy::Plane;
use crate::telemetry::Metrics;
use crate::upstream::health;

/// Readiness waits this long for the first round, at most.
const FIRST_ROUND_MAX: Duration = Duration::from_secs(5);

/// Whether the first round of probes is over, or has taken too long. Backends that are down do not matter: to send
/// clients to another proxy would not bring them up.
#[derive(Clone, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Whether clients may be sent here.
    pub fn is_ready(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// Probes every backend of the snapshot in force, on the current runtime.
pub fn start(plane: &Arc<Plane>, metrics: &Metrics) -> (JoinSet<()>, Readiness) {
    let mut tasks = JoinSet::new();
    let snapshot = plane.snapshot.load();
    let (unprobed, mut all_probed) = mpsc::channel(1);
    for pool in &snapshot.pools {
        let Some(check) = &pool.health else { continue };
        for member in &pool.members {
            let (tcp, limits) = (snapshot.tcp.clone(), snapshot.limits.clone());
            let (backend, check) = (member.backend.clone(), check.clone());
            tasks.spawn(health::watch(backend, check, tcp, limits, metrics.clone(), unprobed.clone()));
        }
    }
    let readiness = Readiness::default();
    let ready = readiness.clone();
    tasks.spawn(async move {
        // The channel ends when every watcher has dropped its sender.
        drop(unprobed);
        let _ = timeout(FIRST_ROUND_MAX, all_probed.recv()).await;
        ready.0.store(true, Relaxed);
    });
    (tasks, readiness)
}
