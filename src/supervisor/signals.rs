//! What signals ask of the process.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// All signals that are caught.
pub struct Signals {
    /// SIGTERM, SIGINT (Ctrl-C) and SIGQUIT.
    pub stop: Stop,
    /// SIGHUP.
    pub reload: Signal,
}

/// The signals that end the process.
pub struct Stop([Signal; 3]);

impl Signals {
    /// Catches them from now on.
    ///
    /// # Errors
    /// When the runtime has no signal driver.
    pub fn catch() -> io::Result<Signals> {
        let stop =
            [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::quit())?];
        Ok(Signals { stop: Stop(stop), reload: signal(SignalKind::hangup())? })
    }
}

impl Stop {
    /// Waits for the next one.
    pub async fn wait(&mut self) {
        let [terminate, interrupt, quit] = &mut self.0;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = quit.recv() => {}
        }
    }
}
