//! A route: which requests it takes, and what becomes of them.

use std::fmt;
use std::time::Duration;

use http::HeaderName;

use crate::proto::prefix::Replacement;

use super::{Action, At, Condition, Frames, HandshakeRate, HeaderEdits, Pattern, Pings};

/// `[[routes]]`: a match, and what happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Unique; the route's identity.
    pub name: At<String>,
    /// The requests it takes.
    pub matches: Match,
    /// Who may open a WebSocket; `None` is anyone.
    pub origins: Option<Vec<OriginMatch>>,
    /// What becomes of them.
    pub action: Action,
    /// Which beginning of their path becomes which other.
    pub replacement: Option<Replacement>,
    /// What is changed of their fields for backends.
    pub request_headers: Option<HeaderEdits>,
    /// What is changed of the fields of answers for clients.
    pub response_headers: Option<HeaderEdits>,
    /// How fast WebSocket handshakes may come; `None` is as fast as they do.
    pub handshake_rate: Option<HandshakeRate>,
    /// How long a tunnel may live without a byte in either direction, and an answer's body may pause.
    pub idle_timeout: Duration,
    /// How old a tunnel may become; `None` is any age.
    pub max_age: Option<MaxAge>,
    /// The field of a backend's 101 that says how long the tunnel may live; clients do not get it.
    pub deadline_header: Option<HeaderName>,
    /// How long one direction may go on after the other ended.
    pub half_close_timeout: Duration,
    /// How long a side may take to answer a Close of longhaul's own.
    pub close_timeout: Duration,
    /// Whether the frames of its tunnels are read.
    pub inspect: Inspect,
    /// What longhaul sends by itself to know who is alive; none where `inspect` is `"off"`.
    pub pings: Pings,
    /// How much each side may send.
    pub frames: Frames,
    /// How many headers of frames are remembered for the record of an unclean end; `None` is none.
    pub record_frames: Option<usize>,
    /// How long a side may take nothing of what there is for it.
    pub write_timeout: Option<Duration>,
    /// Bytes of a request's body; `None` is any.
    pub body_bytes_max: Option<u64>,
}

/// `routes.max_age`, and its jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxAge {
    /// The most.
    pub age: Duration,
    /// The part of it, in percent up to 100, by which it may be less.
    pub jitter_percent: u32,
}

/// What is done with the frames of tunnels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inspect {
    /// Their headers are read as they pass, and counted.
    Observe,
    /// The same, and who breaks the rules of RFC 6455 ends the tunnel.
    Strict,
    /// Nothing: a tunnel is a pipe.
    Off,
}

/// Which requests a route takes: those for which all of it holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Match {
    /// The hosts it serves.
    pub host: HostMatch,
    /// The paths it serves.
    pub path: PathMatch,
    conditions: Vec<Condition>,
}

impl Match {
    /// A match, the same one in whatever order the conditions come.
    pub fn new(host: HostMatch, path: PathMatch, mut conditions: Vec<Condition>) -> Self {
        conditions.sort_by_cached_key(|condition| (condition.rank(), condition.to_string()));
        Self { host, path, conditions }
    }

    /// What else it asks for, the most particular first.
    pub fn conditions(&self) -> &[Condition] {
        &self.conditions
    }
}

/// Which hosts a route serves. Names are lower case, without port or trailing dot; IPv6 addresses have no brackets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostMatch {
    /// This one.
    Exact(String),
    /// Every name below: `*.example.com` is kept as `example.com`. Any number of labels, at least one.
    Below(String),
    /// Those that match, in any case.
    Pattern(Pattern),
    /// Every host.
    Any,
}

/// Which paths a route serves. Compared with the path as sent, without the query, not decoded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathMatch {
    /// This one.
    Exact(String),
    /// `/ws/*` is kept as `/ws/`: everything that begins with it, and `/ws` itself. `/*` (`/`) is every path.
    Prefix(String),
    /// Those that match.
    Pattern(Pattern),
}

impl PathMatch {
    /// Every path.
    pub fn any() -> Self {
        Self::Prefix("/".to_owned())
    }
}

/// As it is written in a configuration, in one line.
impl fmt::Display for HostMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) if name.contains(':') => write!(f, "host = \"[{name}]\""),
            Self::Exact(name) => write!(f, "host = \"{name}\""),
            Self::Below(name) => write!(f, "host = \"*.{name}\""),
            Self::Pattern(pattern) => write!(f, "host = '{pattern}'"),
            Self::Any => f.write_str("any host"),
        }
    }
}

/// As it is written in a configuration, in one line.
impl fmt::Display for PathMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) => write!(f, "path = \"{path}\""),
            Self::Prefix(path) if path == "/" => f.write_str("any path"),
            Self::Prefix(path) => write!(f, "path = \"{path}*\""),
            Self::Pattern(pattern) => write!(f, "path = '{pattern}'"),
        }
    }
}

/// One entry of `origins` (RFC 6454), compared in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginMatch {
    /// `https://chat.example.com` or `https://chat.example.com:8443`; a default port is left out.
    Exact(String),
    /// `https://*.example.com`: scheme, the name below which any host matches, and the port when it is not the default.
    Below {
        /// `http` or `https`.
        scheme: String,
        /// `example.com`
        domain: String,
        /// `None` is the scheme's default.
        port: Option<u16>,
    },
    /// `null`: a sandboxed frame, a local file.
    Null,
    /// `absent`: no `Origin` field, so not a browser.
    Absent,
}
