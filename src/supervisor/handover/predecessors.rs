//! Processes that were replaced and still carry tunnels: each tells the one that serves how many, once a second, over the
//! connection of its handover, until it ends. If that one is replaced, too, the connection goes on to the next.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::{MissedTickBehavior, interval};

use crate::proto::manifest::{self, REPORT_BYTES_MAX};
use crate::tunnel::sessions::Sessions;

/// Between two reports.
const EVERY: Duration = Duration::from_secs(1);
/// Processes that are listened to; the oldest are forgotten.
const PREDECESSORS_MAX: usize = 64;

/// All that are still there.
#[derive(Clone, Default)]
pub struct Predecessors(Arc<Mutex<Vec<Arc<Predecessor>>>>);

struct Predecessor {
    pid: u64,
    stream: UnixStream,
    /// What it has reported last.
    tunnels: AtomicU64,
}

impl Predecessors {
    /// Listens to one more, on the current runtime, until it has ended.
    ///
    /// # Errors
    /// When `stream` is no connection, or the runtime's poller takes no more.
    pub fn listen(&self, pid: u64, stream: OwnedFd) -> io::Result<()> {
        let stream = StdUnixStream::from(stream);
        stream.set_nonblocking(true)?;
        let stream = UnixStream::from_std(stream)?;
        let predecessor = Arc::new(Predecessor { pid, stream, tunnels: AtomicU64::new(0) });
        let mut those = self.those();
        if those.len() == PREDECESSORS_MAX {
            those.remove(0);
        }
        those.push(predecessor.clone());
        drop(those);
        let all = self.clone();
        tokio::spawn(async move {
            predecessor.follow().await;
            tracing::info!(pid, "a process before this one has ended");
            all.those().retain(|other| !Arc::ptr_eq(other, &predecessor));
        });
        Ok(())
    }

    /// Tunnels of all of them; a second old at most.
    pub fn tunnels(&self) -> u64 {
        self.those().iter().map(|one| one.tunnels.load(Relaxed)).fold(0, u64::saturating_add)
    }

    /// Their process ids and connections, for the next process.
    pub fn all(&self) -> Vec<(u64, OwnedFd)> {
        let those = self.those();
        those
            .iter()
            .filter_map(|one| Some((one.pid, one.stream.as_fd().try_clone_to_owned().ok()?)))
            .collect()
    }

    fn those(&self) -> MutexGuard<'_, Vec<Arc<Predecessor>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Predecessor {
    /// Reads its reports to their end.
    async fn follow(&self) {
        // The last two lines, or more.
        let mut lines = [0; 4 * REPORT_BYTES_MAX];
        loop {
            if self.stream.readable().await.is_err() {
                return;
            }
            match self.stream.try_read(&mut lines) {
                Ok(0) => return,
                // What was cut in two is said again a second later.
                Ok(count) => {
                    if let Some(tunnels) = lines.get(..count).and_then(manifest::last_report) {
                        self.tunnels.store(tunnels, Relaxed);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }
}

/// Reports how many tunnels there are, until nobody listens. The connection ends with the process.
pub async fn report(stream: UnixStream, sessions: Arc<Sessions>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match stream.try_write(manifest::report(sessions.len()).as_bytes()) {
            Ok(_) => {}
            // Who does not read now reads a later one.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}
