//! Connections to backends that are kept when a plain request is done, for the next one, of whichever client.
//!
//! Each worker keeps its own: a connection lives and dies on one. It is kept for the backend itself, not for its address,
//! and for the way in which it is spoken to; a generation that changes either finds none of before. A connection that
//! anything was odd about is not kept: what is left of one request must never meet another.
//!
//! Every connection has a task, which moves its bytes. So it is gone at once when its backend closes it, or says something
//! unasked.

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::Request;
use http::response::Parts;
use hyper::body::Incoming;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

use super::backend::Backend;
use super::pool::Pool;
use super::upload::Sent;
use crate::config::{Keepalive, Limits};
use crate::lifecycle::Counted;
use crate::net::line::{Failure, Line};
use crate::net::stream::Stream;
use crate::net::tls::connect::Connector;
use crate::outcome::Refusal;
use crate::proto::persistence;

/// How long a connection that is not kept any longer has to end politely.
const PARTING_MAX: Duration = Duration::from_secs(1);
/// How much sooner a connection is given up than its backend says that it will close it: a request on its way takes time.
const HASTE: Duration = Duration::from_secs(1);

thread_local! {
    static STORE: RefCell<Store> = RefCell::default();
}

/// A connection to a backend, for one request after the other. Dropped, it ends behind the answer that is on its way.
pub struct Connection {
    line: Line<Sent>,
    driver: AbortHandle,
    /// `None` is used once.
    place: Option<Place>,
}

/// Where a connection is kept, and for how long.
struct Place {
    id: u64,
    /// Not held: a backend that is gone from the configuration must not live on for what is idle.
    backend: Weak<Backend>,
    tls: Option<Connector>,
    keepalive: Keepalive,
    opened: Instant,
    /// When it was, by the count of the store.
    epoch: u64,
    /// How long it may be idle.
    timeout: Duration,
}

/// What one worker keeps.
#[derive(Default)]
struct Store {
    idle: HashMap<Key, Vec<Idle>>,
    count: usize,
    /// How many it may keep.
    room: usize,
    /// Counts changes of what may be kept: whatever is in use meanwhile may be of before.
    epoch: u64,
    opened: u64,
}

/// A backend by the address of its memory, which the idle ones hold on to.
type Key = usize;

/// A connection without a request.
struct Idle {
    connection: Box<Connection>,
    id: u64,
    until: Instant,
    _counted: Counted,
}

/// From now on the calling worker keeps at most `room` connections, and only those to backends, spoken to by these means,
/// that `is_current` agrees to. Others are closed, those that are in use when they are done.
pub fn renew(room: usize, is_current: impl Fn(&Arc<Backend>, Option<&Connector>) -> bool) {
    STORE.with_borrow_mut(|store| {
        store.room = room;
        store.epoch += 1;
        let epoch = store.epoch;
        store.idle.retain(|_, idle| {
            idle.retain_mut(|Idle { connection, .. }| {
                let Some(place) = &mut connection.place else { return false };
                place.epoch = epoch;
                let backend = place.backend.upgrade();
                room > 0 && backend.is_some_and(|backend| is_current(&backend, place.tls.as_ref()))
            });
            !idle.is_empty()
        });
        store.count = store.idle.values().map(Vec::len).sum();
    });
}

/// Closes what the calling worker keeps for these backends.
pub fn leave(backends: &[Arc<Backend>]) {
    STORE.with_borrow_mut(|store| {
        for backend in backends {
            let gone = store.idle.remove(&Arc::as_ptr(backend).addr());
            store.count -= gone.map_or(0, |idle| idle.len());
        }
    });
}

/// The connection to `backend` that was kept last, if there is one that its pool can use.
pub fn take(backend: &Arc<Backend>, pool: &Pool) -> Option<Box<Connection>> {
    let keepalive = pool.keepalive?;
    STORE.with_borrow_mut(|store| store.take(Arc::as_ptr(backend).addr(), pool, keepalive))
}

impl Store {
    fn take(&mut self, key: Key, pool: &Pool, keepalive: Keepalive) -> Option<Box<Connection>> {
        let now = Instant::now();
        loop {
            let Idle { mut connection, until, .. } = self.idle.get_mut(&key)?.pop()?;
            self.count -= 1;
            if let Some(place) = &mut connection.place
                && pool.speaks(place.tls.as_ref())
                && now < until
                && connection.line.is_ready()
            {
                (place.keepalive, place.timeout) = (keepalive, keepalive.timeout);
                return Some(connection);
            }
        }
    }

    /// Keeps a connection, unless it must not be kept.
    fn keep(&mut self, connection: Box<Connection>) -> Option<()> {
        let place = connection.place.as_ref()?;
        let backend = place.backend.upgrade().filter(|backend| !backend.is_leaving())?;
        let now = Instant::now();
        let is_young = now.duration_since(place.opened) < place.keepalive.age_max;
        if self.count >= self.room || place.epoch != self.epoch || !is_young || !connection.line.is_ready() {
            return None;
        }
        let _counted = backend.idle.enter_below(place.keepalive.idle_max)?;
        let (key, id, until) = (place.backend.as_ptr().addr(), place.id, now + place.timeout);
        self.count += 1;
        self.idle.entry(key).or_default().push(Idle { connection, id, until, _counted });
        Some(())
    }

    /// Until when a connection is kept, if it is.
    fn until(&self, key: Key, id: u64) -> Option<Instant> {
        self.idle.get(&key)?.iter().find(|idle| idle.id == id).map(|idle| idle.until)
    }

    /// Lets a connection go, if it is kept.
    fn forget(&mut self, key: Key, id: u64) {
        let Some(idle) = self.idle.get_mut(&key) else { return };
        let before = idle.len();
        idle.retain(|idle| idle.id != id);
        self.count -= before - idle.len();
        if idle.is_empty() {
            self.idle.remove(&key);
        }
    }
}

impl Connection {
    /// Speaks HTTP/1.1 on a new connection to `backend`, and keeps it afterwards where its pool says so.
    ///
    /// # Errors
    /// As [`Line::begin`].
    pub async fn begin(
        stream: Stream,
        backend: &Arc<Backend>,
        pool: &Pool,
        limits: &Limits,
    ) -> Result<Box<Connection>, Refusal> {
        let (line, driven) = Line::begin(stream, limits).await?;
        let Some(keepalive) = pool.keepalive else {
            let driver = tokio::spawn(driven).abort_handle();
            return Ok(Box::new(Connection { line, driver, place: None }));
        };
        let backend = Arc::downgrade(backend);
        let (id, epoch) = STORE.with_borrow_mut(|store| {
            store.opened += 1;
            (store.opened, store.epoch)
        });
        let key = backend.as_ptr().addr();
        let driver = tokio::spawn(drive(driven, key, id, keepalive.timeout)).abort_handle();
        let (tls, opened, timeout) = (pool.tls.clone(), Instant::now(), keepalive.timeout);
        let place = Some(Place { id, backend, tls, keepalive, opened, epoch, timeout });
        Ok(Box::new(Connection { line, driver, place }))
    }

    /// Whether it was kept from an earlier request.
    pub fn is_used(&self) -> bool {
        self.line.is_used()
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// As [`Line::send`].
    pub async fn send(&mut self, request: Request<Sent>) -> Result<http::Response<Incoming>, Failure> {
        let answer = self.line.send(request).await;
        if let Err(Failure { refusal: Refusal::Answer(_), .. }) = answer {
            // Else it would go on waiting for what is left of the request's body.
            self.driver.abort();
        }
        answer
    }

    /// The connection, to be given back behind the answer with this head; `None` when it must not be.
    pub fn after(mut self: Box<Self>, answer: &Parts) -> Option<Box<Connection>> {
        let place = self.place.as_mut()?;
        if let Some(seconds) = persistence::idle_seconds(&answer.headers) {
            let told = Duration::from_secs(seconds.into()).saturating_sub(HASTE);
            place.timeout = told.min(place.keepalive.timeout);
        }
        (persistence::stays_open(answer) && !place.timeout.is_zero()).then_some(self)
    }

    /// The answer has ended. The connection is kept for another request, or closed.
    pub fn give_back(self: Box<Self>) {
        STORE.with_borrow_mut(|store| store.keep(self));
    }
}

/// Moves the bytes of a connection to its end, and ends it when it has been idle for too long.
async fn drive(driven: impl Future<Output = ()>, key: Key, id: u64, idle_timeout: Duration) {
    let mut driven = pin!(driven);
    let mut look = pin!(sleep(idle_timeout));
    loop {
        tokio::select! {
            biased;
            () = &mut driven => break,
            () = &mut look => {
                let now = Instant::now();
                // One that is in use now will not have been idle for too long before the next look.
                let until = STORE.with_borrow(|store| store.until(key, id)).unwrap_or(now + idle_timeout);
                look.as_mut().reset(until);
                if until <= now {
                    STORE.with_borrow_mut(|store| store.forget(key, id));
                    let _ = timeout(PARTING_MAX, &mut driven).await;
                    return;
                }
            }
        }
    }
    STORE.with_borrow_mut(|store| store.forget(key, id));
}
