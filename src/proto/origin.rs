//! The `Origin` field: which page opened a WebSocket (RFC 6454 6.1 and 7.1, RFC 6455 10.2).
//!
//! Browsers send one origin, `scheme://host[:port]`, or `null`. RFC 6454 allows a list of them; that is
//! refused here, because no browser sends one and an allow-list could not say what it means. Whether an
//! origin is welcome is not decided here.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use http::HeaderMap;
use http::header::ORIGIN;

use super::authority;

/// What the `Origin` field says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin<'a> {
    /// There is no such field: not a browser.
    Absent,
    /// `null`: a browser that will not tell, such as a sandboxed frame or a local file.
    Null,
    /// A page.
    Tuple {
        /// Lower case, such as `https`.
        scheme: Cow<'a, str>,
        /// Lower case, without brackets around an IPv6 address. A final dot stays: it makes another origin.
        host: Cow<'a, str>,
        /// `None` if absent, or the default port of the scheme.
        port: Option<u16>,
    },
}

/// Reads the `Origin` field of a request.
///
/// # Errors
/// [`MalformedOrigin`] if there are several fields, or one that is neither `null` nor a single origin.
pub fn read(headers: &HeaderMap) -> Result<Origin<'_>, MalformedOrigin> {
    let mut lines = headers.get_all(ORIGIN).iter();
    match (lines.next(), lines.next()) {
        (None, _) => Ok(Origin::Absent),
        (Some(line), None) => line.to_str().ok().and_then(parse).ok_or(MalformedOrigin),
        (Some(_), Some(_)) => Err(MalformedOrigin),
    }
}

/// Reads one origin as text, `None` if it is malformed. A configured allow-list is read with this too, so
/// that both sides of a comparison have one form.
pub fn parse(text: &str) -> Option<Origin<'_>> {
    if text == "null" {
        return Some(Origin::Null);
    }
    let (scheme, host_port) = text.split_once("://")?;
    is_scheme(scheme).then_some(())?;
    let scheme = lower_case(scheme);
    let authority::HostPort { host, port } = authority::parse(host_port.as_bytes())?;
    let port = port.filter(|port| Some(*port) != default_port(&scheme));
    Some(Origin::Tuple { scheme, host: Cow::Owned(host), port })
}

/// RFC 3986 3.1.
fn is_scheme(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    text.starts_with(|first: char| first.is_ascii_alphabetic()) && text.bytes().all(allowed)
}

fn lower_case(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        Cow::Borrowed(text)
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}

/// The `Origin` field cannot be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedOrigin;

impl fmt::Display for MalformedOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the Origin field is malformed; send one origin, scheme://host[:port]")
    }
}

impl Error for MalformedOrigin {}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn tuple(scheme: &'static str, host: &'static str, port: Option<u16>) -> Origin<'static> {
        Origin::Tuple { scheme: scheme.into(), host: host.into(), port }
    }

    #[test]
    fn origins_have_one_form() {
        let table = [
            ("null", Origin::Null),
            ("https://chat.example.com", tuple("https", "chat.example.com", None)),
            ("HTTPS://Chat.Example.COM:443", tuple("https", "chat.example.com", None)),
            ("https://a:80", tuple("https", "a", Some(80))),
            ("http://a:80", tuple("http", "a", None)),
            ("http://[::1]:3000", tuple("http", "::1", Some(3000))),
            ("https://a.", tuple("https", "a.", None)),
            ("chrome-extension://abcdef", tuple("chrome-extension", "abcdef", None)),
        ];
        for (text, origin) in table {
            assert_eq!(parse(text), Some(origin), "{text}");
        }
    }

    #[test]
    fn what_is_not_one_origin_is_malformed() {
        let table = [
            "",
            "NULL",
            "null ",
            "a",
            "https:",
            "https://",
            "https:///",
            "https://a/",
            "https://a/b",
            "://a",
            "1http://a",
            "ht tp://a",
            "https://a https://b",
            "https://a, https://b",
            "https://u@a",
            "https://a:",
            "https://a:99999",
            "https://a?b",
            "https://a#b",
            "https://a\u{e9}",
            "file://",
            "https://*.a",
        ];
        for text in table {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn one_field_at_most() {
        let mut headers = HeaderMap::new();
        assert_eq!(read(&headers), Ok(Origin::Absent));
        headers.append(ORIGIN, HeaderValue::from_static("https://a"));
        assert_eq!(read(&headers), Ok(tuple("https", "a", None)));
        headers.append(ORIGIN, HeaderValue::from_static("https://a"));
        assert_eq!(read(&headers), Err(MalformedOrigin));
        headers.insert(ORIGIN, HeaderValue::from_bytes(b"https://\xff").unwrap());
        assert_eq!(read(&headers), Err(MalformedOrigin));
    }
}
