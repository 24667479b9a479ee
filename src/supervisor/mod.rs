//! The composition root, and the one writer: makes every part, joins them, changes them, and takes them down again in
//! order.
//!
//! [`Supervisor::start`] builds the snapshot, binds every socket and only then starts threads: whatever can fail has
//! failed before anything is served. [`Supervisor::take_over`] does the same with the sockets of the process that runs.
//! [`Supervisor::run`] reloads when it is asked to, hands over to a new process, and drains when it is told to stop.

mod discovery;
mod handover;
mod idle;
mod leaving;
mod limits;
mod listeners;
mod probes;
mod rebalance;
mod reload;
pub mod signals;
mod sources;
pub mod start;
mod states;
mod threads;
mod watch;
mod waves;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch as channel};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::config::{Config, Problems, Watched};
use crate::lifecycle::{Permits, Phase, PhaseSender};
use crate::proxy::Plane;
use crate::state::orders::{Asker, Order, Reload};
use crate::state::registry::Registry;
use crate::telemetry::log::Control;

use self::discovery::Discovery;
use self::handover::{Handover, Outcome, Predecessors};
use self::listeners::Listeners;
use self::probes::Probes;
use self::reload::Status;
use self::signals::{Signals, Stop};
use self::threads::Worker;
use self::waves::Waves;

/// After the tunnels were told to end: how long their tasks get to close the books.
const CUT_DEADLINE: Duration = Duration::from_secs(2);

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
    /// Where a new process may ask for all of it.
    handover: Option<Handover>,
    /// Those that this process has taken over from, or that were before them.
    predecessors: Predecessors,
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
    /// The process that runs goes on.
    NotTakenOver(NotTakenOver),
}

/// Why there was no handover, and what to do.
#[derive(Debug)]
pub struct NotTakenOver {
    /// What went wrong.
    pub message: String,
    /// What would be right.
    pub remedy: &'static str,
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

/// Why a process drains.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// It was told to.
    Signal,
    /// Another one serves in its place.
    Handover,
}

impl Supervisor {
    /// Serves until told to stop, then drains: readiness fails, listeners close after `drain.delay`, tunnels are asked to go
    /// over `drain.window`, what is left at `drain.deadline` is cut. A second signal cuts at once. Drains, too, when another
    /// process has taken over; then a signal is the second one.
    pub async fn run(mut self, signals: &mut Signals) -> Stopped {
        let waves = tokio::spawn(self.waves.clone().run());
        let rebalance = tokio::spawn(rebalance::run(self.plane.clone(), self.waves.clone()));
        let cause = loop {
            let order = tokio::select! {
                biased;
                () = signals.stop.wait() => break Cause::Signal,
                _ = signals.reload.recv() => Order::Reload(Reload { asker: Asker::Signal, reply: None }),
                // Without a file and an admin address nobody can order anything.
                Some(order) = self.orders.recv() => order,
                event = self.discovery.next() => {
                    tokio::select! {
                        biased;
                        () = signals.stop.wait() => break Cause::Signal,
                        () = self.attend(event) => continue,
                    }
                }
                taker = handover::next(&mut self.handover) => {
                    match self.hand_over(taker, &mut signals.stop).await {
                        Outcome::GoOn => continue,
                        Outcome::Stop => break Cause::Signal,
                        Outcome::Replaced => break Cause::Handover,
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
                () = signals.stop.wait() => break Cause::Signal,
                () = self.carry_out(order) => {}
            }
        };
        rebalance.abort();
        // Nobody can take over from a process that stops.
        if let Some(handover) = self.handover.take() {
            handover.end().await;
        }
        self.stop(cause, &mut signals.stop, waves).await
    }

    async fn stop(mut self, cause: Cause, stop: &mut Stop, waves: JoinHandle<()>) -> Stopped {
        // Who still waits for a reload learns that none comes any more.
        self.orders.close();
        while self.orders.try_recv().is_ok() {}
        tracing::info!(tunnels = self.plane.sessions.len(), "stopping");
        let stopped = tokio::select! {
            stopped = self.drain(cause) => stopped,
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

    async fn drain(&mut self, cause: Cause) -> Stopped {
        let drain = self.plane.snapshot.load().config.server.drain.clone();
        self.phase.send_replace(Phase::Leaving);
        if cause == Cause::Signal {
            sleep(drain.delay).await;
        }
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
