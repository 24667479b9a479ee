//! What a route may ask of a request beyond its host and its path.

use std::fmt;

use http::{HeaderName, Method};
use ipnet::IpNet;

use super::Pattern;

/// One thing that must hold of a request. The kinds stand in the order of their weight: see [`Condition::rank`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// Of the certificate that the client has shown, its subject (`CN=alice,O=Example`) or one of its names
    /// (`DNS:a.example`).
    ClientCertificate(ValueMatch),
    /// The client's address is in one of these networks. Aggregated, so that equal sets are equal lists.
    Source(Vec<IpNet>),
    /// The WebSocket handshake offers one of these; sorted, each once.
    Subprotocols(Vec<String>),
    /// A cookie of this name.
    Cookie(String, ValueMatch),
    /// A line of this field.
    Header(HeaderName, ValueMatch),
    /// A parameter of this name in the query. Both are compared decoded.
    Query(String, ValueMatch),
    /// The method is one of these; sorted, each once. That of a WebSocket is GET, over HTTP/2, too.
    Methods(Vec<Method>),
    /// What the request is for.
    Kind(Kind),
}

/// What a value must be. Where there are several under one name, one of them must.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ValueMatch {
    /// This, byte by byte.
    Exact(String),
    /// A text that matches.
    Pattern(Pattern),
    /// Any: it is there.
    Present,
    /// None: it is not there.
    Absent,
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A WebSocket handshake, over HTTP/1.1 or HTTP/2.
    WebSocket,
    /// Anything else.
    Http,
}

impl Condition {
    /// How particular it is; less is more. First by kind, as they stand in [`Condition`]; then an exact value before an
    /// expression, before presence, before absence; narrower networks before wider ones; a shorter list before a longer
    /// one.
    pub fn rank(&self) -> (u8, usize) {
        match self {
            Self::ClientCertificate(value) => (0, value.rank()),
            Self::Source(networks) => (1, networks.iter().map(width).max().unwrap_or_default()),
            Self::Subprotocols(names) => (2, names.len()),
            Self::Cookie(_, value) => (3, value.rank()),
            Self::Header(_, value) => (4, value.rank()),
            Self::Query(_, value) => (5, value.rank()),
            Self::Methods(methods) => (6, methods.len()),
            Self::Kind(_) => (7, 0),
        }
    }
}

/// Bits that a network leaves open.
fn width(network: &IpNet) -> usize {
    usize::from(network.max_prefix_len() - network.prefix_len())
}

impl ValueMatch {
    fn rank(&self) -> usize {
        match self {
            Self::Exact(_) => 0,
            Self::Pattern(_) => 1,
            Self::Present => 2,
            Self::Absent => 3,
        }
    }
}

/// As it is written in a configuration, in one line.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClientCertificate(value) => write!(f, "client_certificate = {value}"),
            Self::Source(networks) => list(f, "source", networks),
            Self::Subprotocols(names) => list(f, "subprotocols", names),
            Self::Cookie(name, value) => write!(f, "cookies.{name} = {value}"),
            Self::Header(name, value) => write!(f, "headers.{name} = {value}"),
            Self::Query(name, value) => write!(f, "query.{} = {value}", name.escape_debug()),
            Self::Methods(methods) => list(f, "methods", methods),
            Self::Kind(kind) => write!(f, "kind = \"{}\"", kind.name()),
        }
    }
}

fn list(f: &mut fmt::Formatter<'_>, key: &str, entries: &[impl fmt::Display]) -> fmt::Result {
    let entries: Vec<_> = entries.iter().map(|entry| format!("\"{entry}\"")).collect();
    write!(f, "{key} = [{}]", entries.join(", "))
}

/// As it is written in a configuration.
impl fmt::Display for ValueMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) => write!(f, "\"{}\"", text.escape_debug()),
            Self::Pattern(pattern) => write!(f, "'{pattern}'"),
            Self::Present => f.write_str("true"),
            Self::Absent => f.write_str("false"),
        }
    }
}

impl Kind {
    /// The word in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Http => "http",
        }
    }
}
