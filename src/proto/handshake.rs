//! The opening handshake of WebSocket over HTTP/1.1, both halves (RFC 6455 4.1, 4.2, 11.3).
//!
//! A client's request becomes an [`Offer`] only if it is right in every part: GET, HTTP/1.1, one `Upgrade`
//! with the token `websocket`, `Connection: upgrade`, a key of 16 bytes, version 13, no body. Nothing else
//! is ever passed on as an upgrade; of a list of protocols only `websocket` goes to the backend. A
//! backend's 101 becomes an [`Answer`] only if it proves that the backend read this offer: its
//! `Sec-WebSocket-Accept` must fit the key, and it may agree to nothing that was not offered.
//!
//! Extended CONNECT (RFC 8441 5) has neither key, `Upgrade` nor `Connection`; its version, subprotocols and
//! extensions are the same fields with the same rules. Towards a backend that speaks HTTP/1.1 such a
//! request needs a key of the proxy's own making, and the answer is checked all the same.

mod answer;
mod offer;

pub use answer::{Answer, AnswerError};
pub use offer::{Offer, OfferError, read_extended_offer, read_offer};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderValue, SEC_WEBSOCKET_ACCEPT, TRANSFER_ENCODING, UPGRADE,
};
use sha1::{Digest, Sha1};

/// The bytes of a key on the wire: 16 bytes in base64.
pub const KEY_BYTES: usize = 24;

/// The bytes of `Sec-WebSocket-Accept` on the wire: a SHA-1 digest in base64.
pub const ACCEPT_BYTES: usize = 28;

/// The most subprotocols, and the most extensions, that one offer may name.
pub const NAMES_MAX: usize = 64;

const KEY_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The `Sec-WebSocket-Accept` that answers `key` (RFC 6455 4.2.2).
pub fn accept_key(key: &[u8; KEY_BYTES]) -> [u8; ACCEPT_BYTES] {
    let digest = Sha1::new().chain_update(key).chain_update(KEY_SUFFIX).finalize();
    let mut accept = [0; ACCEPT_BYTES];
    let written = STANDARD.encode_slice(digest, &mut accept);
    debug_assert_eq!(written, Ok(ACCEPT_BYTES));
    accept
}

/// Sets on a 101 for the client what opens its side of the tunnel, whatever was there. Fields that describe
/// a body are removed, for a 101 has none (RFC 9110 8.6, RFC 9112 6.1). Subprotocol and extensions are left
/// as they are.
pub fn write_switching(offer: &Offer, headers: &mut HeaderMap) {
    headers.remove(CONTENT_LENGTH);
    headers.remove(TRANSFER_ENCODING);
    write_upgrade(headers);
    headers.insert(SEC_WEBSOCKET_ACCEPT, base64_value(&offer.accept()));
}

/// Makes of a 101's fields those of the 200 that opens a tunnel over HTTP/2 (RFC 8441 5): without what describes a body,
/// and without `Sec-WebSocket-Accept`, for nobody has sent a key. Subprotocol and extensions are left as they are.
pub fn write_connected(headers: &mut HeaderMap) {
    headers.remove(CONTENT_LENGTH);
    headers.remove(TRANSFER_ENCODING);
    headers.remove(SEC_WEBSOCKET_ACCEPT);
}

fn write_upgrade(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
}

/// Base64 text as a field value. Base64 always is one; were it not, an empty value makes the peer refuse.
fn base64_value(text: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn example_of_rfc_6455_section_1_3() {
        let accept = accept_key(b"dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(&accept, b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
