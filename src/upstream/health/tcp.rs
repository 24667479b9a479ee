//! A connection that opens.

use std::time::Duration;

use crate::config::Tcp;
use crate::net::dial;
use crate::upstream::backend::Backend;

/// Opens a connection and closes it.
pub async fn probe(backend: &Backend, deadline: Duration, tcp: &Tcp) -> Result<(), &'static str> {
    let connected = dial::connect(&backend.address, deadline, tcp).await;
    connected.map(drop).map_err(|error| error.label())
}
