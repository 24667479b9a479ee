//! What HTTP/2 says differently: in a request's fields (RFC 9113 8.2), and in [`frames`].

pub mod frames;

use http::HeaderMap;
use http::header::{CONTENT_LENGTH, COOKIE, HeaderValue};
use http::request::Parts;

/// What a field costs beside its text (RFC 9113 6.5.2).
const FIELD_BYTES: usize = 32;

/// The size of a request's head as RFC 9113 6.5.2 counts it: names, values, and 32 bytes for each field.
pub fn head_bytes(head: &Parts) -> usize {
    let uri = &head.uri;
    let target = uri.path_and_query().map_or(0, |target| target.as_str().len());
    let authority = uri.authority().map_or(0, |authority| authority.as_str().len());
    let scheme = uri.scheme_str().map_or(0, str::len);
    let pseudo = [
        (":method", head.method.as_str().len()),
        (":scheme", scheme),
        (":authority", authority),
        (":path", target),
    ];
    let fields = head.headers.iter().map(|(name, value)| (name.as_str(), value.len()));
    pseudo.into_iter().chain(fields).map(|(name, value)| name.len() + value + FIELD_BYTES).sum()
}

/// How many fields there are. The crumbs of `Cookie` are one, as they are over HTTP/1: a browser makes a crumb of each
/// cookie.
pub fn field_count(headers: &HeaderMap) -> usize {
    let crumbs = headers.get_all(COOKIE).iter().count();
    headers.len() - crumbs.saturating_sub(1)
}

/// Whether no value begins or ends with white space (RFC 9113 8.2.1). All else that is malformed in a field's name or
/// value, h2 refuses.
pub fn values_are_valid(headers: &HeaderMap) -> bool {
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    headers.values().all(|value| !is_space(value.as_bytes().first()) && !is_space(value.as_bytes().last()))
}

/// Joins the crumbs of `Cookie` into one field, as HTTP/1.1 wants it (RFC 9113 8.2.3).
pub fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() < 2 {
        return;
    }
    let joined = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]));
    // What was joined of valid values is one.
    if let Ok(joined) = joined {
        headers.insert(COOKIE, joined);
    }
}

/// Makes equal lengths one (RFC 9110 8.6), as hyper does over HTTP/1. Different ones h2 refuses.
pub fn join_lengths(headers: &mut HeaderMap) {
    if let Some(length) = headers.get(CONTENT_LENGTH).cloned() {
        headers.insert(CONTENT_LENGTH, length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let line = |(name, value): &(&'static str, &'static str)| {
            (http::HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        lines.iter().map(line).collect()
    }

    #[test]
    fn crumbs_become_one_cookie() {
        for (crumbs, joined) in [
            (&["a=1", "b=2; c=3", "d"][..], Some("a=1; b=2; c=3; d")),
            (&["a=1; b=2"], Some("a=1; b=2")),
            (&[], None),
        ] {
            let lines: Vec<_> = crumbs.iter().map(|crumb| ("cookie", *crumb)).collect();
            let mut headers = headers(&lines);
            join_cookies(&mut headers);
            let all: Vec<_> = headers.get_all(COOKIE).iter().collect();
            assert_eq!(all, joined.as_slice());
        }
    }

    #[test]
    fn heads_are_counted_as_rfc_9113_6_5_2_says() {
        let request = http::Request::get("https://a.example/b?c=d").header("x-name", "value");
        let (head, ()) = request.body(()).unwrap().into_parts();
        let text = ":methodGET:schemehttps:authoritya.example:path/b?c=dx-namevalue";
        assert_eq!(head_bytes(&head), text.len() + 5 * 32);
    }

    #[test]
    fn crumbs_count_as_one_field() {
        for (names, count) in
            [(&["cookie", "x", "cookie", "x", "cookie"][..], 3), (&["cookie"], 1), (&["x", "y"], 2), (&[], 0)]
        {
            let lines: Vec<_> = names.iter().map(|name| (*name, "1")).collect();
            assert_eq!(field_count(&headers(&lines)), count);
        }
    }

    #[test]
    fn white_space_around_a_value_is_refused() {
        for (value, valid) in
            [("a", true), ("", true), ("a b", true), (" a", false), ("a\t", false), (" ", false)]
        {
            assert_eq!(values_are_valid(&headers(&[("x", "1"), ("y", value)])), valid, "{value:?}");
        }
    }
}
