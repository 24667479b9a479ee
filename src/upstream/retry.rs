//! Reaching a backend, and another one when that fails before the backend can have acted on anything.

use tokio::net::TcpStream;

use super::backend::Lease;
use super::pool::{Pool, Tried};
use crate::config::Tcp;
use crate::net::dial;
use crate::outcome::Refusal;
use crate::telemetry::Metrics;

/// Backends that one request tries, at most: with more, a client would wait for the sum of their deadlines.
const TRIES_MAX: usize = 4;

/// A connection to a backend of `pool`, and the lease on it.
///
/// # Errors
/// [`Refusal::NoBackend`] when none may be picked, else what the last one tried said.
pub async fn connect(pool: &Pool, tcp: &Tcp, metrics: &Metrics) -> Result<(Lease, TcpStream), Refusal> {
    let mut tried = Tried::default();
    let mut failure = Refusal::NoBackend;
    for _ in 0..TRIES_MAX {
        let Some(lease) = pool.pick(&mut tried) else { break };
        let backend = lease.backend();
        match dial::connect(&backend.address, pool.connect_timeout, tcp).await {
            Ok(stream) => return Ok((lease, stream)),
            Err(error) => {
                metrics.connect_error(&pool.name, &backend.label, error);
                tracing::debug!(pool = %pool.name, backend = %backend.label, error = error.label(), "cannot connect");
                failure = Refusal::Unreachable(error);
            }
        }
        if !failure.tries_another() {
            break;
        }
    }
    Err(failure)
}
