//! Where a pool's backends come from when the configuration does not list them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::At;

/// `pools.NAME.discovery`: who names the backends, and what becomes of those that are no longer named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// Who is asked.
    pub source: Source,
    /// Backends at most.
    pub backends_max: usize,
    /// From the moment a backend is no longer named to the end of its tunnels; `None` leaves them alone.
    pub removal_grace: Option<Duration>,
}

/// Who names the backends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file with a list of them ([`super::list`]), which is watched.
    File {
        /// Absolute.
        path: At<PathBuf>,
    },
    /// The addresses of a name in DNS (A and AAAA, RFC 1035 and 3596), all with the same port.
    Dns {
        /// A whole name in lower case, without its last dot.
        name: String,
        /// Not 0.
        port: u16,
        /// Whom to ask, and how often.
        lookup: Lookup,
    },
    /// The services of a name in DNS (SRV, RFC 2782): targets with ports, weights and priorities.
    Srv {
        /// As above, such as `_ws._tcp.example.com`.
        name: String,
        /// Whom to ask, and how often.
        lookup: Lookup,
    },
}

/// How DNS is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// The servers that are asked; empty are those of the system.
    pub resolvers: Vec<SocketAddr>,
    /// An answer holds at least so long, whatever its TTL.
    pub ttl_min: Duration,
    /// An answer holds at most so long; not less than `ttl_min`.
    pub ttl_max: Duration,
    /// How long one question may take.
    pub timeout: Duration,
}
