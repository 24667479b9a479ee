//! Fields that routes write: their names, but for those that are not theirs to write, and their values.

use http::HeaderName;
use toml::Spanned;
use toml::de::DeValue;

use super::{Wrong, text, text_words, wrong};
use crate::config::Template;
use crate::config::reader::{Reader, Word};
use crate::config::shape::Shape;
use crate::config::words::Key;

/// A field of requests that a route may change.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestField(pub HeaderName);

/// A field of answers that a route may set or remove.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ResponseField(pub HeaderName);

/// A field of answers that a route may add.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AnswerField(pub HeaderName);

/// A field of an answer that a route makes by itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OwnField(pub HeaderName);

/// The value of a field, with variables. Its texts are visible ASCII, and spaces within.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldTemplate(pub Template);

text_words! {
    RequestField = "the name of a field, such as X-Real-IP", |text, _| Key::parse(text);
    ResponseField = "the name of a field, such as X-Powered-By", |text, _| Key::parse(text);
    FieldTemplate = "a value, with variables such as ${client.address}", |text, _| template(text);
}

impl Key for RequestField {
    fn parse(text: &str) -> Result<Self, Wrong> {
        let name = any(text)?;
        // Behind CGI and its heirs `_` and `-` are the same.
        let plain = name.as_str().replace('_', "-");
        let why = match plain.as_str() {
            "host" => "is the host that the client asked for",
            "forwarded" | "x-forwarded-for" | "x-forwarded-proto" | "x-forwarded-host" => {
                "tells backends who asks, and nobody but longhaul writes it"
            }
            "x-client-certificate-subject" | "x-client-certificate-names" => {
                "tells backends of the client's certificate, and nobody but longhaul writes it"
            }
            plain => match framing(plain) {
                Some(why) => why,
                None => return Ok(Self(name)),
            },
        };
        wrong(text, why, "remove it, or choose another name")
    }
}

impl Key for AnswerField {
    fn parse(text: &str) -> Result<Self, Wrong> {
        let name = any(text)?;
        match framing(name.as_str()) {
            Some(why) => wrong(text, why, "remove it"),
            None => Ok(Self(name)),
        }
    }
}

impl Key for ResponseField {
    fn parse(text: &str) -> Result<Self, Wrong> {
        let AnswerField(name) = Key::parse(text)?;
        match name.as_str() {
            "set-cookie" => {
                let remedy = "remove it, or write it in `add`";
                wrong(text, "is where backends, and `sticky`, set their cookies", remedy)
            }
            _ => Ok(Self(name)),
        }
    }
}

impl Key for OwnField {
    fn parse(text: &str) -> Result<Self, Wrong> {
        let AnswerField(name) = Key::parse(text)?;
        match name.as_str() {
            "content-type" => wrong(text, "has a key of its own", "write `content_type`"),
            _ => Ok(Self(name)),
        }
    }
}

fn any(text: &str) -> Result<HeaderName, Wrong> {
    HeaderName::from_bytes(text.as_bytes())
        .or_else(|_| wrong(text, "is not the name of a field", "write a name such as X-Real-IP"))
}

/// Why a field, in lower case, is longhaul's own to write.
fn framing(name: &str) -> Option<&'static str> {
    match name {
        "content-length" | "transfer-encoding" | "trailer" => Some("frames the message, which longhaul does"),
        "connection"
        | "upgrade"
        | "keep-alive"
        | "te"
        | "http2-settings"
        | "proxy-connection"
        | "expect"
        | "proxy-authenticate"
        | "proxy-authentication-info"
        | "proxy-authorization" => Some("belongs to one connection, and is not passed on"),
        name if name.starts_with("sec-websocket-") => {
            Some("belongs to the handshake of a WebSocket, which is between the two ends")
        }
        _ => None,
    }
}

fn template(text: &str) -> Result<FieldTemplate, Wrong> {
    let template = Template::parse(text, |_| true)?;
    let is_clean = text.trim_ascii() == text && text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if !is_clean {
        let remedy = "write letters, digits and signs of ASCII, and spaces between them";
        return wrong(text, "is not the value of a field", remedy);
    }
    Ok(FieldTemplate(template))
}
