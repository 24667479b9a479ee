//! What holds when a key is not written. `config/full.toml` shows every one of these; a test holds it to
//! them.

use std::ops::RangeInclusive;
use std::time::Duration;

use http::StatusCode;

use super::file::{PlainBalance, Verify};
use super::{
    ATTEMPTS_MAX, ClientCertificateMode, Inspect, LogFormat, LogLevel, OnDown, OnDraining, Over, SameSite,
    State, TlsVersion, UnknownName,
};

/// `server.workers`: one worker per core.
pub const WORKERS: Option<usize> = None;
/// `server.drain.delay`: time for load balancers to see that `/readyz` fails.
pub const DRAIN_DELAY: Duration = Duration::from_secs(2);
/// `server.drain.window`: ten thousand clients come back at some three hundred a second.
pub const DRAIN_WINDOW: Duration = Duration::from_secs(30);
/// `server.drain.code`: what a server that stops says (RFC 6455 7.4.1).
pub const DRAIN_CODE: u16 = 1001;
/// `server.drain.deadline`: time for tunnels to end that were asked to.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(5 * 60);

/// `limits.connections_max`: from the descriptor limit.
pub const CONNECTIONS_MAX: Option<usize> = None;
/// `limits.tunnels_max`: from the descriptor limit.
pub const TUNNELS_MAX: Option<usize> = None;
/// `limits.head_bytes_max`: large cookies fit.
pub const HEAD_BYTES_MAX: usize = 32 * 1024;
/// `limits.head_fields_max`: browsers send about twenty.
pub const HEAD_FIELDS_MAX: usize = 100;
/// `limits.target_bytes_max`: as much as browsers and servers commonly take.
pub const TARGET_BYTES_MAX: usize = 8 * 1024;
/// `limits.head_timeout`: slow mobile networks fit, slow senders on purpose do not.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// `limits.keepalive_timeout`: longer than the common minute of load balancers, so that they close first.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(75);
/// `limits.handshakes_max`: a crowd that comes back at once fits, one that meets stuck backends does not.
pub const HANDSHAKES_MAX: usize = 10_000;
/// `limits.proxy_header_timeout`: it is the first thing that is sent; one lost packet is sent again within it.
pub const PROXY_HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// `limits.tls_handshake_timeout`: a few round trips.
pub const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// `limits.tls_handshakes_max`: a few milliseconds of computing.
pub const TLS_HANDSHAKES_MAX: usize = 8;
/// `limits.http2_streams_max`: what RFC 9113 6.5.2 recommends at least.
pub const HTTP2_STREAMS_MAX: u32 = 100;
/// `limits.http2_idle_timeout`: a reader of a page clicks again within it.
pub const HTTP2_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// `limits.http2_ping_interval`: below the idle timers of common middleboxes.
pub const HTTP2_PING_INTERVAL: Option<Duration> = Some(Duration::from_secs(60));
/// `limits.http2_ping_timeout`: a phone that wakes up answers within it.
pub const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(20);

/// `tcp.keepalive`: below the idle timers of common middleboxes.
pub const KEEPALIVE: Option<Duration> = Some(Duration::from_secs(30));
/// `tcp.user_timeout`: a peer that went away is noticed within a minute.
pub const USER_TIMEOUT: Option<Duration> = Some(Duration::from_secs(60));
/// `tcp.unsent_max`: what a gigabit sends in a millisecond, in which the next write comes.
pub const UNSENT_MAX: Option<usize> = Some(128 * 1024);

/// `log.format`
pub const LOG_FORMAT: LogFormat = LogFormat::Text;
/// `log.level`
pub const LOG_LEVEL: LogLevel = LogLevel::Info;
/// `log.access`
pub const LOG_ACCESS: bool = true;

/// `listeners.tls.unknown_name`: clients that misspell are told by the certificate that they get.
pub const UNKNOWN_NAME: UnknownName = UnknownName::Default;
/// `listeners.tls.client_certificates.mode`: whoever names authorities wants to know who comes.
pub const CLIENT_CERTIFICATE_MODE: ClientCertificateMode = ClientCertificateMode::Required;
/// `listeners.tls.min_version`, `pools.NAME.tls.min_version`
pub const TLS_MIN_VERSION: TlsVersion = TlsVersion::V1_2;
/// `listeners.tls.http2`: browsers ask for it.
pub const HTTP2: bool = true;
/// `listeners.tls.extended_connect`: without it a browser opens an HTTP/1.1 connection for its WebSocket, which takes 9 KiB
/// (`tests/bench/RESULTS.md`). An HTTP/2 connection takes 26 KiB, and 2 more for each tunnel on it: few browsers have a dozen.
pub const EXTENDED_CONNECT: bool = false;

/// `routes.idle_timeout`: longer than any heartbeat in use.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60 * 60);
/// `routes.max_age_jitter`: enough for a crowd to come back one by one.
pub const MAX_AGE_JITTER: u32 = 10;
/// `routes.half_close_timeout`: time to answer a close, and to send what is left.
pub const HALF_CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

/// `routes.close_timeout`: whoever is there answers within a round trip; a page in the background may sleep a little.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// `routes.inspect`: whoever runs WebSockets wants to know what passes, and why they end.
pub const INSPECT: Inspect = Inspect::Observe;
/// `routes.frames.to_backend.over`, and `to_client`: nobody loses anything.
pub const FRAMES_OVER: Over = Over::Wait;
/// `routes.write_timeout`: who reads at all takes something within it, even where a kernel's buffer must empty first.
pub const WRITE_TIMEOUT: Option<Duration> = Some(Duration::from_secs(60));
/// `routes.pings.client`: below the idle timers of common middleboxes, and a client that has vanished is noticed within a
/// minute.
pub const PINGS_CLIENT: Option<Duration> = Some(Duration::from_secs(30));
/// `routes.pings.backend`: backends are close, and many ping by themselves.
pub const PINGS_BACKEND: Option<Duration> = None;
/// `routes.pings.timeout`: a phone that wakes up answers within it.
pub const PINGS_TIMEOUT: Duration = Duration::from_secs(20);

/// `pools.NAME.balance`: tunnels stay, so what counts is how many are open.
pub const BALANCE: PlainBalance = PlainBalance::LeastConnections;
/// `pools.NAME.slow_start`: time for caches to fill, and for the others' clients to come one by one.
pub const SLOW_START: Option<Duration> = Some(Duration::from_secs(30));
/// `pools.NAME.balance.load_max`: a key stays where it is, and all replicas agree on it; only load that one of them sees
/// could tell otherwise.
pub const LOAD_MAX: Option<u32> = None;
/// `pools.NAME.sticky.cookie`
pub const STICKY_COOKIE: &str = "longhaul";
/// `pools.NAME.sticky.secure`: if it was set over TLS.
pub const STICKY_SECURE: Option<bool> = None;
/// `pools.NAME.sticky.http_only`: no script needs it.
pub const STICKY_HTTP_ONLY: bool = true;
/// `pools.NAME.sticky.same_site`: what browsers take a cookie to be that does not say.
pub const STICKY_SAME_SITE: SameSite = SameSite::Lax;
/// `pools.NAME.backends`: the weight of a backend that is only an address.
pub const WEIGHT: u32 = 1;
/// `pools.NAME.backends.state`
pub const STATE: State = State::Active;
/// `pools.NAME.backends.backup`
pub const BACKUP: bool = false;
/// `routes.redirect.status`: for now, and the method stays.
pub const REDIRECT_STATUS: StatusCode = StatusCode::TEMPORARY_REDIRECT;
/// `routes.respond.content_type`: no browser runs it.
pub const CONTENT_TYPE: &str = "text/plain; charset=utf-8";
/// `pools.NAME.discovery.backends_max`: more than a DNS answer holds, less than what would slow a choice down.
pub const DISCOVERY_BACKENDS_MAX: usize = 1_000;
/// `pools.NAME.discovery.ttl_min`: records that are not to be kept are asked for no more often.
pub const TTL_MIN: Duration = Duration::from_secs(1);
/// `pools.NAME.discovery.ttl_max`: a backend that is gone is noticed within minutes.
pub const TTL_MAX: Duration = Duration::from_secs(5 * 60);
/// `pools.NAME.discovery.timeout`: a lost packet is sent again within it.
pub const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// `pools.NAME.discovery.removal_grace`: time for a list to be corrected before anybody is cut off.
pub const REMOVAL_GRACE: Option<Duration> = Some(Duration::from_secs(10 * 60));
/// `handshake_rate.wait`: few clients notice a second.
pub const HANDSHAKE_WAIT: Duration = Duration::from_secs(1);
/// `pools.NAME.queue.waiting_max`: a crowd that comes back at once is served in turn, a flood is not kept.
pub const WAITING_MAX: usize = 1_000;
/// `pools.NAME.queue.timeout`: as long as people wait, and half of what clients commonly give a handshake.
pub const QUEUE_TIMEOUT: Duration = Duration::from_secs(5);
/// `pools.NAME.tls.verify`
pub const VERIFY: Verify = Verify::Full;
/// `pools.NAME.keepalive.idle_max`: no more than what was in use a moment ago, and a bound for the moment after a crowd.
pub const IDLE_MAX: usize = 100;
/// `pools.NAME.keepalive.timeout`: less than the five seconds after which Node.js, Apache and uvicorn close, so that a
/// request does not meet a connection that they are about to close.
pub const IDLE_CONNECTION_TIMEOUT: Duration = Duration::from_secs(4);
/// `pools.NAME.keepalive.age_max`: a name that resolves anew is followed, however busy its backends are.
pub const CONNECTION_AGE_MAX: Duration = Duration::from_secs(5 * 60);
/// `pools.NAME.health.interval`
pub const HEALTH_INTERVAL: Duration = Duration::from_secs(5);
/// `pools.NAME.health.interval_down`: a backend that is back is wanted at once.
pub const HEALTH_INTERVAL_DOWN: Duration = Duration::from_secs(1);
/// `pools.NAME.health.status`
pub const HEALTH_STATUSES: RangeInclusive<u16> = 200..=399;
/// `pools.NAME.health.body_bytes_max`
pub const HEALTH_BODY_BYTES_MAX: usize = 64 * 1024;
/// `pools.NAME.health.timeout`
pub const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);
/// `pools.NAME.health.rise`
pub const HEALTH_RISE: u32 = 2;
/// `pools.NAME.health.fall`
pub const HEALTH_FALL: u32 = 3;
/// `pools.NAME.health.on_down`: who is told by a probe that fails may be told wrongly.
pub const ON_DOWN: OnDown = OnDown::Keep;
/// `pools.NAME.rebalance.per_second`: applications that open a session for each client stand it.
pub const REBALANCE_PER_SECOND: u32 = 10;
/// `pools.NAME.rebalance.band`: a fifth more than others is no harm.
pub const REBALANCE_BAND: u32 = 20;
/// `pools.NAME.rebalance.calm`: a backend that is restarted again and again is not there for so long.
pub const REBALANCE_CALM: Duration = Duration::from_secs(30);
/// `pools.NAME.on_draining`: whoever drains a backend is about to stop it.
pub const ON_DRAINING: OnDraining = OnDraining::Close;
/// `pools.NAME.ejection`, all three counts: more than bad luck.
pub const EJECTION_FAILURES: Option<u32> = Some(5);
/// `pools.NAME.ejection.handshake_status`: what a backend, or what stands before it, says that cannot serve now. A 500 may be
/// about the request.
pub const EJECTION_STATUSES: RangeInclusive<u16> = 502..=504;
/// `pools.NAME.ejection.early_death_within`: a backend that crashes on what a client sends first does so by then.
pub const EARLY_DEATH_WITHIN: Duration = Duration::from_secs(5);
/// `pools.NAME.ejection.time`: a process that is restarted is back by then.
pub const EJECTION_TIME: Duration = Duration::from_secs(30);
/// `pools.NAME.ejection.time_max`
pub const EJECTION_TIME_MAX: Duration = Duration::from_secs(5 * 60);
/// `pools.NAME.ejection.ejected_max`: what is wrong with all of them is not the backends' fault.
pub const EJECTED_MAX: u32 = 50;
/// `pools.NAME.retry.attempts`
pub const ATTEMPTS: usize = ATTEMPTS_MAX;
/// `pools.NAME.retry.try_timeout`: three tries have room in the default of `handshake_timeout`.
pub const TRY_TIMEOUT: Option<Duration> = Some(Duration::from_secs(3));
/// `pools.NAME.retry.back_off`: not felt by who waits for a WebSocket.
pub const BACK_OFF: Duration = Duration::from_millis(25);
/// `pools.NAME.retry.back_off_max`
pub const BACK_OFF_MAX: Duration = Duration::from_millis(250);
/// `pools.NAME.retry.budget`: a pool of which a fifth is sick is not asked much more than one that is well.
pub const RETRY_BUDGET: u32 = 20;
/// `pools.NAME.retry.budget_per_second`: no load, and in a pool that has little to do a part of it would be nothing.
pub const RETRIES_PER_SECOND: u32 = 3;
/// `pools.NAME.connect_timeout`: one lost SYN is sent again within it.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// `pools.NAME.handshake_timeout`
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// `pools.NAME.response_timeout`: a long poll fits.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);
