//! `GET path` that answers 200 to 399.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::Empty;

use super::Unwell;
use crate::config::{BackendAddress, Limits};
use crate::net::dial::{self, Way};
use crate::net::http as client;
use crate::upstream::backend::Backend;

/// Sends one request on a connection of its own and looks at the status of its answer.
pub async fn probe(
    backend: &Backend,
    way: &Way<'_>,
    path: &str,
    deadline: Duration,
    limits: &Limits,
) -> Result<(), Unwell> {
    let host = match backend.address {
        BackendAddress::Tcp { .. } => &*backend.label,
        BackendAddress::Unix(_) => "localhost",
    };
    let request = Request::get(path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, concat!("longhaul/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|_| Unwell::from("path"))?;
    let stream = dial::connect(&backend.address, way, deadline).await?;
    let status = client::send(stream, limits, request).await?.status();
    if status.is_success() || status.is_redirection() { Ok(()) } else { Err("status".into()) }
}
