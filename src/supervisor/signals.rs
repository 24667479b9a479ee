//! What tells the process to stop.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM, SIGINT (Ctrl-C) and SIGQUIT.
pub struct Stop {
    signals: [Signal; 3],
}

impl Stop {
    /// Catches them from now on.
    ///
    /// # Errors
    /// When the runtime has no signal driver.
    pub fn new() -> io::Result<Stop> {
        let signals =
            [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::quit())?];
        Ok(Stop { signals })
    }

    /// Waits for the next one.
    pub async fn wait(&mut self) {
        let [terminate, interrupt, quit] = &mut self.signals;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = quit.recv() => {}
        }
    }
}
