//! The words as the operator writes them: every table and every key of the language, declared once.
//!
//! A key's first line of documentation is shown when the key is missing. What is not written is `Absent`
//! here; [`check`](super::check) fills in the [`defaults`](super::defaults) and compares tables with each
//! other.

mod action;
mod balance;
mod discovery;
mod drain;
mod ejection;
mod frames;
mod handshake_rate;
mod health;
mod pings;
mod rebalance;
mod retry;

use std::net::SocketAddr;

use ipnet::IpNet;
use toml::Spanned;
use toml::de::DeValue;

pub use self::action::{
    PrefixWords, RedirectWords, RequestHeadersWords, RespondWords, ResponseHeadersWords, ShareWords,
};
pub use self::balance::{BalanceWords, HashWords, PlainBalance, StickyWords};
pub use self::discovery::{DiscoveryWords, SourceKind};
pub use self::drain::{CloseCode, CloseReason, DrainWords};
pub use self::ejection::EjectionWords;
pub use self::frames::{ByteRateWords, FrameLimitsWords, FrameRateWords, FramesWords};
pub use self::handshake_rate::HandshakeRateWords;
pub use self::health::{HealthWords, ProbeKind, ProbeMethod};
pub use self::pings::PingsWords;
pub use self::rebalance::RebalanceWords;
pub use self::retry::RetryWords;
use super::reader::{Found, Reader, Word, words};
use super::shape::Shape;
use super::syntax::{
    AdminAddress, CookieName, FieldName, FilePath, MethodName, Name, ParameterName, PathPrefix,
    ResponseField, ServerName, SocketPath, SourceAddress, Subprotocol,
};
use super::units::{IdleTimeout, KernelTimer, Percent, Size, Timeout};
use super::words::{Auto, Entries, List, Named, Number, Off, choices};
use super::{
    At, BackendAddress, Cipher, ClientCertificateMode, HashKey, HostMatch, Inspect, Kind, ListenAddress,
    LogFormat, LogLevel, OnDraining, OriginMatch, Over, PathMatch, State, TlsVersion, UnknownName,
    ValueMatch,
};
use crate::proto::proxy_header::Version;

/// A count that has no natural limit: 1 to a hundred million.
type Count = Number<1, 100_000_000>;

words! {
    /// A configuration file.
    struct FileWords = "this file" {
        /// Files with further listeners, routes and pools: paths, or patterns such as `routes/*.toml`; default none.
        ///
        /// Relative to this file. `*` stands for any characters, `?` for one, both only after the last `/`.
        optional include: List<FilePath, 0>,
        /// The process: workers, stopping.
        optional server: ServerWords,
        /// Bounds that hold for the whole process.
        optional limits: LimitsWords,
        /// Options of every TCP socket.
        optional tcp: TcpWords,
        /// Where metrics and health are served; absent: nowhere.
        optional metrics: MetricsWords,
        /// Where orders are taken; absent: nowhere.
        optional admin: AdminWords,
        /// What is logged, and how.
        optional log: LogWords,
        /// The sockets to bind, at least one.
        somewhere listeners: List<ListenerWords, 1>,
        /// What is served and where it goes, at least one.
        somewhere routes: List<RouteWords, 1>,
        /// The backends, under names that routes use.
        somewhere pools: Named<PoolWords>,
    }
}

words! {
    /// A file that `include` names.
    struct IncludedWords = "an included file" {
        /// Further sockets to bind.
        optional listeners: List<ListenerWords, 1>,
        /// Further routes.
        optional routes: List<RouteWords, 1>,
        /// Further pools.
        optional pools: Named<PoolWords>,
    }
}

words! {
    /// `[server]`
    struct ServerWords = "`[server]`" {
        /// Worker threads, 1 to 1,024; default `"auto"`: one per core.
        optional workers: Auto<Number<1, 1_024>>,
        /// How the process stops.
        optional drain: DrainWords,
        /// The unix socket at which a new process takes over (`longhaul run --takeover`), its path; default none.
        optional handover: SocketPath,
    }
}

words! {
    /// `[limits]`
    struct LimitsWords = "`[limits]`" {
        /// Client connections at once; default `"auto"`: from the descriptor limit.
        optional connections_max: Auto<Count>,
        /// Tunnels at once; default `"auto"`: from the descriptor limit.
        optional tunnels_max: Auto<Count>,
        /// Size of a request's or response's head, 8KiB to 1MiB; default 32KiB.
        optional head_bytes_max: Size<8_192, 1_048_576>,
        /// Header fields of a request or response, 1 to 1,000; default 100.
        optional head_fields_max: Number<1, 1_000>,
        /// Size of a request's target, 256B to 64KiB; default 8KiB.
        optional target_bytes_max: Size<256, 65_536>,
        /// From a head's first byte, or from accept for the first head, to its end, up to 7d; default 10s.
        optional head_timeout: Timeout,
        /// How long a client's connection may rest between two requests, up to 7d; default 75s.
        optional keepalive_timeout: Timeout,
        /// WebSocket handshakes that wait for a backend's answer, at once; default 10,000.
        optional handshakes_max: Count,
        /// From accept to the end of the PROXY header, where one is expected, up to 7d; default 5s.
        optional proxy_header_timeout: Timeout,
        /// From accept, or the PROXY header, to the end of the TLS handshake, up to 7d; default 10s.
        optional tls_handshake_timeout: Timeout,
        /// TLS handshakes of a worker that are computed ahead of everything else, 1 to 10,000; default 8.
        optional tls_handshakes_max: Number<1, 10_000>,
        /// Streams at once on an HTTP/2 connection: requests and tunnels, 1 to 1,000; default 100.
        optional http2_streams_max: Number<1, 1_000>,
        /// How long an HTTP/2 connection may be without a stream after its first, up to 7d; default 60s.
        optional http2_idle_timeout: Timeout,
        /// Between two PINGs of longhaul on an HTTP/2 connection, up to 7d, or `"off"`; default 60s.
        optional http2_ping_interval: Off<Timeout>,
        /// How long an HTTP/2 client may take to answer a PING, up to 7d; default 20s.
        optional http2_ping_timeout: Timeout,
    }
}

words! {
    /// `[tcp]`
    struct TcpWords = "`[tcp]`" {
        /// Idle time before keep-alive probes, and between them, 1s to 9h, or `"off"`; default 30s.
        optional keepalive: Off<KernelTimer>,
        /// How long sent bytes may stay unacknowledged or unread, up to 7d, or `"off"`; default 60s.
        optional user_timeout: Off<Timeout>,
        /// What may wait in the kernel to be sent to a client, 16KiB to 16MiB, or `"off"`; default 128KiB.
        optional unsent_max: Off<Size<16_384, 16_777_216>>,
    }
}

words! {
    /// `[metrics]`
    struct MetricsWords = "`[metrics]`" {
        /// The IP address and port of `/metrics`, `/healthz` and `/readyz`.
        required address: SocketAddr,
    }
}

words! {
    /// `[admin]`
    struct AdminWords = "`[admin]`" {
        /// A loopback IP address and a port, or `unix:` and the path of a socket.
        required address: AdminAddress,
    }
}

words! {
    /// `[log]`
    struct LogWords = "`[log]`" {
        /// `"text"` or `"json"`; default text.
        optional format: LogFormat,
        /// `"error"`, `"warn"`, `"info"`, `"debug"` or `"trace"`; default info.
        optional level: LogLevel,
        /// Whether each tunnel and each refused request leaves a record; default true.
        optional access: bool,
    }
}

words! {
    /// `[[listeners]]`
    struct ListenerWords = "`[[listeners]]`" {
        /// The listener's name in metrics and logs.
        required name: Name,
        /// The IP address and port to bind, port 0 takes any free one; or `unix:` and the path of a socket.
        required address: ListenAddress,
        /// Certificates; absent: plain text.
        optional tls: TlsWords,
        /// Proxies that begin each connection with a PROXY header, version 1 or 2; absent: none is expected.
        optional proxy_protocol: ProxyProtocolWords,
        /// Peers whose forwarding fields are believed: IP addresses and networks; default none.
        optional trusted_networks: List<IpNet, 0>,
    }
}

words! {
    /// `listeners.proxy_protocol`
    struct ProxyProtocolWords = "`listeners.proxy_protocol`" {
        /// Who sends one: IP addresses and networks; required with an IP address, refused with a unix socket.
        optional trusted_networks: List<IpNet, 1>,
    }
}

words! {
    /// `listeners.tls`
    struct TlsWords = "`listeners.tls`" {
        /// Certificates, chosen by SNI and by what the client can verify; the first is the default.
        required certificates: List<CertificateWords, 1>,
        /// Who asks for a name that no certificate is for gets the `"default"`, or is `"refuse"`d; default default.
        optional unknown_name: UnknownName,
        /// Whether clients show certificates, and whose are believed; absent: none are asked for.
        optional client_certificates: ClientCertificatesWords,
        /// The oldest version that is spoken, `"1.2"` or `"1.3"`; default 1.2.
        optional min_version: TlsVersion,
        /// Whether HTTP/2 is offered beside HTTP/1.1 (ALPN); default true.
        optional http2: bool,
        /// Whether WebSockets may be opened over HTTP/2 (RFC 8441); default false.
        optional extended_connect: bool,
        /// The cipher suites that are spoken, at least one; default all nine that are known.
        optional ciphers: List<Cipher, 1>,
        /// The file of secrets that session tickets are encrypted with; absent: keys of this process alone.
        optional ticket_keys: FilePath,
    }
}

words! {
    /// `listeners.tls.client_certificates`
    struct ClientCertificatesWords = "`client_certificates`" {
        /// The PEM file of the authorities that certificates of clients must come from; relative to this file.
        required ca: FilePath,
        /// `"required"`, or `"optional"`, with which clients without a certificate are served; default required.
        optional mode: ClientCertificateMode,
        /// The PEM file of the lists of what the authorities have revoked; absent: nothing is.
        optional crl: FilePath,
    }
}

words! {
    /// An entry of `listeners.tls.certificates`
    struct CertificateWords = "a certificate" {
        /// The PEM file of the chain, leaf first; relative to this file.
        required cert: FilePath,
        /// The PEM file of the key; relative to this file.
        required key: FilePath,
    }
}

words! {
    /// `[[routes]]`
    struct RouteWords = "`[[routes]]`" {
        /// The route's name in metrics and logs.
        required name: Name,
        /// The host it serves: exact, `*.example.com`, or `~` and a regular expression; absent: every host.
        optional host: HostMatch,
        /// The path it serves: exact, a prefix that ends in `/*`, or `~` and a regular expression; absent: every path.
        optional path: PathMatch,
        /// `"websocket"` handshakes, or plain `"http"`; absent: both.
        optional kind: Kind,
        /// The methods it serves; that of a WebSocket is GET; absent: every method.
        optional methods: List<MethodName, 1>,
        /// What fields must be: a text, `~` and a regular expression, true (there) or false (not there); absent: anything.
        optional headers: Entries<FieldName, ValueMatch>,
        /// What parameters of the query must be, decoded, as in `headers`; absent: anything.
        optional query: Entries<ParameterName, ValueMatch>,
        /// What cookies must be, as in `headers`; absent: anything.
        optional cookies: Entries<CookieName, ValueMatch>,
        /// Where the client is: IP addresses and networks; absent: anywhere.
        optional source: List<IpNet, 1>,
        /// WebSocket subprotocols of which the client must offer one; absent: it may offer any, or none.
        optional subprotocols: List<Subprotocol, 1>,
        /// The subject or a name of the client's certificate, as in `headers`; absent: any certificate, or none.
        optional client_certificate: ValueMatch,
        /// Who may open a WebSocket: origins, `"null"`, `"absent"`; absent: anyone.
        optional origins: List<OriginMatch, 1>,
        /// The pool that answers, one of `[pools.NAME]`; required with no other action.
        optional pool: Name,
        /// Several pools, of which each request gets one by weight; required with no other action.
        optional split: List<ShareWords, 1>,
        /// What keeps requests in one pool of `split`, as `balance.hash` writes it; absent: each is drawn by itself.
        optional split_by: HashKey,
        /// The URL that clients are sent to; required with no other action.
        optional redirect: RedirectWords,
        /// An answer that is always the same; required with no other action.
        optional respond: RespondWords,
        /// The beginning of the path that is left out for the backend, whole segments such as `/api`; absent: none.
        optional strip_prefix: PathPrefix,
        /// A beginning of the path that is another one for the backend; absent: none is.
        optional replace_prefix: PrefixWords,
        /// What is changed of the fields of requests for backends; absent: nothing.
        optional request_headers: RequestHeadersWords,
        /// What is changed of the fields of answers for clients; absent: nothing.
        optional response_headers: ResponseHeadersWords,
        /// How fast WebSocket handshakes may come; absent: as fast as they do.
        optional handshake_rate: HandshakeRateWords,
        /// How long neither peer of a tunnel may send anything, or an answer's body pause, up to 30d; default 1h.
        optional idle_timeout: IdleTimeout,
        /// How old a tunnel may become, up to 30d; absent: any age.
        optional max_age: IdleTimeout,
        /// The part of `max_age` by which each tunnel's may be less, by chance; default 10%.
        optional max_age_jitter: Percent<0, 100>,
        /// The field of a backend's 101 that says how long the tunnel may live: seconds, or a UTC time; absent: none.
        optional deadline_header: ResponseField,
        /// How long one direction may go on after the other ended, up to 7d; default 30s.
        optional half_close_timeout: Timeout,
        /// How long a side may take to answer a Close frame of longhaul, up to 7d; default 5s.
        optional close_timeout: Timeout,
        /// Whether frames are read as they pass: `"observe"`, `"strict"` or `"off"`; default observe.
        optional inspect: Inspect,
        /// Pings of longhaul's own; absent: as its keys' defaults say, and none where `inspect` is `"off"`.
        optional pings: PingsWords,
        /// How much each side of a tunnel may send; absent: as much as it does.
        optional frames: FramesWords,
        /// How many of a tunnel's last frame headers its record has if it does not end cleanly, 1 to 256; absent: none.
        optional record_frames: Number<1, 256>,
        /// How long a side may take nothing of what there is for it, up to 7d, or `"off"`; default 60s.
        optional write_timeout: Off<Timeout>,
        /// Size of a request's body, 1B to 1TiB; absent: any.
        optional body_bytes_max: Size<1, 1_099_511_627_776>,
    }
}

words! {
    /// `[pools.NAME]`
    struct PoolWords = "`[pools.NAME]`" {
        /// How a backend is chosen: a word such as `"round-robin"`, or `{ hash = … }`; default least-connections.
        optional balance: BalanceWords,
        /// For how long the share grows of a backend that has just come up, up to 7d, or `"off"`; default 30s.
        optional slow_start: Off<Timeout>,
        /// The cookie by which clients come back to their backend; absent: none is set.
        optional sticky: StickyWords,
        /// The backends, at least one: `"host:port"`, `"unix:/path"`, or a table with a weight; absent: `discovery`.
        optional backends: List<BackendWords, 1>,
        /// Who names the backends, where `backends` is absent.
        optional discovery: DiscoveryWords,
        /// Tunnels and handshakes at once to each backend without a number of its own, 1 to 100,000,000; absent: any.
        optional max_tunnels: Number<1, 100_000_000>,
        /// How tunnels are evened out when a backend has come, or come back; absent: not at all.
        optional rebalance: RebalanceWords,
        /// Live tunnels of a backend whose state is draining: `"close"` asks them to go, or `"keep"`; default close.
        optional on_draining: OnDraining,
        /// How clients wait while all backends carry their `max_tunnels`; absent: as its keys' defaults say.
        optional queue: QueueWords,
        /// How fast WebSocket handshakes may come to each backend; absent: as fast as they do.
        optional handshake_rate: HandshakeRateWords,
        /// TLS towards the backends; absent: plain text.
        optional tls: PoolTlsWords,
        /// The PROXY header that tells backends of the client, `"v1"` or `"v2"`; absent: none is sent.
        optional proxy_protocol: Version,
        /// How connections are kept for further requests, or `"off"`; absent: as its keys' defaults say.
        optional keepalive: Off<KeepaliveWords>,
        /// The addresses of this machine that connections to the backends come from, in turn; absent: the kernel's choice.
        optional source_addresses: List<SourceAddress, 1>,
        /// How backends are probed; absent: not at all.
        optional health: HealthWords,
        /// When requests that fail take a backend out for a while; absent: never.
        optional ejection: EjectionWords,
        /// When a request goes on to another backend after one that had it; absent: never.
        optional retry: RetryWords,
        /// From the first packet to an established connection, up to 7d; default 2s.
        optional connect_timeout: Timeout,
        /// From the WebSocket handshake's request to the head of its answer, up to 7d; default 10s.
        optional handshake_timeout: Timeout,
        /// From a plain request's last byte to the head of its answer, up to 7d; default 60s.
        optional response_timeout: Timeout,
    }
}

words! {
    /// `pools.NAME.tls`
    struct PoolTlsWords = "`pools.NAME.tls`" {
        /// The PEM file of the authorities that certificates of backends must come from; absent: the system's.
        optional ca: FilePath,
        /// The name that is asked for (SNI) and verified; absent: the host of each backend's address.
        optional server_name: ServerName,
        /// The PEM file of longhaul's own chain, leaf first, for backends that ask for one; absent: none is shown.
        optional cert: FilePath,
        /// The PEM file of its key; required with `cert`.
        optional key: FilePath,
        /// `"full"`, or `"none"`, with which anybody may pose as a backend; default full.
        optional verify: Verify,
        /// The oldest version that is spoken, `"1.2"` or `"1.3"`; default 1.2.
        optional min_version: TlsVersion,
    }
}

words! {
    /// `pools.NAME.keepalive`
    struct KeepaliveWords = "`pools.NAME.keepalive`" {
        /// Idle connections to each backend, over all workers, 1 to 100,000; default 100.
        optional idle_max: Number<1, 100_000>,
        /// How long a connection may be idle, up to 7d; default 4s.
        optional timeout: Timeout,
        /// How old a connection may be that is kept, up to 7d; default 5m.
        optional age_max: Timeout,
    }
}

words! {
    /// An entry of `backends` that is a table.
    struct WeightedBackendWords = "a backend" {
        /// `IP:port`, `name:port`, or `unix:` and the path of a socket.
        required address: BackendAddress,
        /// Its share, 1 to 1,000; default 1.
        optional weight: Number<1, 1_000>,
        /// `"active"`; `"draining"`, no new tunnels; `"disabled"`, and not probed; default active.
        optional state: State,
        /// Whether it is used only while no other one is up; default false.
        optional backup: bool,
        /// Tunnels and handshakes at once, 1 to 100,000,000; absent: as the pool says.
        optional max_tunnels: Number<1, 100_000_000>,
    }
}

words! {
    /// `pools.NAME.queue`
    struct QueueWords = "`pools.NAME.queue`" {
        /// How many WebSocket handshakes may wait, 0 to 1,000,000; default 1000.
        optional waiting_max: Number<0, 1_000_000>,
        /// How long one may wait, up to 7d; default 5s.
        optional timeout: Timeout,
    }
}

/// An entry of `backends`: an address, or a table.
#[derive(Clone, Debug)]
pub struct BackendWords(pub WeightedBackendWords);

impl Word for BackendWords {
    const SHAPE: &'static Shape = &Shape::Either(&[BackendAddress::SHAPE, WeightedBackendWords::SHAPE]);

    fn read(value: &Spanned<DeValue<'_>>, reader: &mut Reader) -> Option<Self> {
        match value.get_ref() {
            DeValue::Table(_) => WeightedBackendWords::read(value, reader).map(Self),
            DeValue::String(_) => {
                let address = BackendAddress::read(value, reader)?;
                let address = Found::Written(At { value: address, place: reader.place(value.span()) });
                Some(Self(WeightedBackendWords { address, ..WeightedBackendWords::default() }))
            }
            _ => {
                reader.report_kind(value, Self::SHAPE);
                None
            }
        }
    }
}

/// `pools.NAME.tls.verify`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// The chain, the names and the dates of a backend's certificate.
    Full,
    /// Nothing of it.
    None,
}

choices!(UnknownName { "default" => Self::Default, "refuse" => Self::Refuse, });
choices!(ClientCertificateMode { "optional" => Self::Optional, "required" => Self::Required, });
choices!(Cipher {
    "TLS13_AES_256_GCM_SHA384" => Self::Tls13Aes256Gcm,
    "TLS13_AES_128_GCM_SHA256" => Self::Tls13Aes128Gcm,
    "TLS13_CHACHA20_POLY1305_SHA256" => Self::Tls13ChaCha20Poly1305,
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384" => Self::EcdsaAes256Gcm,
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256" => Self::EcdsaAes128Gcm,
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256" => Self::EcdsaChaCha20Poly1305,
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384" => Self::RsaAes256Gcm,
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256" => Self::RsaAes128Gcm,
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256" => Self::RsaChaCha20Poly1305,
});
choices!(Verify { "full" => Self::Full, "none" => Self::None, });
choices!(Kind { "websocket" => Self::WebSocket, "http" => Self::Http, });
choices!(Over { "wait" => Self::Wait, "close" => Self::Close, });
choices!(Inspect { "observe" => Self::Observe, "strict" => Self::Strict, "off" => Self::Off, });
choices!(Version { "v1" => Self::V1, "v2" => Self::V2, });
choices!(LogFormat { "json" => Self::Json, "text" => Self::Text, });
choices!(LogLevel {
    "error" => Self::Error,
    "warn" => Self::Warn,
    "info" => Self::Info,
    "debug" => Self::Debug,
    "trace" => Self::Trace,
});
choices!(TlsVersion { "1.2" => Self::V1_2, "1.3" => Self::V1_3, });
