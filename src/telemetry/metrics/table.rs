//! The one table of all metrics.
//!
//! Names have the prefix `longhaul_`, base units, and `_total` on counters. Labels come from the configuration or from
//! closed enums. A route label is empty where no route was found.

use crate::telemetry::registry::{Buckets, Family, Kind};

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
        $(pub(super) static $constant: Family =
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
        "Bytes that tunnels received for the other side, framing included, TLS not.";
    TUNNEL_MESSAGES = Kind::Counter, "longhaul_tunnel_messages_total" ["route", "direction", "opcode"]
        "WebSocket messages that tunnels received for the other side: text or binary.";
    TUNNEL_MESSAGE_BYTES = Kind::Histogram(&MESSAGE_BYTES), "longhaul_tunnel_message_bytes" ["route", "direction"]
        "Payload of WebSocket messages, all fragments, as on the wire.";
    TUNNEL_CONTROL_FRAMES = Kind::Counter, "longhaul_tunnel_control_frames_total" ["route", "direction", "opcode"]
        "WebSocket control frames that tunnels received for the other side: close, ping or pong.";
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
    PREDECESSOR_TUNNELS = Kind::Gauge, "longhaul_predecessor_tunnels" []
        "Tunnels that are still open in processes that this one, or those before it, has taken over from.";
    HANDOVERS_FAILED = Kind::Counter, "longhaul_handovers_failed_total" []
        "How often another process wanted to take over, and did not come to serve: this one went on.";
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
