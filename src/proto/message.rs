//! What RFC 9112 demands of a head beyond what the HTTP library checks.
//!
//! The library reads lines, fields, lengths and chunks, and refuses what cannot be read. What it lets through, and a
//! backend might understand otherwise than longhaul, is refused here: targets that are in no form that their method
//! allows, and transfer codings other than `chunked` (longhaul would take the message apart and could not say what its
//! body still is).

use std::error::Error;
use std::fmt;

use http::header::TRANSFER_ENCODING;
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};

use super::list;

/// Checks a request's head, other than one with the method CONNECT and no `:protocol`.
///
/// # Errors
/// [`MessageError`]
pub fn check_request(head: &Parts) -> Result<(), MessageError> {
    let uri = &head.uri;
    let served = match uri.scheme_str() {
        // RFC 9112 3.2.2: absolute form, of what is served here; over HTTP/2 every target looks like that.
        Some(scheme) => matches!(scheme, "http" | "https") && uri.authority().is_some(),
        // RFC 9112 3.2.3: a host alone is for CONNECT.
        None => uri.authority().is_none(),
    };
    let in_form = match uri.path() {
        // RFC 9112 3.2.4, RFC 9113 8.3.1
        "*" => head.method == Method::OPTIONS,
        // RFC 9112 3.2.1
        path => path.starts_with('/'),
    };
    if !(served && in_form) {
        return Err(MessageError::Target);
    }
    check_codings(&head.headers)
}

/// Whether the codings of a message, if it names any, are `chunked` alone.
///
/// # Errors
/// [`MessageError::Coding`] for others (RFC 9112 6.1: 501 for what is not understood), [`MessageError::Chunks`] when
/// `chunked` stands there more than once, which RFC 9112 6.1 forbids.
pub fn check_codings(headers: &HeaderMap) -> Result<(), MessageError> {
    if !headers.contains_key(TRANSFER_ENCODING) {
        return Ok(());
    }
    let mut chunked = 0_usize;
    for coding in list::members(headers, &TRANSFER_ENCODING) {
        if !coding.eq_ignore_ascii_case(b"chunked") {
            return Err(MessageError::Coding);
        }
        chunked += 1;
    }
    if chunked == 1 { Ok(()) } else { Err(MessageError::Chunks) }
}

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageError {
    /// The target is in no form that the method allows (RFC 9112 3.2).
    Target,
    /// A transfer coding other than `chunked`.
    Coding,
    /// `Transfer-Encoding` is empty, or has `chunked` more than once.
    Chunks,
}

impl MessageError {
    /// The status of the answer.
    pub fn status(self) -> StatusCode {
        match self {
            MessageError::Target | MessageError::Chunks => StatusCode::BAD_REQUEST,
            MessageError::Coding => StatusCode::NOT_IMPLEMENTED,
        }
    }
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MessageError::Target => "the target is malformed; send a path that begins with /, or an http URL",
            MessageError::Coding => {
                "this transfer coding is not understood here; send chunked alone, or a length"
            }
            MessageError::Chunks => "the transfer coding is malformed; send one Transfer-Encoding: chunked",
        })
    }
}

impl Error for MessageError {}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn targets_in_the_forms_of_rfc_9112_3_2() {
        for (method, target, valid) in [
            ("GET", "/", true),
            ("GET", "/a?b=c", true),
            ("GET", "http://a.example", true),
            ("POST", "https://a.example/b", true),
            ("OPTIONS", "*", true),
            ("GET", "*", false),
            ("GET", "nowhere", false),
            ("GET", "a.example:80", false),
            ("GET", "ftp://a.example/", false),
        ] {
            let head = Request::builder().method(method).uri(target).body(()).unwrap().into_parts().0;
            assert_eq!(check_request(&head).is_ok(), valid, "{method} {target}");
        }
    }

    #[test]
    fn codings_other_than_one_chunked_are_refused() {
        for (lines, expected) in [
            (&[][..], Ok(())),
            (&["chunked"], Ok(())),
            (&[", Chunked ,"], Ok(())),
            (&["gzip, chunked"], Err(MessageError::Coding)),
            (&["gzip", "chunked"], Err(MessageError::Coding)),
            (&["identity"], Err(MessageError::Coding)),
            (&["chunked;a=b"], Err(MessageError::Coding)),
            (&["chunked, chunked"], Err(MessageError::Chunks)),
            (&["chunked", "chunked"], Err(MessageError::Chunks)),
            (&[""], Err(MessageError::Chunks)),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(TRANSFER_ENCODING, http::HeaderValue::from_static(line));
            }
            assert_eq!(check_codings(&headers), expected, "{lines:?}");
        }
    }
}
