//! What a request that failed at one backend may do next.

use std::time::Duration;

use super::Statuses;

/// How many backends of a pool may get one request, at most.
pub const ATTEMPTS_MAX: usize = 4;

/// `pools.NAME.retry`: when a request goes on to another backend after one that had got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Backends that may get one request, from 1 to [`ATTEMPTS_MAX`]; with 1 no other is tried whatever happens.
    pub attempts: usize,
    /// After how long without an answer a WebSocket handshake goes on; `None` waits for `handshake_timeout`.
    pub try_timeout: Option<Duration>,
    /// Answers after which a request goes on.
    pub statuses: Statuses,
    /// The longest wait before the first retry; it doubles with each one.
    pub back_off: Duration,
    /// The longest wait before any.
    pub back_off_max: Duration,
    /// Retries that a pool allows, in percent of its recent requests.
    pub budget: u32,
    /// Retries a second that it always allows.
    pub budget_per_second: u32,
}
