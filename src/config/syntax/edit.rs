//! What routes change of a request and its answer.

use http::uri::PathAndQuery;
use toml::Spanned;
use toml::de::DeValue;

use super::{Wrong, text, text_words, write, wrong};
use crate::config::reader::{Reader, Word};
use crate::config::shape::Shape;

/// The first segments of a path; a slash at its end means nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPrefix(pub String);

/// The longest that is useful, in bytes: what it is put before is bounded, too.
const PREFIX_BYTES_MAX: usize = 1024;

text_words! {
    PathPrefix = "the beginning of a path, such as /api", |text, _| prefix(text);
}

fn prefix(text: &str) -> Result<PathPrefix, Wrong> {
    if !text.starts_with('/') {
        return wrong(text, "does not begin with /", write(format!("/{text}")));
    }
    if let Some((before, _)) = text.split_once(['?', '#', '*']) {
        let before = before.trim_end_matches('/');
        let whole = if before.is_empty() { "/" } else { before };
        return wrong(text, "is more than the beginning of a path", write(whole));
    }
    let is_sent = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    // Some signs no target has, such as <.
    if !is_sent || PathAndQuery::try_from(text).is_err() || text.len() > PREFIX_BYTES_MAX {
        let remedy = "write up to 1024 letters, digits and signs, others percent-encoded, such as %20";
        return wrong(text, "has a character that no request sends, or too many", remedy);
    }
    if text.split('/').skip(1).any(|segment| matches!(segment, "." | "..")) || text.contains("//") {
        return wrong(text, "has segments that lead elsewhere", "write it without `.`, `..` and `//`");
    }
    Ok(PathPrefix(text.to_owned()))
}
