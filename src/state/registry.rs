//! What outlives a generation: backends, by pool and address, with the load they carry and the health they have shown;
//! the keys that a listener's session tickets are encrypted with; and a secret for what else is signed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Instant;

use crate::config::BackendAddress;
use crate::lifecycle::bucket::Bucket;
use crate::net::tls::clients::Rules;
use crate::net::tls::rolling::DatedSecret;
use crate::net::tls::secrets::Secrets;
use crate::net::tls::tickets::Tickets;
use crate::upstream::backend::{Backend, Health};
use crate::upstream::queue::Queue;
use crate::upstream::retry::budget::Budget;

/// All that any generation or tunnel still holds.
#[derive(Default)]
pub struct Registry {
    backends: Mutex<HashMap<Key, Weak<Backend>>>,
    queues: Mutex<HashMap<Arc<str>, Weak<Queue>>>,
    buckets: Named<Bucket>,
    budgets: Named<Budget>,
    tickets: Mutex<HashMap<Arc<str>, (Rules, Tickets)>>,
    secrets: OnceLock<Option<Secrets>>,
}

type Key = (Arc<str>, BackendAddress);

/// Things by name, each as long as anyone holds it.
struct Named<T>(Mutex<HashMap<String, Weak<T>>>);

impl<T> Default for Named<T> {
    fn default() -> Named<T> {
        Named(Mutex::default())
    }
}

impl<T> Named<T> {
    fn get(&self, name: &str, new: impl FnOnce() -> T) -> Arc<T> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(one) = all.get(name).and_then(Weak::upgrade) {
            return one;
        }
        all.retain(|_, weak| weak.strong_count() > 0);
        let one = Arc::new(new());
        all.insert(name.to_owned(), Arc::downgrade(&one));
        one
    }
}

impl Registry {
    /// The backend at `address` of `pool`: the same one as long as anyone holds it. One that is not of the `first`
    /// generation comes to others that have been there.
    pub fn backend(
        &self,
        pool: &Arc<str>,
        address: &BackendAddress,
        initial: Health,
        first: bool,
    ) -> Arc<Backend> {
        let mut backends = self.backends.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = backends.entry((pool.clone(), address.clone())).or_default();
        if let Some(backend) = slot.upgrade() {
            return backend;
        }
        let backend = Backend::new(pool.clone(), address.clone(), initial);
        let backend = Arc::new(backend.with_queue(self.queue(pool)));
        if !first {
            backend.standing.arrive();
        }
        *slot = Arc::downgrade(&backend);
        backend
    }

    /// The line of those who wait for a backend of `pool`: the same one as long as there is a backend or a pool of it.
    pub fn queue(&self, pool: &Arc<str>) -> Arc<Queue> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = queues.entry(pool.clone()).or_default();
        slot.upgrade().unwrap_or_else(|| {
            let queue = Arc::new(Queue::default());
            *slot = Arc::downgrade(&queue);
            queue
        })
    }

    /// What paces the handshakes of `route`: the same as long as a generation has it.
    pub fn bucket(&self, route: &str) -> Arc<Bucket> {
        self.buckets.get(route, Bucket::default)
    }

    /// What the retries of `pool` come out of: the same as long as a generation has any there.
    pub fn budget(&self, pool: &str) -> Arc<Budget> {
        self.budgets.get(pool, || Budget::new(Instant::now()))
    }

    /// The ticket keys of the listener `name`: the same ones for as long as there is a listener of that name that demands
    /// the same of clients, so that a new certificate does not cost its clients their sessions.
    ///
    /// # Errors
    /// When the cryptography provider has no randomness.
    pub fn tickets(&self, name: &Arc<str>, rules: Rules) -> Result<Tickets, rustls::Error> {
        let mut tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made_for, tickets)) = tickets.get(name)
            && *made_for == rules
        {
            return Ok(tickets.clone());
        }
        let made = Tickets::new(rules, &[])?;
        tickets.insert(name.clone(), (rules, made.clone()));
        Ok(made)
    }

    /// The ticket keys of all listeners, with their rules, for another process.
    pub fn ticket_secrets(&self) -> Vec<(Arc<str>, Rules, Vec<DatedSecret>)> {
        let tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        tickets.iter().map(|(name, (rules, tickets))| (name.clone(), *rules, tickets.secrets())).collect()
    }

    /// The listener `name` begins with these, if it demands what `rules` say.
    pub fn adopt_tickets(&self, name: Arc<str>, rules: Rules, tickets: Tickets) {
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner).insert(name, (rules, tickets));
    }

    /// What is signed here is signed with these, unless something was already.
    pub fn adopt_secrets(&self, secrets: Secrets) {
        let _ = self.secrets.set(Some(secrets));
    }

    /// A secret of this process and of those that take over from it; `None` when the cryptography provider has no randomness.
    pub fn secrets(&self) -> Option<Secrets> {
        self.secrets.get_or_init(Secrets::random).clone()
    }

    /// Forgets the ticket keys of listeners that are no more.
    pub fn retain_tickets(&self, is_kept: impl Fn(&str) -> bool) {
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner).retain(|name, _| is_kept(name));
    }

    /// Every live backend, sorted by pool and address. Forgets the others.
    pub fn backends(&self) -> Vec<Arc<Backend>> {
        let mut backends = self.backends.lock().unwrap_or_else(PoisonError::into_inner);
        backends.retain(|_, weak| weak.strong_count() > 0);
        if backends.len() < backends.capacity() / 8 {
            backends.shrink_to_fit();
        }
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.retain(|_, weak| weak.strong_count() > 0);
        let mut live: Vec<_> = backends.values().filter_map(Weak::upgrade).collect();
        live.sort_by(|a, b| (&a.pool, &a.address).cmp(&(&b.pool, &b.address)));
        live
    }
}
