//! How fast WebSocket handshakes may come, for when all clients come back at once.

use std::time::Duration;

use crate::proto::rate::Rate;

/// `handshake_rate` of a route, or of a pool for each of its backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandshakeRate {
    /// So many a second, and so many at once.
    pub rate: Rate,
    /// How long one may wait for its turn; one that would have to wait for longer is refused.
    pub wait: Duration,
}
