//! Who names a pool's backends when the configuration does not: a closed set of sources, one file each.
//!
//! A source sends every list that it finds to the supervisor, which alone decides whether it is another one than that in
//! force. What is no answer (a fault, an empty list) is counted and told here, and never sent: what was found last stays.

pub mod file;

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::config;
use crate::telemetry::Metrics;
use crate::telemetry::labels::DiscoveryResult;

/// What a source has found.
pub struct Found {
    /// For which pool.
    pub pool: Arc<str>,
    /// The number of the source: a pool may have had others, whose last words may come late.
    pub source: u64,
    /// Never empty; in the order of their addresses, so that equal lists are equal.
    pub backends: Arc<[config::Backend]>,
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
}

impl Errand {
    /// Tells what was found. Waits while the supervisor is busy.
    async fn tell(&self, backends: Arc<[config::Backend]>) {
        if backends.is_empty() {
            self.fault(DiscoveryResult::Empty);
            tracing::warn!(pool = %self.pool, "no backend is named: those that were named last stay");
            return;
        }
        let found = Found { pool: self.pool.clone(), source: self.source, backends };
        // Without a supervisor the process is ending.
        let _ = self.found.send(found).await;
    }

    /// Counts what is no answer.
    fn fault(&self, fault: DiscoveryResult) {
        self.metrics.discovery(&self.pool, fault);
    }
}
