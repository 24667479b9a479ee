//! The composition root, and the one writer: makes every part, joins them, changes them, and takes them down again in
//! order.
//!
//! [`Supervisor::start`] builds the snapshot, binds every socket and only then starts threads: whatever can fail has
//! failed before anything is served. [`Supervisor::run`] reloads when it is asked to, and drains when it is told to stop.

mod discovery;
mod idle;
mod leaving;
mod limits;
mod listeners;
mod probes;
mod rebalance;
mod reload;
pub mod signals;
mod sources;
mod states;
mod threads;
mod watch;
mod waves;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch as channel};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::admin::api::Api;
use crate::admin::scrape::Scrape;
use crate::config::{Config, Problems, Watched};
use crate::lifecycle::{Permits, Phase, PhaseSender, phases};
use crate::net::socket;
use crate::proxy::Plane;
use crate::state::build;
use crate::state::orders::{Asker, Order, Reload};
use crate::state::registry::Registry;
use crate::telemetry::Metrics;
use crate::telemetry::access::AccessLog;
use crate::telemetry::export::Exporter;
use crate::telemetry::log::{Control, Sink};
use crate::tunnel::carriers::Carriers;
use crate::tunnel::sessions::Sessions;

use self::discovery::Discovery;
use self::listeners::Listeners;
use self::probes::Probes;
use self::reload::Status;
use self::signals::{Signals, Stop};
use self::sources::Sources;
use self::threads::Worker;
use self::waves::Waves;

/// After the tunnels were told to end: how long their tasks get to close the books.
const CUT_DEADLINE: Duration = Duration::from_secs(2);
/// Orders that may wait; who orders more waits, too.
const ORDERS_MAX: usize = 16;

/// A running proxy.
pub struct Supervisor {
    /// The file of the configuration; without one there is nothing to reload.
    path: Option<PathBuf>,
    /// What the process was started with, which some keys cannot change.
    started: Arc<Config>,
    plane: Arc<Plane>,
    registry: Arc<Registry>,
    connections: Permits,
    /// How many the process may have, from which bounds are derived.
    descriptors: usize,
    phase: PhaseSender,
    listeners: Listeners,
    probes: Probes,
    discovery: Discovery,
    waves: Waves,
    /// A worker ends when nobody can send it connections any more; until the end, this can.
    workers: Vec<Worker>,
    log: Control,
    status: Arc<Status>,
    orders: mpsc::Receiver<Order>,
    /// Tells the watcher what to watch.
    watched: channel::Sender<Watched>,
}

/// Why a proxy did not start. Nothing was served.
#[derive(Debug)]
pub enum StartError {
    /// The configuration names a certificate that cannot be used.
    Config(Problems),
    /// The machine does not let go of an address, here with its places in the configuration.
    Bind(Problems),
    /// The machine has no threads or descriptors left.
    Machine(io::Error),
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// Everything ended by itself.
    Drained,
    /// This many connections were cut at the deadline, or by a second signal.
    Cut(usize),
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> StartError {
        StartError::Machine(error)
    }
}

impl Supervisor {
    /// Starts a proxy on the current runtime and on threads of its own. It watches `path` and what that names, if the
    /// configuration came from a file.
    ///
    /// # Errors
    /// Every certificate that cannot be used, every address that cannot be bound, and the lack of threads.
    pub fn start(
        config: Config,
        path: Option<PathBuf>,
        sink: &Sink,
        log: Control,
    ) -> Result<Supervisor, StartError> {
        let count = config.server.workers.unwrap_or_else(threads::cores);
        let metrics = Metrics::new(count);
        let registry = Arc::new(Registry::default());
        let snapshot =
            build::build(Arc::new(config), None, &registry, &metrics).map_err(StartError::Config)?;
        let config = snapshot.config.clone();
        let descriptors = socket::raise_descriptor_limit();
        let mut listeners = Listeners::default();
        let mut problems = Problems::new(config.sources.clone());
        let bound = listeners.bind_new(&snapshot, &mut problems);
        let (metrics_socket, admin_socket) = listeners::bind_admin(&config, &mut problems);
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
        let sources = Sources {
            plane: plane.clone(),
            registry: registry.clone(),
            connections: connections.clone(),
            readiness: readiness.clone(),
            status: status.clone(),
            discovery: discovery.status(),
            waves: waves.clone(),
            sink: sink.clone(),
        };
        sources::register(sources, &workers);
        if let Some(socket) = &metrics_socket {
            tracing::info!(address = %socket, "metrics");
        }
        let exporter = Exporter::new(metrics.registry().clone()).map_err(io::Error::other)?;
        let ready = Box::new(move || readiness.is_ready() && *phase_receiver.borrow() == Phase::Serving);
        let api = admin_socket.map(|socket| {
            tracing::info!(address = %socket, "admin");
            let checks_host = socket.file.is_none();
            (socket, Api { plane: plane.clone(), orders: order, checks_host })
        });
        threads::start_admin(metrics_socket.map(|socket| (socket, Scrape { exporter, ready })), api)?;
        listeners.open(bound, &plane, &connections, &workers)?;
        Ok(Supervisor {
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
        })
    }

    /// Serves until told to stop, then drains: readiness fails, listeners close after `drain.delay`, tunnels are asked to go
    /// over `drain.window`, what is left at `drain.deadline` is cut. A second signal cuts at once.
    pub async fn run(mut self, signals: &mut Signals) -> Stopped {
        let waves = tokio::spawn(self.waves.clone().run());
        let rebalance = tokio::spawn(rebalance::run(self.plane.clone(), self.waves.clone()));
        loop {
            let order = tokio::select! {
                biased;
                () = signals.stop.wait() => break,
                _ = signals.reload.recv() => Order::Reload(Reload { asker: Asker::Signal, reply: None }),
                // Without a file and an admin address nobody can order anything.
                Some(order) = self.orders.recv() => order,
                event = self.discovery.next() => {
                    tokio::select! {
                        biased;
                        () = signals.stop.wait() => break,
                        () = self.attend(event) => continue,
                    }
                }
            };
            let order = match order {
                Order::Reload(order) => order,
                Order::State(order) => {
                    self.put_into_state(order);
                    continue;
                }
            };
            // What it waits for is the reading of files, which may be on a disk that does not answer; nothing has changed
            // until that has ended.
            tokio::select! {
                biased;
                () = signals.stop.wait() => break,
                () = self.carry_out(order) => {}
            }
        }
        rebalance.abort();
        self.stop(&mut signals.stop, waves).await
    }

    async fn stop(mut self, stop: &mut Stop, waves: JoinHandle<()>) -> Stopped {
        // Who still waits for a reload learns that none comes any more.
        self.orders.close();
        while self.orders.try_recv().is_ok() {}
        tracing::info!(tunnels = self.plane.sessions.len(), "stopping");
        let stopped = tokio::select! {
            stopped = self.drain() => stopped,
            () = stop.wait() => {
                tracing::warn!("second signal: cutting everything");
                self.cut().await
            }
        };
        self.discovery.stop().await;
        self.probes.stop().await;
        waves.abort();
        match stopped {
            Stopped::Drained => tracing::info!("stopped: everything had ended"),
            Stopped::Cut(connections) => tracing::warn!(connections, "stopped: connections were cut"),
        }
        stopped
    }

    async fn drain(&mut self) -> Stopped {
        let drain = self.plane.snapshot.load().config.server.drain.clone();
        self.phase.send_replace(Phase::Leaving);
        sleep(drain.delay).await;
        self.phase.send_replace(Phase::Draining);
        idle::renew(&self.workers, 0, None).await;
        self.listeners.close_all().await;
        self.waves.part_all();
        if timeout(drain.deadline, self.connections.all_back()).await.is_ok() {
            return Stopped::Drained;
        }
        self.cut().await
    }

    /// Ends what is left, and waits a moment for its records.
    async fn cut(&mut self) -> Stopped {
        // A second signal may come before the listeners have closed.
        self.phase.send_replace(Phase::Draining);
        self.listeners.abort().await;
        let left = self.connections.used();
        if left == 0 {
            return Stopped::Drained;
        }
        self.plane.sessions.cut_all();
        let _ = timeout(CUT_DEADLINE, self.connections.all_back()).await;
        Stopped::Cut(left)
    }
}
