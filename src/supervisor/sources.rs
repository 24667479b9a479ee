//! Tells telemetry where to find what others know anyway.

use std::sync::Arc;

use super::discovery::Status as Discovery;
use super::handover::Predecessors;
use super::probes::Readiness;
use super::reload::Status;
use super::threads::Worker;
use super::waves::{REASONS, Waves};
use crate::lifecycle::{Permits, Phase};
use crate::proxy::Plane;
use crate::state::registry::Registry;
use crate::telemetry::log::Sink;
use crate::upstream::backend::Health;

/// Where the figures are that are asked for at scrape time.
pub struct Sources {
    /// The snapshot, the phase, the bound on tunnels.
    pub plane: Arc<Plane>,
    /// All backends.
    pub registry: Arc<Registry>,
    /// The bound on connections.
    pub connections: Permits,
    /// Whether clients may be sent here.
    pub readiness: Readiness,
    /// How the last reload went.
    pub status: Arc<Status>,
    /// What discovery has found.
    pub discovery: Discovery,
    /// Tunnels that are asked to go.
    pub waves: Waves,
    /// Processes that this one has taken over from.
    pub predecessors: Predecessors,
    /// Lines that the log lost.
    pub sink: Sink,
}

/// Registers them for the life of the process.
pub fn register(sources: Sources, workers: &[Worker]) {
    let Sources { plane, registry, connections, readiness, status, discovery, waves, predecessors, sink } =
        sources;
    let loads: Vec<_> = workers.iter().map(|worker| worker.inbox.load.clone()).collect();
    // The metrics hold this closure, and the plane holds the metrics.
    let (metrics, plane) = (plane.metrics.clone(), Arc::downgrade(&plane));
    metrics.registry().source(move |samples| {
        let Some(plane) = plane.upgrade() else { return };
        let snapshot = plane.snapshot.load();
        samples.ready(readiness.is_ready() && *plane.phase.borrow() == Phase::Serving);
        samples.configuration(snapshot.generation, status.last_succeeded(), status.last_success());
        samples.limits(connections.max(), plane.tunnels.max());
        samples.log_dropped(sink.dropped());
        samples.predecessors(predecessors.tunnels());
        let left = waves.left();
        for reason in REASONS.map(|why| why.ending().label()) {
            samples.draining(reason, left.get(reason).copied().unwrap_or(0));
        }
        for (index, load) in loads.iter().enumerate() {
            samples.worker(index, load.get());
        }
        for listener in &snapshot.listeners {
            for certificate in &listener.certificates {
                samples.certificate(&listener.name, &certificate.label, certificate.not_after);
            }
        }
        for (pool, status) in discovery.pools() {
            let named = snapshot.pools.get(&pool).map_or(0, |pool| pool.members.all().len());
            samples.discovery(&pool, named, status.leaving, status.answered);
        }
        for backend in registry.backends() {
            let up = backend.health() == Health::Up;
            let (load, idle) = (backend.load(), backend.idle.get());
            samples.backend(&backend.pool, &backend.label, up, load, idle);
            samples.backend_state(&backend.pool, &backend.label, backend.standing.state());
            let (health, probe) = (backend.health().label(), backend.probe_duration());
            samples.health(&backend.pool, &backend.label, health, probe);
            samples.ejected(&backend.pool, &backend.label, backend.is_ejected());
            if let Some((max, free)) = backend.seats_max().zip(backend.seats_free()) {
                samples.backend_seats(&backend.pool, &backend.label, max, free);
            }
        }
        for pool in snapshot.pools.iter().filter(|pool| pool.members.is_limited()) {
            samples.waiting(&pool.name, pool.queue.waiting());
        }
    });
}
