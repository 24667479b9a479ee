//! The side of the process that runs: who asks is greeted, is given everything, and serves, or nothing has happened.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;

use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use super::{GO, HELLO, MANIFEST, PREPARE, STEP_BYTES_MAX, known, predecessors, unexpected, versions};
use crate::net::accept::{Acceptor, EXHAUSTED_PAUSE};
use crate::net::handover::Channel;
use crate::proto::manifest::{Answer, Hello, Manifest, Step};
use crate::state::ListenerKey;
use crate::supervisor::Supervisor;
use crate::supervisor::signals::Stop;

/// A process that wants to take over, and that this one understands.
pub struct Taker {
    channel: Channel,
    /// The version of its program.
    program: String,
    /// Its process id, where that means anything here.
    pid: Option<i32>,
}

/// What came of a handover.
pub enum Outcome {
    /// There was none.
    GoOn,
    /// There was none, because a signal asks this process to stop.
    Stop,
    /// The other process serves.
    Replaced,
}

/// All that there is to give, in the order of the manifest.
#[derive(Default)]
struct Offer {
    manifest: Manifest,
    descriptors: Vec<OwnedFd>,
}

impl Offer {
    /// Adds a socket.
    fn add(&mut self, key: &ListenerKey, socket: impl AsFd) -> io::Result<()> {
        self.descriptors.push(socket.as_fd().try_clone_to_owned()?);
        self.manifest.sockets.push(key.to_string());
        Ok(())
    }
}

/// Greets whoever connects, one after the other, until `left` says that another process does so.
pub async fn receive(acceptor: Acceptor, takers: mpsc::Sender<Taker>, mut left: watch::Receiver<bool>) {
    loop {
        let greeted = async {
            let Ok((socket, _)) = acceptor.accept().await else {
                sleep(EXHAUSTED_PAUSE).await;
                return;
            };
            match greet(socket).await {
                // Without a receiver the process is ending.
                Ok(taker) => drop(takers.send(taker).await),
                Err(error) => tracing::warn!(%error, "not handed over: who asked is no longhaul that may"),
            }
        };
        tokio::select! {
            biased;
            _ = left.wait_for(|left| *left) => break,
            () = greeted => {}
        }
    }
    acceptor.leave();
}

async fn greet(socket: std::net::TcpStream) -> io::Result<Taker> {
    let mut channel = Channel::accepted(socket)?;
    let (is_trusted, pid) = channel.peer()?;
    if !is_trusted {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is another user's"));
    }
    let hello = Hello::read(&channel.receive(STEP_BYTES_MAX, HELLO).await?).map_err(io::Error::other)?;
    let own = Hello::own();
    if own.common(&hello).is_none() {
        channel.send(&Answer::Refused(own).write(), HELLO).await?;
        return Err(io::Error::other(versions(&hello)));
    }
    Ok(Taker { channel, program: hello.program, pid })
}

impl Taker {
    /// Gives it everything, and waits until it could serve; the places of what it has kept.
    async fn prepare(&mut self, offer: Offer) -> io::Result<Vec<usize>> {
        let sockets = offer.manifest.sockets.len();
        self.channel.send(&Answer::Manifest(offer.manifest).write(), MANIFEST).await?;
        self.channel.send_descriptors(&offer.descriptors, MANIFEST).await?;
        drop(offer.descriptors);
        let message = self.channel.receive(STEP_BYTES_MAX, PREPARE).await?;
        match Step::read(&message, sockets).map_err(io::Error::other)? {
            Step::Prepared(kept) => Ok(kept),
            step => Err(unexpected(step)),
        }
    }

    /// Lets it serve, and waits until it does.
    async fn go(&mut self) -> io::Result<()> {
        self.channel.send(&Step::Go.write(), GO).await?;
        match Step::read(&self.channel.receive(STEP_BYTES_MAX, GO).await?, 0).map_err(io::Error::other)? {
            Step::Serving => Ok(()),
            step => Err(unexpected(step)),
        }
    }
}

impl Supervisor {
    /// Hands everything over to `taker`. Meanwhile discovery goes on; orders and reloads wait. A signal to stop ends a
    /// handover up to the moment in which the other process is told to go.
    pub(in crate::supervisor) async fn hand_over(&mut self, mut taker: Taker, stop: &mut Stop) -> Outcome {
        let (pid, program) = (taker.pid, taker.program.clone());
        tracing::info!(pid, program, "another process asks to take over");
        let (offer, keys) = match self.offer() {
            Ok(offer) => offer,
            Err(error) => return self.go_on(&error),
        };
        let prepared = {
            let mut preparing = pin!(taker.prepare(offer));
            loop {
                tokio::select! {
                    biased;
                    () = stop.wait() => return Outcome::Stop,
                    prepared = &mut preparing => break prepared,
                    event = self.discovery.next() => self.attend(event).await,
                }
            }
        };
        let kept = match prepared {
            Ok(kept) => kept,
            Err(error) => return self.go_on(&error),
        };
        if let Err(error) = taker.go().await {
            return self.go_on(&error);
        }
        let kept: Vec<&ListenerKey> = kept.iter().filter_map(|place| keys.get(*place)).collect();
        tracing::info!(pid, program, sockets = kept.len(), "handed over");
        self.leave(&kept).await;
        tokio::spawn(predecessors::report(taker.channel.into_stream(), self.plane.sessions.clone()));
        Outcome::Replaced
    }

    /// What there is to give, and whose it is.
    fn offer(&self) -> io::Result<(Offer, Vec<ListenerKey>)> {
        let mut offer = Offer::default();
        let mut keys = Vec::new();
        let own = self.handover.iter();
        let shared =
            own.clone().flat_map(|own| &own.shared).map(|shared| (&shared.key, shared.socket.as_fd()));
        let own = own.map(|own| (&own.key, own.socket.as_fd()));
        let listeners = self.listeners.shared().map(|(key, socket)| (key, socket.as_fd()));
        for (key, socket) in listeners.chain(shared).chain(own) {
            offer.add(key, socket)?;
            keys.push(key.clone());
        }
        offer.manifest.program = env!("CARGO_PKG_VERSION").into();
        offer.manifest.known = known::gather(&self.registry);
        for (pid, stream) in self.predecessors.all() {
            offer.descriptors.push(stream);
            offer.manifest.predecessors.push(pid);
        }
        Ok((offer, keys))
    }

    /// Leaves these sockets to another process.
    async fn leave(&mut self, kept: &[&ListenerKey]) {
        for key in kept {
            self.listeners.leave(key);
        }
        let Some(handover) = &self.handover else { return };
        for shared in &handover.shared {
            if kept.contains(&&shared.key) {
                shared.leave.send_replace(true);
            }
        }
        if kept.contains(&&handover.key) {
            handover.leave.send_replace(true);
        }
        // A loop that is aborted before it has left would remove the file of its socket.
        self.listeners.closed().await;
    }

    fn go_on(&self, error: &io::Error) -> Outcome {
        self.plane.metrics.handover_failed();
        tracing::error!(%error, "not handed over: this process goes on");
        Outcome::GoOn
    }
}
