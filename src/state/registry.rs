//! What outlives a generation: backends, by pool and address, with the load they carry and the health they have shown.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::config::BackendAddress;
use crate::upstream::backend::{Backend, Health};

/// All backends that any generation or tunnel still holds.
#[derive(Default)]
pub struct Registry {
    backends: Mutex<HashMap<Key, Weak<Backend>>>,
}

type Key = (Arc<str>, BackendAddress);

impl Registry {
    /// The backend at `address` of `pool`: the same one as long as anyone holds it.
    pub fn backend(&self, pool: &Arc<str>, address: &BackendAddress, initial: Health) -> Arc<Backend> {
        let mut backends = self.backends.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = backends.entry((pool.clone(), address.clone())).or_default();
        if let Some(backend) = slot.upgrade() {
            return backend;
        }
        let backend = Arc::new(Backend::new(pool.clone(), address.clone(), initial));
        *slot = Arc::downgrade(&backend);
        backend
    }

    /// Every live backend, sorted by pool and address. Forgets the others.
    pub fn backends(&self) -> Vec<Arc<Backend>> {
        let mut backends = self.backends.lock().unwrap_or_else(PoisonError::into_inner);
        backends.retain(|_, weak| weak.strong_count() > 0);
        let mut live: Vec<_> = backends.values().filter_map(Weak::upgrade).collect();
        live.sort_by(|a, b| (&a.pool, &a.address).cmp(&(&b.pool, &b.address)));
        live
    }
}
