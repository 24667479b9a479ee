//! How a pool chooses among its backends.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;

use super::At;

/// How a pool chooses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Balance {
    /// One after the other, as often as their weights say.
    RoundRobin,
    /// The fewest open tunnels, handshakes and requests in flight, by weight.
    LeastConnections {
        /// For how long the share grows of who has just become available; `None` gives the full one at once.
        slow_start: Option<Duration>,
    },
    /// Any, as often as their weights say.
    Random,
    /// Of two at random, the one with less load by weight.
    PowerOfTwo {
        /// As of `LeastConnections`.
        slow_start: Option<Duration>,
    },
    /// The same one for what is the same in a request, whoever chooses.
    Hash(Hash),
}

impl Balance {
    /// What of a request is hashed, if anything is.
    pub fn hashed(&self) -> Option<&HashKey> {
        match self {
            Self::Hash(hash) => Some(&hash.key),
            Self::RoundRobin | Self::LeastConnections { .. } | Self::Random | Self::PowerOfTwo { .. } => None,
        }
    }
}

/// `balance = { hash = … }`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hash {
    /// What must be the same.
    pub key: HashKey,
    /// How much load a backend may have before its keys go on to others, in percent of what would be its share, from 100;
    /// `None` is any.
    pub load_max: Option<u32>,
}

/// What of a request is hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashKey {
    /// The address of the client, without its port.
    Client,
    /// The path as the backend gets it, without the query.
    Path,
    /// The first line of this field.
    Header(HeaderName),
    /// The first cookie of this name.
    Cookie(String),
    /// The first parameter of this name in the query, decoded.
    Query(String),
}

/// As it is written in a configuration.
impl fmt::Display for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client => f.write_str("client"),
            Self::Path => f.write_str("path"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
            Self::Query(name) => write!(f, "query:{}", name.escape_debug()),
        }
    }
}

/// `pools.NAME.sticky`: the cookie by which a client comes back to the backend that served it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sticky {
    /// Its name: a token (RFC 6265 4.1.1).
    pub cookie: String,
    /// The file of secrets that it is signed with; `None` is a key of this process alone.
    pub keys: Option<At<PathBuf>>,
    /// The `Path` attribute: begins with `/`.
    pub path: String,
    /// The `Domain` attribute; `None` is the host that the client asked.
    pub domain: Option<String>,
    /// The `Max-Age` attribute, whole seconds, counted anew with each answer; `None` ends with the browser's session.
    pub max_age: Option<Duration>,
    /// The `Secure` attribute; `None` has it where the client's connection is TLS.
    pub secure: Option<bool>,
    /// The `HttpOnly` attribute.
    pub http_only: bool,
    /// The `SameSite` attribute.
    pub same_site: SameSite,
}

/// Which requests a browser sends a cookie with, that pages of other sites make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    /// None of them.
    Strict,
    /// Those that lead to a page.
    Lax,
    /// All; only a cookie that is `Secure`.
    None,
}
