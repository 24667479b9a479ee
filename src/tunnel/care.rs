//! What a tunnel needs beside its two directions once there is something to look after: made then, and not before.

use tokio::time::Instant;

use super::pings::Pings;
use super::recorder::Recorder;

/// A block of its own, for the rest of the tunnel's life.
#[derive(Debug, Default)]
pub struct Care {
    /// The proxy's own Pings, by the direction they go in.
    pub pings: [Option<Pings>; 2],
    /// Since when a reader has taken nothing of what there is for it, by direction.
    pub stalled: [Option<Instant>; 2],
    /// The headers of the last frames.
    pub recorder: Option<Box<Recorder>>,
    /// When the backend wants the tunnel to be over.
    pub expires: Option<Instant>,
}
