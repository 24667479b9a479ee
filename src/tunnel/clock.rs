//! A coarse clock that a worker reads for nothing, so that a tunnel need not ask the kernel for the time at every
//! message: a number of this thread, advanced ten times a second.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

/// How far the clock may be behind.
pub const RESOLUTION: Duration = Duration::from_millis(100);

thread_local! {
    static NOW: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// The time, at most [`RESOLUTION`] (and what the worker is late) ago. Exact on a thread that does not [`run`] it.
pub fn now() -> Instant {
    NOW.get().unwrap_or_else(Instant::now)
}

/// Keeps the calling thread's clock going, for as long as the worker lives.
pub async fn run() {
    let mut ticks = interval(RESOLUTION);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        NOW.set(Some(Instant::now()));
    }
}
