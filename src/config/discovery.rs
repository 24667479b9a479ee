//! Where a pool's backends come from when the configuration does not list them.

use std::path::PathBuf;
use std::time::Duration;

use super::At;

/// `pools.NAME.discovery`: who names the backends, and what becomes of those that are no longer named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// Who is asked.
    pub source: Source,
    /// Backends at most; of more the first are taken.
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
}
