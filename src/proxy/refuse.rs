//! A refusal as an answer: its status, a line of text for whoever reads it, and what the client may do next.

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderValue, Response, Version};
use http_body_util::{Either, Full};

use super::body::Body;
use crate::outcome::Refusal;
use crate::proto::handshake::OfferError;

/// The answer that tells a client of `refusal`. What concerns the connection is not said in HTTP/2 (RFC 9113 8.2.2): there
/// even a 426 has no `Upgrade`.
pub fn response(refusal: &Refusal, version: Version) -> Response<Body> {
    let mut response = Response::new(Either::Right(Full::new(Bytes::from(format!("{refusal}\n")))));
    *response.status_mut() = refusal.status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(seconds) = refusal.retry_after_seconds() {
        headers.insert(RETRY_AFTER, HeaderValue::from(fastrand::u32(seconds)));
    }
    match refusal {
        // RFC 6455 4.2.2 and RFC 9110 15.5.22: what would be spoken here.
        Refusal::Handshake(OfferError::Version) => {
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        }
        // What follows on such a connection is not to be trusted.
        Refusal::Handshake(_)
        | Refusal::Host(_)
        | Refusal::Message(_)
        | Refusal::TargetTooLong
        | Refusal::BodyTooLarge
        | Refusal::RequestBody => {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Refusal::Connect => {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
        }
        _ => {}
    }
    if version == Version::HTTP_2 {
        headers.remove(CONNECTION);
        headers.remove(UPGRADE);
    }
    response
}
