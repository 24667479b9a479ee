//! What a tunnel needs beside its two directions once there is something to look after: made then, and not before.

use super::pings::Pings;

/// A block of its own, for the rest of the tunnel's life.
#[derive(Debug, Default)]
pub struct Care {
    /// The proxy's own Pings, by the direction they go in.
    pub pings: [Option<Pings>; 2],
}
