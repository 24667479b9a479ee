//! Field values that are comma-separated lists of tokens (RFC 9110 5.6.1 and 5.6.2).
//!
//! Lines of one name are one list (RFC 9110 5.3). Quoted strings are not understood: no field read through
//! this module may contain a comma inside quotes.

use http::HeaderMap;
use http::header::HeaderName;

/// All members of all lines of `name`, in order, without surrounding white space. Empty members are
/// skipped, as RFC 9110 5.6.1.2 asks of a recipient.
pub fn members<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    headers.get_all(name).iter().flat_map(|line| split(line.as_bytes()))
}

/// The members of one line, as [`members`].
pub fn split(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// Whether the list `name` has the member `wanted`, letter case aside.
pub fn has_member(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    members(headers, name).any(|member| member.eq_ignore_ascii_case(wanted.as_bytes()))
}

/// `bytes` as text, if they are a token (RFC 9110 5.6.2).
pub fn token(bytes: &[u8]) -> Option<&str> {
    let is_token = !bytes.is_empty() && bytes.iter().copied().all(is_token_byte);
    is_token.then(|| std::str::from_utf8(bytes).ok()).flatten()
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::CONNECTION;

    use super::*;

    #[test]
    fn lines_are_one_list_and_empty_members_do_not_count() {
        let mut headers = HeaderMap::new();
        headers.append(CONNECTION, HeaderValue::from_static(" ,keep-alive ,, Upgrade"));
        headers.append(CONNECTION, HeaderValue::from_static(""));
        headers.append(CONNECTION, HeaderValue::from_static("\tx\t,"));
        let found: Vec<_> = members(&headers, &CONNECTION).collect();
        assert_eq!(found, [&b"keep-alive"[..], b"Upgrade", b"x"]);
        assert!(has_member(&headers, &CONNECTION, "upgrade"));
        assert!(!has_member(&headers, &CONNECTION, "up"));
    }

    #[test]
    fn a_token_has_no_separators_and_is_not_empty() {
        assert_eq!(token(b"graphql-ws.v1~"), Some("graphql-ws.v1~"));
        for wrong in [&b""[..], b"a b", b"a;b", b"a/b", b"\"a\"", b"a\xff", b"a\0", b"(a)"] {
            assert_eq!(token(wrong), None, "{wrong:?}");
        }
    }
}
