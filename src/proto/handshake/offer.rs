//! The client's half: reading an upgrade request, and writing it for the backend (RFC 6455 4.1, 4.2.1).

use std::error::Error;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, Version};

use super::super::list;
use super::{ACCEPT_BYTES, KEY_BYTES, NAMES_MAX, accept_key, base64_value, write_upgrade};

const VERSION: &str = "13";

/// The one extension whose frames can be read here.
pub(super) const PERMESSAGE_DEFLATE: &str = "permessage-deflate";

/// A valid request to open a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    key: [u8; KEY_BYTES],
    /// The subprotocols that the client offers, in its order; each once, at most [`NAMES_MAX`].
    pub protocols: Vec<String>,
    /// The names of the extensions that the client offers, lower case, in its order; at most [`NAMES_MAX`].
    pub extensions: Vec<String>,
}

/// Reads an upgrade request. `None` if no `Upgrade` field names `websocket`: then it is plain HTTP,
/// whatever else it wants to upgrade to (RFC 9110 7.8 lets a server ignore that).
///
/// # Errors
/// [`OfferError`] if it asks for a WebSocket in a way that RFC 6455 4.2.1 does not allow.
pub fn read_offer(head: &Parts) -> Result<Option<Offer>, OfferError> {
    let headers = &head.headers;
    if !list::has_member(headers, &UPGRADE, "websocket") {
        return Ok(None);
    }
    if head.method != Method::GET {
        return Err(OfferError::Method);
    }
    if head.version != Version::HTTP_11 {
        return Err(OfferError::HttpVersion);
    }
    if single(headers, &UPGRADE).is_none() {
        return Err(OfferError::SeveralUpgrades);
    }
    if !list::has_member(headers, &CONNECTION, "upgrade") {
        return Err(OfferError::Connection);
    }
    if has_body(headers) {
        return Err(OfferError::Body);
    }
    // Before the key: another version may have other keys.
    if single(headers, &SEC_WEBSOCKET_VERSION).is_none_or(|version| version != VERSION) {
        return Err(OfferError::Version);
    }
    let key = single(headers, &SEC_WEBSOCKET_KEY).and_then(read_key).ok_or(OfferError::Key)?;
    let protocols = read_protocols(headers).ok_or(OfferError::Protocols)?;
    let extensions = read_extensions(headers).ok_or(OfferError::Extensions)?;
    Ok(Some(Offer { key, protocols, extensions }))
}

/// Reads an extended CONNECT for `websocket` (RFC 8441 5); the backend gets the key that `nonce` makes.
///
/// # Errors
/// [`OfferError`] as of [`read_offer`], so far as it concerns fields that such a request has.
pub fn read_extended_offer(head: &Parts, nonce: [u8; 16]) -> Result<Offer, OfferError> {
    let headers = &head.headers;
    // What follows are the tunnel's bytes; none of them could have a length.
    if headers.contains_key(CONTENT_LENGTH) {
        return Err(OfferError::Body);
    }
    if single(headers, &SEC_WEBSOCKET_VERSION).is_none_or(|version| version != VERSION) {
        return Err(OfferError::Version);
    }
    let protocols = read_protocols(headers).ok_or(OfferError::Protocols)?;
    let extensions = read_extensions(headers).ok_or(OfferError::Extensions)?;
    Ok(Offer { key: write_key(nonce), protocols, extensions })
}

impl Offer {
    /// An offer of the proxy's own, of these subprotocols and no extension, with the key that `nonce` makes.
    pub fn new(nonce: [u8; 16], protocols: Vec<String>) -> Offer {
        Offer { key: write_key(nonce), protocols, extensions: Vec::new() }
    }

    /// The `Sec-WebSocket-Accept` that fits this offer.
    pub fn accept(&self) -> [u8; ACCEPT_BYTES] {
        accept_key(&self.key)
    }

    /// The same offer of those extensions alone whose frames can be read here: of `permessage-deflate` (RFC 7692). Another may
    /// give any meaning to reserved bits and opcodes (RFC 6455 9). `headers`, in which it came, offer as much afterwards.
    pub fn without_unknown_extensions(&self, headers: &mut HeaderMap) -> Offer {
        let mut offer = self.clone();
        offer.extensions.retain(|name| name == PERMESSAGE_DEFLATE);
        if offer.extensions.len() < self.extensions.len() {
            let is_known = |member: &&[u8]| {
                extension_name(member).is_some_and(|name| name.eq_ignore_ascii_case(PERMESSAGE_DEFLATE))
            };
            let known: Vec<&[u8]> =
                list::members(headers, &SEC_WEBSOCKET_EXTENSIONS).filter(is_known).collect();
            let known =
                HeaderValue::from_bytes(&known.join(&b", "[..])).ok().filter(|value| !value.is_empty());
            match known {
                Some(known) => headers.insert(SEC_WEBSOCKET_EXTENSIONS, known),
                None => headers.remove(SEC_WEBSOCKET_EXTENSIONS),
            };
        }
        offer
    }

    /// Sets on a request for the backend the four fields that ask for the upgrade, whatever was there.
    /// Subprotocols and extensions are left as the client wrote them.
    pub fn write(&self, headers: &mut HeaderMap) {
        write_upgrade(headers);
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static(VERSION));
        headers.insert(SEC_WEBSOCKET_KEY, base64_value(&self.key));
    }
}

/// The value of a field that stands there exactly once.
pub(super) fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut lines = headers.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) => Some(line),
        _ => None,
    }
}

/// Whether the request announces a body. One that is empty by its length does not count.
fn has_body(headers: &HeaderMap) -> bool {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    headers.contains_key(TRANSFER_ENCODING) || lengths.any(|length| length != "0")
}

/// The key on the wire.
fn write_key(nonce: [u8; 16]) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    let written = STANDARD.encode_slice(nonce, &mut key);
    debug_assert_eq!(written, Ok(KEY_BYTES));
    key
}

/// The key, if it is 16 bytes in canonical base64: 24 bytes of text with no stray bits.
fn read_key(value: &HeaderValue) -> Option<[u8; KEY_BYTES]> {
    let key: [u8; KEY_BYTES] = value.as_bytes().try_into().ok()?;
    // The decoder asks for room as if there were no padding.
    let mut nonce = [0; 18];
    let decoded = STANDARD.decode_slice(key, &mut nonce);
    (decoded == Ok(16)).then_some(key)
}

fn read_protocols(headers: &HeaderMap) -> Option<Vec<String>> {
    let mut protocols: Vec<String> = Vec::new();
    for member in list::members(headers, &SEC_WEBSOCKET_PROTOCOL) {
        let protocol = list::token(member)?;
        if protocols.len() == NAMES_MAX || protocols.iter().any(|earlier| earlier == protocol) {
            return None;
        }
        protocols.push(protocol.to_owned());
    }
    Some(protocols)
}

/// The names in `Sec-WebSocket-Extensions`, lower case, parameters left out. A comma inside a quoted
/// parameter is not allowed there (RFC 6455 9.1: the value must be a token), and makes the list malformed.
pub(super) fn read_extensions(headers: &HeaderMap) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for member in list::members(headers, &SEC_WEBSOCKET_EXTENSIONS) {
        let name = extension_name(member)?;
        if names.len() == NAMES_MAX {
            return None;
        }
        names.push(name.to_ascii_lowercase());
    }
    Some(names)
}

/// The name of an extension, without its parameters.
fn extension_name(member: &[u8]) -> Option<&str> {
    let name = member.split(|byte| *byte == b';').next()?;
    list::token(name.trim_ascii())
}

/// What is wrong with a request that wants a WebSocket. The text tells the client what to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfferError {
    /// The method is not GET.
    Method,
    /// The version is not HTTP/1.1.
    HttpVersion,
    /// There is more than one `Upgrade` field.
    SeveralUpgrades,
    /// `Connection` does not name `upgrade`.
    Connection,
    /// The request has a body, or announces one.
    Body,
    /// `Sec-WebSocket-Version` is absent, repeated or not 13. The answer must carry `Sec-WebSocket-Version:
    /// 13` (RFC 6455 4.4).
    Version,
    /// `Sec-WebSocket-Key` is absent, repeated or not 16 bytes in base64.
    Key,
    /// `Sec-WebSocket-Protocol` is not a list of at most [`NAMES_MAX`] different tokens.
    Protocols,
    /// `Sec-WebSocket-Extensions` is not a list of at most [`NAMES_MAX`] extensions.
    Extensions,
}

impl OfferError {
    /// The status of the answer: 426 for another version of the protocol, else 400.
    pub fn status(self) -> StatusCode {
        match self {
            OfferError::Version => StatusCode::UPGRADE_REQUIRED,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

impl fmt::Display for OfferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OfferError::Method => "a WebSocket is opened with GET; send GET",
            OfferError::HttpVersion => "a WebSocket is opened in HTTP/1.1; send HTTP/1.1",
            OfferError::SeveralUpgrades => {
                "there is more than one Upgrade field; send one, Upgrade: websocket"
            }
            OfferError::Connection => "the upgrade is not announced; send Connection: Upgrade",
            OfferError::Body => "the request has a body; send neither body nor Content-Length",
            OfferError::Version => {
                "this version of WebSocket is not spoken here; send one Sec-WebSocket-Version: 13"
            }
            OfferError::Key => {
                "the key is missing or malformed; send one Sec-WebSocket-Key, 16 random bytes in base64"
            }
            OfferError::Protocols => {
                "the subprotocols are malformed; send at most 64 different tokens in Sec-WebSocket-Protocol"
            }
            OfferError::Extensions => {
                "the extensions are malformed; send at most 64 in Sec-WebSocket-Extensions"
            }
        })
    }
}

impl Error for OfferError {}

#[cfg(test)]
mod tests;
