//! Takes connections in and hands each to a worker: one place per listener, so that the workers' loads can be compared.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout_at};

use crate::config::Tcp;
use crate::lifecycle::{Count, Permit, Permits};
use crate::net::accept::{AcceptError, Acceptor, EXHAUSTED_PAUSE};
use crate::net::socket;
use crate::proto::peer::Peer;
use crate::proxy::{Plane, Presence};
use crate::state::Listener;
use crate::telemetry::labels::AcceptFault;

/// Connections that wait for a worker to take them, per worker.
pub const INBOX_MAX: usize = 1024;
/// How long a socket that closes waits for the last packet of TCP handshakes that have begun: a long round trip.
const HANDSHAKES_IN_FLIGHT: Duration = Duration::from_millis(300);
/// How long accepting rests after any other failure.
const OTHER_PAUSE: Duration = Duration::from_millis(1);
/// Faults of accepting are logged once in this time.
const LOG_EVERY: Duration = Duration::from_secs(1);

/// A connection on its way to a worker.
pub struct Arrival {
    /// Not yet registered with any runtime.
    pub socket: TcpStream,
    /// The other end.
    pub peer: Peer,
    /// Where it came in.
    pub listener: Arc<Listener>,
    /// Counts it.
    pub presence: Presence,
}

/// A worker, as seen from where connections arrive.
#[derive(Clone)]
pub struct WorkerInbox {
    /// Takes connections.
    pub arrivals: mpsc::Sender<Arrival>,
    /// What the worker carries.
    pub load: Count,
}

/// Another process accepts from the socket: told to a loop that is to leave it as it is.
#[derive(Debug)]
pub struct HandedOver;

/// One listener's loop.
pub struct Admission {
    /// Where the settings of the socket are looked up, connection by connection.
    pub plane: Arc<Plane>,
    /// The settings that were found last.
    pub listener: Arc<Listener>,
    /// The options that accepted sockets inherit.
    pub tcp: Tcp,
    /// Bounds the connections of the process.
    pub permits: Permits,
    /// Never empty.
    pub workers: Vec<WorkerInbox>,
    /// When a fault was last logged.
    pub last_logged: Option<Instant>,
}

impl Admission {
    /// Accepts until the sender of `close` is dropped; then takes what the kernel has accepted already, and closes the
    /// socket. If it says [`HandedOver`], whoever has not been accepted is another process's.
    pub async fn run(mut self, mut acceptor: Acceptor, mut close: oneshot::Receiver<HandedOver>) {
        let told = loop {
            let ready = tokio::select! {
                biased;
                told = &mut close => break told,
                ready = acceptor.ready() => ready,
            };
            // Only for a connection that is there: an idle listener must not keep a permit from a busy one.
            let permit = tokio::select! {
                biased;
                told = &mut close => break told,
                permit = self.permit() => permit,
            };
            match ready.and_then(|()| acceptor.accept_ready()) {
                Ok((socket, peer)) => self.hand_over(&acceptor, socket, peer, permit).await,
                Err(error) => {
                    drop(permit);
                    self.rest(error).await;
                }
            }
        };
        match told {
            Ok(HandedOver) => acceptor.leave(),
            Err(_) => self.take_the_rest(&mut acceptor).await,
        }
    }

    /// Takes what has begun to connect before the socket closes: those clients believe, or are about to, that they are
    /// connected.
    async fn take_the_rest(&mut self, acceptor: &mut Acceptor) {
        acceptor.drop_new_handshakes();
        let end = Instant::now() + HANDSHAKES_IN_FLIGHT;
        while let Ok(accepted) = timeout_at(end, acceptor.accept()).await {
            match accepted {
                // Also over the limit: they are connected already, and not more than the kernel's queue holds.
                Ok((socket, peer)) => {
                    let permit = self.permits.count();
                    self.hand_over(acceptor, socket, peer, permit).await;
                }
                Err(AcceptError::Exhausted) => break,
                // That one had gone before it was taken; the next may still be there.
                Err(_) => {}
            }
        }
    }

    /// A permit; while there is none, connections wait in the kernel's queue.
    async fn permit(&mut self) -> Permit {
        if let Some(permit) = self.permits.take() {
            return permit;
        }
        self.note(AcceptFault::Limit, "connection limit reached, new ones wait: see limits.connections_max");
        self.permits.wait().await
    }

    async fn hand_over(&mut self, acceptor: &Acceptor, socket: TcpStream, peer: Peer, permit: Permit) {
        self.follow(acceptor, &socket, peer);
        let metrics = &self.listener.metrics;
        metrics.accepted.increment();
        let worker = self.choose();
        let presence = Presence { permit, active: metrics.active.enter(), load: worker.load.enter() };
        let arrival = Arrival { socket, peer, listener: self.listener.clone(), presence };
        // A full inbox is a worker that is busy: waiting here leaves the rest in the kernel's queue.
        let _ = worker.arrivals.send(arrival).await;
    }

    /// Takes the settings of the present generation for the connection in hand and those to come.
    fn follow(&mut self, acceptor: &Acceptor, socket: &TcpStream, peer: Peer) {
        let snapshot = self.plane.snapshot.load();
        // A socket that is being closed is no longer in the snapshot; it goes on with the settings that it had.
        if let Some(listener) = snapshot.listener(&self.listener.key) {
            self.listener = listener.clone();
        }
        if self.tcp != snapshot.config.tcp {
            self.tcp = snapshot.config.tcp.clone();
            acceptor.retune(&self.tcp);
            if peer != Peer::Unix {
                // It fails only for a client that has left, which others will notice.
                let _ = socket::retune(socket, &self.tcp);
            }
        }
    }

    /// The less loaded of two workers chosen at random.
    fn choose(&self) -> &WorkerInbox {
        let count = self.workers.len();
        let first = fastrand::usize(0..count);
        let second = (first + 1 + fastrand::usize(0..count.max(2) - 1)) % count;
        let (first, second) = (&self.workers[first], &self.workers[second]);
        if second.load.get() < first.load.get() { second } else { first }
    }

    /// After a failure: rests, if another try would fail as well.
    async fn rest(&mut self, error: AcceptError) {
        match error {
            AcceptError::Empty => {}
            AcceptError::Exhausted => {
                self.note(
                    AcceptFault::Exhausted,
                    "cannot accept, descriptors or memory ran out: raise their limits",
                );
                sleep(EXHAUSTED_PAUSE).await;
            }
            AcceptError::Other(code) => {
                self.note(AcceptFault::Other, &io::Error::from_raw_os_error(code).to_string());
                // One lost connection is no reason to wait; a socket that always fails must not spin.
                sleep(OTHER_PAUSE).await;
            }
        }
    }

    /// Counts a fault; logs it, unless one was logged a moment ago.
    fn note(&mut self, fault: AcceptFault, message: &str) {
        self.plane.metrics.accept_fault(&self.listener.name, fault);
        if self.last_logged.is_none_or(|at| at.elapsed() >= LOG_EVERY) {
            self.last_logged = Some(Instant::now());
            tracing::warn!(listener = %self.listener.name, connections = self.permits.used(), "{message}");
        }
    }
}
