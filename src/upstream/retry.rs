//! Reaching a backend, and another one when that fails before the backend can have acted on anything.

use super::backend::{Backend, Lease};
use super::ejection;
use super::members::{Tried, Wish};
use super::pool::Pool;
use crate::config::Tcp;
use crate::net::dial::{self, DialError, Way};
use crate::net::stream::Stream;
use crate::outcome::{ConnectError, Fault, Refusal};
use crate::proto::proxy_header::Header;
use crate::telemetry::Metrics;

/// The search of one request for a backend that can be reached.
pub struct Search<'a> {
    /// Where it searches.
    pub pool: &'a Pool,
    wish: Wish,
    way: Way<'a>,
    metrics: &'a Metrics,
    tried: Tried,
    /// What the last backend said.
    failure: Refusal,
}

impl<'a> Search<'a> {
    /// Begins; `wish` is what the choice depends on, `client` for whom it is, for pools whose backends are told.
    pub fn begin(
        pool: &'a Pool,
        wish: Wish,
        client: &Header,
        tcp: &'a Tcp,
        metrics: &'a Metrics,
    ) -> Search<'a> {
        let hello = pool.proxy_protocol.map(|version| client.write(version));
        let way = Way { hello, tls: pool.tls.as_ref(), tcp, sources: &pool.sources };
        let is_empty = pool.members.all().is_empty();
        let failure = if is_empty { Refusal::NoBackendYet } else { Refusal::NoBackend };
        Search { pool, wish, way, metrics, tried: Tried::default(), failure }
    }

    /// A connection to a backend, and the lease on it.
    ///
    /// # Errors
    /// As [`Search::pick`] and [`Search::dial`].
    pub async fn connect(&mut self) -> Result<(Lease, Stream), Refusal> {
        loop {
            let lease = self.pick()?;
            if let Some(stream) = self.dial(&lease).await? {
                return Ok((lease, stream));
            }
        }
    }

    /// The next backend to try.
    ///
    /// # Errors
    /// When none is left, what the last one tried said; [`Refusal::NoBackend`] when none may be picked at all, and
    /// [`Refusal::NoBackendYet`] when there is none.
    pub fn pick(&mut self) -> Result<Lease, Refusal> {
        self.pool.members.pick(self.wish, &mut self.tried).ok_or_else(|| self.failure.clone())
    }

    /// A new connection; `None` when it did not come about, and another backend may be tried.
    ///
    /// # Errors
    /// [`Refusal::Unreachable`] when no other one may.
    pub async fn dial(&mut self, lease: &Lease) -> Result<Option<Stream>, Refusal> {
        let backend = lease.backend();
        let error = match dial::connect(&backend.address, &self.way, self.pool.connect_timeout).await {
            Ok(stream) => {
                backend.conduct.succeeded(Fault::Connect);
                return Ok(Some(stream));
            }
            Err(error) => error,
        };
        self.metrics.connect_error(&self.pool.name, &backend.label, error.error);
        ejection::unreachable(self.pool, backend, &error, self.metrics);
        tell_log(backend, &error);
        self.failure = Refusal::Unreachable(error.error);
        if self.failure.tries_another() { Ok(None) } else { Err(self.failure.clone()) }
    }
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
