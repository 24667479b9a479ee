//! Reaching a backend, and another one when that fails before the backend can have acted on anything.

use super::backend::{Backend, Lease};
use super::pool::{Pool, Tried};
use crate::config::Tcp;
use crate::net::dial::{self, DialError, Way};
use crate::net::stream::Stream;
use crate::outcome::{ConnectError, Refusal};
use crate::proto::proxy_header::Header;
use crate::telemetry::Metrics;

/// A connection to a backend of `pool`, and the lease on it. `client` is for whom, for pools whose backends are told.
///
/// # Errors
/// [`Refusal::NoBackend`] when none may be picked, [`Refusal::NoBackendYet`] when there is none, else what the last one
/// tried said.
pub async fn connect(
    pool: &Pool,
    client: &Header,
    tcp: &Tcp,
    metrics: &Metrics,
) -> Result<(Lease, Stream), Refusal> {
    let way =
        Way { hello: pool.proxy_protocol.map(|version| client.write(version)), tls: pool.tls.as_ref(), tcp };
    let mut tried = Tried::default();
    let mut failure = if pool.members.is_empty() { Refusal::NoBackendYet } else { Refusal::NoBackend };
    while let Some(lease) = pool.pick(&mut tried) {
        let backend = lease.backend();
        match dial::connect(&backend.address, &way, pool.connect_timeout).await {
            Ok(stream) => return Ok((lease, stream)),
            Err(error) => {
                metrics.connect_error(&pool.name, &backend.label, error.error);
                tell_log(backend, &error);
                failure = Refusal::Unreachable(error.error);
            }
        }
        if !failure.tries_another() {
            break;
        }
    }
    Err(failure)
}

/// What fails in TLS does not pass by itself, so it is said aloud, now and then.
fn tell_log(backend: &Backend, DialError { error, detail }: &DialError) {
    let (pool, address, error_label) = (&backend.pool, &backend.label, error.label());
    let lasting = matches!(error, ConnectError::Certificate | ConnectError::Tls);
    if lasting && backend.may_complain() {
        tracing::warn!(%pool, backend = %address, error = error_label, detail, "cannot connect");
    } else {
        tracing::debug!(%pool, backend = %address, error = error_label, detail, "cannot connect");
    }
}
