//! What routes ask of a request: names of fields, cookies and parameters, methods, subprotocols, and values.

use http::{HeaderName, Method};
use toml::Spanned;
use toml::de::DeValue;

use super::{Wrong, pattern, text, text_words, write, wrong};
use crate::config::ValueMatch;
use crate::config::pattern::Case;
use crate::config::reader::{Reader, Word};
use crate::config::shape::Shape;
use crate::config::words::Key;
use crate::proto::{client_certificate, list};

/// The name of a field, but for those that have a key of their own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FieldName(pub HeaderName);

/// The name of a cookie: a token (RFC 6265 4.1.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CookieName(pub String);

/// The name of a parameter in the query, decoded; not empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ParameterName(pub String);

/// A method that reaches routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MethodName(pub Method);

/// A subprotocol of WebSocket: a token (RFC 6455 4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subprotocol(pub String);

text_words! {
    MethodName = "a method such as GET", |text, _| method(text);
    Subprotocol = "a subprotocol such as graphql-transport-ws", |text, _| subprotocol(text);
}

impl Key for FieldName {
    fn parse(text: &str) -> Result<Self, Wrong> {
        let Ok(name) = HeaderName::from_bytes(text.as_bytes()) else {
            return wrong(text, "is not the name of a field", "write a name such as X-Canary");
        };
        let instead = match name.as_str() {
            "host" => "`host`",
            "cookie" => "`cookies`",
            "upgrade" | "connection" => "`kind`",
            "sec-websocket-protocol" => "`subprotocols`",
            "forwarded" | "x-forwarded-for" => "`source`, which knows whom to believe",
            _ if [client_certificate::SUBJECT, client_certificate::NAMES].contains(&name) => {
                "`client_certificate`: anybody may send this field"
            }
            _ => return Ok(Self(name)),
        };
        wrong(text, "has a key of its own", format!("write {instead}"))
    }
}

impl Key for CookieName {
    fn parse(text: &str) -> Result<Self, Wrong> {
        match list::token(text.as_bytes()) {
            Some(token) => Ok(Self(token.to_owned())),
            None => wrong(text, "is not the name of a cookie", "write a name such as canary"),
        }
    }
}

impl Key for ParameterName {
    fn parse(text: &str) -> Result<Self, Wrong> {
        match text {
            "" => wrong(text, "is not the name of a parameter", "write a name such as room"),
            text => Ok(Self(text.to_owned())),
        }
    }
}

fn method(text: &str) -> Result<MethodName, Wrong> {
    let upper = text.to_ascii_uppercase();
    match Method::from_bytes(text.as_bytes()) {
        Ok(Method::CONNECT) => {
            wrong(text, "reaches no route", "remove it: a WebSocket counts as GET, over HTTP/2, too")
        }
        Ok(method) if upper == text => Ok(MethodName(method)),
        // Case matters in methods (RFC 9110 9.1), and none is in small letters.
        Ok(_) => wrong(text, "has small letters", write(upper)),
        Err(_) => wrong(text, "is not a method", "write methods such as \"GET\" or \"POST\""),
    }
}

fn subprotocol(text: &str) -> Result<Subprotocol, Wrong> {
    match list::token(text.as_bytes()) {
        Some(token) => Ok(Subprotocol(token.to_owned())),
        None if text.contains([',', ' ']) => {
            wrong(text, "is not one subprotocol", "write each of them as an entry of its own")
        }
        None => wrong(text, "is not a subprotocol", "write a name such as \"graphql-transport-ws\""),
    }
}

impl Word for ValueMatch {
    const SHAPE: &'static Shape = &Shape::Either(&[&Shape::Text("a text"), &Shape::Switch]);

    fn read(value: &Spanned<DeValue<'_>>, reader: &mut Reader) -> Option<Self> {
        match value.get_ref() {
            DeValue::Boolean(true) => Some(Self::Present),
            DeValue::Boolean(false) => Some(Self::Absent),
            DeValue::Integer(number) => {
                let message = format!("{} cannot be {number}", reader.subject());
                reader.report(&reader.place(value.span()), message, format!("write \"{number}\""));
                None
            }
            _ => text(value, Self::SHAPE, reader, |text, reader| {
                let found = pattern(text, Case::Matters, reader)?;
                Ok(found.map_or_else(|| Self::Exact(text.to_owned()), Self::Pattern))
            }),
        }
    }
}
