//! From a [`Config`] to a [`Snapshot`]: loads certificates, takes surviving backends from the registry, and resolves
//! the metrics of every route and listener. Touches nothing that is in use.

use std::collections::HashMap;
use std::sync::Arc;

use super::registry::Registry;
use super::{Listener, Route, Snapshot};
use crate::config::{self, Config, Problems};
use crate::net::tls::{Terminator, certificate};
use crate::route::Table;
use crate::telemetry::Metrics;
use crate::tunnel::Terms;
use crate::upstream::backend::Health;
use crate::upstream::balance::Balancer;
use crate::upstream::pool::{Member, Pool};

/// Builds the snapshot of `config`.
///
/// # Errors
/// Every certificate or key that cannot be used, each at its place in the file.
pub fn build(
    config: &Config,
    generation: u64,
    registry: &Registry,
    metrics: &Metrics,
) -> Result<Snapshot, Problems> {
    let mut problems = Problems::new(config.sources.clone());
    let listeners: Vec<_> = config
        .listeners
        .iter()
        .filter_map(|listener| build_listener(listener, metrics, &mut problems))
        .collect();
    if !problems.is_empty() {
        return Err(problems);
    }
    let pools: HashMap<&str, Arc<Pool>> = config
        .pools
        .iter()
        .map(|(name, pool)| (name.as_str(), Arc::new(build_pool(name, pool, registry))))
        .collect();
    let mut routes = Table::default();
    for route in &config.routes {
        // The check has made sure that the pool exists.
        let Some(pool) = pools.get(route.pool.value.as_str()) else { continue };
        routes.insert(&route.host, &route.path, Arc::new(build_route(route, pool.clone(), metrics)));
    }
    let pools = config.pools.keys().filter_map(|name| pools.get(name.as_str()).cloned()).collect();
    Ok(Snapshot {
        generation,
        routes,
        pools,
        listeners,
        limits: config.limits.clone(),
        tcp: config.tcp.clone(),
    })
}

fn build_listener(
    listener: &config::Listener,
    metrics: &Metrics,
    problems: &mut Problems,
) -> Option<Arc<Listener>> {
    let mut certificates = Vec::new();
    let mut tls = None;
    if let Some(settings) = &listener.tls {
        for pair in &settings.certificates {
            match certificate::load(&pair.cert.value, &pair.key.value) {
                Ok(loaded) => certificates.push(loaded),
                Err(error) => {
                    let place = if error.in_key { &pair.key.place } else { &pair.cert.place };
                    problems.push(place.clone(), error.message, error.remedy);
                }
            }
        }
        match Terminator::new(&certificates, settings.min_version) {
            Ok(terminator) => tls = Some(terminator),
            Err(error) => {
                let remedy = "this machine's cryptography cannot serve TLS";
                problems.push(listener.name.place.clone(), format!("cannot set up TLS: {error}"), remedy);
                return None;
            }
        }
    }
    Some(Arc::new(Listener {
        name: Arc::from(listener.name.value.as_str()),
        address: listener.address.value,
        tls,
        certificates,
        trusted_networks: listener.trusted_networks.clone(),
        metrics: metrics.listener(&listener.name.value),
    }))
}

fn build_pool(name: &str, pool: &config::Pool, registry: &Registry) -> Pool {
    let name: Arc<str> = Arc::from(name);
    // Without probes nothing would ever find an unknown backend to be up.
    let initial = if pool.health.is_some() { Health::Unknown } else { Health::Up };
    let member = |backend: &config::Backend| Member {
        backend: registry.backend(&name, &backend.address.value, initial),
        weight: backend.weight,
    };
    let members: Vec<_> = pool.backends.iter().map(member).collect();
    Pool {
        balancer: Balancer::new(pool.balance, members.len()),
        members,
        health: pool.health.clone(),
        connect_timeout: pool.connect_timeout,
        handshake_timeout: pool.handshake_timeout,
        response_timeout: pool.response_timeout,
        name,
    }
}

fn build_route(route: &config::Route, pool: Arc<Pool>, metrics: &Metrics) -> Route {
    let terms = Terms {
        route: Arc::from(route.name.value.as_str()),
        idle_timeout: route.idle_timeout,
        half_close_timeout: route.half_close_timeout,
        metrics: metrics.route(&route.name.value),
    };
    Route { terms: Arc::new(terms), origins: route.origins.clone(), pool }
}
