//! From words to meaning: defaults, uniqueness, references between tables.
//!
//! Every function returns `None` only for what has already been reported, and looks at everything before it
//! does: one round of corrections must be enough. A table that is wrong in itself still counts as there for
//! those that refer to it. Files named here are not opened: that is for whoever loads them.

mod actions;
mod balance;
mod discovery;
mod drain;
mod ejection;
mod frames;
mod futile;
mod handshake_rate;
mod health;
mod listeners;
mod pings;
pub(super) mod pools;
mod rebalance;
mod retry;
mod rewriting;
mod routes;
mod tls;

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::net::SocketAddr;
use std::path::PathBuf;

use self::actions::report_drift;
use self::drain::drain;
use self::listeners::listeners;
use self::pools::{KnownPools, pools};
use self::routes::routes;
use super::file::{
    AdminWords, DrainWords, FileWords, LimitsWords, LogWords, MetricsWords, RouteWords, ServerWords, TcpWords,
};
use super::problem::shown;
use super::reader::{Found, Reader};
use super::shape::Need;
use super::syntax::{FilePath, Name};
use super::{At, Config, Limits, ListenAddress, Log, Pem, Place, Server, Tcp, UNIX_PATH_BYTES_MAX, defaults};

/// The configuration that a file and those it includes mean. `None` when something is wrong, which is
/// reported.
pub fn check(words: FileWords, reader: &mut Reader) -> Option<Config> {
    let needs_pools = needs_pools(&words);
    report_absent(&words, needs_pools, reader);
    let mut addresses = Unique::default();
    let listeners = listeners(words.listeners, &mut addresses, reader);
    let metrics = metrics(words.metrics, &mut addresses, reader);
    let admin = admin(words.admin, &mut addresses, reader);
    let known = match &words.pools {
        Found::Written(pools) => Some(KnownPools::new(&pools.value)),
        // One problem, not one for each route.
        Found::Absent | Found::Wrong => None,
    };
    let limits = words.limits.or(LimitsWords::default()).and_then(limits);
    let handshakes_max = limits.as_ref().map(|limits| limits.handshakes_max);
    let routes = routes(words.routes, known.as_ref(), handshakes_max, reader);
    let pools = if needs_pools { pools(words.pools, handshakes_max, reader) } else { Some(BTreeMap::new()) };
    if let (Some(routes), Some(pools)) = (&routes, &pools) {
        report_drift(routes, pools, reader);
    }
    let tunnels_max = limits.as_ref().and_then(|limits| limits.tunnels_max);
    let server = words
        .server
        .or(ServerWords::default())
        .and_then(|words| server(words, tunnels_max, &mut addresses, reader));
    Some(Config {
        server: server?,
        limits: limits?,
        tcp: tcp(words.tcp.or(TcpWords::default())?)?,
        metrics: metrics?,
        admin: admin?,
        log: log(words.log.or(LogWords::default())?)?,
        listeners: listeners?,
        routes: routes?,
        pools: pools?,
        warnings: reader.warnings(),
        sources: reader.problems().sources().clone(),
        watched: reader.watched().clone(),
    })
}

/// Not where there is none, and every route answers by itself.
fn needs_pools(words: &FileWords) -> bool {
    let answers =
        |route: &At<RouteWords>| !(route.value.redirect.is_absent() && route.value.respond.is_absent());
    let asks = |route: &At<RouteWords>| !(route.value.pool.is_absent() && route.value.split.is_absent());
    let Found::Written(routes) = &words.routes else { return true };
    !words.pools.is_absent() || !routes.value.0.iter().all(|route| answers(route) && !asks(route))
}

/// Reports what one of the files should have, and none has.
fn report_absent(words: &FileWords, needs_pools: bool, reader: &mut Reader) {
    let files = match words.include {
        Found::Absent => "this file has",
        Found::Wrong | Found::Written(_) => "this file and those it includes have",
    };
    let start = Place { source: Some(0), span: 0..0 };
    let no_pools = words.pools.is_absent() && needs_pools;
    let absent = [words.listeners.is_absent(), words.routes.is_absent(), no_pools];
    let keys = FileWords::KEYS.iter().filter(|key| key.need == Need::Somewhere);
    for (key, _) in keys.zip(absent).filter(|(_, absent)| *absent) {
        let remedy = format!("add {}: {}", key.title(), key.summary());
        reader.report_nowhere(&start, format!("{files} no {}", key.title()), remedy);
    }
}

fn server(
    words: ServerWords,
    tunnels_max: Option<usize>,
    addresses: &mut Unique<ListenAddress>,
    reader: &mut Reader,
) -> Option<Server> {
    let handover = words.handover.optional().map(|path| {
        path.map(|At { value, place }| {
            let path = unix_path(value.0.into(), &place, reader);
            free_address(&ListenAddress::Unix(path.clone()), &place, addresses, reader);
            At { value: path, place }
        })
    });
    let drain = drain(words.drain.or(DrainWords::default())?, tunnels_max, reader);
    Some(Server { workers: words.workers.or(defaults::WORKERS)?, drain: drain?, handover: handover? })
}

fn limits(words: LimitsWords) -> Option<Limits> {
    Some(Limits {
        connections_max: words.connections_max.or(defaults::CONNECTIONS_MAX)?,
        tunnels_max: words.tunnels_max.or(defaults::TUNNELS_MAX)?,
        head_bytes_max: words.head_bytes_max.or(defaults::HEAD_BYTES_MAX)?,
        head_fields_max: words.head_fields_max.or(defaults::HEAD_FIELDS_MAX)?,
        target_bytes_max: words.target_bytes_max.or(defaults::TARGET_BYTES_MAX)?,
        head_timeout: words.head_timeout.or(defaults::HEAD_TIMEOUT)?,
        keepalive_timeout: words.keepalive_timeout.or(defaults::KEEPALIVE_TIMEOUT)?,
        handshakes_max: words.handshakes_max.or(defaults::HANDSHAKES_MAX)?,
        tls_handshakes_max: words.tls_handshakes_max.or(defaults::TLS_HANDSHAKES_MAX)?,
        proxy_header_timeout: words.proxy_header_timeout.or(defaults::PROXY_HEADER_TIMEOUT)?,
        tls_handshake_timeout: words.tls_handshake_timeout.or(defaults::TLS_HANDSHAKE_TIMEOUT)?,
        http2_streams_max: words.http2_streams_max.or(defaults::HTTP2_STREAMS_MAX)?,
        http2_idle_timeout: words.http2_idle_timeout.or(defaults::HTTP2_IDLE_TIMEOUT)?,
        http2_ping_interval: words.http2_ping_interval.or(defaults::HTTP2_PING_INTERVAL)?,
        http2_ping_timeout: words.http2_ping_timeout.or(defaults::HTTP2_PING_TIMEOUT)?,
    })
}

fn tcp(words: TcpWords) -> Option<Tcp> {
    Some(Tcp {
        keepalive: words.keepalive.or(defaults::KEEPALIVE)?,
        user_timeout: words.user_timeout.or(defaults::USER_TIMEOUT)?,
        unsent_max: words.unsent_max.or(defaults::UNSENT_MAX)?,
    })
}

fn log(words: LogWords) -> Option<Log> {
    Some(Log {
        format: words.format.or(defaults::LOG_FORMAT)?,
        level: words.level.or(defaults::LOG_LEVEL)?,
        access: words.access.or(defaults::LOG_ACCESS)?,
    })
}

fn metrics(
    words: Found<MetricsWords>,
    addresses: &mut Unique<ListenAddress>,
    reader: &mut Reader,
) -> Option<Option<At<SocketAddr>>> {
    let Some(words) = words.optional()? else {
        return Some(None);
    };
    let address = words.value.address.written()?;
    free_address(&ListenAddress::Tcp(address.value), &address.place, addresses, reader);
    Some(Some(address))
}

fn admin(
    words: Found<AdminWords>,
    addresses: &mut Unique<ListenAddress>,
    reader: &mut Reader,
) -> Option<Option<At<ListenAddress>>> {
    let Some(words) = words.optional()? else {
        return Some(None);
    };
    let At { value, place } = words.value.address.written()?;
    Some(Some(bound(At { value: value.0, place }, addresses, reader)))
}

/// An address to bind: with an absolute path, and bound by nobody else, which is reported.
fn bound(
    At { value, place }: At<ListenAddress>,
    addresses: &mut Unique<ListenAddress>,
    reader: &mut Reader,
) -> At<ListenAddress> {
    let value = match value {
        ListenAddress::Tcp(_) => value,
        ListenAddress::Unix(path) => ListenAddress::Unix(unix_path(path, &place, reader)),
    };
    free_address(&value, &place, addresses, reader);
    At { value, place }
}

/// The absolute path of a unix socket, which must not be longer than the kernel takes.
fn unix_path(path: PathBuf, place: &Place, reader: &mut Reader) -> PathBuf {
    let path = reader.path(path, place);
    if path.as_os_str().len() > UNIX_PATH_BYTES_MAX {
        let message = format!("the path of this socket is longer than {UNIX_PATH_BYTES_MAX} bytes");
        reader.report(place, message, "choose a shorter one, such as /run/longhaul.sock");
    }
    path
}

/// A PEM file, which is watched from now on.
fn pem(path: At<FilePath>, reader: &mut Reader) -> At<Pem> {
    let At { value, place } = watched(path, reader);
    At { value: Pem::File(value), place }
}

/// A file, which is watched from now on.
fn watched(At { value, place }: At<FilePath>, reader: &mut Reader) -> At<PathBuf> {
    let path = reader.path(value.0, &place);
    reader.watched().files.insert(path.clone());
    At { value: path, place }
}

/// All of them, or `None` if one is. Unlike `collect`, it goes through all, so that all their problems are
/// reported.
fn all<T>(parts: impl Iterator<Item = Option<T>>) -> Option<Vec<T>> {
    let mut complete = Some(Vec::new());
    for part in parts {
        match (&mut complete, part) {
            (Some(list), Some(part)) => list.push(part),
            _ => complete = None,
        }
    }
    complete
}

/// Values of which there may be only one, and where each was first.
struct Unique<K>(HashMap<K, Place>);

impl<K> Default for Unique<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq> Unique<K> {
    /// Where the value was first, if it was; else remembers it.
    fn taken(&mut self, value: K, place: &Place) -> Option<Place> {
        if let Some(first) = self.0.get(&value) {
            return Some(first.clone());
        }
        self.0.insert(value, place.clone());
        None
    }
}

fn plain(name: At<Name>) -> At<String> {
    At { value: name.value.0, place: name.place }
}

fn free_name(noun: &str, name: &At<String>, names: &mut Unique<String>, reader: &mut Reader) {
    if let Some(first) = names.taken(name.value.clone(), &name.place) {
        let message = format!("another {noun} is named `{}`", shown(&name.value));
        let line = reader.line(&first, &name.place);
        reader.report(&name.place, message, format!("the one on {line} has the name: choose another"));
    }
}

fn free_address(
    address: &ListenAddress,
    place: &Place,
    addresses: &mut Unique<ListenAddress>,
    reader: &mut Reader,
) {
    // Port 0 is a new port each time.
    if matches!(address, ListenAddress::Tcp(address) if address.port() == 0) {
        return;
    }
    if let Some(first) = addresses.taken(address.clone(), place) {
        let order = |place: &Place| (place.source, place.span.start);
        let (earlier, later) = match order(&first) < order(place) {
            true => (&first, place),
            false => (place, &first),
        };
        let another = match address {
            ListenAddress::Tcp(_) => "choose another port",
            ListenAddress::Unix(_) => "choose another path",
        };
        let remedy = format!("{} binds it: {another}", reader.line(earlier, later));
        reader.report(later, format!("`{address}` is bound already"), remedy);
    }
}
