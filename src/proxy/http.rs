//! Plain HTTP on the routes of WebSockets: pages, polling, server-sent events. Streamed both ways.

use std::sync::Arc;

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, Version};
use http_body_util::Either;
use hyper::body::{Body as _, Incoming};

use super::Plane;
use super::account::Account;
use super::body::{Body, Progress, Relayed, Sent, Upload};
use crate::net::http as client;
use crate::outcome::Refusal;
use crate::proto::proxy_header::Header;
use crate::proto::{hop, message};
use crate::state::{Route, Snapshot};
use crate::upstream::backend::Lease;
use crate::upstream::retry;

/// Sends a request to a backend, on behalf of `client`, and gives its answer to the client.
///
/// # Errors
/// As [`retry::connect`] and [`client::send`]; [`Refusal::BackendTimeout`] when the backend stays silent for
/// `response_timeout`, [`Refusal::RequestBody`] when the client does so within its body; [`Refusal::BodyTooLarge`] for a
/// body over the route's bound.
pub async fn forward(
    plane: &Plane,
    snapshot: &Snapshot,
    route: &Arc<Route>,
    client: &Header,
    mut head: Parts,
    body: Upload,
    account: &mut Account,
) -> Result<Response<Body>, Refusal> {
    let pool = snapshot.pool(route)?;
    let bytes_max = route.body_bytes_max.unwrap_or(u64::MAX);
    if body.size_hint().lower().max(declared_length(&head.headers)) > bytes_max {
        return Err(Refusal::BodyTooLarge);
    }
    let (lease, stream) = retry::connect(pool, client, &snapshot.config.tcp, &plane.metrics).await?;
    account.leased(&lease);
    if !body.is_end_stream() && !head.headers.contains_key(CONTENT_LENGTH) {
        // hyper would take a GET that does not say so to have no body.
        head.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    let progress = Progress::begin();
    let request = Request::from_parts(head, Sent::new(body, bytes_max, progress.clone()));
    let response = tokio::select! {
        response = client::send(stream, &snapshot.config.limits, request) => {
            response.map_err(|error| progress.refusal().unwrap_or(error))?
        }
        stalled = progress.stalled(pool.response_timeout) => return Err(stalled),
    };
    relay(response, route, lease, account)
}

/// Bytes that the head announces: over HTTP/2 the body itself does not know.
fn declared_length(headers: &HeaderMap) -> u64 {
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    length.unwrap_or(0)
}

/// A backend's answer as the client gets it, body included.
///
/// # Errors
/// [`Refusal::BackendSpeech`] for a transfer coding other than `chunked`: its name would be lost on the way, and the body
/// be taken for something that it is not.
pub fn relay(
    response: Response<Incoming>,
    route: &Route,
    lease: Lease,
    account: &mut Account,
) -> Result<Response<Body>, Refusal> {
    message::check_codings(response.headers()).map_err(|_| Refusal::BackendSpeech)?;
    let (mut head, body) = response.into_parts();
    hop::strip(&mut head.headers);
    head.extensions.clear();
    // A version speaks of one connection (RFC 9110 2.5); hyper lowers it for a client of HTTP/1.0.
    head.version = Version::HTTP_11;
    let end = account.answered(head.status, lease);
    Ok(Response::from_parts(head, Either::Left(Relayed::new(body, route.terms.idle_timeout, end))))
}
