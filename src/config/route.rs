//! A route: which requests it takes, and what becomes of them.

use std::time::Duration;

use super::At;

/// `[[routes]]`: a match, and what happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Unique; the route's identity.
    pub name: At<String>,
    /// The hosts it serves.
    pub host: HostMatch,
    /// The paths it serves.
    pub path: PathMatch,
    /// Who may open a WebSocket; `None` is anyone.
    pub origins: Option<Vec<OriginMatch>>,
    /// The name of a pool that exists.
    pub pool: At<String>,
    /// How long a tunnel may live without a byte in either direction, and an answer's body may pause.
    pub idle_timeout: Duration,
    /// How long one direction may go on after the other ended.
    pub half_close_timeout: Duration,
    /// Bytes of a request's body; `None` is any.
    pub body_bytes_max: Option<u64>,
}

/// Which hosts a route serves. Names are lower case, without port or trailing dot; IPv6 addresses have no brackets.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostMatch {
    /// This one.
    Exact(String),
    /// Every name below: `*.example.com` is kept as `example.com`. Any number of labels, at least one.
    Below(String),
    /// Every host.
    Any,
}

/// Which paths a route serves. Compared with the path as sent, without the query, not decoded.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PathMatch {
    /// This one.
    Exact(String),
    /// `/ws/*` is kept as `/ws/`: everything that begins with it, and `/ws` itself. `/*` (`/`) is every path.
    Prefix(String),
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
