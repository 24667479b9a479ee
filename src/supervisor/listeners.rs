//! The listening sockets: bound before a generation is swapped in, closed after.

use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::handover::Inherited;
use super::threads::Worker;
use crate::config::{Config, ListenAddress, Place, Problems, Tcp};
use crate::lifecycle::Permits;
use crate::listen::admit::{Admission, HandedOver, WorkerInbox};
use crate::net::accept::Acceptor;
use crate::net::listening::Listening;
use crate::proxy::Plane;
use crate::state::{Listener, ListenerKey, Snapshot};

/// All open sockets.
#[derive(Default)]
pub struct Listeners {
    /// Whether another process may ask for them.
    shares: bool,
    open: BTreeMap<ListenerKey, Open>,
    /// Those that take what has begun to connect, and then close.
    closing: Vec<JoinHandle<()>>,
}

struct Open {
    address: String,
    accepting: JoinHandle<()>,
    /// Its drop closes the socket.
    close: oneshot::Sender<HandedOver>,
    /// To be given to another process, where one may ask for it.
    shared: Option<TcpListener>,
}

/// Sockets that are bound and not yet accepted from; dropped, they are closed again.
pub struct Bound(Vec<Door>);

struct Door {
    listener: Arc<Listener>,
    socket: Listening,
    is_inherited: bool,
}

impl Listeners {
    /// None yet. If it `shares`, another process may ask for them.
    pub fn new(shares: bool) -> Listeners {
        Listeners { shares, ..Listeners::default() }
    }

    /// Binds what `snapshot` has and is neither open yet nor inherited; what cannot be bound is added to `problems`, at its
    /// place in the file.
    pub fn bind_new(&self, snapshot: &Snapshot, inherited: &mut Inherited, problems: &mut Problems) -> Bound {
        let tcp = &snapshot.config.tcp;
        let mut bound = Vec::new();
        for (listener, words) in snapshot.listeners.iter().zip(&snapshot.config.listeners) {
            if self.open.contains_key(&listener.key) {
                continue;
            }
            let old = inherited.keep(&listener.key);
            let is_inherited = old.is_some();
            let (address, place) = (&listener.key.address, &words.address.place);
            let socket = old.or_else(|| bind(address, place, tcp, &self.open, problems));
            bound.extend(socket.map(|socket| Door { listener: listener.clone(), socket, is_inherited }));
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
        let snapshot = plane.snapshot.load();
        for Door { listener, mut socket, is_inherited } in bound.0 {
            if is_inherited {
                socket.claim();
            }
            let (close, closed) = oneshot::channel();
            let shared = self.shares.then(|| socket.socket.try_clone()).transpose()?;
            let (key, address) = (listener.key.clone(), socket.to_string());
            tracing::info!(listener = %listener.name, %address, "listening");
            let admission = Admission {
                plane: plane.clone(),
                listener,
                tcp: snapshot.config.tcp.clone(),
                permits: permits.clone(),
                workers: workers.iter().map(|worker| worker.inbox.clone()).collect::<Vec<WorkerInbox>>(),
                last_logged: None,
            };
            let accept = async move {
                match Acceptor::new(socket) {
                    Ok(acceptor) => {
                        if is_inherited {
                            acceptor.retune(&admission.tcp);
                        }
                        admission.run(acceptor, closed).await
                    }
                    Err(error) => {
                        tracing::error!(listener = %admission.listener.name, %error, "cannot listen")
                    }
                }
            };
            let accepting = match workers {
                [only] => only.runtime.spawn(accept),
                _ => tokio::spawn(accept),
            };
            self.open.insert(key, Open { address, accepting, close, shared });
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

    /// Those that may be given to another process.
    pub fn shared(&self) -> impl Iterator<Item = (&ListenerKey, &TcpListener)> {
        self.open.iter().filter_map(|(key, open)| Some((key, open.shared.as_ref()?)))
    }

    /// Accepts no more from a socket, which another process has.
    pub fn leave(&mut self, key: &ListenerKey) {
        if let Some(open) = self.open.remove(key) {
            // A loop that has ended has nothing to leave.
            let _ = open.close.send(HandedOver);
            self.closing.push(open.accepting);
        }
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

/// A socket of the process itself, and its identity.
pub type Own = (ListenerKey, Listening);

/// Binds the addresses of `[metrics]` and `[admin]` that are not inherited; what cannot be bound is added to `problems`,
/// at its place in the file.
pub fn bind_admin(
    config: &Config,
    inherited: &mut Inherited,
    problems: &mut Problems,
) -> (Option<Own>, Option<Own>) {
    let mut open = |table: &str, address: &ListenAddress, place: &Place| {
        let key = ListenerKey::new(address.clone(), &table.into());
        let old = inherited.keep(&key);
        let socket = old.or_else(|| bind(address, place, &config.tcp, &BTreeMap::new(), problems))?;
        Some((key, socket))
    };
    let metrics = config.metrics.as_ref();
    let metrics = metrics.and_then(|at| open("[metrics]", &ListenAddress::Tcp(at.value), &at.place));
    let admin = config.admin.as_ref().and_then(|at| open("[admin]", &at.value, &at.place));
    (metrics, admin)
}

/// Binds the socket at which a new process takes over, unless it is inherited.
pub fn bind_handover(config: &Config, inherited: &mut Inherited, problems: &mut Problems) -> Option<Own> {
    let path = config.server.handover.as_ref()?;
    let address = ListenAddress::Unix(path.value.clone());
    let key = ListenerKey::new(address, &"[server]".into());
    if let Some(socket) = inherited.keep(&key) {
        return Some((key, socket));
    }
    match Listening::bind_private(&path.value) {
        Ok(socket) => Some((key, socket)),
        Err(error) => {
            let remedy = match error.kind() {
                io::ErrorKind::AddrInUse => {
                    "a longhaul runs there: take over from it with --takeover, or stop it"
                }
                _ => "use a path in a folder that longhaul may write to",
            };
            let message = format!("cannot wait for a new process at {}: {error}", key.address);
            problems.push(path.place.clone(), message, remedy);
            None
        }
    }
}
