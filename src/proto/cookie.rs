//! The `Cookie` field: `name=value` pairs joined by `;` (RFC 6265 4.2.1).
//!
//! Lines of the field are one list: over HTTP/2 each cookie may have a line of its own (RFC 9113 8.2.3). Names and values
//! are taken as they were sent, quotes included; what has no `=` is no cookie.

use http::HeaderMap;
use http::header::COOKIE;

/// The values of the cookie `name`, in their order. A browser may send several, of different paths.
pub fn values<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a [u8]> {
    pairs(headers).filter_map(move |(found, value)| (found == name.as_bytes()).then_some(value))
}

/// All cookies, in their order: name and value, without the white space around them.
pub fn pairs(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    let lines = headers.get_all(COOKIE).iter();
    lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';')).filter_map(|pair| {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let (name, value) = pair.split_at_checked(equals)?;
        Some((name.trim_ascii(), value.strip_prefix(b"=")?.trim_ascii()))
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn cookies_are_found_in_all_lines() {
        for (lines, name, expected) in [
            (&[][..], "a", &[][..]),
            (&["a=1"], "a", &["1"]),
            (&["b=2; a=1;a=3"], "a", &["1", "3"]),
            (&["b=2", "a=1; c=4"], "a", &["1"]),
            (&["A=1; aa=2; a"], "a", &[]),
            (&[" a = 1 ;; =5"], "a", &["1"]),
            (&["a=\"b=c\"; d=a=1"], "a", &["\"b=c\""]),
            (&["a=%31"], "a", &["%31"]),
            (&["=5"], "", &["5"]),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(COOKIE, HeaderValue::from_static(line));
            }
            let found: Vec<_> = values(&headers, name).collect();
            let expected: Vec<_> = expected.iter().map(|value: &&str| value.as_bytes()).collect();
            assert_eq!(found, expected, "{lines:?} {name}");
        }
    }
}
