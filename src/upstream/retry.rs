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
    let hello = pool.proxy_protocol.map(|version| client.write(version));
    let way = Way { hello, tls: pool.tls.as_ref(), tcp, sources: &pool.sources };
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

/// What does not pass by itself, as failures of TLS and a lack of ports, is said aloud, now and then.
fn tell_log(backend: &Backend, DialError { error, detail }: &DialError) {
    let (pool, address, error_label) = (&backend.pool, &backend.label, error.label());
    let remedy = error.remedy();
    let lasting = matches!(error, ConnectError::Certificate | ConnectError::Tls) || remedy.is_some();
    if lasting && backend.may_complain() {
        tracing::warn!(%pool, backend = %address, error = error_label, detail, remedy, "cannot connect");
    } else {
        tracing::debug!(%pool, backend = %address, error = error_label, detail, "cannot connect");
    }
}
