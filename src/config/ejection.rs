//! What requests find out of the backends of a pool, and when that takes one out of it.

use std::time::Duration;

use super::Statuses;

/// `pools.NAME.ejection`: how long a backend on which requests fail gets no more of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// Connections that fail in a row; `None` does not count them.
    pub connect_failures: Option<u32>,
    /// Handshakes that fail in a row; `None` does not count them.
    pub handshake_failures: Option<u32>,
    /// Answers to a handshake that count as its failure.
    pub handshake_statuses: Statuses,
    /// Tunnels that die early in a row; `None` does not count them.
    pub early_deaths: Option<u32>,
    /// How soon after its opening a tunnel dies early.
    pub early_death_within: Duration,
    /// How long the first ejection lasts, and how much longer each one than the one before.
    pub time: Duration,
    /// How long an ejection lasts at most; not shorter than `time`.
    pub time_max: Duration,
    /// The part of the pool that may be ejected at once, in percent, 1 to 100.
    pub ejected_max: u32,
}
