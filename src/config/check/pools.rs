//! Pools: backends, probes, and the names that routes refer to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::balance::{balance, sticky};
use super::discovery::discovery;
use super::ejection::ejection;
use super::futile::{Asked, warn_of_futile};
use super::handshake_rate::handshake_rate;
use super::health::health;
use super::rebalance::rebalance;
use super::retry::retry;
use super::{Unique, all, free_name, pem, unix_path};
use crate::config::discovery::{Discovery, Source};
use crate::config::file::{
    BackendWords, DiscoveryWords, KeepaliveWords, PoolTlsWords, PoolWords, QueueWords, Verify,
};
use crate::config::problem::{nearest, one_of, shown};
use crate::config::reader::{Found, Reader};
use crate::config::syntax::SourceAddress;
use crate::config::words::{List, Named, Off};
use crate::config::{
    At, Backend, BackendAddress, Certificate, Keepalive, Pem, Place, Pool, PoolTls, Queue, Trust, defaults,
    syntax,
};

pub fn pools(
    words: Found<Named<PoolWords>>,
    handshakes_max: Option<usize>,
    reader: &mut Reader,
) -> Option<BTreeMap<String, Pool>> {
    let mut names = Unique::default();
    let pools = all(words.written()?.value.0.into_iter().map(|entry| {
        let name = entry.name;
        let named = syntax::name(&name.value);
        if let Err(wrong) = &named {
            reader.report(&name.place, &wrong.message, &wrong.remedy);
        }
        // In one file TOML itself sees to it.
        free_name("pool", &name, &mut names, reader);
        let pool = pool(name, entry.table?, handshakes_max, reader)?;
        named.ok().map(|_| (pool.name.value.clone(), pool))
    }));
    Some(pools?.into_iter().collect())
}

fn pool(
    name: At<String>,
    words: PoolWords,
    handshakes_max: Option<usize>,
    reader: &mut Reader,
) -> Option<Pool> {
    let asked = Asked {
        retry: words.retry.place().cloned(),
        ejection: words.ejection.place().cloned(),
        rebalance: words.rebalance.place().cloned(),
        source_addresses: words.source_addresses.place().cloned(),
    };
    let backends = backends(words.backends, &words.discovery, &name, reader);
    let discovery = match words.discovery.optional() {
        Some(Some(words)) => discovery(&name.value, words, reader).map(Some),
        Some(None) => Some(None),
        None => None,
    };
    let max_tunnels: Option<Option<usize>> =
        words.max_tunnels.optional().map(|max| max.map(|max| max.value.into()));
    let is_limited = match (max_tunnels, &backends, &discovery) {
        (Some(None), Some(backends), Some(None)) => {
            backends.iter().any(|backend| backend.max_tunnels.is_some())
        }
        // Who is found may have one; what is wrong elsewhere is not wrong here, too.
        _ => true,
    };
    let queue = queue(words.queue, is_limited, reader);
    let handshake_rate = handshake_rate(words.handshake_rate, handshakes_max, reader);
    let balance = balance(words.balance, words.slow_start, reader);
    let sticky = sticky(words.sticky, reader);
    let rebalance =
        rebalance(words.rebalance, balance.as_ref(), sticky.as_ref().is_some_and(Option::is_some), reader);
    let proxy_protocol = words.proxy_protocol.optional();
    let keepalive = keepalive(words.keepalive, matches!(proxy_protocol, Some(Some(_))), reader);
    let tls = match words.tls.optional() {
        Some(Some(At { value, place })) => {
            tls(&name.value, value, &place, reader).map(|value| Some(At { value, place }))
        }
        Some(None) => Some(None),
        None => None,
    };
    let health = match words.health.optional() {
        Some(Some(words)) => health(&name.value, words, reader).map(Some),
        Some(None) => Some(None),
        None => None,
    };
    let ejection = match words.ejection.optional() {
        Some(Some(words)) => ejection(words.value, reader).map(Some),
        Some(None) => Some(None),
        None => None,
    };
    let tls = tls.and_then(|tls| named_by(tls, discovery.as_ref()?.as_ref(), reader));
    let handshake_timeout = words.handshake_timeout.or(defaults::HANDSHAKE_TIMEOUT);
    let retry = match words.retry.optional() {
        Some(Some(words)) => retry(words.value, handshake_timeout, reader).map(Some),
        Some(None) => Some(None),
        None => None,
    };
    if let Some(backends) = &backends {
        report_only_backups(backends, reader);
    }
    let source_addresses = source_addresses(words.source_addresses.or(List(Vec::new())), reader);
    if let (Some(backends), Some(sources), Some(None)) = (&backends, &source_addresses, &discovery) {
        warn_of_futile(backends, sources, &asked, reader);
    }
    if let (Some(backends), Some(Some(tls))) = (&backends, &tls) {
        report_nameless(backends, &tls.value, reader);
    }
    Some(Pool {
        name,
        balance: balance?,
        sticky: sticky?,
        backends: backends?,
        discovery: discovery?,
        tls: tls?,
        proxy_protocol: proxy_protocol?.map(|version| version.value),
        keepalive: keepalive?,
        max_tunnels: max_tunnels?,
        rebalance: rebalance?,
        on_draining: words.on_draining.or(defaults::ON_DRAINING)?,
        queue: queue?,
        handshake_rate: handshake_rate?,
        source_addresses: source_addresses?,
        health: health?,
        ejection: ejection?,
        retry: retry?,
        connect_timeout: words.connect_timeout.or(defaults::CONNECT_TIMEOUT)?,
        handshake_timeout: handshake_timeout?,
        response_timeout: words.response_timeout.or(defaults::RESPONSE_TIMEOUT)?,
    })
}

fn source_addresses(words: Option<List<SourceAddress, 1>>, reader: &mut Reader) -> Option<Vec<IpAddr>> {
    let mut addresses = Unique::default();
    all(words?.0.into_iter().map(|At { value: SourceAddress(address), place }| {
        if let Some(first) = addresses.taken(address, &place) {
            let message = format!("`{address}` is already a source address of this pool");
            let remedy = format!("remove it: the one on {} has its turn", reader.line(&first, &place));
            reader.report(&place, message, remedy);
        }
        Some(address)
    }))
}

/// The backends that the pool lists: none where somebody else names them.
fn backends(
    words: Found<List<BackendWords, 1>>,
    discovery: &Found<DiscoveryWords>,
    name: &At<String>,
    reader: &mut Reader,
) -> Option<Vec<Backend>> {
    match (&words, discovery) {
        (Found::Absent, Found::Absent) => {
            let message = format!("`[pools.{}]` has no `backends`", shown(&name.value));
            let remedy = "add `backends`: the backends, at least one, or `discovery`: who names them";
            reader.report_missing(&name.place, message, remedy);
            None
        }
        (Found::Absent, _) => Some(Vec::new()),
        (_, Found::Absent) => listed(words, reader),
        _ => {
            let place = discovery.place().or(words.place()).unwrap_or(&name.place).clone();
            reader.report(&place, "a pool with `backends` has no `discovery`", "remove one of them");
            None
        }
    }
}

/// The entries of a list of backends.
pub fn listed<const MIN: usize>(
    words: Found<List<BackendWords, MIN>>,
    reader: &mut Reader,
) -> Option<Vec<Backend>> {
    let mut addresses: Unique<BackendAddress> = Unique::default();
    all(words.written()?.value.0.into_iter().map(|entry| {
        let BackendWords(words) = entry.value;
        let At { value, place } = words.address.written()?;
        let value = match value {
            BackendAddress::Unix(path) => BackendAddress::Unix(unix_path(path, &place, reader)),
            tcp @ BackendAddress::Tcp { .. } => tcp,
        };
        let address = At { value, place };
        if let Some(first) = addresses.taken(address.value.clone(), &address.place) {
            let message =
                format!("`{}` is already a backend of this pool", shown(&address.value.to_string()));
            let line = reader.line(&first, &address.place);
            let remedy = format!("remove it, or raise the weight of the one on {line}");
            reader.report(&address.place, message, remedy);
        }
        Some(Backend {
            address,
            weight: words.weight.or(defaults::WEIGHT)?,
            state: words.state.or(defaults::STATE)?,
            rank: words.backup.or(defaults::BACKUP)?.into(),
            max_tunnels: words.max_tunnels.optional()?.map(|max| max.value.into()),
        })
    }))
}

/// `is_limited`: some backends may be full.
fn queue(words: Found<QueueWords>, is_limited: bool, reader: &mut Reader) -> Option<Queue> {
    let words = words.optional()?;
    if let (Some(words), false) = (&words, is_limited) {
        let message = "nobody waits for backends that take any number of tunnels";
        reader.report(
            &words.place,
            message,
            "add `max_tunnels` to the pool or to one of them, or remove this",
        );
        return None;
    }
    let words = words.map(|words| words.value).unwrap_or_default();
    Some(Queue {
        waiting_max: words.waiting_max.or(defaults::WAITING_MAX)?,
        timeout: words.timeout.or(defaults::QUEUE_TIMEOUT)?,
    })
}

/// `is_introduced`: connections begin with a PROXY header, so that each of them belongs to one client.
fn keepalive(
    words: Found<Off<KeepaliveWords>>,
    is_introduced: bool,
    reader: &mut Reader,
) -> Option<Option<Keepalive>> {
    let words = match words.optional()? {
        Some(At { value: Off(None), .. }) => return Some(None),
        Some(At { place, .. }) if is_introduced => {
            let message = "with `proxy_protocol` no connection is kept: each one names its client";
            reader.report(&place, message, "remove it, or write keepalive = \"off\"");
            return None;
        }
        None if is_introduced => return Some(None),
        Some(At { value: Off(Some(words)), .. }) => words,
        None => KeepaliveWords::default(),
    };
    Some(Some(Keepalive {
        idle_max: words.idle_max.or(defaults::IDLE_MAX)?,
        timeout: words.timeout.or(defaults::IDLE_CONNECTION_TIMEOUT)?,
        age_max: words.age_max.or(defaults::CONNECTION_AGE_MAX)?,
    }))
}

/// Backups stand in for others.
pub fn report_only_backups(backends: &[Backend], reader: &mut Reader) {
    if let Some(first) = backends.first()
        && backends.iter().all(|backend| backend.rank > 0)
    {
        let remedy = "remove `backup` from those that are to be used first";
        reader.report(&first.address.place, "all backends of this pool are backups", remedy);
    }
}

/// Whoever is found by a name shows a certificate for it: the addresses that it has today are nobody's name. The targets of
/// services are no names to go by either, because whoever forges an answer chooses them (RFC 6125 1.8).
fn named_by(
    tls: Option<At<PoolTls>>,
    discovery: Option<&Discovery>,
    reader: &mut Reader,
) -> Option<Option<At<PoolTls>>> {
    let Some(mut tls) = tls else { return Some(None) };
    match discovery.map(|discovery| &discovery.source) {
        Some(Source::Dns { name, .. }) => {
            tls.value.server_name.get_or_insert_with(|| name.clone());
        }
        Some(Source::Srv { .. }) if tls.value.server_name.is_none() && tls.value.trust != Trust::Anyone => {
            let remedy = "add the name that their certificates are for, `server_name`";
            reader.report_missing(
                &tls.place,
                "TLS to services that DNS names has no name to ask for",
                remedy,
            );
            return None;
        }
        _ => {}
    }
    Some(Some(tls))
}

/// TLS needs a name, and a path is none.
pub fn report_nameless(backends: &[Backend], tls: &PoolTls, reader: &mut Reader) {
    let is_unix = |backend: &&Backend| matches!(backend.address.value, BackendAddress::Unix(_));
    if tls.server_name.is_none()
        && let Some(backend) = backends.iter().find(is_unix)
    {
        let remedy = "add the name that its certificate is for, `server_name`, to the `tls` of this pool";
        reader.report(&backend.address.place, "TLS to a unix socket has no name to ask for", remedy);
    }
}

fn tls(pool: &str, words: PoolTlsWords, place: &Place, reader: &mut Reader) -> Option<PoolTls> {
    let [ca, cert, key] = [words.ca, words.cert, words.key]
        .map(|path| path.optional().map(|path| path.map(|path| pem(path, reader))));
    let place = words.verify.place().unwrap_or(place).clone();
    let trust = match (words.verify.or(defaults::VERIFY), ca) {
        (Some(verify), Some(ca)) => trust(At { value: verify, place }, ca, reader),
        _ => None,
    };
    let certificate = match (cert?, key?) {
        (Some(cert), Some(key)) => Some(Certificate { cert, key }),
        (None, None) => None,
        (Some(only), None) => {
            let message = format!("`pools.{}.tls` has a `cert` and no `key`", shown(pool));
            reader.report_missing(&only.place, message, "add the PEM file of its key, `key`, or remove it");
            return None;
        }
        (None, Some(only)) => {
            let message = format!("`pools.{}.tls` has a `key` and no `cert`", shown(pool));
            reader.report_missing(
                &only.place,
                message,
                "add the PEM file of its chain, `cert`, or remove it",
            );
            return None;
        }
    };
    Some(PoolTls {
        trust: trust?,
        server_name: words.server_name.optional()?.map(|name| name.value.0),
        certificate,
        min_version: words.min_version.or(defaults::TLS_MIN_VERSION)?,
    })
}

fn trust(verify: At<Verify>, ca: Option<At<Pem>>, reader: &mut Reader) -> Option<Trust> {
    match (verify.value, ca) {
        (Verify::Full, Some(ca)) => Some(Trust::Authorities(ca)),
        (Verify::Full, None) => Some(Trust::System),
        (Verify::None, Some(ca)) => {
            let remedy = "remove it, or write verify = \"full\"";
            reader.report(&ca.place, "with verify = \"none\" a `ca` is of no use", remedy);
            None
        }
        (Verify::None, None) => {
            let message = "the certificates of these backends are not verified: whoever gets between can read and \
                           change everything";
            reader.warn(
                &verify.place,
                message,
                "write verify = \"full\", and their authority's PEM file as `ca`",
            );
            Some(Trust::Anyone)
        }
    }
}

/// The pools that the file names, wrong ones included.
pub struct KnownPools(BTreeSet<String>);

impl KnownPools {
    pub fn new(pools: &Named<PoolWords>) -> Self {
        Self(pools.0.iter().map(|entry| entry.name.value.clone()).collect())
    }

    /// Reports a reference to a pool that the file does not name.
    pub fn expect(&self, pool: &At<String>, reader: &mut Reader) {
        let names = || self.0.iter().map(String::as_str);
        if self.0.is_empty() || self.0.contains(&pool.value) {
            return;
        }
        let remedy = match nearest(&pool.value, names()) {
            Some(near) => format!("did you mean `{}`?", shown(near)),
            None => format!("write {}, or add `[pools.{}]`", one_of(names()), pool.value),
        };
        reader.report_nowhere(&pool.place, format!("there is no pool `{}`", pool.value), remedy);
    }
}
