//! A connection that opens, over TLS its handshake included.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, sink};
use tokio::time::timeout;

use super::Unwell;
use crate::net::dial::{self, Way};
use crate::net::stream::{Boxed, Stream};
use crate::upstream::backend::Backend;

/// How long a backend has for its part of the end of TLS.
const PARTING_MAX: Duration = Duration::from_secs(1);
/// How much of it is read: session tickets and an alert are far less.
const PARTING_BYTES_MAX: u64 = 64 * 1024;

/// Opens a connection and closes it.
pub async fn probe(backend: &Backend, way: &Way<'_>, deadline: Duration) -> Result<(), Unwell> {
    let begun = Instant::now();
    let stream = dial::connect(&backend.address, way, deadline).await?;
    if let Stream::Boxed(Boxed::Tls(_)) = stream {
        // The verdict is out; the rest must not run into the deadline.
        let left = deadline.saturating_sub(begun.elapsed());
        let _ = timeout(PARTING_MAX.min(left / 2), part(stream)).await;
    }
    Ok(())
}

/// Closes politely: tickets that are not read would turn the end into a reset, and each probe into an error in the
/// backend's log.
async fn part(mut stream: Stream) -> std::io::Result<()> {
    stream.shutdown().await?;
    copy(&mut stream.take(PARTING_BYTES_MAX), &mut sink()).await.map(drop)
}
