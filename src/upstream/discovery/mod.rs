//! Who names a pool's backends when the configuration does not: a closed set of sources, one file each.
//!
//! A source sends every list that it finds to the supervisor, which alone decides whether it is another one than that in
//! force. What is no answer (a fault, an empty list) is counted and told here, and never sent: what was found last stays.

pub mod asking;
mod dns;
pub mod file;
mod host;
mod pace;
mod srv;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::config::{self, At, BackendAddress, Place, defaults};
use crate::net::dns::Fault;
use crate::telemetry::Metrics;
use crate::telemetry::labels::DiscoveryFault;

/// Between two lines of the log about the faults of one source.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// What a source has found.
pub struct Found {
    /// For which pool.
    pub pool: Arc<str>,
    /// The number of the source: a pool may have had others, whose last words may come late.
    pub source: u64,
    /// Never empty; in the order of their addresses, so that equal lists are equal.
    pub backends: Arc<[config::Backend]>,
    /// Readiness waits until it is dropped, or until whoever it is given to does so.
    pub unready: Option<mpsc::Sender<()>>,
}

/// What a source works with.
pub struct Errand {
    /// The pool.
    pub pool: Arc<str>,
    /// Its words.
    pub words: config::Pool,
    /// The number of the source.
    pub source: u64,
    /// Where what is found goes.
    pub found: mpsc::Sender<Found>,
    /// Where faults count.
    pub metrics: Metrics,
    /// Readiness waits for the first look.
    pub unready: Option<mpsc::Sender<()>>,
    /// When the log was last told of a fault.
    pub complained: Option<Instant>,
}

impl Errand {
    /// Tells what was found. Waits while the supervisor is busy.
    async fn tell(&mut self, backends: Vec<config::Backend>) {
        if backends.is_empty() {
            let detail = "no backend is named".to_owned();
            return self.miss(&Fault { reason: DiscoveryFault::Empty, detail });
        }
        let backends = self.bounded(backends).into();
        let unready = self.unready.take();
        let found = Found { pool: self.pool.clone(), source: self.source, backends, unready };
        // Without a supervisor the process is ending.
        let _ = self.found.send(found).await;
    }

    /// As many as the pool may have, each address once, in the order of their addresses. Those that stand by are left out first.
    fn bounded(&mut self, mut backends: Vec<config::Backend>) -> Vec<config::Backend> {
        let by_address = |one: &config::Backend, other: &config::Backend| {
            (&one.address.value, one.rank).cmp(&(&other.address.value, other.rank))
        };
        backends.sort_by(by_address);
        backends.dedup_by(|one, other| one.address == other.address);
        let max = self.words.backends_max();
        if backends.len() > max {
            let detail =
                format!("{} backends are named, more than the {max} of backends_max", backends.len());
            self.miss(&Fault { reason: DiscoveryFault::TooMany, detail });
            // Stable: the addresses stay in order.
            backends.sort_by_key(|backend| backend.rank);
            backends.truncate(max);
            backends.sort_by(by_address);
        }
        backends
    }

    /// Counts what is no answer, and says so now and then.
    fn miss(&mut self, fault: &Fault) {
        let Fault { reason, detail } = fault;
        self.metrics.discovery_fault(&self.pool, *reason);
        let (pool, reason) = (&self.pool, reason.label());
        let rest = match fault.reason {
            DiscoveryFault::TooMany => "discovery: the others are left out",
            _ => "discovery: what was found last stays in force",
        };
        if self.complained.is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY) {
            self.complained = Some(Instant::now());
            tracing::warn!(%pool, reason, detail, "{rest}");
        } else {
            tracing::debug!(%pool, reason, detail, "{rest}");
        }
    }

    /// Readiness need not wait any longer for this source.
    fn has_looked(&mut self) {
        self.unready = None;
    }
}

/// A backend that DNS has named.
fn backend(address: IpAddr, port: u16, weight: u32) -> config::Backend {
    let address = BackendAddress::Tcp { host: address.to_string(), port };
    let address = At { value: address, place: Place::default() };
    config::Backend { address, weight, state: defaults::STATE, rank: 0, max_tunnels: None }
}
