//! The listening sockets: bound before a generation is swapped in, closed after.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::threads::Worker;
use crate::config::{Config, ListenAddress, Place, Problems, Tcp};
use crate::lifecycle::Permits;
use crate::listen::admit::{Admission, WorkerInbox};
use crate::net::accept::Acceptor;
use crate::net::listening::Listening;
use crate::proxy::Plane;
use crate::state::{Listener, ListenerKey, Snapshot};

/// All open sockets.
#[derive(Default)]
pub struct Listeners {
    open: BTreeMap<ListenerKey, Open>,
    /// Those that take what has begun to connect, and then close.
    closing: Vec<JoinHandle<()>>,
}

struct Open {
    address: String,
    accepting: JoinHandle<()>,
    /// Its drop closes the socket.
    _close: oneshot::Sender<()>,
}

/// Sockets that are bound and not yet accepted from; dropped, they are closed again.
pub struct Bound(Vec<(Arc<Listener>, Listening)>);

impl Listeners {
    /// Binds what `snapshot` has and is not open yet; what cannot be bound is added to `problems`, at its place in the
    /// file.
    pub fn bind_new(&self, snapshot: &Snapshot, problems: &mut Problems) -> Bound {
        let mut bound = Vec::new();
        for (listener, words) in snapshot.listeners.iter().zip(&snapshot.config.listeners) {
            if !self.open.contains_key(&listener.key)
                && let Some(socket) = bind(
                    &listener.key.address,
                    &words.address.place,
                    &snapshot.config.tcp,
                    &self.open,
                    problems,
                )
            {
                bound.push((listener.clone(), socket));
            }
        }
        Bound(bound)
    }

    /// Starts accepting from `bound`. With one worker its own thread accepts, else the calling one does.
    ///
    /// # Errors
    /// When a socket cannot tell its address.
    pub fn open(
        &mut self,
        bound: Bound,
        plane: &Arc<Plane>,
        permits: &Permits,
        workers: &[Worker],
    ) -> io::Result<()> {
        for (listener, socket) in bound.0 {
            let (close, closed) = oneshot::channel();
            let (key, address) = (listener.key.clone(), socket.to_string());
            tracing::info!(listener = %listener.name, %address, "listening");
            let admission = Admission {
                plane: plane.clone(),
                listener,
                tcp: plane.snapshot.load().config.tcp.clone(),
                permits: permits.clone(),
                workers: workers.iter().map(|worker| worker.inbox.clone()).collect::<Vec<WorkerInbox>>(),
                last_logged: None,
            };
            let accept = async move {
                match Acceptor::new(socket) {
                    Ok(acceptor) => admission.run(acceptor, closed).await,
                    Err(error) => {
                        tracing::error!(listener = %admission.listener.name, %error, "cannot listen")
                    }
                }
            };
            let accepting = match workers {
                [only] => only.runtime.spawn(accept),
                _ => tokio::spawn(accept),
            };
            self.open.insert(key, Open { address, accepting, _close: close });
        }
        Ok(())
    }

    /// Closes what `snapshot` no longer has, after taking what has begun to connect to it.
    pub fn close_removed(&mut self, snapshot: &Snapshot) {
        for (_, open) in self.open.extract_if(.., |key, _| snapshot.listener(key).is_none()) {
            tracing::info!(address = %open.address, "no longer listening");
            self.closing.push(open.accepting);
        }
    }

    /// Waits until what was removed is closed, so that its address is free again.
    pub async fn closed(&mut self) {
        for closing in self.closing.drain(..) {
            // It ends by itself; a panic in it has ended it, too.
            let _ = closing.await;
        }
    }

    /// Closes everything, and waits until what has begun to connect is taken.
    pub async fn close_all(&mut self) {
        let open = std::mem::take(&mut self.open);
        self.closing.extend(open.into_values().map(|open| open.accepting));
        self.closed().await;
    }

    /// Closes everything now.
    pub async fn abort(&mut self) {
        let open = std::mem::take(&mut self.open);
        self.closing.extend(open.into_values().map(|open| open.accepting));
        self.closing.iter().for_each(JoinHandle::abort);
        self.closed().await;
    }
}

/// Binds one address, or adds to the problems.
///
/// New sockets are bound before old ones close, so an address that overlaps one of `open` cannot be had in one step.
fn bind(
    address: &ListenAddress,
    place: &Place,
    tcp: &Tcp,
    open: &BTreeMap<ListenerKey, Open>,
    problems: &mut Problems,
) -> Option<Listening> {
    let error = match Listening::bind(address, tcp) {
        Ok(listener) => return Some(listener),
        Err(error) => error,
    };
    let port = |address: &ListenAddress| match address {
        ListenAddress::Tcp(address) => Some(address.port()),
        ListenAddress::Unix(_) => None,
    };
    let remedy = match (error.kind(), port(address)) {
        (io::ErrorKind::AddrInUse, Some(own)) if open.keys().any(|key| port(&key.address) == Some(own)) => {
            "a listener of longhaul itself has this port: move it to another port first, in a change of its own"
        }
        (io::ErrorKind::AddrInUse, Some(_)) => "stop what listens there, or choose another port",
        (io::ErrorKind::AddrInUse, None) => "stop what listens there, or choose another path",
        (_, None) => "use a path in a folder that longhaul may write to",
        (io::ErrorKind::AddrNotAvailable, _) => "use an address of this machine, or 0.0.0.0 for all",
        (io::ErrorKind::PermissionDenied, _) => {
            "ports below 1024 need root or the capability CAP_NET_BIND_SERVICE"
        }
        _ => "choose an address that can be bound",
    };
    problems.push(place.clone(), format!("cannot listen on {address}: {error}"), remedy);
    None
}

/// Binds the addresses of `[metrics]` and `[admin]`; what cannot be bound is added to `problems`, at its place in the
/// file.
pub fn bind_admin(config: &Config, problems: &mut Problems) -> (Option<Listening>, Option<Listening>) {
    let mut open = |address: &ListenAddress, place: &Place| {
        bind(address, place, &config.tcp, &BTreeMap::new(), problems)
    };
    let metrics = config.metrics.as_ref().and_then(|at| open(&ListenAddress::Tcp(at.value), &at.place));
    let admin = config.admin.as_ref().and_then(|at| open(&at.value, &at.place));
    (metrics, admin)
}
