//! What probes send, and what their answers must contain.

use http::{HeaderName, HeaderValue};
use toml::Spanned;
use toml::de::DeValue;

use super::{Wrong, text, text_words, wrong};
use crate::config::BodyMatch;
use crate::config::reader::{Reader, Word};
use crate::config::shape::Shape;
use crate::config::words::Key;
use crate::proto::list;

/// What a probe asks for: a path, perhaps with a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbePath(pub String);

/// The name of a field of a probe's request, but for those that longhaul itself writes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProbeField(pub HeaderName);

/// The value of a field: visible ASCII, and spaces between. Other bytes mean something else to everybody (RFC 9110 5.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldValue(pub HeaderValue);

/// The one subprotocol of WebSocket that a probe offers: a token (RFC 6455 4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeSubprotocol(pub String);

text_words! {
    ProbePath = "a path that begins with /", |text, _| path(text);
    FieldValue = "a value", |text, _| field_value(text);
    ProbeSubprotocol = "a subprotocol such as graphql-transport-ws", |text, _| subprotocol(text);
    BodyMatch = "a text, or a regular expression behind ~", |text, _| body(text);
}

impl Key for ProbeField {
    fn parse(text: &str) -> Result<Self, Wrong> {
        let Ok(name) = HeaderName::from_bytes(text.as_bytes()) else {
            return wrong(text, "is not the name of a field", "write a name such as Host or Authorization");
        };
        let remedy = match name.as_str() {
            "connection" | "upgrade" | "keep-alive" | "te" | "trailer" | "transfer-encoding"
            | "content-length" | "expect" => "remove it",
            "sec-websocket-protocol" => "remove it, or write `subprotocol`",
            websocket if websocket.starts_with("sec-websocket-") => "remove it",
            _ => return Ok(Self(name)),
        };
        wrong(text, "is for longhaul itself to write", remedy)
    }
}

fn path(text: &str) -> Result<ProbePath, Wrong> {
    if !text.starts_with('/') {
        return wrong(text, "does not begin with /", super::write(format!("/{text}")));
    }
    if let Some((before, _)) = text.split_once('#') {
        return wrong(text, "has a fragment", super::write(before));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return wrong(text, "has a character that no request sends", "write it percent-encoded, such as %20");
    }
    Ok(ProbePath(text.to_owned()))
}

fn field_value(text: &str) -> Result<FieldValue, Wrong> {
    let is_clean = text.trim_ascii() == text && text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    match HeaderValue::from_str(text) {
        Ok(value) if is_clean => Ok(FieldValue(value)),
        _ => wrong(
            text,
            "is not the value of a field",
            "write letters, digits and signs of ASCII, and spaces between them",
        ),
    }
}

fn subprotocol(text: &str) -> Result<ProbeSubprotocol, Wrong> {
    match list::token(text.as_bytes()) {
        Some(token) => Ok(ProbeSubprotocol(token.to_owned())),
        None => {
            wrong(text, "is not a subprotocol", "write one, as the backend knows it, such as \"chat.v2\"")
        }
    }
}

fn body(text: &str) -> Result<BodyMatch, Wrong> {
    if matches!(text, "" | "~") {
        return wrong(text, "is in everything", "leave `body` out to accept every body");
    }
    BodyMatch::new(text).or_else(|fault| {
        let what = format!("is not a regular expression: {fault}");
        wrong(text, &what, "write one as the regex crate of Rust reads it, or a text without ~")
    })
}
