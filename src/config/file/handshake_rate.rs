//! The words of what paces WebSocket handshakes.

use crate::config::reader::words;
use crate::config::units::Delay;
use crate::config::words::Number;

words! {
    /// `handshake_rate` of a route or a pool
    struct HandshakeRateWords = "`handshake_rate`" {
        /// Handshakes a second, 1 to 1,000,000.
        required per_second: Number<1, 1_000_000>,
        /// Handshakes at once after a rest, 1 to 1,000,000; absent: as many as `per_second`.
        optional burst: Number<1, 1_000_000>,
        /// How long one that comes too early waits for its turn, rather than be refused, up to 7d; default 1s.
        optional wait: Delay,
    }
}
