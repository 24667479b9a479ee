//! The label values of metrics that are not names from the configuration: closed sets, so that no series can be made
//! from the wire.

use http::{StatusCode, Version};

use crate::outcome::Refusal;
use crate::proto::frame::Violation;

/// Which way bytes move; also the index into a pair of counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client.
    ToBackend = 0,
    /// From the backend.
    ToClient = 1,
}

impl Direction {
    pub(super) const BOTH: [Direction; 2] = [Direction::ToBackend, Direction::ToClient];

    /// The word in metrics and records.
    pub fn label(self) -> &'static str {
        match self {
            Direction::ToBackend => "to_backend",
            Direction::ToClient => "to_client",
        }
    }
}

/// How a direction broke the rules of frames.
pub(super) fn violation(violation: Violation) -> &'static str {
    match violation {
        Violation::ReservedOpcode => "reserved_opcode",
        Violation::ReservedBits => "reserved_bits",
        Violation::MaskMissing => "mask_missing",
        Violation::MaskPresent => "mask_present",
        Violation::ControlTooLong => "control_too_long",
        Violation::ControlFragmented => "control_fragmented",
        Violation::ContinuationWithoutStart => "continuation_without_start",
        Violation::StartInsideMessage => "start_inside_message",
        Violation::LengthNotMinimal => "length_not_minimal",
        Violation::LengthTooLarge => "length_too_large",
    }
}

/// A version of HTTP, as metrics, records and the live table show it.
pub fn http_version(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "2",
        Version::HTTP_11 => "1.1",
        _ => "1.0",
    }
}

/// The versions of HTTP by which a tunnel may be opened.
pub(super) const TUNNEL_VERSIONS: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

/// How a TLS handshake with a client went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsResult {
    /// A new session.
    Full,
    /// A session that a ticket brought back.
    Resumed,
    /// The client broke it off, or the two found no common ground.
    Failed,
    /// The client asked for a name that no certificate is for, and `unknown_name` is `"refuse"`.
    UnknownName,
    /// The client showed no certificate and had to, or one that is not believed.
    ClientCertificate,
    /// `limits.tls_handshake_timeout` passed.
    Timeout,
}

impl TlsResult {
    pub(super) fn label(self) -> &'static str {
        match self {
            TlsResult::Full => "full",
            TlsResult::Resumed => "resumed",
            TlsResult::Failed => "failed",
            TlsResult::UnknownName => "unknown_name",
            TlsResult::ClientCertificate => "client_certificate",
            TlsResult::Timeout => "timeout",
        }
    }
}

/// Why a connection ended by a fault outside any request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionFault {
    /// `limits.head_timeout` passed.
    HeadTimeout,
    /// Not HTTP, or HTTP that is refused (400); in HTTP/2 an error of the connection (RFC 9113 5.4.1).
    Malformed,
    /// HTTP/2 where only HTTP/1.1 is spoken: without TLS, or without ALPN (RFC 9113 3.3).
    Http2Preface,
    /// HTTP/2: streams were reset in great number, by the client, for its errors, or because it opened too many.
    ResetFlood,
    /// HTTP/2: a header block in more frames than any needs.
    HeaderFlood,
    /// HTTP/2: small DATA frames in greater number than was read, or the 101st empty one of the connection.
    DataFlood,
    /// HTTP/2: more PINGs than are answered.
    PingFlood,
    /// HTTP/2: SETTINGS more often than they are taken.
    SettingsFlood,
    /// HTTP/2: a PING was not answered within `limits.http2_ping_timeout`.
    PingTimeout,
    /// The head is larger than `limits` allow (431); one that is much larger ends an HTTP/2 connection.
    HeadTooLarge,
    /// Reset, or closed in the middle of a message; in HTTP/2, while there is a stream.
    Broken,
    /// A PROXY header is expected, and the connection does not begin like one.
    ProxyHeaderMissing,
    /// It begins like a PROXY header and is none, or one that is too long.
    ProxyHeaderMalformed,
    /// The connection ended within its PROXY header.
    ProxyHeaderUnended,
    /// `limits.proxy_header_timeout` passed.
    ProxyHeaderTimeout,
    /// PROXY headers are expected, and the sender is not one of `proxy_protocol.trusted_networks`.
    ProxyHeaderUntrusted,
}

impl ConnectionFault {
    pub(super) fn label(self) -> &'static str {
        match self {
            ConnectionFault::HeadTimeout => "head_timeout",
            ConnectionFault::Malformed => "malformed",
            ConnectionFault::Http2Preface => "http2_preface",
            ConnectionFault::ResetFlood => "reset_flood",
            ConnectionFault::HeaderFlood => "header_flood",
            ConnectionFault::DataFlood => "data_flood",
            ConnectionFault::PingFlood => "ping_flood",
            ConnectionFault::SettingsFlood => "settings_flood",
            ConnectionFault::PingTimeout => "ping_timeout",
            ConnectionFault::HeadTooLarge => "head_too_large",
            ConnectionFault::Broken => "broken",
            ConnectionFault::ProxyHeaderMissing => "proxy_header_missing",
            ConnectionFault::ProxyHeaderMalformed => "proxy_header_malformed",
            ConnectionFault::ProxyHeaderUnended => "proxy_header_unended",
            ConnectionFault::ProxyHeaderTimeout => "proxy_header_timeout",
            ConnectionFault::ProxyHeaderUntrusted => "proxy_header_untrusted",
        }
    }
}

/// Why a connection was not accepted, or not at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptFault {
    /// No descriptor or memory is left (EMFILE, ENFILE, ENOBUFS, ENOMEM).
    Exhausted,
    /// The limit of connections is reached; the next one waits in the kernel's queue.
    Limit,
    /// Anything else.
    Other,
}

impl AcceptFault {
    pub(super) fn label(self) -> &'static str {
        match self {
            AcceptFault::Exhausted => "exhausted",
            AcceptFault::Limit => "limit",
            AcceptFault::Other => "other",
        }
    }
}

/// What came of reading the configuration again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadResult {
    /// A new generation.
    Accepted,
    /// Nothing that matters was different.
    Unchanged,
    /// The file was wrong.
    Rejected,
}

impl ReloadResult {
    pub(super) fn label(self) -> &'static str {
        match self {
            ReloadResult::Accepted => "accepted",
            ReloadResult::Unchanged => "unchanged",
            ReloadResult::Rejected => "rejected",
        }
    }
}

/// Why nobody said who the backends of a pool are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiscoveryFault {
    /// DNS does not know the name (NXDOMAIN).
    NoSuchName,
    /// No backend at all is named, which is not believed.
    Empty,
    /// What came is wrong.
    Malformed,
    /// The file cannot be read.
    Unreadable,
    /// No answer came in time.
    Timeout,
    /// The server of DNS has failed (SERVFAIL).
    ServerFailure,
    /// It refuses to answer.
    Refused,
    /// It cannot be reached.
    Unreachable,
    /// More backends are named than `backends_max`; some of them are taken.
    TooMany,
    /// Anything else.
    Other,
}

impl DiscoveryFault {
    /// The word in metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            DiscoveryFault::NoSuchName => "nxdomain",
            DiscoveryFault::Empty => "empty",
            DiscoveryFault::Malformed => "malformed",
            DiscoveryFault::Unreadable => "unreadable",
            DiscoveryFault::Timeout => "timeout",
            DiscoveryFault::ServerFailure => "servfail",
            DiscoveryFault::Refused => "refused",
            DiscoveryFault::Unreachable => "unreachable",
            DiscoveryFault::TooMany => "too_many",
            DiscoveryFault::Other => "other",
        }
    }
}

/// What became of a request that reached the routes.
pub enum Result<'a> {
    /// A tunnel.
    Opened,
    /// A handshake that the backend answered otherwise than by 101.
    Declined,
    /// A backend's answer to a plain request.
    Answered(StatusCode),
    /// A route sent the client elsewhere.
    Redirected,
    /// A route answered by itself, as it always does.
    Responded,
    /// longhaul's own answer.
    Refused(&'a Refusal),
}

impl Result<'_> {
    /// The word in metrics and records.
    pub fn label(&self) -> &'static str {
        match self {
            Result::Opened => "opened",
            Result::Declined => "declined",
            Result::Answered(status) => match status.as_u16() / 100 {
                2 => "2xx",
                3 => "3xx",
                4 => "4xx",
                5 => "5xx",
                _ => "other",
            },
            Result::Redirected => "redirected",
            Result::Responded => "responded",
            Result::Refused(refusal) => refusal.reason(),
        }
    }
}
