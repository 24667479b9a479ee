//! The words of a pool's ejections.

use crate::config::reader::words;
use crate::config::units::{Percent, Timeout};
use crate::config::words::{List, Number, Off, StatusRange};

words! {
    /// `pools.NAME.ejection`
    struct EjectionWords = "`pools.NAME.ejection`" {
        /// Connections to a backend that fail in a row until it is ejected, 1 to 100, or `"off"`; default 5.
        optional connect_failures: Off<Number<1, 100>>,
        /// WebSocket handshakes that fail in a row until a backend is ejected, 1 to 100, or `"off"`; default 5.
        optional handshake_failures: Off<Number<1, 100>>,
        /// Answers to a WebSocket handshake that count as its failure: 503, `"500-599"`; absent: 502 to 504.
        optional handshake_status: List<StatusRange, 1>,
        /// Tunnels that die early in a row until their backend is ejected, 1 to 100, or `"off"`; default 5.
        optional early_deaths: Off<Number<1, 100>>,
        /// How soon after its opening a tunnel dies early, up to 7d; default 5s.
        optional early_death_within: Timeout,
        /// How long the first ejection lasts; the second in a row twice as long, and so on, up to 7d; default 30s.
        optional time: Timeout,
        /// How long an ejection lasts at most, up to 7d; default 5m.
        optional time_max: Timeout,
        /// The part of the pool that may be ejected at once, rounded down, but one backend; default 50%.
        optional ejected_max: Percent<1, 100>,
    }
}
