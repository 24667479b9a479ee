//! The composition root, and the one writer: makes every part, joins them, and takes them down again in order.
//!
//! [`Supervisor::start`] builds the snapshot, binds every socket and only then starts threads: whatever can fail has
//! failed before anything is served. [`Supervisor::run`] waits for signals and drains.

mod limits;
mod probes;
pub mod signals;
mod threads;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::task::JoinSet;

use crate::admin::scrape::Scrape;
use crate::config::{Config, Drain, Place, Problems};
use crate::lifecycle::{Permits, Phase, PhaseSender, phases};
use crate::listen::admit::{Admission, WorkerInbox, drained};
use crate::net::accept::Acceptor;
use crate::net::socket;
use crate::proxy::Plane;
use crate::state::registry::Registry;
use crate::state::{Snapshot, build};
use crate::telemetry::Metrics;
use crate::telemetry::access::AccessLog;
use crate::telemetry::export::Exporter;
use crate::telemetry::log::Sink;
use crate::tunnel::sessions::Sessions;

use self::probes::Readiness;
use self::signals::Stop;
use self::threads::Worker;

/// After the tunnels were told to end: how long their tasks get to close the books.
const CUT_DEADLINE: Duration = Duration::from_secs(2);

/// A running proxy.
pub struct Supervisor {
    plane: Arc<Plane>,
    connections: Permits,
    phase: PhaseSender,
    drain: Drain,
    admissions: JoinSet<()>,
    probes: JoinSet<()>,
    /// A worker ends when nobody can send it connections any more; until the end, this can.
    workers: Vec<Worker>,
    listeners: Vec<(Arc<str>, SocketAddr)>,
    metrics: Option<SocketAddr>,
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
    /// Starts a proxy on the current runtime and on threads of its own.
    ///
    /// # Errors
    /// Every certificate that cannot be used, every address that cannot be bound, and the lack of threads.
    pub fn start(config: &Config, sink: &Sink) -> Result<Supervisor, StartError> {
        let workers = config.server.workers.unwrap_or_else(threads::cores);
        let metrics = Metrics::new(workers);
        let registry = Arc::new(Registry::default());
        let snapshot = build::build(config, 1, &registry, &metrics).map_err(StartError::Config)?;
        let bound = bind(config, &snapshot).map_err(StartError::Bind)?;
        let limits = limits::derive(&config.limits, socket::raise_descriptor_limit());
        let (connections, tunnels) = (Permits::new(limits.connections_max), Permits::new(limits.tunnels_max));
        let (phase, phase_receiver) = phases();
        let plane = Arc::new(Plane {
            snapshot: ArcSwap::from_pointee(snapshot),
            access: AccessLog::new(config.log.access.then(|| sink.clone()), config.log.format),
            sessions: Arc::new(Sessions::default()),
            metrics: metrics.clone(),
            tunnels,
            phase: phase_receiver.clone(),
        });
        let workers = threads::start_workers(workers, &plane)?;
        let (probes, readiness) = probes::start(&plane, &metrics);
        register_sources(&metrics, &plane, &registry, &workers, &connections, &readiness, sink);
        let mut supervisor = Supervisor {
            plane,
            connections,
            phase,
            drain: config.server.drain.clone(),
            admissions: JoinSet::new(),
            probes,
            workers,
            listeners: Vec::new(),
            metrics: None,
        };
        if let Some(listener) = bound.metrics {
            supervisor.metrics = listener.local_addr().ok();
            let exporter = Exporter::new(metrics.registry().clone()).map_err(io::Error::other)?;
            let ready = Box::new(move || readiness.is_ready() && *phase_receiver.borrow() == Phase::Serving);
            threads::start_admin(listener, Arc::new(Scrape { exporter, ready }))?;
        }
        supervisor.admit(bound.listeners, &metrics)?;
        Ok(supervisor)
    }

    /// Starts accepting. With one worker its own thread accepts, else the calling one does.
    fn admit(&mut self, bound: Vec<TcpListener>, metrics: &Metrics) -> io::Result<()> {
        let snapshot = self.plane.snapshot.load_full();
        for (listener, socket) in snapshot.listeners.iter().zip(bound) {
            self.listeners.push((listener.name.clone(), socket.local_addr()?));
            let admission = Admission {
                listener: listener.clone(),
                permits: self.connections.clone(),
                workers: self.workers.iter().map(|worker| worker.inbox.clone()).collect::<Vec<WorkerInbox>>(),
                metrics: metrics.clone(),
                last_logged: None,
            };
            let phase = self.plane.phase.clone();
            let handle = match &self.workers[..] {
                [only] => only.runtime.clone(),
                _ => tokio::runtime::Handle::current(),
            };
            let accept = async move {
                match Acceptor::new(socket) {
                    Ok(acceptor) => admission.run(acceptor, phase).await,
                    Err(error) => {
                        tracing::error!(listener = %admission.listener.name, %error, "cannot listen")
                    }
                }
            };
            self.admissions.spawn_on(accept, &handle);
        }
        Ok(())
    }

    /// The listeners by name, with the addresses that they are bound to.
    pub fn listeners(&self) -> &[(Arc<str>, SocketAddr)] {
        &self.listeners
    }

    /// The address of `/metrics`, as bound.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics
    }

    /// Serves until told to stop, then drains: readiness fails, listeners close after `drain.delay`, tunnels may end by
    /// themselves until `drain.deadline`, the rest is cut. A second signal cuts at once.
    pub async fn run(mut self, stop: &mut Stop) -> Stopped {
        stop.wait().await;
        tracing::info!(tunnels = self.plane.sessions.len(), "stopping");
        let stopped = tokio::select! {
            stopped = self.drain() => stopped,
            () = stop.wait() => {
                tracing::warn!("second signal: cutting everything");
                self.cut().await
            }
        };
        self.probes.shutdown().await;
        match stopped {
            Stopped::Drained => tracing::info!("stopped: everything had ended"),
            Stopped::Cut(connections) => tracing::warn!(connections, "stopped: connections were cut"),
        }
        stopped
    }

    async fn drain(&mut self) -> Stopped {
        self.phase.send_replace(Phase::Leaving);
        tokio::time::sleep(self.drain.delay).await;
        self.phase.send_replace(Phase::Draining);
        while self.admissions.join_next().await.is_some() {}
        if drained(&self.connections, self.drain.deadline).await {
            return Stopped::Drained;
        }
        self.cut().await
    }

    /// Ends what is left, and waits a moment for its records.
    async fn cut(&mut self) -> Stopped {
        // A second signal may come before the listeners have closed; each of them keeps a permit for its next connection.
        self.phase.send_replace(Phase::Draining);
        self.admissions.shutdown().await;
        let left = self.connections.used();
        if left == 0 {
            return Stopped::Drained;
        }
        self.plane.sessions.cut_all();
        drained(&self.connections, CUT_DEADLINE).await;
        Stopped::Cut(left)
    }
}

struct Bound {
    listeners: Vec<TcpListener>,
    metrics: Option<TcpListener>,
}

fn bind(config: &Config, snapshot: &Snapshot) -> Result<Bound, Problems> {
    let mut problems = Problems::new(config.sources.clone());
    let mut bind = |address: SocketAddr, place: &Place| match socket::listen(address) {
        Ok(listener) => Some(listener),
        Err(error) => {
            let remedy = match error.kind() {
                io::ErrorKind::AddrInUse => "stop what listens there, or choose another port",
                io::ErrorKind::AddrNotAvailable => "use an address of this machine, or 0.0.0.0 for all",
                io::ErrorKind::PermissionDenied => {
                    "ports below 1024 need root or the capability CAP_NET_BIND_SERVICE"
                }
                _ => "choose an address that can be bound",
            };
            problems.push(place.clone(), format!("cannot listen on {address}: {error}"), remedy);
            None
        }
    };
    let listeners: Vec<_> = snapshot
        .listeners
        .iter()
        .zip(&config.listeners)
        .filter_map(|(listener, words)| bind(listener.address, &words.address.place))
        .collect();
    let metrics = config.metrics.as_ref().and_then(|address| bind(address.value, &address.place));
    if problems.is_empty() { Ok(Bound { listeners, metrics }) } else { Err(problems) }
}

/// Tells telemetry where to find what others know.
fn register_sources(
    metrics: &Metrics,
    plane: &Arc<Plane>,
    registry: &Arc<Registry>,
    workers: &[Worker],
    connections: &Permits,
    readiness: &Readiness,
    sink: &Sink,
) {
    let (plane, registry, sink) = (Arc::downgrade(plane), registry.clone(), sink.clone());
    let (connections_max, readiness) = (connections.max(), readiness.clone());
    let loads: Vec<_> = workers.iter().map(|worker| worker.inbox.load.clone()).collect();
    metrics.registry().source(move |samples| {
        let Some(plane) = plane.upgrade() else { return };
        let snapshot = plane.snapshot.load();
        samples.ready(readiness.is_ready() && *plane.phase.borrow() == Phase::Serving);
        samples.generation(snapshot.generation);
        samples.limits(connections_max, plane.tunnels.max());
        samples.log_dropped(sink.dropped());
        for (index, load) in loads.iter().enumerate() {
            samples.worker(index, load.get());
        }
        for listener in &snapshot.listeners {
            for certificate in &listener.certificates {
                samples.certificate(&listener.name, &certificate.label, certificate.not_after);
            }
        }
        for backend in registry.backends() {
            let up = backend.health() == crate::upstream::backend::Health::Up;
            samples.backend(&backend.pool, &backend.label, up, backend.load());
        }
    });
}
