//! `GET path` that answers 200 to 399.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::Empty;

use crate::config::{Limits, Tcp};
use crate::net::{dial, http as client};
use crate::upstream::backend::Backend;

/// Sends one request on a connection of its own and looks at the status of its answer.
pub async fn probe(
    backend: &Backend,
    path: &str,
    deadline: Duration,
    tcp: &Tcp,
    limits: &Limits,
) -> Result<(), &'static str> {
    let request = Request::get(path)
        .header(header::HOST, &*backend.label)
        .header(header::USER_AGENT, concat!("longhaul/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|_| "path")?;
    let stream = dial::connect(&backend.address, deadline, tcp).await.map_err(|error| error.label())?;
    let answer = client::send(stream, limits, request).await.map_err(|refusal| refusal.reason())?;
    let status = answer.status();
    if status.is_success() || status.is_redirection() { Ok(()) } else { Err("status") }
}
