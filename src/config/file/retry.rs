//! The words of a pool's retries.

use crate::config::ATTEMPTS_MAX;
use crate::config::reader::words;
use crate::config::units::{Delay, Percent, Timeout};
use crate::config::words::{List, Number, Off, StatusRange};

words! {
    /// `pools.NAME.retry`
    struct RetryWords = "`pools.NAME.retry`" {
        /// Backends that may get one request, 1 to 4; default 4.
        optional attempts: Number<1, { ATTEMPTS_MAX as u64 }>,
        /// How long a backend may think about a WebSocket handshake until another is asked, or `"off"`; absent: 3s, or a third of `handshake_timeout` where that is shorter.
        optional try_timeout: Off<Timeout>,
        /// Answers after which another backend is asked: 503, `"502-504"`; absent: none.
        optional status: List<StatusRange, 1>,
        /// The longest wait before the first retry; it doubles with each one, up to 7d; default 25ms.
        optional back_off: Delay,
        /// The longest wait before any retry, up to 7d; default 250ms.
        optional back_off_max: Delay,
        /// Retries, in percent of the requests of the last ten seconds, 0% to 300%; default 20%.
        optional budget: Percent<0, 300>,
        /// Retries a second that are always allowed, 0 to 1000; default 3.
        optional budget_per_second: Number<0, 1_000>,
    }
}
