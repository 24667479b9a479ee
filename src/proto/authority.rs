//! Which host a request is for: `Host`, absolute-form targets, `:authority` (RFC 9112 3.2, RFC 9113 8.3.1).
//!
//! A request that could mean two hosts is refused, for the proxy and the backend might choose differently.
//! The syntax is narrower than RFC 3986 3.2.2: a name is made of labels of letters, digits, `-`, `_` and
//! `~`; percent-encoding, sub-delimiters, user information, IPv6 zones, empty labels and empty ports are
//! refused.

use std::error::Error;
use std::fmt;
use std::net::Ipv6Addr;

use http::header::{HOST, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Version};

/// The longest host name in bytes, final dot aside (RFC 1035 2.3.4).
const HOST_BYTES_MAX: usize = 253;

/// The host that a request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// What routes are compared with: lower case, no port, no final dot. An IPv6 address has no brackets
    /// and is in the form of RFC 5952.
    pub host: String,
    /// What the backend gets as `Host`: the authority as the client wrote it, port included.
    pub written: HeaderValue,
}

/// The authority of `head`. HTTP/1 wants exactly one `Host`; the authority of an absolute-form target wins
/// over it (RFC 9112 3.2.2), and spares an HTTP/1.0 client the field. In HTTP/2 `:authority` counts; a
/// `Host` beside it must say the same, and stands in where it is absent.
///
/// # Errors
/// [`AuthorityError`]; each is a bad request (400).
pub fn read(head: &Parts) -> Result<Authority, AuthorityError> {
    let field = single_host(&head.headers)?;
    let field_read = match field {
        Some(value) => Some(parse_value(value)?),
        None => None,
    };
    let target = head.uri.authority().map(|authority| authority.as_str());
    let target_read = match target {
        Some(text) => Some(parse(text.as_bytes()).ok_or(AuthorityError::Malformed)?),
        None => None,
    };
    if head.version == Version::HTTP_2 {
        let differ = |field: &HostPort| target_read.as_ref().is_some_and(|target| target != field);
        if field_read.as_ref().is_some_and(differ) {
            return Err(AuthorityError::Several);
        }
    } else if field.is_none() && (head.version == Version::HTTP_11 || target.is_none()) {
        return Err(AuthorityError::Missing);
    }
    let written = match (target, field) {
        (Some(text), _) => HeaderValue::from_str(text).map_err(|_| AuthorityError::Malformed)?,
        (None, Some(value)) => value.clone(),
        (None, None) => return Err(AuthorityError::Missing),
    };
    let HostPort { host, .. } = target_read.or(field_read).ok_or(AuthorityError::Missing)?;
    let host = strip_final_dot(&host).to_owned();
    Ok(Authority { host, written })
}

fn single_host(headers: &HeaderMap) -> Result<Option<&HeaderValue>, AuthorityError> {
    let mut lines = headers.get_all(HOST).iter();
    match (lines.next(), lines.next()) {
        (field, None) => Ok(field),
        _ => Err(AuthorityError::Several),
    }
}

fn parse_value(value: &HeaderValue) -> Result<HostPort, AuthorityError> {
    parse(value.as_bytes()).ok_or(AuthorityError::Malformed)
}

fn strip_final_dot(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
}

/// A host and, if one was written, its port.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct HostPort {
    /// Lower case; a final dot stays; no brackets.
    pub host: String,
    pub port: Option<u16>,
}

/// Reads `host [":" port]`.
pub(super) fn parse(bytes: &[u8]) -> Option<HostPort> {
    let text = std::str::from_utf8(bytes).ok()?;
    if let Some(bracketed) = text.strip_prefix('[') {
        let (address, port) = bracketed.split_once(']')?;
        let host = address.parse::<Ipv6Addr>().ok()?.to_string();
        return Some(HostPort { host, port: parse_port(port)? });
    }
    let (name, port) = match text.find(':') {
        Some(colon) => text.split_at_checked(colon)?,
        None => (text, ""),
    };
    let undotted = strip_final_dot(name);
    let valid = undotted.len() <= HOST_BYTES_MAX && undotted.split('.').all(is_label);
    valid.then_some(())?;
    Some(HostPort { host: name.to_ascii_lowercase(), port: parse_port(port)? })
}

fn is_label(label: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_~".contains(&byte);
    !label.is_empty() && label.bytes().all(allowed)
}

/// Reads `""` as no port and `":8080"` as one; anything else is wrong.
fn parse_port(text: &str) -> Option<Option<u16>> {
    if text.is_empty() {
        return Some(None);
    }
    let digits = text.strip_prefix(':')?;
    let valid = (1..=5).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    valid.then(|| digits.parse().ok()).flatten().map(Some)
}

/// Why a request has no host to route by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthorityError {
    /// Nothing names a host.
    Missing,
    /// Several fields name one, or `Host` and `:authority` differ.
    Several,
    /// It is not a host and an optional port.
    Malformed,
}

impl fmt::Display for AuthorityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AuthorityError::Missing => "the request names no host; send one Host field",
            AuthorityError::Several => "the request names more than one host; send one Host field",
            AuthorityError::Malformed => {
                "the host is malformed; send a name or an address, and a port only if needed"
            }
        })
    }
}

impl Error for AuthorityError {}

#[cfg(test)]
mod tests {
    use http::Request;
    use proptest::prelude::*;

    use super::*;

    fn head(version: Version, target: &str, hosts: &[&str]) -> Parts {
        let mut request = Request::builder().version(version).uri(target);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn hosts_that_are_understood() {
        let table = [
            ("example.com", "example.com"),
            ("Chat.Example.COM:8443", "chat.example.com"),
            ("example.com.", "example.com"),
            ("example.com.:80", "example.com"),
            ("10.0.0.1:65535", "10.0.0.1"),
            ("[::1]", "::1"),
            ("[2001:DB8:0:0::1]:443", "2001:db8::1"),
            ("my_service-1", "my_service-1"),
        ];
        for (written, host) in table {
            let authority = read(&head(Version::HTTP_11, "/", &[written])).unwrap();
            assert_eq!(authority.host, host);
            assert_eq!(authority.written, written);
        }
    }

    #[test]
    fn hosts_that_are_refused() {
        let long = "a".repeat(254);
        let table = [
            "",
            ".",
            "..",
            ".a",
            "a..b",
            "a..",
            "a b",
            "a/b",
            "user@a",
            "a,b",
            "a#b",
            "a?b",
            "a%41",
            "a\tb",
            "a:",
            "a:b",
            "a:-1",
            "a:+1",
            "a:65536",
            "a:123456",
            "a:000080",
            "a:80:80",
            ":80",
            "::1",
            "[::1",
            "[::1]x",
            "[::1%25eth0]",
            "[v1.x]",
            "[127.0.0.1]",
            "[]",
            "a]",
            "*.a",
            "a\"b",
            "a;b",
            "a\\b",
            &long,
        ];
        for written in table {
            let result = read(&head(Version::HTTP_11, "/", &[written]));
            assert_eq!(result, Err(AuthorityError::Malformed), "{written:?}");
        }
    }

    /// Version, target, `Host` fields, and what `Host` the backend gets.
    type Case = (Version, &'static str, &'static [&'static str], Result<&'static str, AuthorityError>);

    #[test]
    fn where_the_host_comes_from() {
        use AuthorityError::{Malformed, Missing, Several};
        let (one_0, one_1, two) = (Version::HTTP_10, Version::HTTP_11, Version::HTTP_2);
        let absolute = "http://A.example:8080/x";
        let table: [Case; 17] = [
            (one_1, "/", &[], Err(Missing)),
            (one_1, "/", &["a", "a"], Err(Several)),
            (one_1, "/", &["a", "b"], Err(Several)),
            (one_1, absolute, &["b.example"], Ok("A.example:8080")),
            (one_1, absolute, &[], Err(Missing)),
            (one_1, absolute, &["a@b"], Err(Malformed)),
            (one_1, "http://user@a.example/", &["a.example"], Err(Malformed)),
            (one_0, "/", &[], Err(Missing)),
            (one_0, "/", &["a"], Ok("a")),
            (one_0, absolute, &[], Ok("A.example:8080")),
            (two, "https://a.example/", &[], Ok("a.example")),
            (two, "https://a.example/", &["A.EXAMPLE"], Ok("a.example")),
            (two, "https://a.example/", &["b.example"], Err(Several)),
            (two, "https://a.example/", &["a.example:8080"], Err(Several)),
            (two, "/", &["a.example"], Ok("a.example")),
            (two, "/", &["a.example", "a.example"], Err(Several)),
            (two, "/", &[], Err(Missing)),
        ];
        for (version, target, hosts, expected) in table {
            let result = read(&head(version, target, hosts)).map(|authority| authority.written);
            let expected = expected.map(HeaderValue::from_static);
            assert_eq!(result, expected, "{version:?} {target} {hosts:?}");
        }
    }

    proptest! {
        #[test]
        fn a_parsed_host_is_parsed_the_same_again(text in "[a-zA-Z0-9.:\\[\\]]{0,12}") {
            if let Some(HostPort { host, port }) = parse(text.as_bytes()) {
                let brackets = if host.contains(':') { ("[", "]") } else { ("", "") };
                let port_text = port.map_or(String::new(), |port| format!(":{port}"));
                let again = format!("{}{host}{}{port_text}", brackets.0, brackets.1);
                prop_assert_eq!(parse(again.as_bytes()), Some(HostPort { host, port }));
            }
        }

        #[test]
        fn any_bytes_are_an_answer_and_no_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            prop_assert!(parse(&bytes).is_none_or(|read| read.host.is_ascii()));
        }

        #[test]
        fn what_is_accepted_is_safe_to_repeat(text in "[a-zA-Z0-9.:_\\-\\[\\]@,/ ]{0,24}") {
            if let Some(read) = parse(text.as_bytes()) {
                prop_assert!(!text.contains(['@', ',', '/', ' ']));
                prop_assert!(!read.host.is_empty());
                prop_assert_eq!(read.host.to_ascii_lowercase(), read.host);
            }
        }
    }
}
