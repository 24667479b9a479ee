//! Pools: their members are made of what the configuration lists, or of what discovery has found.

use std::sync::Arc;

use super::super::Snapshot;
use super::super::registry::Registry;
use crate::config::discovery::Source;
use crate::config::{self, Problems, list};
use crate::net::source::Sources;
use crate::net::tls::connect::Connector;
use crate::upstream::backend::Health;
use crate::upstream::balance::Balancer;
use crate::upstream::pool::{Member, Pool};

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

/// The pool that `words` means, with these backends.
pub fn assemble(
    words: &config::Pool,
    name: Arc<str>,
    tls: Option<Connector>,
    backends: Arc<[config::Backend]>,
    registry: &Registry,
) -> Arc<Pool> {
    // Without probes nothing would ever find an unknown backend to be up.
    let initial = if words.health.is_some() { Health::Unknown } else { Health::Up };
    let member = |backend: &config::Backend| Member {
        backend: registry.backend(&name, &backend.address.value, initial),
        weight: backend.weight,
    };
    let members: Vec<_> = backends.iter().map(member).collect();
    Arc::new(Pool {
        balancer: Balancer::new(words.balance, members.len()),
        members,
        backends,
        tls,
        proxy_protocol: words.proxy_protocol,
        sources: Sources::new(&words.source_addresses),
        health: words.health.clone(),
        connect_timeout: words.connect_timeout,
        handshake_timeout: words.handshake_timeout,
        response_timeout: words.response_timeout,
        name,
    })
}

/// `previous` with other backends in one pool; everything else is shared, the routes included. `None` when the pool has
/// these already, or is gone.
pub fn with_backends(
    previous: &Snapshot,
    name: &str,
    backends: Arc<[config::Backend]>,
    registry: &Registry,
) -> Option<Snapshot> {
    let before = previous.pools.get(name).filter(|before| before.backends != backends)?;
    let words = previous.config.pools.get(name)?;
    let pool = assemble(words, before.name.clone(), before.tls.clone(), backends, registry);
    Some(Snapshot {
        generation: previous.generation,
        config: previous.config.clone(),
        routes: previous.routes.clone(),
        routes_by_name: previous.routes_by_name.clone(),
        pools: previous.pools.with(pool)?,
        listeners: previous.listeners.clone(),
    })
}
