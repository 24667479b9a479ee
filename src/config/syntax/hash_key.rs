//! What of a request is hashed.

use http::HeaderName;
use toml::Spanned;
use toml::de::DeValue;

use super::{Wrong, text, text_words, wrong};
use crate::config::HashKey;
use crate::config::reader::{Reader, Word};
use crate::config::shape::Shape;
use crate::proto::list;

text_words! {
    HashKey = "what requests are told apart by, such as client or cookie:NAME", |text, _| hash_key(text);
}

const REMEDY: &str = "write \"client\", \"path\", \"header:NAME\", \"cookie:NAME\" or \"query:NAME\"";

/// `client`, `path`, or a kind and a name.
fn hash_key(text: &str) -> Result<HashKey, Wrong> {
    let (kind, name) = text.split_once(':').unwrap_or((text, ""));
    match (kind, name) {
        ("client", "") => return Ok(HashKey::Client),
        ("path", "") => return Ok(HashKey::Path),
        ("client" | "path", _) => return wrong(text, "has a name too many", format!("write \"{kind}\"")),
        ("header" | "cookie" | "query", "") => {
            let remedy = format!("write whose value is meant, such as \"{kind}:room\"");
            return wrong(text, "has no name", remedy);
        }
        _ => {}
    }
    let key = match kind {
        "header" => HeaderName::from_bytes(name.as_bytes()).ok().map(HashKey::Header),
        "cookie" => list::token(name.as_bytes()).map(|name| HashKey::Cookie(name.to_owned())),
        "query" => Some(HashKey::Query(name.to_owned())),
        _ => return wrong(text, "is nothing that a request is told by", REMEDY),
    };
    match key {
        Some(HashKey::Header(name)) if name == "cookie" => {
            wrong(text, "is all cookies together", "write \"cookie:NAME\" for one of them")
        }
        Some(key) => Ok(key),
        None => wrong(text, "has a name that nothing has", "write it as it stands in requests"),
    }
}
