//! The end of a probe that has its verdict: polite, bounded, and of no consequence.

use std::io;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, sink};

use crate::net::stream::Stream;

/// How long a backend has for its part of the end.
const PARTING_MAX: Duration = Duration::from_secs(1);
/// How much of it is read: session tickets and an alert, or what is left of a greeting.
const PARTING_BYTES_MAX: u64 = 64 * 1024;

/// How long the end may take of a probe that began then and has `deadline` for all: the verdict must not run into it.
pub fn bound(begun: Instant, deadline: Duration) -> Duration {
    PARTING_MAX.min(deadline.saturating_sub(begun.elapsed()) / 2)
}

/// Ends the stream and waits for the other end: what is not read would turn the end into a reset, and each probe into an
/// error in the backend's log.
pub async fn part(mut stream: Stream) -> io::Result<()> {
    stream.shutdown().await?;
    copy(&mut stream.take(PARTING_BYTES_MAX), &mut sink()).await.map(drop)
}
