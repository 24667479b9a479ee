//! One change of the configuration while the process serves.
//!
//! Everything that can fail comes first and touches nothing that is in use: the file is read and checked, the snapshot
//! built, new sockets bound. Then one pointer is swapped, and what the difference asks for is done: sockets close,
//! health checks start and stop, bounds move. A route that changed applies to new handshakes; live tunnels keep the terms
//! they began with. Those whose route or backend is gone are asked to go.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use super::handover::Inherited;
use super::{Supervisor, idle, limits, states};
use crate::config::diff::Change;
use crate::config::{Config, Place, Problems, Watched};
use crate::state::action::Action;
use crate::state::orders::{Asker, Reload, Reloaded};
use crate::state::registry::Registry;
use crate::state::{Listener, Route, Snapshot, build};
use crate::telemetry::Metrics;
use crate::telemetry::labels::ReloadResult;
use crate::upstream::pool::Pool;

/// How reloads went, for the metrics.
pub struct Status {
    succeeded: AtomicBool,
    /// Milliseconds since 1970.
    success_ms: AtomicU64,
}

impl Status {
    /// The first configuration was accepted just now.
    pub fn begin() -> Status {
        let status = Status { succeeded: AtomicBool::new(true), success_ms: AtomicU64::new(0) };
        status.note(true);
        status
    }

    /// Whether the last one was accepted, or found nothing new.
    pub fn last_succeeded(&self) -> bool {
        self.succeeded.load(Relaxed)
    }

    /// When one last was, since 1970.
    pub fn last_success(&self) -> Duration {
        Duration::from_millis(self.success_ms.load(Relaxed))
    }

    fn note(&self, succeeded: bool) {
        self.succeeded.store(succeeded, Relaxed);
        if succeeded {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            self.success_ms.store(u64::try_from(now.as_millis()).unwrap_or(u64::MAX), Relaxed);
        }
    }
}

impl Supervisor {
    /// Carries out an order to reload, tells the metrics, the log and who asked.
    pub(super) async fn carry_out(&mut self, order: Reload) {
        let reloaded = self.reload().await.unwrap_or_else(Reloaded::Rejected);
        let result = match &reloaded {
            Reloaded::Unchanged { .. } => ReloadResult::Unchanged,
            Reloaded::Accepted { .. } => ReloadResult::Accepted,
            Reloaded::Rejected(_) => ReloadResult::Rejected,
        };
        let was_rejected = !self.status.last_succeeded();
        // Before the log: who reads there that it is done finds the figures of it.
        self.status.note(result != ReloadResult::Rejected);
        self.plane.metrics.reload(result);
        tell_log(&reloaded, order.asker, was_rejected);
        if let Some(reply) = order.reply {
            // Whoever asked may have gone.
            let _ = reply.send(reloaded);
        }
    }

    async fn reload(&mut self) -> Result<Reloaded, Problems> {
        let previous = self.plane.snapshot.load_full();
        let Some(path) = self.path.clone() else {
            return Ok(Reloaded::Unchanged { generation: previous.generation });
        };
        let (registry, metrics) = (self.registry.clone(), self.plane.metrics.clone());
        // Thousands of routes take a while to read: not on the thread that accepts connections.
        let old = previous.clone();
        let prepared = tokio::task::spawn_blocking(move || prepare(&path, &old, &registry, &metrics)).await;
        let Prepared { watched, next } = match prepared {
            Ok(prepared) => prepared,
            Err(panic) => return Err(internal(&previous.config, &panic)),
        };
        match &next {
            Ok(_) => drop(self.watched.send_replace(watched)),
            // What a wrong file names may be what has to be corrected; what is in force may still change, too.
            Err(_) => self.watched.send_modify(|before| before.extend(&watched)),
        }
        let (snapshot, mut change) = next?;
        if !change.is_empty() {
            // Against what runs, not against the last file: what was changed and changed back needs none.
            change.needs_restart = Change::between(&self.started, &snapshot.config).needs_restart;
        }
        if change.is_empty() {
            return Ok(Reloaded::Unchanged { generation: previous.generation });
        }
        // An address that was given up a moment ago may be wanted again.
        self.listeners.closed().await;
        let mut problems = Problems::new(snapshot.config.sources.clone());
        let bound = self.listeners.bind_new(&snapshot, &mut Inherited::default(), &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        let generation = snapshot.generation;
        let snapshot = Arc::new(snapshot);
        // Ahead of the first request, that a new backend may be full for.
        states::settle(&snapshot);
        self.plane.snapshot.store(snapshot.clone());
        if let Err(error) = self.listeners.open(bound, &self.plane, &self.connections, &self.workers) {
            tracing::error!(%error, "a new listener cannot be served");
        }
        self.listeners.close_removed(&snapshot);
        self.discovery.update(&snapshot, None);
        drop(self.discovery.note_change(&previous, &snapshot));
        self.waves.renew(&snapshot.config.server.drain);
        for route in &change.routes.removed {
            self.waves.part_route(route);
        }
        // What only it held is gone before it is asked what is still there.
        drop(previous);
        self.apply(&snapshot, &change).await;
        warn(&snapshot.config);
        if !change.needs_restart.is_empty() {
            let keys = change.needs_restart.join(", ");
            tracing::warn!(keys, "these keys have changed and take effect only after a restart");
        }
        Ok(Reloaded::Accepted { generation, change: change.to_string() })
    }

    /// Brings everything that is not read from the snapshot in line with it.
    async fn apply(&mut self, snapshot: &Arc<Snapshot>, change: &Change) {
        let bounds = limits::derive(&snapshot.config.limits, self.descriptors);
        self.connections.set_max(bounds.connections_max);
        self.plane.tunnels.set_max(bounds.tunnels_max);
        self.plane.handshakes.set_max(snapshot.config.limits.handshakes_max);
        // What is idle was opened with the bounds on heads and the options of sockets of before.
        let opened_alike = !change.limits && !change.tcp;
        idle::renew(&self.workers, bounds.idle_max, opened_alike.then_some(snapshot)).await;
        self.probes.update(snapshot, None);
        self.waves.settle(snapshot);
        // Where requests do not count, what they found out does not, either.
        for pool in snapshot.pools.iter().filter(|pool| pool.ejection.is_none()) {
            for member in pool.members.all() {
                member.backend.conduct.forgive(&member.backend.standing);
            }
        }
        self.log.apply(&snapshot.config.log);
        self.registry
            .retain_tickets(|name| snapshot.listeners.iter().any(|listener| *listener.name == *name));
        self.plane.metrics.forget(|pool| snapshot.pools.get(pool).is_some());
        self.forget_backends();
    }

    /// Lets the metrics forget backends that nobody holds any more.
    pub(super) fn forget_backends(&self) {
        let live = self.registry.backends();
        let live: HashSet<_> = live.iter().map(|backend| (&*backend.pool, &*backend.label)).collect();
        self.plane.metrics.forget_backends(|pool, backend| live.contains(&(pool, backend)));
    }
}

/// Says what is valid and dangerous.
pub(super) fn warn(config: &Config) {
    for warning in config.warnings.iter() {
        let place = config.sources.describe(&warning.place).unwrap_or_default();
        tracing::warn!(place, remedy = warning.remedy, "configuration accepted, but {}", warning.message);
    }
}

/// Says what came of a reload; `was_rejected` is of the one before.
fn tell_log(reloaded: &Reloaded, asker: Asker, was_rejected: bool) {
    let asked_by = asker.label();
    match reloaded {
        // A file that was saved again without a change is no news, unless it was wrong; who asked wants an answer.
        Reloaded::Unchanged { generation } if asker == Asker::Watch => {
            if was_rejected {
                tracing::info!(generation, asked_by, "the configuration's file is again what is in force");
            }
        }
        Reloaded::Unchanged { generation } => {
            tracing::info!(generation, asked_by, "configuration unchanged");
        }
        Reloaded::Accepted { generation, change } => {
            tracing::info!(generation, asked_by, change, "configuration changed");
        }
        Reloaded::Rejected(problems) => {
            for problem in problems.iter() {
                let place = problems.sources().describe(&problem.place).unwrap_or_default();
                let (message, remedy) = (&problem.message, &problem.remedy);
                tracing::error!(place, remedy, asked_by, "configuration rejected: {message}");
            }
        }
    }
}

/// What reading the file gave.
struct Prepared {
    /// The files to watch from now on.
    watched: Watched,
    next: Result<(Snapshot, Change), Problems>,
}

/// Reads the file and builds the next generation.
fn prepare(path: &Path, previous: &Snapshot, registry: &Registry, metrics: &Metrics) -> Prepared {
    let config = match Config::load(path) {
        Ok(config) => Arc::new(config),
        Err(problems) => return Prepared { watched: problems.watched().clone(), next: Err(problems) },
    };
    let mut watched = config.watched.clone();
    let next = build::build(config, Some(previous), registry, metrics).map(|snapshot| {
        let mut change = Change::between(&previous.config, &snapshot.config);
        change.certificates = renews_certificates(previous, &snapshot);
        change.answers = renews_answers(&change, previous, &snapshot);
        (snapshot, change)
    });
    if let Err(problems) = &next {
        watched.extend(problems.watched());
    }
    Prepared { watched, next }
}

/// Whether a listener of the same name shows or believes other certificates than before or has other ticket keys, or a
/// pool shows or believes others, or signs its cookies with other secrets.
fn renews_certificates(previous: &Snapshot, next: &Snapshot) -> bool {
    let before = |name: &str| previous.listeners.iter().find(|listener| *listener.name == *name);
    let shown = |listener: &Listener| {
        let settings = listener.tls.as_ref()?.settings();
        Some((settings.certificates.clone(), settings.clients.clone(), settings.ticket_keys.clone()))
    };
    let by_listeners = next
        .listeners
        .iter()
        .any(|listener| before(&listener.name).is_some_and(|before| shown(before) != shown(listener)));
    let files = |pool: &Pool| {
        let settings = pool.tls.as_ref()?.settings();
        Some((settings.authorities.clone(), settings.certificate.clone()))
    };
    let by_pools = next.pools.iter().any(|pool| {
        let before = previous.pools.get(&pool.name);
        let tls = before.and_then(|before| files(before)).zip(files(pool));
        let secrets = before.and_then(|before| before.secrets.as_ref()).zip(pool.secrets.as_ref());
        tls.is_some_and(|(before, now)| before != now) || secrets.is_some_and(|(before, now)| before != now)
    });
    by_listeners || by_pools
}

/// Whether a route that is otherwise the same answers with another content of its file.
fn renews_answers(change: &Change, previous: &Snapshot, next: &Snapshot) -> bool {
    let body = |route: &Arc<Route>| match &route.action {
        Action::Respond(answer) => Some(answer.body.clone()),
        _ => None,
    };
    next.routes_by_name.iter().filter_map(|(name, route)| Some((name, body(route)?))).any(|(name, now)| {
        let before = previous.routes_by_name.get(name).and_then(body);
        before.is_some_and(|before| before != now)
            && !change.routes.changed.iter().any(|other| **other == **name)
    })
}

fn internal(config: &Config, panic: &tokio::task::JoinError) -> Problems {
    let mut problems = Problems::new(config.sources.clone());
    let message = format!("reading the configuration failed inside longhaul: {panic}");
    problems.push(Place::default(), message, "please report this, with the file");
    problems
}
