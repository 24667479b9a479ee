//! Which idle connections to backends the workers keep: they are told when that changes.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use super::threads::Worker;
use crate::net::tls::connect::Connector;
use crate::state::Snapshot;
use crate::upstream::backend::Backend;
use crate::upstream::reuse;

/// How long to wait for workers that are busy.
const PATIENCE: Duration = Duration::from_secs(1);

/// From now on the workers together keep at most `room`, and of those that they have what `snapshot` would open, too;
/// `None` would open none of them. The future ends when all of them have done so, or are too busy to wait for.
pub fn renew(
    workers: &[Worker],
    room: usize,
    snapshot: Option<&Arc<Snapshot>>,
) -> impl Future<Output = ()> + use<> {
    let share = room.div_ceil(workers.len().max(1));
    let told: Vec<_> = workers
        .iter()
        .map(|worker| {
            let snapshot = snapshot.cloned();
            worker.runtime.spawn(async move {
                reuse::renew(share, |backend, tls| {
                    snapshot.as_ref().is_some_and(|snapshot| opens(snapshot, backend, tls))
                });
            })
        })
        .collect();
    async { drop(timeout(PATIENCE, join_all(told)).await) }
}

/// The workers close what they keep for these backends, as soon as they can.
pub fn leave(workers: &[Worker], backends: &Arc<[Arc<Backend>]>) {
    for worker in workers {
        let backends = backends.clone();
        drop(worker.runtime.spawn(async move { reuse::leave(&backends) }));
    }
}

/// Whether `snapshot` has a pool that keeps connections to `backend` and makes them by these means.
fn opens(snapshot: &Snapshot, backend: &Arc<Backend>, tls: Option<&Connector>) -> bool {
    snapshot.pools.get(&backend.pool).is_some_and(|pool| {
        pool.keepalive.is_some()
            && pool.speaks(tls)
            && pool.members.all().iter().any(|member| Arc::ptr_eq(&member.backend, backend))
    })
}
