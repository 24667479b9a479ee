//! A typed way to each metric of the one table: no caller writes a name or the text of a label.

mod hot;
mod samples;
mod table;

use std::collections::BTreeSet;
use std::sync::Arc;

use http::Version;

pub use self::hot::{DirectionMetrics, ListenerMetrics, PoolMetrics, RouteMetrics};
pub use self::table::FAMILIES;
use self::table::*;
use super::labels::{
    AcceptFault, ConnectionFault, Direction, DiscoveryFault, ReloadResult, Result, TlsResult, http_version,
};
use super::registry::Registry;
use crate::outcome::{Closing, ConnectError, Ending, Farewell, Fault};

/// All metrics of one process.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
}

impl Metrics {
    /// Metrics for a process of `workers` workers.
    pub fn new(workers: usize) -> Metrics {
        let registry = Arc::new(Registry::new(workers));
        let weak = Arc::downgrade(&registry);
        registry.source(move |samples| {
            samples.push(&BUILD_INFO, &[env!("CARGO_PKG_VERSION")], 1.0);
            let dropped = weak.upgrade().map_or(0, |registry| registry.dropped());
            samples.push(&SERIES_DROPPED, &[], dropped as f64);
            samples.process();
        });
        for result in [ReloadResult::Accepted, ReloadResult::Unchanged, ReloadResult::Rejected] {
            registry.declare(&RELOADS, &[result.label()]);
        }
        registry.declare(&HANDOVERS_FAILED, &[]);
        Metrics { registry }
    }

    /// Where the values are.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// A WebSocket handshake was answered by anything but a tunnel, for which there is [`RouteMetrics::opened`].
    pub fn handshake(&self, route: &str, http: Version, result: &Result<'_>) {
        self.registry.count(&HANDSHAKES, &[route, http_version(http), result.label()]);
    }

    /// A plain request was answered.
    pub fn request(&self, route: &str, http: Version, result: &Result<'_>) {
        self.registry.count(&REQUESTS, &[route, http_version(http), result.label()]);
    }

    /// A request or handshake of a route that splits was answered; `pool` is the one that was drawn.
    pub fn split(&self, route: &str, pool: &str, result: &Result<'_>) {
        self.registry.count(&SPLITS, &[route, pool, result.label()]);
    }

    /// A tunnel ended.
    pub fn tunnel_closed(&self, route: &str, ending: Ending, closing: Closing, farewell: Option<Farewell>) {
        let labels = [route, ending.reason.label(), ending.by.label()];
        self.registry.count(&TUNNELS_CLOSED, &labels);
        let initiator = closing.by.unwrap_or(ending.by).label();
        let clean = if closing.clean { "true" } else { "false" };
        self.registry.count(&TUNNEL_CLOSES, &[route, closing.code.label(), initiator, clean]);
        if let Some(farewell) = farewell {
            self.registry.count(&TUNNEL_FAREWELLS, &[route, farewell.label()]);
        }
    }

    /// A tunnel ended in which so many bytes did not pass.
    pub fn discarded(&self, route: &str, direction: Direction, bytes: u64) {
        if bytes > 0 {
            self.registry.add(&TUNNEL_DISCARDED, &[route, direction.label()], bytes);
        }
    }

    /// A TLS handshake with a client ended; `version` is empty unless it succeeded.
    pub fn tls_handshake(&self, listener: &str, result: TlsResult, version: &'static str) {
        self.registry.count(&TLS_HANDSHAKES, &[listener, result.label(), version]);
    }

    /// A connection ended by a fault outside any request.
    pub fn connection_fault(&self, listener: &str, fault: ConnectionFault) {
        self.registry.count(&CONNECTION_ERRORS, &[listener, fault.label()]);
    }

    /// A connection was not accepted, or not at once.
    pub fn accept_fault(&self, listener: &str, fault: AcceptFault) {
        self.registry.count(&ACCEPT_ERRORS, &[listener, fault.label()]);
    }

    /// A connection to a backend did not come about.
    pub fn connect_error(&self, pool: &str, backend: &str, error: ConnectError) {
        self.registry.count(&BACKEND_CONNECT_ERRORS, &[pool, backend, error.label()]);
    }

    /// The handshakes of a route may have to wait.
    pub fn may_delay(&self, route: &str) {
        self.registry.declare(&HANDSHAKES_DELAYED, &[route]);
    }

    /// A handshake waited for the turn that the rate of its route gives it.
    pub fn delayed(&self, route: &str) {
        self.registry.count(&HANDSHAKES_DELAYED, &[route]);
    }

    /// What is sent in this direction of a route's tunnels may have to wait.
    pub fn may_wait(&self, route: &str, direction: Direction) {
        self.registry.declare(&TUNNEL_WAITS, &[route, direction.label()]);
    }

    /// The handshakes of a route may tell how long their tunnel may live.
    pub fn may_tell_deadline(&self, route: &str) {
        self.registry.declare(&DEADLINES_REFUSED, &[route]);
    }

    /// What one told is not a deadline.
    pub fn deadline_refused(&self, route: &str) {
        self.registry.count(&DEADLINES_REFUSED, &[route]);
    }

    /// The tunnels of a pool may be asked to go for other backends.
    pub fn may_rebalance(&self, pool: &str) {
        for result in ["asked", "would_be_asked"] {
            self.registry.declare(&REBALANCED, &[pool, result]);
        }
    }

    /// So many tunnels of a pool are asked to go for other backends, or would be.
    pub fn rebalanced(&self, pool: &str, dry_run: bool, tunnels: u64) {
        self.registry.add(&REBALANCED, &[pool, if dry_run { "would_be_asked" } else { "asked" }], tunnels);
    }

    /// A backend was ejected.
    pub fn ejection(&self, pool: &str, backend: &str, fault: Fault) {
        self.registry.count(&BACKEND_EJECTIONS, &[pool, backend, fault.label()]);
    }

    /// Forgets what was counted for routes and listeners that are gone and that nothing is open of, and for pools that
    /// `has_pool` denies. Else names that come and go would use up the room of new ones.
    pub fn forget(&self, has_pool: impl Fn(&str) -> bool) {
        let (routes, listeners) =
            (self.registry.live(&TUNNEL_DURATION), self.registry.live(&CONNECTIONS_ACTIVE));
        let pools = self.registry.live(&BACKEND_RESENDS);
        for family in FAMILIES {
            self.registry.retain(family, |labels| match (family.labels, labels) {
                (["route", "pool", ..], [route, pool, ..]) => {
                    let known = |names: &BTreeSet<_>, name| names.contains(std::slice::from_ref(name));
                    known(&routes, route) && known(&pools, pool)
                }
                // Requests that no route takes have none.
                (["route", ..], [route, ..]) => {
                    route.is_empty() || routes.contains(std::slice::from_ref(route))
                }
                (["listener", ..], [listener, ..]) => listeners.contains(std::slice::from_ref(listener)),
                // Their backends may outlive them.
                (["pool", "backend", ..], _) => true,
                (["pool", ..], [pool, ..]) => has_pool(pool),
                _ => true,
            });
        }
    }

    /// Forgets what was counted for backends (pool and address) that `has_backend` denies.
    pub fn forget_backends(&self, has_backend: impl Fn(&str, &str) -> bool) {
        for family in FAMILIES.iter().filter(|family| family.labels.starts_with(&["pool", "backend"])) {
            self.registry.retain(family, |labels| match labels {
                [pool, backend, ..] => has_backend(pool, backend),
                _ => true,
            });
        }
    }

    /// The configuration was read again.
    pub fn reload(&self, result: ReloadResult) {
        self.registry.count(&RELOADS, &[result.label()]);
    }

    /// Another process wanted to take over, and did not.
    pub fn handover_failed(&self) {
        self.registry.count(&HANDOVERS_FAILED, &[]);
    }

    /// Somebody said who the backends of a pool are.
    pub fn discovered(&self, pool: &str, are_others: bool) {
        let result = if are_others { "changed" } else { "unchanged" };
        self.registry.count(&DISCOVERY_ANSWERS, &[pool, result]);
    }

    /// Nobody did.
    pub fn discovery_fault(&self, pool: &str, fault: DiscoveryFault) {
        self.registry.count(&DISCOVERY_ANSWERS, &[pool, fault.label()]);
    }

    /// A health check ended in this way.
    pub fn probe(&self, pool: &str, backend: &str, result: &'static str) {
        self.registry.count(&BACKEND_PROBES, &[pool, backend, result]);
    }
}
