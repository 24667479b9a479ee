//! A start, step by step: whatever can fail has failed before anything is served. What serves is opened last, so that a
//! process that takes over from another has first done all else.

use std::path::PathBuf;
use std::sync::Arc;
use std::{fs, io};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch as channel};

use super::discovery::Discovery;
use super::handover::{Handover, Inherited, Predecessors, Shared};
use super::listeners::{self, Bound, Listeners, Own};
use super::probes::{Probes, Readiness};
use super::reload::{self, Status};
use super::sources::{self, Sources};
use super::waves::Waves;
use super::{StartError, Supervisor, idle, limits, states, threads, watch};
use crate::admin::api::Api;
use crate::admin::scrape::Scrape;
use crate::admin::serve::Left;
use crate::config::{Config, Problems};
use crate::lifecycle::{Permits, Phase, phases};
use crate::net::listening::Listening;
use crate::net::socket;
use crate::proxy::Plane;
use crate::state::orders::{Asker, Order, Reload};
use crate::state::registry::Registry;
use crate::state::{ListenerKey, build};
use crate::telemetry::Metrics;
use crate::telemetry::access::AccessLog;
use crate::telemetry::export::Exporter;
use crate::telemetry::log::{Control, Sink};
use crate::tunnel::carriers::Carriers;
use crate::tunnel::sessions::Sessions;

/// Orders that may wait; who orders more waits, too.
const ORDERS_MAX: usize = 16;

/// What a process is started with.
pub struct Beginning<'a> {
    /// Accepted, and not in force yet.
    pub config: Config,
    /// The file that it came from, which is watched with what it names.
    pub path: Option<PathBuf>,
    /// Where the log goes.
    pub sink: &'a Sink,
    /// Its settings.
    pub log: Control,
}

/// Sockets that nobody accepts from yet.
pub struct Doors {
    bound: Bound,
    metrics: Option<(ListenerKey, Listening, Scrape)>,
    admin: Option<(ListenerKey, Listening, Api)>,
    handover: Option<Own>,
    /// Whether clients may be sent here.
    pub readiness: Readiness,
}

impl Supervisor {
    /// Starts a proxy on the current runtime and on threads of its own. It watches `path` and what that names, if the
    /// configuration came from a file.
    ///
    /// # Errors
    /// Every certificate that cannot be used, every address that cannot be bound, and the lack of threads.
    pub fn start(beginning: Beginning<'_>) -> Result<Supervisor, StartError> {
        let (mut supervisor, doors) = Supervisor::prepare(beginning, &mut Inherited::default())?;
        supervisor.open(doors)?;
        Ok(supervisor)
    }

    /// All of a start but the last step: nobody is served yet.
    ///
    /// # Errors
    /// As [`Supervisor::start`].
    pub(super) fn prepare(
        beginning: Beginning<'_>,
        inherited: &mut Inherited,
    ) -> Result<(Supervisor, Doors), StartError> {
        let Beginning { config, path, sink, log } = beginning;
        let count = config.server.workers.unwrap_or_else(threads::cores);
        let metrics = Metrics::new(count);
        let registry = Arc::new(Registry::default());
        inherited.teach(&registry);
        let snapshot =
            build::build(Arc::new(config), None, &registry, &metrics).map_err(StartError::Config)?;
        let config = snapshot.config.clone();
        let descriptors = socket::raise_descriptor_limit();
        let listeners = Listeners::new(config.server.handover.is_some());
        let mut problems = Problems::new(config.sources.clone());
        let bound = listeners.bind_new(&snapshot, inherited, &mut problems);
        let (metrics_socket, admin_socket) = listeners::bind_admin(&config, inherited, &mut problems);
        let handover = listeners::bind_handover(&config, inherited, &mut problems);
        if !problems.is_empty() {
            return Err(StartError::Bind(problems));
        }

        reload::warn(&config);
        let bounds = limits::derive(&config.limits, descriptors);
        let connections = Permits::new(bounds.connections_max);
        let (phase, phase_receiver) = phases();
        let sessions = Arc::new(Sessions::default());
        let carriers = Arc::new(Carriers::default());
        let waves = Waves::new(sessions.clone(), carriers.clone(), config.server.drain.clone());
        states::settle(&snapshot);
        inherited.judge(&snapshot);
        let (probes, readiness, unready) = Probes::start(&snapshot, &metrics, &waves, bounds.probes_max);
        let discovery = Discovery::start(&snapshot, &metrics, &unready);
        drop(unready);
        let plane = Arc::new(Plane {
            snapshot: ArcSwap::from_pointee(snapshot),
            access: AccessLog::new(sink.clone()),
            sessions,
            carriers,
            metrics: metrics.clone(),
            tunnels: Permits::new(bounds.tunnels_max),
            handshakes: Permits::new(config.limits.handshakes_max),
            phase: phase_receiver.clone(),
        });
        let workers = threads::start_workers(count, &plane)?;
        drop(idle::renew(&workers, bounds.idle_max, Some(&plane.snapshot.load_full())));
        let status = Arc::new(Status::begin());
        let (order, orders) = mpsc::channel(ORDERS_MAX);
        let (watched, watched_receiver) = channel::channel(config.watched.clone());
        // A pipe can be read only once.
        if path.as_ref().is_some_and(|path| fs::metadata(path).map_or(true, |found| found.is_file())) {
            let reload = || Order::Reload(Reload { asker: Asker::Watch, reply: None });
            tokio::spawn(watch::run(watched_receiver, order.clone(), reload));
        }
        let predecessors = Predecessors::default();
        let sources = Sources {
            plane: plane.clone(),
            registry: registry.clone(),
            connections: connections.clone(),
            readiness: readiness.clone(),
            status: status.clone(),
            discovery: discovery.status(),
            waves: waves.clone(),
            predecessors: predecessors.clone(),
            sink: sink.clone(),
        };
        sources::register(sources, &workers);
        let exporter = Exporter::new(metrics.registry().clone()).map_err(io::Error::other)?;
        let is_ready = readiness.clone();
        let ready = Box::new(move || is_ready.is_ready() && *phase_receiver.borrow() == Phase::Serving);
        let metrics = metrics_socket.map(|(key, socket)| (key, socket, Scrape { exporter, ready }));
        let admin = admin_socket.map(|(key, socket)| {
            let checks_host = socket.file.is_none();
            (key, socket, Api { plane: plane.clone(), orders: order, checks_host })
        });
        let doors = Doors { bound, metrics, admin, handover, readiness };
        let supervisor = Supervisor {
            path,
            started: config,
            plane,
            registry,
            connections,
            descriptors,
            phase,
            listeners,
            probes,
            discovery,
            waves,
            workers,
            log,
            status,
            orders,
            watched,
            handover: None,
            predecessors,
        };
        Ok((supervisor, doors))
    }

    /// The last step: serves.
    ///
    /// # Errors
    /// The lack of threads and descriptors.
    pub(super) fn open(&mut self, doors: Doors) -> io::Result<()> {
        let Doors { bound, metrics, admin, handover, .. } = doors;
        let mut shared = Vec::new();
        let mut share = |key: ListenerKey, socket: &mut Listening| {
            let (leave, left) = Left::new();
            socket.claim();
            if handover.is_some() {
                shared.push(Shared { key, socket: socket.socket.try_clone()?, leave });
            }
            io::Result::Ok(left)
        };
        let metrics = metrics.map(|(key, mut socket, scrape)| {
            tracing::info!(address = %socket, "metrics");
            let left = share(key, &mut socket)?;
            io::Result::Ok((socket, scrape, left))
        });
        let admin = admin.map(|(key, mut socket, api)| {
            tracing::info!(address = %socket, "admin");
            let left = share(key, &mut socket)?;
            io::Result::Ok((socket, api, left))
        });
        threads::start_admin(metrics.transpose()?, admin.transpose()?)?;
        self.listeners.open(bound, &self.plane, &self.connections, &self.workers)?;
        self.handover = handover.map(|own| Handover::start(own, shared)).transpose()?;
        Ok(())
    }
}
