//! States of backends, and how much they may carry: by the configuration, and by orders while the process runs.

use super::Supervisor;
use crate::state::Snapshot;
use crate::state::orders::StateOrder;

/// Brings the states and bounds of all backends in line with the configuration; who waits for a seat looks there from now
/// on.
pub(super) fn settle(snapshot: &Snapshot) {
    for pool in snapshot.pools.iter() {
        for member in pool.members.all() {
            member.backend.configure(member.state);
            member.backend.set_seats_max(member.seats_max);
        }
        pool.queue.renew(pool);
    }
}

impl Supervisor {
    /// Puts a backend into a state; its probes start or stop with it.
    pub(super) fn put_into_state(&mut self, order: StateOrder) {
        let StateOrder { pool, backend, state, reply } = order;
        let snapshot = self.plane.snapshot.load_full();
        let members = snapshot.pools.get(pool.as_str()).map(|pool| pool.members.all()).unwrap_or_default();
        let member = members.iter().find(|member| *member.backend.label == *backend);
        let now = member.map(|member| member.backend.order(state));
        if let Some(now) = now {
            self.probes.update(&snapshot, None);
            self.waves.settle(&snapshot);
            let ordered = state.map_or("configured", |state| state.label());
            tracing::info!(%pool, %backend, ordered, state = now.label(), "state of a backend ordered");
        }
        // Whoever asked may have gone.
        let _ = reply.send(now);
    }
}
