//! A request whose answer has one of the statuses, and the body, that are expected.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;

use super::{Unwell, request};
use crate::config::{HttpProbe, Limits};
use crate::net::dial::{self, Way};
use crate::net::http as client;
use crate::upstream::backend::Backend;

/// Sends one request on a connection of its own and looks at the answer.
pub async fn probe(
    backend: &Backend,
    way: &Way<'_>,
    probe: &HttpProbe,
    deadline: Duration,
    limits: &Limits,
) -> Result<(), Unwell> {
    let method = if probe.is_head { http::Method::HEAD } else { http::Method::GET };
    let mut request = request::begin(backend, &probe.target, method).ok_or("path")?;
    request.headers_mut().insert(http::header::CONNECTION, http::HeaderValue::from_static("close"));
    let stream = dial::connect(&backend.address, way, deadline).await?;
    let answer = client::send(stream, limits, request.map(|()| Empty::<Bytes>::new())).await?;
    if !probe.statuses.contain(answer.status()) {
        return Err(request::status(answer.status()));
    }
    let Some(wanted) = &probe.body else { return Ok(()) };
    let body = read(answer.into_body(), probe.body_bytes_max).await?;
    if wanted.is_in(&body) { Ok(()) } else { Err("body".into()) }
}

/// The first bytes of a body, `bytes_max` at most.
async fn read(mut body: Incoming, bytes_max: usize) -> Result<Vec<u8>, Unwell> {
    let mut read = Vec::new();
    while read.len() < bytes_max
        && let Some(frame) = body.frame().await
    {
        let frame = frame.map_err(|_| Unwell::from("backend_closed"))?;
        if let Some(bytes) = frame.data_ref() {
            read.extend(bytes.iter().take(bytes_max - read.len()));
        }
    }
    Ok(read)
}
