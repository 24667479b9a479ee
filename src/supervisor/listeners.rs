//! The listening sockets: bound before a generation is swapped in, closed after.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::threads::Worker;
use crate::config::{AdminAddress, Config, Place, Problems, Tcp};
use crate::lifecycle::Permits;
use crate::listen::admit::{Admission, WorkerInbox};
use crate::net::accept::Acceptor;
use crate::net::socket;
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
    address: SocketAddr,
    accepting: JoinHandle<()>,
    /// Its drop closes the socket.
    _close: oneshot::Sender<()>,
}

/// Sockets that are bound and not yet accepted from; dropped, they are closed again.
pub struct Bound(Vec<(Arc<Listener>, TcpListener)>);

impl Listeners {
    /// Binds what `snapshot` has and is not open yet; what cannot be bound is added to `problems`, at its place in the
    /// file.
    pub fn bind_new(&self, snapshot: &Snapshot, problems: &mut Problems) -> Bound {
        let mut bound = Vec::new();
        for (listener, words) in snapshot.listeners.iter().zip(&snapshot.config.listeners) {
            if !self.open.contains_key(&listener.key)
                && let Some(socket) = bind(
                    listener.key.address,
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
            let (key, address) = (listener.key.clone(), socket.local_addr()?);
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
    address: SocketAddr,
    place: &Place,
    tcp: &Tcp,
    open: &BTreeMap<ListenerKey, Open>,
    problems: &mut Problems,
) -> Option<TcpListener> {
    let error = match socket::listen(address, tcp) {
        Ok(listener) => return Some(listener),
        Err(error) => error,
    };
    let remedy = match error.kind() {
        io::ErrorKind::AddrInUse if open.keys().any(|key| key.address.port() == address.port()) => {
            "a listener of longhaul itself has this port: move it to another port first, in a change of its own"
        }
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

/// Where operators come in.
pub enum AdminSocket {
    /// On a loopback address.
    Tcp(TcpListener),
    /// On a path, for who may write to it.
    Unix(UnixListener),
}

impl std::fmt::Display for AdminSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            AdminSocket::Tcp(listener) => match listener.local_addr() {
                Ok(address) => write!(f, "{address}"),
                Err(error) => write!(f, "{error}"),
            },
            AdminSocket::Unix(listener) => match listener.local_addr() {
                Ok(address) => write!(f, "unix:{}", address.as_pathname().unwrap_or("".as_ref()).display()),
                Err(error) => write!(f, "{error}"),
            },
        }
    }
}

/// Binds the addresses of `[metrics]` and `[admin]`; what cannot be bound is added to `problems`, at its place in the
/// file.
pub fn bind_admin(config: &Config, problems: &mut Problems) -> (Option<TcpListener>, Option<AdminSocket>) {
    let open = &BTreeMap::new();
    let metrics =
        config.metrics.as_ref().and_then(|at| bind(at.value, &at.place, &config.tcp, open, problems));
    let admin = config.admin.as_ref().and_then(|at| match &at.value {
        AdminAddress::Tcp(address) => {
            bind(*address, &at.place, &config.tcp, open, problems).map(AdminSocket::Tcp)
        }
        AdminAddress::Unix(path) => match socket::listen_unix(path) {
            Ok(listener) => Some(AdminSocket::Unix(listener)),
            Err(error) => {
                let message = format!("cannot listen on {}: {error}", path.display());
                problems.push(at.place.clone(), message, "use a path in a folder that longhaul may write to");
                None
            }
        },
    });
    (metrics, admin)
}
