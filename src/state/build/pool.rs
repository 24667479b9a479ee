//! Pools: their members are made of what the configuration lists, or of what discovery has found.

use std::sync::Arc;

use aws_lc_rs::error::Unspecified;

use super::super::Snapshot;
use super::super::registry::Registry;
use crate::config::discovery::Source;
use crate::config::{self, OnDraining, Problems, list};
use crate::net::source::Sources;
use crate::net::tls::connect::Connector;
use crate::net::tls::secrets::Secrets;
use crate::telemetry::Metrics;
use crate::upstream::backend::Health;
use crate::upstream::members::{Member, Members};
use crate::upstream::pool::Pool;
use crate::upstream::retry::Retry;
use crate::upstream::sticky::Cookies;

/// The backends that `words` begins with. What `before`, the pool of the same name, has stays in force until discovery
/// has found something else; only a list in a file is read at once. `None` when it is wrong, which is added to `problems`,
/// with its path for the watch.
pub fn backends(
    words: &config::Pool,
    before: Option<(&config::Pool, &Pool)>,
    problems: &mut Problems,
) -> Option<Arc<[config::Backend]>> {
    let Some(discovery) = &words.discovery else { return Some(words.backends.clone().into()) };
    let same_source = before.is_some_and(|(words, _)| {
        words.discovery.as_ref().is_some_and(|before| before.source == discovery.source)
    });
    match &discovery.source {
        Source::File { path } if !same_source => {
            match list::load(&path.value, words, discovery.backends_max) {
                Ok(backends) => Some(backends.into()),
                Err(wrong) => {
                    problems.append(wrong, &path.place);
                    problems.watched_mut().files.insert(path.value.clone());
                    None
                }
            }
        }
        Source::File { .. } | Source::Dns { .. } | Source::Srv { .. } => {
            Some(before.map(|(_, pool)| pool.backends.clone()).unwrap_or_default())
        }
    }
}

/// What a pool keeps when its backends change.
#[derive(Clone)]
pub struct Means {
    /// How its backends are spoken to; `None` is plain text.
    pub tls: Option<Connector>,
    /// What its cookies are signed with; `None` sets none.
    pub secrets: Option<Secrets>,
    /// Where connections to its backends come from.
    pub sources: Sources,
}

/// The pool that `words` means, with these backends. `is_first`: nobody has served it before, so that none of them comes to
/// others.
///
/// # Errors
/// When the cryptography provider cannot sign its cookies.
pub fn assemble(
    words: &config::Pool,
    name: Arc<str>,
    Means { tls, secrets, sources }: Means,
    backends: Arc<[config::Backend]>,
    is_first: bool,
    registry: &Registry,
    metrics: &Metrics,
) -> Result<Arc<Pool>, Unspecified> {
    if words.rebalance.is_some() {
        metrics.may_rebalance(&name);
    }
    // Without probes nothing would ever find an unknown backend to be up.
    let initial = if words.health.is_some() { Health::Unknown } else { Health::Up };
    let member = |backend: &config::Backend| Member {
        backend: registry.backend(&name, &backend.address.value, initial, is_first),
        weight: backend.weight,
        state: backend.state,
        is_kept: words.on_draining == OnDraining::Keep,
        rank: backend.rank,
        seats_max: backend.max_tunnels.or(words.max_tunnels),
    };
    let members = Members::new(&words.balance, backends.iter().map(member).collect());
    let turn = if is_first { 0 } else { fastrand::u32(..) };
    let members = members.at_turn(turn.into());
    let members = match (&words.sticky, &secrets) {
        (Some(sticky), Some(secrets)) => {
            let cookies = Cookies::new(sticky, secrets, &name, members.all())?;
            members.with_cookies(cookies)
        }
        _ => members,
    };
    Ok(Arc::new(Pool {
        members,
        backends,
        secrets,
        tls,
        proxy_protocol: words.proxy_protocol,
        keepalive: words.keepalive,
        sources,
        health: words.health.clone(),
        ejection: words.ejection.clone(),
        retry: words.retry.clone().map(|rules| Retry::new(rules, registry.budget(&name))),
        connect_timeout: words.connect_timeout,
        handshake_timeout: words.handshake_timeout,
        response_timeout: words.response_timeout,
        queue: registry.queue(&name),
        queue_bounds: words.queue,
        handshake_rate: words.handshake_rate,
        metrics: metrics.pool(&name),
        name,
    }))
}

/// `previous` with other backends in one pool; everything else is shared, the routes included. `None` when the pool has
/// these already, or is gone.
///
/// # Errors
/// As [`assemble`].
pub fn with_backends(
    previous: &Snapshot,
    name: &str,
    backends: Arc<[config::Backend]>,
    registry: &Registry,
    metrics: &Metrics,
) -> Result<Option<Snapshot>, Unspecified> {
    let before = previous.pools.get(name).filter(|before| before.backends != backends);
    let Some((before, words)) = before.zip(previous.config.pools.get(name)) else { return Ok(None) };
    let (tls, secrets, sources) = (before.tls.clone(), before.secrets.clone(), before.sources.clone());
    let means = Means { tls, secrets, sources };
    let is_first = before.backends.is_empty();
    let pool = assemble(words, before.name.clone(), means, backends, is_first, registry, metrics)?;
    Ok(previous.pools.with(pool).map(|pools| Snapshot {
        generation: previous.generation,
        config: previous.config.clone(),
        routes: previous.routes.clone(),
        routes_by_name: previous.routes_by_name.clone(),
        pools,
        listeners: previous.listeners.clone(),
    }))
}
