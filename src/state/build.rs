//! From a [`Config`] to a [`Snapshot`]: loads certificates and authorities, takes surviving backends from the registry,
//! and resolves the metrics of every route and listener. Touches nothing that is in use.
//!
//! What the new configuration leaves as it was is taken over from the old snapshot: a changed pool re-makes itself, and
//! nothing else.

pub mod pool;
mod tls;

use std::collections::HashMap;
use std::sync::Arc;

use self::pool::Means;
use self::tls::Connectors;
use super::action::Action;
use super::pools::Pools;
use super::registry::Registry;
use super::{Listener, ListenerKey, Route, Snapshot};
use crate::config::{self, Config, Problems};
use crate::lifecycle::bucket::Pace;
use crate::net::source::Sources;
use crate::net::tls::certificate::{self, LoadedCertificate};
use crate::net::tls::secrets::Secrets;
use crate::net::tls::tickets::Tickets;
use crate::net::tls::{Settings, Terminator};
use crate::route::Table;
use crate::telemetry::Metrics;
use crate::telemetry::labels::Direction;
use crate::tunnel::Terms;
use crate::upstream::pool::Pool;

/// Builds the snapshot of `config`, the one after `previous`.
///
/// # Errors
/// Every certificate, key, authority and list of backends, and every answer in a file, that cannot be used, each at its
/// place in the file.
pub fn build(
    config: Arc<Config>,
    previous: Option<&Snapshot>,
    registry: &Registry,
    metrics: &Metrics,
) -> Result<Snapshot, Problems> {
    let builder = Builder { previous, registry, metrics, connectors: Connectors::default() };
    let mut problems = Problems::new(config.sources.clone());
    let listeners =
        config.listeners.iter().filter_map(|words| builder.listener(words, &mut problems)).collect();
    let pools = config.pools.values().filter_map(|words| builder.pool(words, &mut problems));
    let pools = Pools::new(pools.collect());
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut routes = Vec::with_capacity(config.routes.len());
    let mut routes_by_name = HashMap::with_capacity(config.routes.len());
    for route in &config.routes {
        // The check has made sure that the pools exist.
        let Some(action) = Action::new(&route.action, &pools, &mut problems) else { continue };
        let built = builder.route(route, action);
        routes.push((built.terms.route.clone(), route.matches.clone(), built.clone()));
        routes_by_name.insert(built.terms.route.clone(), built);
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let routes = Table::from_iter(routes);
    let generation = previous.map_or(0, |previous| previous.generation) + 1;
    let (routes, routes_by_name) = (Arc::new(routes), Arc::new(routes_by_name));
    Ok(Snapshot { generation, config, routes, routes_by_name, pools, listeners })
}

const NO_CRYPTOGRAPHY: &str = "this machine's cryptography is of no use";

struct Builder<'a> {
    previous: Option<&'a Snapshot>,
    registry: &'a Registry,
    metrics: &'a Metrics,
    connectors: Connectors,
}

impl Builder<'_> {
    fn listener(&self, words: &config::Listener, problems: &mut Problems) -> Option<Arc<Listener>> {
        let name: Arc<str> = Arc::from(words.name.value.as_str());
        let key = ListenerKey::new(words.address.value.clone(), &name);
        let settings = match &words.tls {
            Some(tls) => Some(tls::terminator(tls, problems)?),
            None => None,
        };
        if let Some(kept) = self.unchanged_listener(words, &key, settings.as_ref()) {
            return Some(kept);
        }
        let certificates =
            settings.as_ref().map(|settings| settings.certificates.clone()).unwrap_or_default();
        let terminator = settings.map(|settings| {
            let tickets = match &settings.ticket_keys {
                Some(keys) => Tickets::shared(keys, &settings.rules())?,
                None => self.registry.tickets(&name, settings.rules())?,
            };
            Terminator::new(settings, tickets)
        });
        match terminator.transpose() {
            Ok(tls) => Some(Arc::new(Listener {
                metrics: self.metrics.listener(&name),
                name,
                key,
                tls,
                certificates,
                extended_connect: words.tls.as_ref().is_some_and(|tls| tls.extended_connect),
                proxy_senders: words.proxy_protocol.as_ref().map(|proxies| proxies.trusted_networks.clone()),
                trusted_networks: words.trusted_networks.clone(),
            })),
            Err(error) => {
                let remedy = "this machine's cryptography cannot serve TLS";
                problems.push(words.name.place.clone(), format!("cannot set up TLS: {error}"), remedy);
                None
            }
        }
    }

    fn unchanged_listener(
        &self,
        words: &config::Listener,
        key: &ListenerKey,
        settings: Option<&Settings>,
    ) -> Option<Arc<Listener>> {
        let previous = self.previous?;
        let before = previous.config.listeners.iter().find(|before| before.name == words.name)?;
        let listener = previous.listener(key)?;
        let same_files = listener.tls.as_ref().map(Terminator::settings) == settings;
        (before == words && same_files).then(|| listener.clone())
    }

    fn pool(&self, words: &config::Pool, problems: &mut Problems) -> Option<Arc<Pool>> {
        let name = words.name.value.as_str();
        let before = self.previous.and_then(|previous| previous.pools.get(name));
        let connector_before = before.and_then(|before| before.tls.as_ref());
        let tls = self.connectors.of(words, connector_before, problems);
        let secrets = self.secrets(words, problems);
        let (tls, secrets) = (tls?, secrets?);
        if let (Some(previous), Some(before)) = (self.previous, before)
            && previous.config.pools.get(name) == Some(words)
            && before.secrets == secrets
            && tls.as_ref().is_none_or(|tls| connector_before.is_some_and(|before| before.is(tls)))
        {
            return Some(before.clone());
        }
        let words_before = self.previous.and_then(|previous| previous.config.pools.get(name));
        let before = words_before.zip(before.map(|pool| &**pool));
        let backends = pool::backends(words, before, problems)?;
        let means = Means { tls, secrets, sources: Sources::new(&words.source_addresses) };
        let (name, is_first) = (Arc::from(name), self.previous.is_none());
        match pool::assemble(words, name, means, backends, is_first, self.registry, self.metrics) {
            Ok(pool) => Some(pool),
            Err(error) => {
                let message = format!("cannot sign cookies: {error}");
                problems.push(words.name.place.clone(), message, NO_CRYPTOGRAPHY);
                None
            }
        }
    }

    /// What the pool's cookies are signed with, if it has any. `None` when that cannot be used, which is added to
    /// `problems`.
    fn secrets(&self, words: &config::Pool, problems: &mut Problems) -> Option<Option<Secrets>> {
        let Some(sticky) = &words.sticky else { return Some(None) };
        let secrets = match &sticky.keys {
            Some(path) => tls::used(Secrets::load(&path.value), &path.place, problems),
            None => self.registry.secrets().or_else(|| {
                problems.push(
                    words.name.place.clone(),
                    "cannot sign cookies: no randomness",
                    NO_CRYPTOGRAPHY,
                );
                None
            }),
        };
        secrets.map(Some)
    }

    fn route(&self, words: &config::Route, action: Action) -> Arc<Route> {
        let name = words.name.value.as_str();
        let before = self.previous.and_then(|previous| previous.routes_by_name.get(name));
        if let Some(before) = before
            && before.is_as(words)
        {
            if before.action == action {
                return before.clone();
            }
            return Arc::new(Route::new(before.terms.clone(), words, action, before.pace.clone()));
        }
        let metrics = self.metrics.route(name);
        for (interval, direction) in
            [(words.pings.client, Direction::ToClient), (words.pings.backend, Direction::ToBackend)]
        {
            if interval.is_some() {
                metrics.pings(direction);
            }
        }
        for (limits, direction) in
            [(words.frames.to_backend, Direction::ToBackend), (words.frames.to_client, Direction::ToClient)]
        {
            if limits.is_some() {
                self.metrics.may_wait(name, direction);
            }
        }
        let terms = Terms {
            route: Arc::from(name),
            idle_timeout: words.idle_timeout,
            half_close_timeout: words.half_close_timeout,
            close_timeout: words.close_timeout,
            inspect: words.inspect,
            pings: words.pings,
            to_backend: words.frames.to_backend,
            to_client: words.frames.to_client,
            record_frames: words.record_frames,
            write_timeout: words.write_timeout,
            max_age: words.max_age,
            metrics,
        };
        if words.deadline_header.is_some() {
            self.metrics.may_tell_deadline(name);
        }
        let pace = words.handshake_rate.map(|words| {
            self.metrics.may_delay(name);
            Pace { words, bucket: self.registry.bucket(name) }
        });
        Arc::new(Route::new(Arc::new(terms), words, action, pace))
    }
}

impl Route {
    fn new(terms: Arc<Terms>, words: &config::Route, action: Action, pace: Option<Pace>) -> Route {
        Route {
            terms,
            origins: words.origins.clone(),
            pace,
            deadline_header: words.deadline_header.clone(),
            body_bytes_max: words.body_bytes_max,
            action,
            replacement: words.replacement.clone(),
            request_headers: words.request_headers.clone(),
            response_headers: words.response_headers.clone(),
        }
    }

    /// Whether `words` would give the same, the action aside.
    fn is_as(&self, words: &config::Route) -> bool {
        let terms = &*self.terms;
        (terms.idle_timeout, terms.half_close_timeout) == (words.idle_timeout, words.half_close_timeout)
            && (terms.close_timeout, terms.inspect) == (words.close_timeout, words.inspect)
            && (terms.pings, terms.max_age) == (words.pings, words.max_age)
            && (terms.to_backend, terms.to_client) == (words.frames.to_backend, words.frames.to_client)
            && (terms.record_frames, terms.write_timeout) == (words.record_frames, words.write_timeout)
            && self.deadline_header == words.deadline_header
            && self.origins == words.origins
            && self.pace.as_ref().map(|pace| pace.words) == words.handshake_rate
            && self.body_bytes_max == words.body_bytes_max
            && self.replacement == words.replacement
            && self.request_headers == words.request_headers
            && self.response_headers == words.response_headers
    }
}

/// All certificates, or none and the problems.
fn load(pairs: &[config::Certificate], problems: &mut Problems) -> Option<Vec<LoadedCertificate>> {
    let loaded: Vec<_> = pairs.iter().filter_map(|pair| load_pair(pair, problems)).collect();
    (loaded.len() == pairs.len()).then_some(loaded)
}

/// A certificate and its key, or what is wrong with one of them.
fn load_pair(pair: &config::Certificate, problems: &mut Problems) -> Option<LoadedCertificate> {
    match certificate::load(&pair.cert.value, &pair.key.value) {
        Ok(certificate) => Some(certificate),
        Err(error) => {
            let place = if error.in_key { &pair.key.place } else { &pair.cert.place };
            problems.push(place.clone(), error.message, error.remedy);
            None
        }
    }
}
