//! Backends that nobody names any more. They get no new tunnels; what is open of them may go on for the `removal_grace` of
//! their pool, if discovery named them, and is asked to go then. Who is named again before that has never been away.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::config::BackendAddress;
use crate::state::Snapshot;
use crate::upstream::backend::Backend;
use crate::upstream::pool::Pool;

/// Between two looks at who has left for good.
const SWEEP: Duration = Duration::from_secs(1);

/// All that leave. As many as something is still open of, and those of the last [`SWEEP`].
#[derive(Default)]
pub struct Leaving {
    backends: HashMap<(Arc<str>, BackendAddress), Departing>,
    next_sweep: Option<Instant>,
}

struct Departing {
    backend: Arc<Backend>,
    /// When its tunnels are ended; never, if `removal_grace` is off.
    due: Option<Instant>,
}

/// What a look found.
#[derive(Default)]
pub struct Swept {
    /// Their time is over, and something is still open of them.
    pub overdue: Vec<Arc<Backend>>,
    /// Somebody has left for good.
    pub is_smaller: bool,
}

impl Leaving {
    /// Compares the pools of two snapshots, the second of which is in force now. Returns who has just left.
    pub fn note(&mut self, previous: &Snapshot, next: &Snapshot) -> Vec<Arc<Backend>> {
        let now = Instant::now();
        let mut departed = Vec::new();
        for pool in next.pools.iter() {
            let before = previous.pools.get(&pool.name);
            if before.is_some_and(|before| Arc::ptr_eq(before, pool)) {
                continue;
            }
            for member in pool.members.all() {
                member.backend.set_leaving(false);
                self.backends.remove(&(pool.name.clone(), member.backend.address.clone()));
            }
            let words = next.config.pools.get(&*pool.name);
            let due = match words.and_then(|words| words.discovery.as_ref()) {
                Some(discovery) => discovery.removal_grace.map(|grace| now + grace),
                // Whoever writes the list knows when.
                None => Some(now),
            };
            if let Some(before) = before {
                departed.extend(self.depart(before, Some(pool), due));
            }
        }
        for gone in previous.pools.iter().filter(|pool| next.pools.get(&pool.name).is_none()) {
            departed.extend(self.depart(gone, None, Some(now)));
        }
        if !departed.is_empty() {
            self.next_sweep = Some(now);
        }
        departed
    }

    /// Those of `before` that `pool` does not have.
    fn depart(&mut self, before: &Pool, pool: Option<&Pool>, due: Option<Instant>) -> Vec<Arc<Backend>> {
        let backends =
            |pool: &Pool| pool.members.all().iter().map(|member| member.backend.clone()).collect::<Vec<_>>();
        let named = pool.map(|pool| pool.members.all()).unwrap_or_default();
        let named: HashSet<_> = named.iter().map(|member| &member.backend.address).collect();
        let mut departed = backends(before);
        departed.retain(|backend| !named.contains(&backend.address));
        for backend in &departed {
            backend.set_leaving(true);
            let key = (before.name.clone(), backend.address.clone());
            self.backends.insert(key, Departing { backend: backend.clone(), due });
        }
        departed
    }

    /// How many there are, by pool.
    pub fn counts(&self) -> HashMap<Arc<str>, usize> {
        let mut counts = HashMap::new();
        for (pool, _) in self.backends.keys() {
            *counts.entry(pool.clone()).or_default() += 1;
        }
        counts
    }

    /// Waits for the time of the next look; for ever while there is nobody to look after.
    pub async fn due(&self) {
        match self.next_sweep {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    /// Looks after all of them: lets go of those that nobody else holds, and names those that are overdue. A handshake may
    /// have begun before its backend left, so whoever is overdue is named again until it carries nothing.
    pub fn sweep(&mut self) -> Swept {
        let now = Instant::now();
        let count = self.backends.len();
        // From nobody no tunnel can come any more.
        self.backends.retain(|_, departing| Arc::strong_count(&departing.backend) > 1);
        if self.backends.len() < self.backends.capacity() / 8 {
            self.backends.shrink_to_fit();
        }
        let mut swept = Swept { is_smaller: self.backends.len() < count, ..Swept::default() };
        let overdue = self.backends.values().filter(|departing| departing.due.is_some_and(|due| due <= now));
        swept.overdue.extend(overdue.map(|departing| departing.backend.clone()));
        self.next_sweep = (!self.backends.is_empty()).then_some(now + SWEEP);
        swept
    }
}
