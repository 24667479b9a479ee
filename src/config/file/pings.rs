//! The words of longhaul's own Pings.

use crate::config::reader::words;
use crate::config::units::{PingInterval, Timeout};
use crate::config::words::Off;

words! {
    /// `routes.pings`
    struct PingsWords = "`pings`" {
        /// Between two Pings to the client, 10ms to 7d, or `"off"`; default 30s.
        optional client: Off<PingInterval>,
        /// Between two Pings to the backend, 10ms to 7d, or `"off"`; default off.
        optional backend: Off<PingInterval>,
        /// How long a side may be silent after a Ping, up to 7d; default 20s.
        optional timeout: Timeout,
    }
}
