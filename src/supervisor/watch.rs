//! Notices when files change: those of the configuration (the file itself, what it includes, certificates and keys), and
//! lists of backends.
//!
//! The kernel's notices only say when to look; what decides is the content. The folders are watched, not the files,
//! because editors rename over a file and a ConfigMap swaps a symbolic link. Each look waits for a moment of quiet, so
//! that a file is not read while it is written; a slow look stands behind it all, for what sends no notices.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::config::Watched;
use crate::config::load::{FILE_BYTES_MAX, INCLUDED_FILES_MAX};

/// Quiet that is waited for before a look.
const DEBOUNCE: Duration = Duration::from_millis(250);
/// A file that never rests is looked at nevertheless.
const DEBOUNCE_MAX: Duration = Duration::from_secs(2);
/// The slow look.
const POLL: Duration = Duration::from_secs(5);

/// Sends a `message` whenever something in `watched` has another content than before, and once at the beginning. Ends when
/// nobody receives any more.
pub async fn run<T>(
    mut watched: watch::Receiver<Watched>,
    receiver: mpsc::Sender<T>,
    message: impl Fn() -> T,
) {
    let mut files = watched.borrow_and_update().clone();
    let (notices, mut noticed) = mpsc::channel(1);
    let mut watcher = folders(&files, &notices);
    // Between the reading at the start and now a file may have changed, so it is read once more.
    let mut seen = 0;
    loop {
        // Whatever is the reason to look, somebody may be writing.
        settle(&mut noticed).await;
        let now = fingerprint(&files).await;
        if now != seen {
            seen = now;
            if receiver.send(message()).await.is_err() {
                return;
            }
        }
        tokio::select! {
            _ = noticed.recv() => {}
            () = sleep(POLL) => {}
            other = other_list(&mut watched, &files) => {
                let Some(other) = other else { return };
                files = other;
                drop(watcher);
                watcher = folders(&files, &notices);
                // As at the start.
                seen = 0;
            }
        }
    }
}

/// Waits for a list that is not `files`; `None` when the supervisor has ended.
async fn other_list(watched: &mut watch::Receiver<Watched>, files: &Watched) -> Option<Watched> {
    watched.wait_for(|next| next != files).await.ok().map(|next| next.clone())
}

/// Waits until no notice has come for a moment.
async fn settle(noticed: &mut mpsc::Receiver<()>) {
    let last = Instant::now() + DEBOUNCE_MAX;
    loop {
        let quiet = Instant::now() + DEBOUNCE;
        tokio::select! {
            _ = noticed.recv() => if Instant::now() >= last { return },
            () = sleep_until(quiet.min(last)) => return,
        }
    }
}

/// Watches the folders of all files; `None` where the kernel has no watches left, and the slow look must do.
fn folders(files: &Watched, notices: &mpsc::Sender<()>) -> Option<RecommendedWatcher> {
    let notices = notices.clone();
    let tell = move |event: notify::Result<notify::Event>| {
        // Reading a file is an access: noticing it would make every look cause the next.
        let matters = event.is_ok_and(|event| !matches!(event.kind, EventKind::Access(_)));
        if matters {
            let _ = notices.try_send(());
        }
    };
    let watching = notify::recommended_watcher(tell).and_then(|mut watcher| {
        for folder in parents(files) {
            watcher.watch(&folder, RecursiveMode::NonRecursive)?;
        }
        Ok(watcher)
    });
    match watching {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            let seconds = POLL.as_secs();
            tracing::warn!(%error, "cannot watch the folders of files; looking every {seconds} s instead");
            None
        }
    }
}

/// The folders that exist of all files and patterns.
fn parents(files: &Watched) -> BTreeSet<PathBuf> {
    let folders = files.files.iter().chain(&files.patterns).filter_map(|path| path.parent());
    folders.filter(|folder| folder.is_dir()).map(Path::to_path_buf).collect()
}

/// A number that is another one when a file's content is, or when a pattern matches other files.
async fn fingerprint(files: &Watched) -> u64 {
    let files = files.clone();
    let hash = move || {
        let mut hasher = DefaultHasher::new();
        for file in files.files_now(INCLUDED_FILES_MAX + 1) {
            file.hash(&mut hasher);
            content(&file).ok().hash(&mut hasher);
        }
        hasher.finish()
    };
    tokio::task::spawn_blocking(hash).await.unwrap_or_default()
}

/// What is in a file, as far as anybody reads it. Pipes and devices have no content: they might never end.
fn content(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
