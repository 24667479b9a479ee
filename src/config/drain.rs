//! How live tunnels are asked to go: when the process stops, and when their backend or route is taken from them.

use std::sync::Arc;
use std::time::Duration;

/// The longest text that fits into a Close frame behind its code (RFC 6455 5.5).
pub const REASON_BYTES_MAX: usize = 123;

/// `server.drain`: `delay` and `deadline` are of a stop, the others of every wave of tunnels that are asked to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drain {
    /// From the failing `/readyz` to the closing of the listeners.
    pub delay: Duration,
    /// Over which the tunnels of a wave are spread.
    pub window: Duration,
    /// Nobody has written the window, so that some few tunnels may take less of it.
    pub window_shrinks: bool,
    /// Tunnels a second, over all waves, at least one; `None` is what the window asks for.
    pub rate: Option<u32>,
    /// From the closing of the listeners to the cutting of what is left.
    pub deadline: Duration,
    /// What the Close frames of a stop say, 1001 or 1012 (RFC 6455 7.4.1 and its registry); all others say 1012.
    pub code: u16,
    /// The text behind the code, at most [`REASON_BYTES_MAX`].
    pub reason: Arc<str>,
}

impl Drain {
    /// How many tunnels a stop can ask to go before it cuts what is left; `None` is any number.
    pub fn asked_max(&self) -> Option<u64> {
        let asked_max = |rate| u128::from(rate) * self.deadline.as_millis() / 1000;
        self.rate.map(|rate: u32| u64::try_from(asked_max(rate)).unwrap_or(u64::MAX))
    }
}

/// `pools.NAME.on_draining`: what becomes of the live tunnels of a backend whose state is `draining`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDraining {
    /// They are asked to go, in a wave.
    Close,
    /// They stay as long as they do, and clients come back by their cookies.
    Keep,
}
