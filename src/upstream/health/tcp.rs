//! A connection that opens, over TLS its handshake included.

use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::{Unwell, parting};
use crate::net::dial::{self, Way};
use crate::net::stream::{Boxed, Stream};
use crate::upstream::backend::Backend;

/// Opens a connection and closes it.
pub async fn probe(backend: &Backend, way: &Way<'_>, deadline: Duration) -> Result<(), Unwell> {
    let begun = Instant::now();
    let stream = dial::connect(&backend.address, way, deadline).await?;
    if let Stream::Boxed(Boxed::Tls(_)) = stream {
        let _ = timeout(parting::bound(begun, deadline), parting::part(stream)).await;
    }
    Ok(())
}
