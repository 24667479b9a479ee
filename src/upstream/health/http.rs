//! `GET path` that answers 200 to 399.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::Empty;

use super::Unwell;
use crate::config::{Limits, Tcp};
use crate::net::tls::connect::Connector;
use crate::net::{dial, http as client};
use crate::upstream::backend::Backend;

/// Sends one request on a connection of its own and looks at the status of its answer.
pub async fn probe(
    backend: &Backend,
    tls: Option<&Connector>,
    path: &str,
    deadline: Duration,
    tcp: &Tcp,
    limits: &Limits,
) -> Result<(), Unwell> {
    let request = Request::get(path)
        .header(header::HOST, &*backend.label)
        .header(header::USER_AGENT, concat!("longhaul/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|_| Unwell::from("path"))?;
    let stream = dial::connect(&backend.address, tls, deadline, tcp).await?;
    let status = client::send(stream, limits, request).await?.status();
    if status.is_success() || status.is_redirection() { Ok(()) } else { Err("status".into()) }
}
