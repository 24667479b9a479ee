//! Handover: a new process takes the sockets of the one that runs, and that one drains.
//!
//! The new process prepares all of a start with its own configuration and the sockets that it was given, and says so; then it
//! is told to go, serves, and says that. For a moment both accept from the same sockets, so that no connection is refused or
//! lost. Until the new one serves nothing has changed for the running one, which goes on if anything fails, the end of the
//! other one included. What it then leaves to the new one it closes and does not touch: filters, queues and the files of unix
//! sockets are the other's, too.
//!
//! | who | says | must follow within |
//! |---|---|---|
//! | new | [`Hello`] | [`HELLO`] |
//! | running | the manifest and the descriptors, or its own `Hello`: no version is common | [`MANIFEST`] |
//! | new | prepared, with what it keeps; or failed, and why | [`PREPARE`] |
//! | running | go | [`GO`] |
//! | new | serving | [`GO`] |
//!
//! From then on the one that drains reports how many tunnels it has left ([`predecessors`]).

mod give;
mod known;
mod predecessors;
mod take;

use std::collections::HashMap;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

pub use self::give::{Outcome, Taker};
use self::known::Verdicts;
pub use self::predecessors::Predecessors;
use super::listeners::Own;
use crate::net::accept::Acceptor;
use crate::net::listening::Listening;
use crate::proto::manifest::{Hello, Known, Step};
use crate::state::registry::Registry;
use crate::state::{ListenerKey, Snapshot};

/// A greeting, from the connection on.
const HELLO: Duration = Duration::from_secs(5);
/// Manifest and descriptors; who asks may have to wait for the end of a reload, or for another process that asks.
const MANIFEST: Duration = Duration::from_secs(10);
/// All of a start, up to the first probes and looks of discovery.
const PREPARE: Duration = Duration::from_secs(60);
/// To open doors.
const GO: Duration = Duration::from_secs(10);
/// Bytes of a message that is not a manifest.
const STEP_BYTES_MAX: usize = 256 << 10;

/// Where a new process asks for the sockets of this one.
pub struct Handover {
    key: ListenerKey,
    /// The socket at which it asks.
    socket: OwnedFd,
    /// Sockets of the process itself that it may have.
    shared: Vec<Shared>,
    takers: mpsc::Receiver<Taker>,
    reception: JoinHandle<()>,
    leave: watch::Sender<bool>,
}

/// A socket of the process itself that another one may have.
pub struct Shared {
    /// Its identity.
    pub key: ListenerKey,
    /// The same socket once more.
    pub socket: TcpListener,
    /// Tells who serves there to leave it.
    pub leave: watch::Sender<bool>,
}

/// Sockets of the process that runs, for the one that takes over.
#[derive(Default)]
pub struct Inherited {
    /// By identity, with their places in the manifest.
    sockets: HashMap<String, (usize, OwnedFd)>,
    kept: Vec<usize>,
    known: Known,
    verdicts: Verdicts,
}

impl Handover {
    /// Waits for new processes at a socket, on the current runtime.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn start((key, mut socket): Own, shared: Vec<Shared>) -> io::Result<Handover> {
        tracing::info!(address = %socket, "a new process may take over");
        socket.claim();
        let again = socket.socket.as_fd().try_clone_to_owned()?;
        let acceptor = Acceptor::new(socket)?;
        // One at a time: the next one waits until there is an outcome.
        let (sender, takers) = mpsc::channel(1);
        let (leave, left) = watch::channel(false);
        let reception = tokio::spawn(give::receive(acceptor, sender, left));
        Ok(Handover { key, socket: again, shared, takers, reception, leave })
    }

    /// Waits for nobody any more. The socket's file goes with it, unless another process has it.
    pub async fn end(self) {
        // A reception that was told to leave does so by itself.
        if !*self.leave.borrow() {
            self.reception.abort();
        }
        let _ = self.reception.await;
    }
}

/// Waits for a process that wants to take over; for ever where none may.
pub async fn next(handover: &mut Option<Handover>) -> Taker {
    match handover {
        Some(handover) => match handover.takers.recv().await {
            Some(taker) => taker,
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

impl Inherited {
    /// Puts the keys that were given into a registry, before anything is made with them.
    pub fn teach(&mut self, registry: &Registry) {
        self.verdicts = known::learn(std::mem::take(&mut self.known), registry);
    }

    /// Tells the backends of a snapshot how they stood. Whether a state was ordered by that.
    pub fn judge(&mut self, snapshot: &Snapshot) -> bool {
        self.verdicts.apply(snapshot)
    }

    /// The socket of this identity, if there was one; it is kept from now on.
    pub fn keep(&mut self, key: &ListenerKey) -> Option<Listening> {
        let (place, socket) = self.sockets.remove(&key.to_string())?;
        match Listening::adopt(&key.address, socket) {
            Ok(socket) => {
                self.kept.push(place);
                Some(socket)
            }
            Err(error) => {
                tracing::warn!(address = %key, %error, "the running process has given a socket that cannot be used");
                None
            }
        }
    }
}

/// What is wrong with a step that is not the one that should come.
fn unexpected(step: Step) -> io::Error {
    match step {
        Step::Failed(why) => io::Error::other(why),
        step => io::Error::new(io::ErrorKind::InvalidData, format!("{step:?} is not the next step")),
    }
}

/// Which versions a program speaks, in words.
fn versions(hello: &Hello) -> String {
    let Hello { newest, oldest, program } = hello;
    format!("longhaul {program} speaks versions {oldest} to {newest} of the handover")
}
