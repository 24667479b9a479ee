//! The one table of all metrics, and a typed way to each: no caller writes a name or the text of a label.
//!
//! Names have the prefix `longhaul_`, base units, and `_total` on counters. Labels come from the configuration or from
//! closed enums. A route label is empty where no route was found.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::Version;

use super::labels::{
    AcceptFault, ConnectionFault, Direction, DiscoveryFault, ReloadResult, Result, TUNNEL_VERSIONS,
    TlsResult, http_version, violation,
};
use super::process;
use super::registry::{Buckets, Counter, Family, Gauge, GaugeGuard, Histogram, Kind, Registry, Samples};
use crate::config::State;
use crate::outcome::{Closing, ConnectError, Ending, Farewell, Fault, Party, RetryCause};
use crate::proto::frame::Violation;
use crate::proto::scan::{Frame, Kind as FrameKind};

const SECOND: u64 = 1_000_000;
const HOUR: u64 = 3600 * SECOND;

/// Handshakes: 1 ms to 10 s.
static HANDSHAKE_SECONDS: Buckets = Buckets {
    bounds: &[
        1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, SECOND, 2_500_000, 5_000_000,
        10_000_000,
    ],
    per_unit: 1e6,
};

/// Tunnels: 1 s to 7 d.
static TUNNEL_SECONDS: Buckets = Buckets {
    bounds: &[
        SECOND,
        10 * SECOND,
        60 * SECOND,
        300 * SECOND,
        900 * SECOND,
        HOUR,
        3 * HOUR,
        6 * HOUR,
        12 * HOUR,
        24 * HOUR,
        72 * HOUR,
        168 * HOUR,
    ],
    per_unit: 1e6,
};

/// Ways to a peer and back: 0.5 ms to 10 s.
static ROUND_TRIP_SECONDS: Buckets = Buckets {
    bounds: &[
        500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, SECOND, 2_500_000,
        10_000_000,
    ],
    per_unit: 1e6,
};

/// Messages: 64 B to 16 MiB.
static MESSAGE_BYTES: Buckets = Buckets {
    bounds: &[64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20],
    per_unit: 1.0,
};

macro_rules! families {
    ($($constant:ident = $kind:expr, $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(static $constant: Family =
            Family { name: $name, help: $help, kind: $kind, labels: &[$($label),*] };)*
        /// Every metric that longhaul exports.
        pub static FAMILIES: &[&Family] = &[$(&$constant),*];
    };
}

families! {
    BUILD_INFO = Kind::Gauge, "longhaul_build_info" ["version"]
        "Always 1; the label tells what is running.";
    READY = Kind::Gauge, "longhaul_ready" []
        "Whether /readyz answers 200.";
    GENERATION = Kind::Gauge, "longhaul_config_generation" []
        "How many configurations this process has accepted.";

    RELOAD_SUCCESSFUL = Kind::Gauge, "longhaul_config_last_reload_successful" []
        "1 when the configuration's file was accepted when it was last read, 0 when it was rejected.";
    RELOAD_SUCCESS_TIME = Kind::Gauge, "longhaul_config_last_reload_success_timestamp_seconds" []
        "When the configuration's file was last read and accepted, or found unchanged.";
    RELOADS = Kind::Counter, "longhaul_config_reloads_total" ["result"]
        "How often the configuration's file was read again: accepted, unchanged or rejected.";

    CONNECTIONS_TOTAL = Kind::Counter, "longhaul_connections_total" ["listener"]
        "Client connections accepted.";
    CONNECTIONS_ACTIVE = Kind::Gauge, "longhaul_connections_active" ["listener"]
        "Client connections that are open, tunnels included.";
    CONNECTIONS_MAX = Kind::Gauge, "longhaul_connections_max" []
        "How many client connections may be open at once.";
    CONNECTION_ERRORS = Kind::Counter, "longhaul_connection_errors_total" ["listener", "reason"]
        "Client connections that ended by a fault before or between requests.";
    ACCEPT_ERRORS = Kind::Counter, "longhaul_accept_errors_total" ["listener", "reason"]
        "Failures to accept a connection, and pauses at the connection limit.";
    WORKER_CONNECTIONS = Kind::Gauge, "longhaul_worker_connections" ["worker"]
        "Client connections that a worker carries, tunnels included.";

    TLS_HANDSHAKES = Kind::Counter, "longhaul_tls_handshakes_total" ["listener", "result", "version"]
        "TLS handshakes with clients: full, resumed, or why they failed.";
    CERTIFICATE_EXPIRY = Kind::Gauge, "longhaul_certificate_expiry_timestamp_seconds" ["listener", "certificate"]
        "When a certificate stops being valid.";

    HANDSHAKES = Kind::Counter, "longhaul_handshakes_total" ["route", "http", "result"]
        "WebSocket handshakes: opened, declined by the backend, or why they were refused.";
    HANDSHAKES_DELAYED = Kind::Counter, "longhaul_handshakes_delayed_total" ["route"]
        "WebSocket handshakes that came faster than the route's handshake_rate, and waited for their turn.";
    HANDSHAKE_DURATION = Kind::Histogram(&HANDSHAKE_SECONDS), "longhaul_handshake_duration_seconds" ["route"]
        "From a WebSocket handshake's head to the 101 that answers it.";
    REQUESTS = Kind::Counter, "longhaul_requests_total" ["route", "http", "result"]
        "Plain HTTP requests: the class of the answer's status, or why they were refused.";
    SPLITS = Kind::Counter, "longhaul_split_results_total" ["route", "pool", "result"]
        "Requests and WebSocket handshakes of routes with several pools: the pool that was drawn, and what became of them.";

    TUNNELS_OPENED = Kind::Counter, "longhaul_tunnels_opened_total" ["route", "http"]
        "Tunnels opened.";
    TUNNELS_ACTIVE = Kind::Gauge, "longhaul_tunnels_active" ["route", "http"]
        "Tunnels that are open.";
    TUNNELS_MAX = Kind::Gauge, "longhaul_tunnels_max" []
        "How many tunnels may be open at once.";
    TUNNELS_CLOSED = Kind::Counter, "longhaul_tunnels_closed_total" ["route", "reason", "initiator"]
        "Tunnels that ended, in what way, and who ended them.";
    TUNNEL_DURATION = Kind::Histogram(&TUNNEL_SECONDS), "longhaul_tunnel_duration_seconds" ["route"]
        "How long tunnels lived that have ended.";
    TUNNEL_BYTES = Kind::Counter, "longhaul_tunnel_bytes_total" ["route", "direction"]
        "Bytes that tunnels have passed on, framing included, TLS not.";
    TUNNEL_MESSAGES = Kind::Counter, "longhaul_tunnel_messages_total" ["route", "direction", "opcode"]
        "WebSocket messages that tunnels have passed on: text or binary.";
    TUNNEL_MESSAGE_BYTES = Kind::Histogram(&MESSAGE_BYTES), "longhaul_tunnel_message_bytes" ["route", "direction"]
        "Payload of WebSocket messages, all fragments, as on the wire.";
    TUNNEL_CONTROL_FRAMES = Kind::Counter, "longhaul_tunnel_control_frames_total" ["route", "direction", "opcode"]
        "WebSocket control frames that tunnels have passed on: close, ping or pong.";
    TUNNEL_CLOSES = Kind::Counter, "longhaul_tunnel_closes_total" ["route", "code", "initiator", "clean"]
        "Tunnels that ended, by their first Close frame: its code, whose it was, and whether both sides closed.";
    TUNNEL_FAREWELLS = Kind::Counter, "longhaul_tunnel_farewells_total" ["route", "result"]
        "Tunnels that were ended for a side that was still there: it got a Close frame of longhaul's (sent), or was cut.";
    TUNNEL_DISCARDED = Kind::Counter, "longhaul_tunnel_discarded_bytes_total" ["route", "direction"]
        "Bytes that did not pass on in tunnels that have ended: behind a Close of longhaul's, or of a frame that broke the rules.";
    PING_ROUND_TRIP = Kind::Histogram(&ROUND_TRIP_SECONDS), "longhaul_ping_round_trip_seconds" ["route", "side"]
        "From a Ping of longhaul's own to its Pong, by the side that was asked.";
    TUNNEL_WAITS = Kind::Counter, "longhaul_tunnel_waits_total" ["route", "direction"]
        "How often a sender was not read for a while, because it sent faster than the route's frames allow.";
    DEADLINES_REFUSED = Kind::Counter, "longhaul_deadlines_refused_total" ["route"]
        "WebSocket handshakes whose answer has a deadline_header that is neither seconds nor a UTC time: it does not count.";
    TUNNEL_VIOLATIONS = Kind::Counter, "longhaul_tunnel_violations_total" ["route", "direction", "kind"]
        "Directions of tunnels that broke the rules of WebSocket frames, and are not read since.";
    DRAIN_TUNNELS = Kind::Gauge, "longhaul_drain_tunnels" ["reason"]
        "Tunnels that are open and are asked to go, in a while or already, by the reason that their ends will have.";
    REBALANCED = Kind::Counter, "longhaul_rebalanced_tunnels_total" ["pool", "result"]
        "Tunnels that were asked to go so that other backends get their share, or, in a dry run, that would be.";

    BACKEND_UP = Kind::Gauge, "longhaul_backend_up" ["pool", "backend"]
        "1 when the backend's health checks pass or it has none, 0 when they fail, have not finished, or it is disabled.";
    BACKEND_STATE = Kind::Gauge, "longhaul_backend_state" ["pool", "backend", "state"]
        "Always 1; the label tells which tunnels a backend gets: active, draining or disabled.";
    BACKEND_TUNNELS = Kind::Gauge, "longhaul_backend_tunnels" ["pool", "backend"]
        "What a backend carries: tunnels, handshakes and requests in flight.";
    BACKEND_TUNNELS_MAX = Kind::Gauge, "longhaul_backend_tunnels_max" ["pool", "backend"]
        "How many tunnels and WebSocket handshakes a backend may carry, where it has a bound.";
    BACKEND_TUNNELS_FREE = Kind::Gauge, "longhaul_backend_tunnels_free" ["pool", "backend"]
        "How many more of them a backend may carry, where it has a bound.";
    POOL_WAITING = Kind::Gauge, "longhaul_pool_waiting" ["pool"]
        "WebSocket handshakes that wait for a backend that may carry one more.";
    POOL_WAITS = Kind::Counter, "longhaul_pool_waits_total" ["pool"]
        "WebSocket handshakes that found all backends full: those that waited, and those that found no room to wait.";
    POOL_DELAYS = Kind::Counter, "longhaul_pool_delays_total" ["pool"]
        "WebSocket handshakes that came faster than the handshake_rate of their backend, and waited for their turn.";
    BACKEND_IDLE = Kind::Gauge, "longhaul_backend_idle_connections" ["pool", "backend"]
        "Connections to a backend that are kept for further plain requests.";
    BACKEND_CONNECTIONS = Kind::Counter, "longhaul_backend_connections_total" ["pool", "result"]
        "Connections that plain requests went out on: opened for them, or reused.";
    BACKEND_RESENDS = Kind::Counter, "longhaul_backend_resends_total" ["pool"]
        "Plain requests sent again on a new connection, because the reused one had died.";
    BACKEND_CONNECT_ERRORS = Kind::Counter, "longhaul_backend_connect_errors_total" ["pool", "backend", "reason"]
        "Connections to a backend that did not come about, their TLS included.";
    BACKEND_PROBES = Kind::Counter, "longhaul_backend_probes_total" ["pool", "backend", "result"]
        "Health checks done: passed, failed, or unsent for want of a port or a descriptor, which says nothing of the backend.";
    BACKEND_HEALTH = Kind::Gauge, "longhaul_backend_health" ["pool", "backend", "health"]
        "Always 1; the label tells what health checks have found: up, down, or unknown as long as none has ended.";
    BACKEND_PROBE_DURATION = Kind::Gauge, "longhaul_backend_probe_duration_seconds" ["pool", "backend"]
        "How long the backend's last health check took.";

    BACKEND_EJECTED = Kind::Gauge, "longhaul_backend_ejected" ["pool", "backend"]
        "1 while a backend is ejected because requests failed, else 0.";
    BACKEND_EJECTIONS = Kind::Counter, "longhaul_backend_ejections_total" ["pool", "backend", "reason"]
        "How often a backend was ejected, by the failures in a row that did it.";

    DISCOVERY_ANSWERS = Kind::Counter, "longhaul_discovery_answers_total" ["pool", "result"]
        "Answers to who the backends of a pool are: changed, unchanged, or why there was none.";
    DISCOVERY_BACKENDS = Kind::Gauge, "longhaul_discovery_backends" ["pool", "state"]
        "Backends that discovery names now, and those that it no longer names and that are still there.";
    DISCOVERY_SUCCESS_TIME = Kind::Gauge, "longhaul_discovery_last_success_timestamp_seconds" ["pool"]
        "When discovery last had an answer for a pool; 0 if it never had.";
    RETRIES = Kind::Counter, "longhaul_retries_total" ["pool", "reason"]
        "Requests and handshakes that went on to another backend, by what happened at the one before.";
    RETRIES_REFUSED = Kind::Counter, "longhaul_retries_refused_total" ["pool"]
        "Requests and handshakes that did not go on because the pool's budget of retries was spent.";

    LOG_DROPPED = Kind::Counter, "longhaul_log_dropped_total" []
        "Log lines lost because stdout was slower than the log.";
    SERIES_DROPPED = Kind::Counter, "longhaul_metric_series_dropped_total" []
        "Metric series or counts that found no room.";

    PROCESS_CPU = Kind::Counter, "process_cpu_seconds_total" []
        "User and system CPU time spent.";
    PROCESS_RESIDENT = Kind::Gauge, "process_resident_memory_bytes" []
        "Resident memory.";
    PROCESS_VIRTUAL = Kind::Gauge, "process_virtual_memory_bytes" []
        "Virtual memory.";
    PROCESS_OPEN_FDS = Kind::Gauge, "process_open_fds" []
        "Open file descriptors.";
    PROCESS_MAX_FDS = Kind::Gauge, "process_max_fds" []
        "Most file descriptors that may be open.";
    PROCESS_THREADS = Kind::Gauge, "process_threads" []
        "Threads.";
    PROCESS_START = Kind::Gauge, "process_start_time_seconds" []
        "When the process began, in seconds since 1970.";
}

/// All metrics of one process.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
}

/// The hot metrics of a route.
pub struct RouteMetrics {
    /// Tunnels, by the version of HTTP that they were opened by.
    tunnels: [TunnelMetrics; 2],
    directions: [DirectionMetrics; 2],
    /// From a handshake's head to its 101.
    handshake: Histogram,
    /// The lives of tunnels that ended.
    pub duration: Histogram,
    /// Of Pings, by the direction they go in, where they do.
    round_trips: [OnceLock<Histogram>; 2],
    name: Box<str>,
    registry: Arc<Registry>,
}

/// The hot metrics of what a route's tunnels pass on in one direction.
pub struct DirectionMetrics {
    /// Bytes taken from the sender.
    pub bytes: Counter,
    texts: Counter,
    binaries: Counter,
    message_bytes: Histogram,
    closes: Counter,
    pings: Counter,
    pongs: Counter,
}

impl DirectionMetrics {
    fn new(registry: &Registry, route: &str, direction: Direction) -> DirectionMetrics {
        let way = direction.label();
        let messages = |opcode| registry.counter(&TUNNEL_MESSAGES, &[route, way, opcode]);
        let control = |opcode| registry.counter(&TUNNEL_CONTROL_FRAMES, &[route, way, opcode]);
        DirectionMetrics {
            bytes: registry.counter(&TUNNEL_BYTES, &[route, way]),
            texts: messages("text"),
            binaries: messages("binary"),
            message_bytes: registry.histogram(&TUNNEL_MESSAGE_BYTES, &[route, way]),
            closes: control("close"),
            pings: control("ping"),
            pongs: control("pong"),
        }
    }

    /// A frame has passed.
    pub fn frame(&self, frame: Frame) {
        let count = match frame.kind {
            FrameKind::Fragment => return,
            FrameKind::Text => &self.texts,
            FrameKind::Binary => &self.binaries,
            FrameKind::Close => &self.closes,
            FrameKind::Ping => &self.pings,
            FrameKind::Pong => &self.pongs,
        };
        count.increment();
        if frame.kind.is_message() {
            self.message_bytes.count(frame.bytes);
        }
    }
}

/// The hot metrics of a route's tunnels.
struct TunnelMetrics {
    /// Tunnels opened.
    opened: Counter,
    /// Tunnels that are open.
    active: Gauge,
    /// Handshakes that opened a tunnel; those with other results are looked up by their labels.
    handshakes: Counter,
}

/// The hot metrics of a listener.
pub struct ListenerMetrics {
    /// Connections accepted.
    pub accepted: Counter,
    /// Connections that are open.
    pub active: Gauge,
}

/// The hot metrics of a pool.
pub struct PoolMetrics {
    /// Connections opened for plain requests.
    pub opened: Counter,
    /// Kept connections that plain requests went out on.
    pub reused: Counter,
    /// Requests that such a connection had died under, and that were sent again.
    pub resent: Counter,
    /// Handshakes that found all backends full.
    pub waited: Counter,
    /// Handshakes that waited for their backend's turn.
    pub delayed: Counter,
    /// Requests that went on to another backend, by [`RetryCause`].
    retries: [Counter; 4],
    /// Requests that did not, because the budget was spent.
    pub retries_refused: Counter,
}

impl PoolMetrics {
    /// Requests that went on to another backend for this.
    pub fn retries(&self, cause: RetryCause) -> &Counter {
        let [connect, timeout, reset, status] = &self.retries;
        match cause {
            RetryCause::Connect => connect,
            RetryCause::Timeout => timeout,
            RetryCause::Reset => reset,
            RetryCause::Status => status,
        }
    }
}

impl RouteMetrics {
    /// A handshake that took so long opened a tunnel.
    pub fn opened(&self, http: Version, took: Duration) {
        let tunnels = self.tunnels(http);
        tunnels.opened.increment();
        tunnels.handshakes.increment();
        self.handshake.observe(took);
    }

    /// A tunnel is open until the guard is dropped.
    pub fn enter(&self, http: Version) -> GaugeGuard {
        self.tunnels(http).active.enter()
    }

    /// Of what is passed on in this direction.
    pub fn direction(&self, direction: Direction) -> &DirectionMetrics {
        let [up, down] = &self.directions;
        if direction == Direction::ToBackend { up } else { down }
    }

    /// Pings go in this direction.
    pub fn pings(&self, direction: Direction) {
        self.round_trips(direction);
    }

    /// A Ping in this direction was answered after so long.
    pub fn round_trip(&self, direction: Direction, took: Duration) {
        self.round_trips(direction).observe(took);
    }

    fn round_trips(&self, direction: Direction) -> &Histogram {
        let side = if direction == Direction::ToClient { Party::Client } else { Party::Backend };
        let made = || self.registry.histogram(&PING_ROUND_TRIP, &[&self.name, side.label()]);
        self.round_trips[direction as usize].get_or_init(made)
    }

    /// A sender is not read for a while.
    pub fn waits(&self, direction: Direction) {
        self.registry.count(&TUNNEL_WAITS, &[&self.name, direction.label()]);
    }

    /// A direction broke the rules of frames, which it does once.
    pub fn violation(&self, direction: Direction, kind: Violation) {
        self.registry.count(&TUNNEL_VIOLATIONS, &[&self.name, direction.label(), violation(kind)]);
    }

    fn tunnels(&self, http: Version) -> &TunnelMetrics {
        let [older, newer] = &self.tunnels;
        if http == Version::HTTP_2 { newer } else { older }
    }
}

impl Metrics {
    /// Metrics for a process of `workers` workers.
    pub fn new(workers: usize) -> Metrics {
        let registry = Arc::new(Registry::new(workers));
        let weak = Arc::downgrade(&registry);
        registry.source(move |samples| {
            samples.push(&BUILD_INFO, &[env!("CARGO_PKG_VERSION")], 1.0);
            let dropped = weak.upgrade().map_or(0, |registry| registry.dropped());
            samples.push(&SERIES_DROPPED, &[], dropped as f64);
            push_process(samples);
        });
        for result in [ReloadResult::Accepted, ReloadResult::Unchanged, ReloadResult::Rejected] {
            registry.declare(&RELOADS, &[result.label()]);
        }
        Metrics { registry }
    }

    /// Where the values are.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// The hot metrics of the route `name`.
    pub fn route(&self, name: &str) -> RouteMetrics {
        let registry = &self.registry;
        let tunnels = |http| {
            let labels = [name, http_version(http)];
            TunnelMetrics {
                opened: registry.counter(&TUNNELS_OPENED, &labels),
                active: registry.gauge(&TUNNELS_ACTIVE, &labels),
                handshakes: registry.counter(&HANDSHAKES, &[labels[0], labels[1], Result::Opened.label()]),
            }
        };
        RouteMetrics {
            tunnels: TUNNEL_VERSIONS.map(tunnels),
            directions: Direction::BOTH.map(|way| DirectionMetrics::new(registry, name, way)),
            handshake: registry.histogram(&HANDSHAKE_DURATION, &[name]),
            duration: registry.histogram(&TUNNEL_DURATION, &[name]),
            round_trips: Default::default(),
            name: name.into(),
            registry: registry.clone(),
        }
    }

    /// The hot metrics of the listener `name`.
    pub fn listener(&self, name: &str) -> ListenerMetrics {
        ListenerMetrics {
            accepted: self.registry.counter(&CONNECTIONS_TOTAL, &[name]),
            active: self.registry.gauge(&CONNECTIONS_ACTIVE, &[name]),
        }
    }

    /// The hot metrics of the pool `name`.
    pub fn pool(&self, name: &str) -> PoolMetrics {
        PoolMetrics {
            opened: self.registry.counter(&BACKEND_CONNECTIONS, &[name, "opened"]),
            reused: self.registry.counter(&BACKEND_CONNECTIONS, &[name, "reused"]),
            resent: self.registry.counter(&BACKEND_RESENDS, &[name]),
            waited: self.registry.counter(&POOL_WAITS, &[name]),
            delayed: self.registry.counter(&POOL_DELAYS, &[name]),
            retries: RetryCause::ALL.map(|cause| self.registry.counter(&RETRIES, &[name, cause.label()])),
            retries_refused: self.registry.counter(&RETRIES_REFUSED, &[name]),
        }
    }

    /// A WebSocket handshake was answered by anything but a tunnel, for which there is [`RouteMetrics::opened`].
    pub fn handshake(&self, route: &str, http: Version, result: &Result<'_>) {
        self.registry.count(&HANDSHAKES, &[route, http_version(http), result.label()]);
    }

    /// A plain request was answered.
    pub fn request(&self, route: &str, http: Version, result: &Result<'_>) {
        self.registry.count(&REQUESTS, &[route, http_version(http), result.label()]);
    }

    /// A request or handshake of a route that splits was answered; `pool` is the one that was drawn.
    pub fn split(&self, route: &str, pool: &str, result: &Result<'_>) {
        self.registry.count(&SPLITS, &[route, pool, result.label()]);
    }

    /// A tunnel ended.
    pub fn tunnel_closed(&self, route: &str, ending: Ending, closing: Closing, farewell: Option<Farewell>) {
        let labels = [route, ending.reason.label(), ending.by.label()];
        self.registry.count(&TUNNELS_CLOSED, &labels);
        let initiator = closing.by.unwrap_or(ending.by).label();
        let clean = if closing.clean { "true" } else { "false" };
        self.registry.count(&TUNNEL_CLOSES, &[route, closing.code.label(), initiator, clean]);
        if let Some(farewell) = farewell {
            self.registry.count(&TUNNEL_FAREWELLS, &[route, farewell.label()]);
        }
    }

    /// A tunnel ended in which so many bytes did not pass.
    pub fn discarded(&self, route: &str, direction: Direction, bytes: u64) {
        if bytes > 0 {
            self.registry.add(&TUNNEL_DISCARDED, &[route, direction.label()], bytes);
        }
    }

    /// A TLS handshake with a client ended; `version` is empty unless it succeeded.
    pub fn tls_handshake(&self, listener: &str, result: TlsResult, version: &'static str) {
        self.registry.count(&TLS_HANDSHAKES, &[listener, result.label(), version]);
    }

    /// A connection ended by a fault outside any request.
    pub fn connection_fault(&self, listener: &str, fault: ConnectionFault) {
        self.registry.count(&CONNECTION_ERRORS, &[listener, fault.label()]);
    }

    /// A connection was not accepted, or not at once.
    pub fn accept_fault(&self, listener: &str, fault: AcceptFault) {
        self.registry.count(&ACCEPT_ERRORS, &[listener, fault.label()]);
    }

    /// A connection to a backend did not come about.
    pub fn connect_error(&self, pool: &str, backend: &str, error: ConnectError) {
        self.registry.count(&BACKEND_CONNECT_ERRORS, &[pool, backend, error.label()]);
    }

    /// The handshakes of a route may have to wait.
    pub fn may_delay(&self, route: &str) {
        self.registry.declare(&HANDSHAKES_DELAYED, &[route]);
    }

    /// A handshake waited for the turn that the rate of its route gives it.
    pub fn delayed(&self, route: &str) {
        self.registry.count(&HANDSHAKES_DELAYED, &[route]);
    }

    /// What is sent in this direction of a route's tunnels may have to wait.
    pub fn may_wait(&self, route: &str, direction: Direction) {
        self.registry.declare(&TUNNEL_WAITS, &[route, direction.label()]);
    }

    /// The handshakes of a route may tell how long their tunnel may live.
    pub fn may_tell_deadline(&self, route: &str) {
        self.registry.declare(&DEADLINES_REFUSED, &[route]);
    }

    /// What one told is not a deadline.
    pub fn deadline_refused(&self, route: &str) {
        self.registry.count(&DEADLINES_REFUSED, &[route]);
    }

    /// The tunnels of a pool may be asked to go for other backends.
    pub fn may_rebalance(&self, pool: &str) {
        for result in ["asked", "would_be_asked"] {
            self.registry.declare(&REBALANCED, &[pool, result]);
        }
    }

    /// So many tunnels of a pool are asked to go for other backends, or would be.
    pub fn rebalanced(&self, pool: &str, dry_run: bool, tunnels: u64) {
        self.registry.add(&REBALANCED, &[pool, if dry_run { "would_be_asked" } else { "asked" }], tunnels);
    }

    /// A backend was ejected.
    pub fn ejection(&self, pool: &str, backend: &str, fault: Fault) {
        self.registry.count(&BACKEND_EJECTIONS, &[pool, backend, fault.label()]);
    }

    /// Forgets what was counted for routes and listeners that are gone and that nothing is open of, and for pools that
    /// `has_pool` denies. Else names that come and go would use up the room of new ones.
    pub fn forget(&self, has_pool: impl Fn(&str) -> bool) {
        let (routes, listeners) =
            (self.registry.live(&TUNNEL_DURATION), self.registry.live(&CONNECTIONS_ACTIVE));
        let pools = self.registry.live(&BACKEND_RESENDS);
        for family in FAMILIES {
            self.registry.retain(family, |labels| match (family.labels, labels) {
                (["route", "pool", ..], [route, pool, ..]) => {
                    let known = |names: &BTreeSet<_>, name| names.contains(std::slice::from_ref(name));
                    known(&routes, route) && known(&pools, pool)
                }
                // Requests that no route takes have none.
                (["route", ..], [route, ..]) => {
                    route.is_empty() || routes.contains(std::slice::from_ref(route))
                }
                (["listener", ..], [listener, ..]) => listeners.contains(std::slice::from_ref(listener)),
                // Their backends may outlive them.
                (["pool", "backend", ..], _) => true,
                (["pool", ..], [pool, ..]) => has_pool(pool),
                _ => true,
            });
        }
    }

    /// Forgets what was counted for backends (pool and address) that `has_backend` denies.
    pub fn forget_backends(&self, has_backend: impl Fn(&str, &str) -> bool) {
        for family in FAMILIES.iter().filter(|family| family.labels.starts_with(&["pool", "backend"])) {
            self.registry.retain(family, |labels| match labels {
                [pool, backend, ..] => has_backend(pool, backend),
                _ => true,
            });
        }
    }

    /// The configuration was read again.
    pub fn reload(&self, result: ReloadResult) {
        self.registry.count(&RELOADS, &[result.label()]);
    }

    /// Somebody said who the backends of a pool are.
    pub fn discovered(&self, pool: &str, are_others: bool) {
        let result = if are_others { "changed" } else { "unchanged" };
        self.registry.count(&DISCOVERY_ANSWERS, &[pool, result]);
    }

    /// Nobody did.
    pub fn discovery_fault(&self, pool: &str, fault: DiscoveryFault) {
        self.registry.count(&DISCOVERY_ANSWERS, &[pool, fault.label()]);
    }

    /// A health check ended in this way.
    pub fn probe(&self, pool: &str, backend: &str, result: &'static str) {
        self.registry.count(&BACKEND_PROBES, &[pool, backend, result]);
    }
}

/// What other parts know anyway and tell at scrape time.
impl Samples {
    /// Whether `/readyz` answers 200.
    pub fn ready(&mut self, ready: bool) {
        self.push(&READY, &[], f64::from(u8::from(ready)));
    }

    /// How many configurations were accepted, and how the last reading of the file went; `success` since 1970.
    pub fn configuration(&mut self, generation: u64, succeeded: bool, success: Duration) {
        self.push(&GENERATION, &[], generation as f64);
        self.push(&RELOAD_SUCCESSFUL, &[], f64::from(u8::from(succeeded)));
        self.push(&RELOAD_SUCCESS_TIME, &[], success.as_secs_f64());
    }

    /// The limits beside which usage is shown.
    pub fn limits(&mut self, connections_max: usize, tunnels_max: usize) {
        self.push(&CONNECTIONS_MAX, &[], connections_max as f64);
        self.push(&TUNNELS_MAX, &[], tunnels_max as f64);
    }

    /// What a worker carries.
    pub fn worker(&mut self, index: usize, connections: usize) {
        self.push(&WORKER_CONNECTIONS, &[&index.to_string()], connections as f64);
    }

    /// What a backend carries, how many connections to it carry nothing, and whether it is up.
    pub fn backend(&mut self, pool: &str, backend: &str, up: bool, load: usize, idle: usize) {
        self.push(&BACKEND_UP, &[pool, backend], f64::from(u8::from(up)));
        self.push(&BACKEND_TUNNELS, &[pool, backend], load as f64);
        self.push(&BACKEND_IDLE, &[pool, backend], idle as f64);
    }

    /// How many tunnels a backend may carry, and how many more than it does.
    pub fn backend_seats(&mut self, pool: &str, backend: &str, max: usize, free: usize) {
        self.push(&BACKEND_TUNNELS_MAX, &[pool, backend], max as f64);
        self.push(&BACKEND_TUNNELS_FREE, &[pool, backend], free as f64);
    }

    /// How many handshakes wait for a backend of a pool.
    pub fn waiting(&mut self, pool: &str, waiting: usize) {
        self.push(&POOL_WAITING, &[pool], waiting as f64);
    }

    /// Which tunnels a backend gets.
    pub fn backend_state(&mut self, pool: &str, backend: &str, state: State) {
        self.push(&BACKEND_STATE, &[pool, backend, state.label()], 1.0);
    }

    /// What health checks have found of a backend, and how long the last one took.
    pub fn health(&mut self, pool: &str, backend: &str, health: &'static str, probe: Option<Duration>) {
        self.push(&BACKEND_HEALTH, &[pool, backend, health], 1.0);
        if let Some(took) = probe {
            self.push(&BACKEND_PROBE_DURATION, &[pool, backend], took.as_secs_f64());
        }
    }

    /// Whether a backend is ejected.
    pub fn ejected(&mut self, pool: &str, backend: &str, ejected: bool) {
        self.push(&BACKEND_EJECTED, &[pool, backend], f64::from(u8::from(ejected)));
    }

    /// How many backends a pool's discovery names, how many it has ceased to name, and when it last had an answer, since
    /// 1970.
    pub fn discovery(&mut self, pool: &str, named: usize, leaving: usize, answered: Duration) {
        self.push(&DISCOVERY_BACKENDS, &[pool, "named"], named as f64);
        self.push(&DISCOVERY_BACKENDS, &[pool, "leaving"], leaving as f64);
        self.push(&DISCOVERY_SUCCESS_TIME, &[pool], answered.as_secs_f64());
    }

    /// How many tunnels are left that are asked to go for a reason.
    pub fn draining(&mut self, reason: &str, tunnels: usize) {
        self.push(&DRAIN_TUNNELS, &[reason], tunnels as f64);
    }

    /// When a certificate stops being valid, since 1970.
    pub fn certificate(&mut self, listener: &str, certificate: &str, expiry: Duration) {
        self.push(&CERTIFICATE_EXPIRY, &[listener, certificate], expiry.as_secs_f64());
    }

    /// Log lines lost so far.
    pub fn log_dropped(&mut self, lines: u64) {
        self.push(&LOG_DROPPED, &[], lines as f64);
    }
}

fn push_process(samples: &mut Samples) {
    let Some(figures) = process::figures() else { return };
    samples.push(&PROCESS_CPU, &[], figures.cpu_seconds);
    samples.push(&PROCESS_RESIDENT, &[], figures.resident_bytes);
    samples.push(&PROCESS_VIRTUAL, &[], figures.virtual_bytes);
    samples.push(&PROCESS_OPEN_FDS, &[], figures.open_fds);
    samples.push(&PROCESS_MAX_FDS, &[], figures.max_fds);
    samples.push(&PROCESS_THREADS, &[], figures.threads);
    samples.push(&PROCESS_START, &[], figures.start_seconds);
}
