//! What a tunnel's entry in the live table has only when there is something to tell: a young tunnel has no control frame yet.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::goodbye::Goodbye;
use crate::proto::scan::{Close, Kind};
use crate::telemetry::labels::Direction;

/// Made at the first control frame, the first answer to a Ping of the proxy's, or with the first order.
#[derive(Default)]
pub struct Seldom {
    control: [Cells; 2],
    goodbye: OnceLock<Goodbye>,
    /// How long the last Ping of the proxy's and its answer took, by the direction it went in: microseconds, 0 for none.
    round_trips: [AtomicU32; 2],
}

/// The control frames of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// Pings.
    pub pings: u64,
    /// Pongs.
    pub pongs: u64,
    /// The first Close.
    pub close: Option<Close>,
    /// Whether that came before one of the other side, and before longhaul was to send one.
    pub is_closer: bool,
}

/// The same, as the tunnel's own task counts and others read.
#[derive(Default)]
struct Cells {
    pings: AtomicU64,
    pongs: AtomicU64,
    /// The first Close: its code, [`CLOSED`], [`WITH_CODE`] if it has one, and [`CLOSER`] if nobody else had closed.
    close: AtomicU32,
}

const CLOSED: u32 = 1 << 16;
const WITH_CODE: u32 = 1 << 17;
const CLOSER: u32 = 1 << 18;

impl Seldom {
    /// Counts a frame; one that is no control frame is not counted here. `close` is the first Close so far.
    pub fn count(&self, direction: Direction, kind: Kind, close: Option<Close>) {
        let cells = &self.control[direction as usize];
        match (kind, close) {
            (Kind::Ping, _) => cells.pings.store(cells.pings.load(Relaxed) + 1, Relaxed),
            (Kind::Pong, _) => cells.pongs.store(cells.pongs.load(Relaxed) + 1, Relaxed),
            (Kind::Close, Some(close)) if cells.close.load(Relaxed) == 0 => {
                let code = close.code.map_or(0, |code| WITH_CODE | u32::from(code));
                let others = self.control.iter().any(|cells| cells.close.load(Relaxed) != 0);
                let closer = if others || self.goodbye().is_some() { 0 } else { CLOSER };
                cells.close.store(CLOSED | code | closer, Relaxed);
            }
            _ => {}
        }
    }

    /// Orders a goodbye; whether it is the first.
    pub fn part(&self, goodbye: Goodbye) -> bool {
        self.goodbye.set(goodbye).is_ok()
    }

    /// The goodbye that was ordered.
    pub fn goodbye(&self) -> Option<&Goodbye> {
        self.goodbye.get()
    }

    /// A Ping in one direction was answered after so long.
    pub fn answered(&self, direction: Direction, took: Duration) {
        let microseconds = u32::try_from(took.as_micros()).unwrap_or(u32::MAX).max(1);
        self.round_trips[direction as usize].store(microseconds, Relaxed);
    }

    /// How long the last one took that was.
    pub fn round_trip(&self, direction: Direction) -> Option<Duration> {
        let microseconds = self.round_trips[direction as usize].load(Relaxed);
        (microseconds > 0).then(|| Duration::from_micros(microseconds.into()))
    }

    /// What came in one direction.
    pub fn control(&self, direction: Direction) -> Control {
        let cells = &self.control[direction as usize];
        let close = cells.close.load(Relaxed);
        let [_, _, high, low] = close.to_be_bytes();
        let code = (close & WITH_CODE != 0).then_some(u16::from_be_bytes([high, low]));
        Control {
            pings: cells.pings.load(Relaxed),
            pongs: cells.pongs.load(Relaxed),
            close: (close & CLOSED != 0).then_some(Close { code }),
            is_closer: close & CLOSER != 0,
        }
    }
}
