//! Where a redirect leads (RFC 9110 10.2.2).
//!
//! The configuration decides whom a client is sent to, or the host that it asked itself; what else a request brings stands
//! behind that, and can neither become another host nor end the field. A template was checked for it when it was read; here
//! is what is left: a path that begins with two slashes, or with a backslash, which browsers take for one.

use http::HeaderValue;

use super::variables::Facts;
use crate::config::{Part, Template, Variable};

/// The value of `Location`.
pub fn location(to: &Template, facts: &Facts<'_>) -> HeaderValue {
    let mut location = Vec::new();
    for part in to.parts() {
        match part {
            Part::Text(text) => location.extend_from_slice(text.as_bytes()),
            Part::Variable(Variable::Path) => path(facts.path, &mut location),
            Part::Variable(variable) => {
                let mut value = Vec::new();
                facts.write(*variable, &mut value);
                encode(&value, &mut location);
            }
        }
    }
    // All of it is visible ASCII.
    HeaderValue::try_from(location).unwrap_or_else(|_| HeaderValue::from_static("/"))
}

/// A path that begins with one slash: that of `OPTIONS *` is none.
fn path(path: &str, out: &mut Vec<u8>) {
    let rest = if out.is_empty() { path.trim_start_matches(['/', '\\']) } else { path };
    if !rest.starts_with('/') {
        out.push(b'/');
    }
    encode(if rest == "*" { b"" } else { rest.as_bytes() }, out);
}

/// Percent-encodes what no URL has (RFC 3986 2.1); what is encoded stays as it is.
fn encode(text: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |value: u8| DIGITS.get(usize::from(value)).copied().unwrap_or(b'0');
    for byte in text {
        if byte.is_ascii_graphic() && !b"\"#<>\\^`{|}".contains(byte) {
            out.push(*byte);
        } else {
            out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Uri;
    use proptest::prelude::*;

    use super::super::variables::tests::with_facts;
    use super::*;

    fn led(to: &str, path: &str, query: Option<&str>) -> String {
        let to = Template::parse(to, |_| true).unwrap();
        let location = with_facts("chat.example.com", path, query, |facts| location(&to, facts));
        location.to_str().unwrap().to_owned()
    }

    #[test]
    fn a_request_decides_nothing_but_what_it_asks_for() {
        for (to, path, query, expected) in [
            ("https://${host}${path}${query}", "/a/b", Some("c=d"), "https://chat.example.com/a/b?c=d"),
            ("${scheme}://${authority}/new${path}", "/a", None, "https://chat.example.com:8443/new/a"),
            ("https://new.example${path}", "//evil.example/x", None, "https://new.example//evil.example/x"),
            ("https://new.example${path}", "*", None, "https://new.example/"),
            (
                "https://new.example${path}",
                "/a\\b\u{e9}\"#<",
                Some("{^}"),
                "https://new.example/a%5Cb%C3%A9%22%23%3C",
            ),
            ("/login${query}", "/a", Some("to=//x"), "/login?to=//x"),
            ("${path}", "//evil.example/x", None, "/evil.example/x"),
            ("${path}", "/\\evil.example", None, "/evil.example"),
            ("${path}${query}", "/%2F%0D%0Ax", Some("%0a"), "/%2F%0D%0Ax?%0a"),
        ] {
            assert_eq!(led(to, path, query), expected, "{to} {path}");
        }
    }

    proptest! {
        #[test]
        fn nobody_is_sent_to_another_host(path in "[/\\\\]{0,3}[a-z.@:/\\\\\\PC]{0,20}", query in "\\PC{0,12}") {
            let path = format!("/{path}");
            for (to, host) in [("https://new.example${path}${query}", Some("new.example")), ("${path}${query}", None)] {
                let location = led(to, &path, Some(&query));
                let uri: Uri = location.parse().unwrap();
                prop_assert_eq!(uri.host(), host, "{}", location);
                prop_assert!(!location.starts_with("//") && !location.contains(['\\', '\r', '\n']));
            }
        }
    }
}
