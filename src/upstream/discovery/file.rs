//! A list in a file. Somebody else watches the file, and says when to read it.

use std::path::Path;

use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::Errand;
use crate::config::{Problems, list};
use crate::telemetry::labels::DiscoveryFault;

/// Reads the list at `path` whenever `changed` says so, until nobody can say so any more.
pub async fn run(mut errand: Errand, path: &Path, backends_max: usize, mut changed: mpsc::Receiver<()>) {
    while changed.recv().await.is_some() {
        let (file, words) = (path.to_path_buf(), errand.words.clone());
        // The disk may take its time; whoever accepts connections must not wait for it.
        let read = spawn_blocking(move || list::load(&file, &words, backends_max)).await;
        match read {
            Ok(Ok(backends)) => errand.tell(backends).await,
            Ok(Err(problems)) => reject(&errand, path, &problems),
            Err(panic) => {
                tracing::error!(pool = %errand.pool, %panic, "reading a list failed inside longhaul")
            }
        }
    }
}

fn reject(errand: &Errand, path: &Path, problems: &Problems) {
    let is_text = |problems: &Problems| problems.iter().any(|problem| problem.place.source.is_some());
    let fault = if is_text(problems) { DiscoveryFault::Malformed } else { DiscoveryFault::Unreadable };
    let pool = &errand.pool;
    errand.metrics.discovery_fault(pool, fault);
    for problem in problems {
        let place = problems.sources().describe(&problem.place);
        let place = place.unwrap_or_else(|| path.display().to_string());
        tracing::error!(%pool, place, remedy = problem.remedy, "list of backends rejected: {}", problem.message);
    }
}
