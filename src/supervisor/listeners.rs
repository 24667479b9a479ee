//! The listening sockets: bound before a generation is swapped in, closed after.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::threads::Worker;
use crate::config::{AdminAddress, Config, Place, Problems};
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
    /// Loops that accept, and those that take what the kernel still had for them.
    loops: JoinSet<()>,
}

struct Open {
    address: SocketAddr,
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
                && let Some(socket) = bind(listener.key.address, &words.address.place, problems)
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
            let open = Open { address: socket.local_addr()?, _close: close };
            tracing::info!(listener = %listener.name, address = %open.address, "listening");
            self.open.insert(listener.key.clone(), open);
            let admission = Admission {
                plane: plane.clone(),
                listener,
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
            match workers {
                [only] => self.loops.spawn_on(accept, &only.runtime),
                _ => self.loops.spawn(accept),
            };
        }
        Ok(())
    }

    /// Closes what `snapshot` no longer has, after taking what the kernel has accepted for it.
    pub fn close_removed(&mut self, snapshot: &Snapshot) {
        self.open.retain(|key, open| {
            let kept = snapshot.listener(key).is_some();
            if !kept {
                tracing::info!(address = %open.address, "no longer listening");
            }
            kept
        });
        while self.loops.try_join_next().is_some() {}
    }

    /// Closes everything, and waits until what the kernel had accepted is taken.
    pub async fn close_all(&mut self) {
        self.open.clear();
        while self.loops.join_next().await.is_some() {}
    }

    /// Closes everything now.
    pub async fn abort(&mut self) {
        self.open.clear();
        self.loops.shutdown().await;
    }
}

/// Binds one address, or adds to the problems.
fn bind(address: SocketAddr, place: &Place, problems: &mut Problems) -> Option<TcpListener> {
    let error = match socket::listen(address) {
        Ok(listener) => return Some(listener),
        Err(error) => error,
    };
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
    let metrics = config.metrics.as_ref().and_then(|at| bind(at.value, &at.place, problems));
    let admin = config.admin.as_ref().and_then(|at| match &at.value {
        AdminAddress::Tcp(address) => bind(*address, &at.place, problems).map(AdminSocket::Tcp),
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
