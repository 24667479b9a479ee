//! How things end. Every end has a name, and metrics, logs and tests speak these names.
//!
//! A [`Refusal`] ends a request before there is a tunnel: it knows the status that the client gets and whether another
//! backend may be tried. An [`Ending`] ends a tunnel: it knows who ended it and why. A [`Fault`] is what either may say of
//! the backend, a [`RetryCause`] why a request goes on to another one.

mod fault;
mod retry;

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use http::StatusCode;

pub use self::fault::Fault;
pub use self::retry::RetryCause;
use crate::proto::authority::AuthorityError;
use crate::proto::handshake::{AnswerError, OfferError};
use crate::proto::limit::Limit;
use crate::proto::message::MessageError;
use crate::proto::prefix::PrefixError;

/// One of the three that can end something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    /// Who connected to a listener.
    Client,
    /// Who longhaul connected to.
    Backend,
    /// longhaul itself.
    Proxy,
}

impl Party {
    /// The word in metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Party::Client => "client",
            Party::Backend => "backend",
            Party::Proxy => "proxy",
        }
    }
}

/// Why a request got no tunnel, or no answer from a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The WebSocket handshake is not one (RFC 6455 4.2.1).
    Handshake(OfferError),
    /// The request does not say for which host it is (RFC 9112 3.2).
    Host(AuthorityError),
    /// The request's head breaks RFC 9112, or asks for what is not understood here.
    Message(MessageError),
    /// The request's target is longer than `limits.target_bytes_max`.
    TargetTooLong,
    /// The route gives the path another beginning, and this one cannot have it.
    Prefix(PrefixError),
    /// A field's value begins or ends with white space, over HTTP/2 (RFC 9113 8.2.1).
    Field,
    /// CONNECT: longhaul is not a forward proxy.
    Connect,
    /// Extended CONNECT for something other than `websocket`, or where it is not offered (RFC 8441).
    Protocol,
    /// No route matches.
    NoRoute,
    /// The route does not accept WebSockets from this origin.
    Origin,
    /// The route has an answer of its own, which a client would take for an open tunnel.
    NoWebSocket,
    /// As many tunnels are open as `limits.tunnels_max` allows.
    TunnelLimit,
    /// As many handshakes wait for a backend's answer as `limits.handshakes_max` allows.
    HandshakeLimit,
    /// More handshakes come than the `handshake_rate` of the route lets through; one that comes after this time would not wait.
    RouteRate(Duration),
    /// The same for each backend of the pool that could be asked.
    BackendRate(Duration),
    /// Every backend of the pool is down.
    NoBackend,
    /// Discovery has not found any backend of the pool yet.
    NoBackendYet,
    /// Every backend of the pool carries its `max_tunnels`, and as many wait as its `queue.waiting_max` allows.
    QueueFull,
    /// Every backend of the pool carried its `max_tunnels` for its `queue.timeout`.
    QueueTimeout,
    /// A backend could not be reached.
    Unreachable(ConnectError),
    /// A backend accepted and then said nothing until the deadline.
    BackendTimeout,
    /// A backend closed the connection before its answer was whole.
    BackendClosed,
    /// A backend ended TLS with this alert after the handshake. In TLS 1.3 that is how it refuses longhaul's certificate,
    /// or the lack of one (RFC 8446 4.4.2.4).
    BackendAlert(&'static str),
    /// A backend's answer is not HTTP, or larger than `limits` allow.
    BackendSpeech,
    /// A backend's 101 breaks RFC 6455 4.1, or nobody asked for it.
    Answer(AnswerError),
    /// The client's request body broke off or was malformed.
    RequestBody,
    /// The client's request body is larger than the route's `body_bytes_max`.
    BodyTooLarge,
    /// The client left before it had an answer.
    ClientGone,
}

/// Why a connection to a backend did not come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// Nobody listens there.
    Refused,
    /// No answer within `connect_timeout`.
    Timeout,
    /// No way there: network or host unreachable.
    Unreachable,
    /// The name does not resolve.
    Name,
    /// The backend's certificate is not believed: by whom it is, for which name, or when.
    Certificate,
    /// Any other failure of the TLS handshake.
    Tls,
    /// The connection came about, and the TLS handshake did not within `connect_timeout`.
    TlsTimeout,
    /// No port is left at any address that a connection there may come from.
    SourcePort,
    /// None of the pool's `source_addresses` is one of this machine.
    SourceAddress,
    /// This process or machine has no descriptor or memory left for one more.
    Exhausted,
    /// Anything else that the kernel may say.
    Other,
}

impl ConnectError {
    /// The word in metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            ConnectError::Refused => "refused",
            ConnectError::Timeout => "timeout",
            ConnectError::Unreachable => "unreachable",
            ConnectError::Name => "name",
            ConnectError::Certificate => "certificate",
            ConnectError::Tls => "tls",
            ConnectError::TlsTimeout => "tls_timeout",
            ConnectError::SourcePort => "source_port",
            ConnectError::SourceAddress => "source_address",
            ConnectError::Exhausted => "exhausted",
            ConnectError::Other => "other",
        }
    }
}

impl ConnectError {
    /// What to do about what does not pass by itself.
    pub fn remedy(self) -> Option<&'static str> {
        match self {
            ConnectError::SourcePort => Some(
                "add an address of this machine to `source_addresses` of the pool, which is as many ports again, or widen \
                 net.ipv4.ip_local_port_range",
            ),
            ConnectError::SourceAddress => {
                Some("give this machine one of the pool's `source_addresses`, or write others")
            }
            _ => None,
        }
    }
}

impl Refusal {
    /// What the client gets.
    pub fn status(&self) -> StatusCode {
        match self {
            Refusal::Handshake(error) => error.status(),
            Refusal::Host(_) | Refusal::Field | Refusal::RequestBody | Refusal::ClientGone => {
                StatusCode::BAD_REQUEST
            }
            Refusal::Message(error) => error.status(),
            Refusal::Prefix(PrefixError::Climbs) => StatusCode::BAD_REQUEST,
            Refusal::TargetTooLong | Refusal::Prefix(PrefixError::TooLong) => StatusCode::URI_TOO_LONG,
            Refusal::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::Connect => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::Protocol => StatusCode::NOT_IMPLEMENTED,
            Refusal::NoRoute | Refusal::NoWebSocket => StatusCode::NOT_FOUND,
            Refusal::Origin => StatusCode::FORBIDDEN,
            Refusal::TunnelLimit
            | Refusal::HandshakeLimit
            | Refusal::RouteRate(_)
            | Refusal::BackendRate(_)
            | Refusal::NoBackend
            | Refusal::NoBackendYet
            | Refusal::QueueFull
            | Refusal::QueueTimeout
            | Refusal::Unreachable(ConnectError::SourcePort) => StatusCode::SERVICE_UNAVAILABLE,
            Refusal::BackendTimeout
            | Refusal::Unreachable(ConnectError::Timeout | ConnectError::TlsTimeout) => {
                StatusCode::GATEWAY_TIMEOUT
            }
            Refusal::Unreachable(_)
            | Refusal::BackendClosed
            | Refusal::BackendAlert(_)
            | Refusal::BackendSpeech
            | Refusal::Answer(_) => StatusCode::BAD_GATEWAY,
        }
    }

    /// The word in metrics and logs: one for each way to be refused.
    pub fn reason(&self) -> &'static str {
        match self {
            Refusal::Handshake(OfferError::Version) => "handshake_version",
            Refusal::Handshake(_) => "handshake_malformed",
            Refusal::Host(_) => "host_malformed",
            Refusal::Message(MessageError::Target) => "target_malformed",
            Refusal::Message(MessageError::Coding | MessageError::Chunks) => "transfer_coding",
            Refusal::TargetTooLong | Refusal::Prefix(PrefixError::TooLong) => "target_too_long",
            Refusal::Prefix(PrefixError::Climbs) => "path_climbs",
            Refusal::Field => "field_malformed",
            Refusal::Connect => "connect_method",
            Refusal::Protocol => "connect_protocol",
            Refusal::NoRoute => "no_route",
            Refusal::Origin => "origin",
            Refusal::NoWebSocket => "no_websocket",
            Refusal::TunnelLimit => "tunnel_limit",
            Refusal::HandshakeLimit => "handshake_limit",
            Refusal::RouteRate(_) => "route_rate",
            Refusal::BackendRate(_) => "backend_rate",
            Refusal::NoBackend => "no_backend",
            Refusal::NoBackendYet => "no_backend_yet",
            Refusal::QueueFull => "queue_full",
            Refusal::QueueTimeout => "queue_timeout",
            Refusal::Unreachable(ConnectError::Refused) => "backend_refused",
            Refusal::Unreachable(ConnectError::Timeout) => "backend_connect_timeout",
            Refusal::Unreachable(ConnectError::Unreachable) => "backend_unreachable",
            Refusal::Unreachable(ConnectError::Name) => "backend_name",
            Refusal::Unreachable(ConnectError::Certificate) => "backend_certificate",
            Refusal::Unreachable(ConnectError::Tls) => "backend_tls",
            Refusal::Unreachable(ConnectError::TlsTimeout) => "backend_tls_timeout",
            Refusal::Unreachable(ConnectError::SourcePort) => "no_source_port",
            Refusal::Unreachable(ConnectError::SourceAddress) => "no_source_address",
            Refusal::Unreachable(ConnectError::Exhausted) => "exhausted",
            Refusal::Unreachable(ConnectError::Other) => "backend_connect_error",
            Refusal::BackendTimeout => "backend_timeout",
            Refusal::BackendClosed => "backend_closed",
            Refusal::BackendAlert(_) => "backend_tls_alert",
            Refusal::BackendSpeech => "backend_malformed",
            Refusal::Answer(_) => "backend_bad_101",
            Refusal::RequestBody => "request_body",
            Refusal::BodyTooLarge => "body_too_large",
            Refusal::ClientGone => "client_gone",
        }
    }

    /// What there is to know beyond the reason; for the log.
    pub fn detail(&self) -> Option<&str> {
        match self {
            Refusal::BackendAlert(alert) => Some(alert),
            _ => None,
        }
    }

    /// Seconds after which it may pay to ask again: any of these, and each client another, where a crowd that was refused
    /// together would come back together.
    pub fn retry_after_seconds(&self) -> Option<RangeInclusive<u32>> {
        match self {
            Refusal::TunnelLimit
            | Refusal::QueueFull
            | Refusal::QueueTimeout
            | Refusal::Unreachable(ConnectError::SourcePort) => Some(5..=10),
            Refusal::HandshakeLimit => Some(2..=5),
            Refusal::RouteRate(wait) | Refusal::BackendRate(wait) => {
                let wait = u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
                Some(wait..=wait.saturating_mul(2).saturating_add(2))
            }
            Refusal::NoBackend | Refusal::NoBackendYet => Some(2..=2),
            _ => None,
        }
    }

    /// Whether the same request may go to another backend: this one has surely not begun to act on it.
    pub fn tries_another(&self) -> bool {
        matches!(self, Refusal::Unreachable(error) if *error != ConnectError::Exhausted)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Handshake(error) => error.fmt(f),
            Refusal::Host(error) => error.fmt(f),
            Refusal::Message(error) => error.fmt(f),
            Refusal::TargetTooLong => f.write_str("the target is too long"),
            Refusal::Prefix(error) => error.fmt(f),
            Refusal::Field => f.write_str("a field's value begins or ends with white space"),
            Refusal::Connect => f.write_str("CONNECT is not served here: this is not a forward proxy"),
            Refusal::Protocol => {
                f.write_str("of extended CONNECT only the protocol websocket is served here")
            }
            Refusal::NoRoute => f.write_str("no route serves this request"),
            Refusal::Origin => f.write_str("WebSockets from this origin are not accepted here"),
            Refusal::NoWebSocket => f.write_str("no WebSocket is served here"),
            Refusal::TunnelLimit | Refusal::Unreachable(ConnectError::SourcePort) => {
                f.write_str("too many connections are open; try again later")
            }
            Refusal::HandshakeLimit | Refusal::RouteRate(_) | Refusal::BackendRate(_) => {
                f.write_str("too many connections are being opened; try again later")
            }
            Refusal::NoBackend | Refusal::NoBackendYet => {
                f.write_str("no server is available; try again later")
            }
            Refusal::QueueFull | Refusal::QueueTimeout => {
                f.write_str("all servers are busy; try again later")
            }
            Refusal::Unreachable(ConnectError::Timeout | ConnectError::TlsTimeout) => {
                f.write_str("the server did not accept the connection in time")
            }
            Refusal::Unreachable(ConnectError::Certificate | ConnectError::Tls)
            | Refusal::BackendAlert(_) => f.write_str("the server could not be reached securely"),
            Refusal::Unreachable(_) => f.write_str("the server could not be reached"),
            Refusal::BackendTimeout => f.write_str("the server did not answer in time"),
            Refusal::BackendClosed => f.write_str("the server closed the connection without an answer"),
            Refusal::BackendSpeech => f.write_str("the server's answer is not valid HTTP"),
            Refusal::Answer(_) => f.write_str("the server's answer to the WebSocket handshake is wrong"),
            Refusal::RequestBody => f.write_str("the request's body is malformed or incomplete"),
            Refusal::BodyTooLarge => f.write_str("the request's body is too large"),
            Refusal::ClientGone => f.write_str("the client left before it had an answer"),
        }
    }
}

/// How a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Who ended it: who sent the first Close frame, or else whose stream ended, broke or ran into a deadline.
    pub by: Party,
    /// In what way.
    pub reason: EndReason,
}

/// What became of a tunnel's Close frames (RFC 6455 5.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closing {
    /// Who sent the first one, if there was one.
    pub by: Option<Party>,
    /// What it said.
    pub code: CloseCode,
    /// Whether either side sent one and got one (RFC 6455 7.1.4).
    pub clean: bool,
}

/// What became of a side that was still there when longhaul or the other side ended the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// It got a Close frame of longhaul's own.
    Sent,
    /// It was cut: it stood within a frame, its frames were not read, or it did not take the Close in time.
    Cut,
}

impl Farewell {
    /// The word in metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Farewell::Sent => "sent",
            Farewell::Cut => "cut",
        }
    }
}

/// What a Close frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseCode {
    /// There was none.
    None,
    /// It has no code.
    Empty,
    /// This, as sent: nobody has looked whether it may be.
    Number(u16),
}

impl CloseCode {
    /// The word in metrics: the codes of the RFC, ranges for others.
    pub fn label(self) -> &'static str {
        match self {
            CloseCode::None => "none",
            CloseCode::Empty => "empty",
            CloseCode::Number(code) => match code {
                1000 => "1000",
                1001 => "1001",
                1002 => "1002",
                1003 => "1003",
                1007 => "1007",
                1008 => "1008",
                1009 => "1009",
                1010 => "1010",
                1011 => "1011",
                1012 => "1012",
                1013 => "1013",
                1014 => "1014",
                3000..=3999 => "3xxx",
                4000..=4999 => "4xxx",
                _ => "other",
            },
        }
    }
}

/// In what way a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// Both streams ended after a Close frame of both sides (RFC 6455 7.1.4: cleanly).
    Closed,
    /// A stream ended without the Close frames that WebSocket asks for.
    Ended,
    /// A TCP connection was reset.
    Reset,
    /// A TLS stream ended without close_notify (RFC 8446 6.1) and without a Close frame.
    Truncated,
    /// A peer stopped acknowledging, or reading (`tcp.user_timeout`, `tcp.keepalive`).
    Vanished,
    /// Any other failure of a stream: TLS alerts and broken records among them.
    Broken,
    /// A side sent more than the route's `frames` allow.
    Over(Limit),
    /// A side took nothing of what there was for it for the route's `write_timeout`.
    SlowConsumer,
    /// A peer said nothing for the route's `pings.timeout` after a Ping of longhaul's.
    PingTimeout,
    /// longhaul said goodbye, because neither peer had sent anything for the route's `idle_timeout`.
    IdleTimeout,
    /// One direction had ended, and the other went on for the route's `half_close_timeout`.
    HalfCloseTimeout,
    /// The process stopped, and `server.drain.deadline` had passed.
    DrainDeadline,
    /// longhaul said goodbye, because health checks took the backend down, and `on_down` of its pool is `"drain"`.
    BackendDown,
    /// longhaul said goodbye, because the backend was removed.
    BackendRemoved,
    /// A side broke the rules of frames (RFC 6455 5), and `inspect` is `"strict"`.
    Violation,
    /// longhaul said goodbye, because the process stops.
    Drain,
    /// longhaul said goodbye, because the backend is draining.
    BackendDraining,
    /// longhaul said goodbye, because the route was removed.
    RouteRemoved,
    /// longhaul said goodbye, because other backends have less to carry.
    Rebalance,
    /// longhaul said goodbye, because the tunnel was as old as tunnels may become.
    MaxAge,
    /// longhaul said goodbye, because the time had come that the backend's `deadline_header` had told.
    Deadline,
    /// longhaul said goodbye, because an operator wished it.
    Operator,
}

impl EndReason {
    /// The word in metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            EndReason::Closed => "closed",
            EndReason::Ended => "ended",
            EndReason::Reset => "reset",
            EndReason::Truncated => "truncated",
            EndReason::Vanished => "vanished",
            EndReason::Broken => "broken",
            EndReason::Over(limit) => match limit {
                Limit::FrameSize => "frame_too_large",
                Limit::MessageSize => "message_too_large",
                Limit::Frames => "frame_rate",
                Limit::Messages => "message_rate",
                Limit::Bytes => "byte_rate",
                Limit::Control => "control_rate",
            },
            EndReason::SlowConsumer => "slow_consumer",
            EndReason::PingTimeout => "ping_timeout",
            EndReason::IdleTimeout => "idle_timeout",
            EndReason::HalfCloseTimeout => "half_close_timeout",
            EndReason::DrainDeadline => "drain_deadline",
            EndReason::BackendDown => "backend_down",
            EndReason::BackendRemoved => "backend_removed",
            EndReason::Violation => "violation",
            EndReason::Drain => "drain",
            EndReason::BackendDraining => "backend_draining",
            EndReason::RouteRemoved => "route_removed",
            EndReason::Rebalance => "rebalance",
            EndReason::MaxAge => "max_age",
            EndReason::Deadline => "deadline",
            EndReason::Operator => "operator",
        }
    }
}
