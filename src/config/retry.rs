//! What a request that failed at one backend may do next.

use std::time::Duration;

use super::Statuses;

/// How many backends of a pool one request tries at most, whatever it says: with more, a client would wait for the sum of
/// their deadlines.
pub const ATTEMPTS_MAX: usize = 4;

/// `pools.NAME.retry`: when a request goes on to another backend after one that had got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Backends that one request tries, from 1 to [`ATTEMPTS_MAX`].
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
