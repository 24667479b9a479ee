//! Whether a backend's connection may carry another request after an answer, and for how long the backend says that it will
//! wait for one (RFC 9112 9.3).
//!
//! An answer whose end two readers could see in different places ends its connection: what follows it would be taken for
//! the answer to the next request.

use http::header::{CONNECTION, CONTENT_LENGTH, HeaderName, TRANSFER_ENCODING};
use http::response::Parts;
use http::{HeaderMap, StatusCode, Version};

use super::list;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// Whether the connection stays open behind this answer, as far as its head tells. Not with HTTP/1.0: what it says of
/// keep-alive may be an old proxy's echo (RFC 9112 C.2.2).
pub fn stays_open(answer: &Parts) -> bool {
    let headers = &answer.headers;
    answer.version == Version::HTTP_11
        && answer.status != StatusCode::SWITCHING_PROTOCOLS
        && !list::has_member(headers, &CONNECTION, "close")
        && is_framed_once(answer.status, headers)
}

/// Whether there are not two opinions about the length: a coding beside a length (RFC 9112 6.3), or the announcement of
/// a body behind a 204, which has none (RFC 9110 15.3.5).
fn is_framed_once(status: StatusCode, headers: &HeaderMap) -> bool {
    let (coded, sized) = (headers.contains_key(TRANSFER_ENCODING), headers.get(CONTENT_LENGTH));
    match status {
        StatusCode::NO_CONTENT => !coded && sized.is_none_or(|length| length == "0"),
        _ => !coded || sized.is_none(),
    }
}

/// Seconds that the connection may be idle by the backend's own account: `Keep-Alive: timeout=5` (RFC 2068 19.7.1.1).
/// The least, if there are several.
pub fn idle_seconds(headers: &HeaderMap) -> Option<u32> {
    list::members(headers, &KEEP_ALIVE).filter_map(timeout).min()
}

fn timeout(member: &[u8]) -> Option<u32> {
    let (name, value) = std::str::from_utf8(member).ok()?.split_once('=')?;
    let digits = value.trim().trim_matches('"');
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    // A number that is too large is a long time.
    (name.trim().eq_ignore_ascii_case("timeout") && is_number).then(|| digits.parse().unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue, Response};

    use super::*;

    fn answer(version: Version, status: u16, lines: &[(&'static str, &'static str)]) -> Parts {
        let mut answer = Response::builder().version(version).status(status);
        for (name, value) in lines {
            answer = answer.header(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        answer.body(()).unwrap().into_parts().0
    }

    #[test]
    fn what_leaves_a_connection_usable() {
        let one = Version::HTTP_11;
        for (version, status, lines, stays) in [
            (one, 200, &[("content-length", "5")][..], true),
            (one, 200, &[("transfer-encoding", "chunked")], true),
            (one, 204, &[], true),
            (one, 204, &[("content-length", "0")], true),
            (one, 304, &[("content-length", "5")], true),
            (one, 200, &[("connection", "keep-alive, x"), ("content-length", "5")], true),
            (one, 200, &[("connection", "x"), ("connection", "Close"), ("content-length", "5")], false),
            (one, 101, &[], false),
            (one, 204, &[("content-length", "5")], false),
            (one, 204, &[("transfer-encoding", "chunked")], false),
            (one, 200, &[("content-length", "5"), ("transfer-encoding", "chunked")], false),
            (Version::HTTP_10, 200, &[("content-length", "5"), ("connection", "keep-alive")], false),
        ] {
            assert_eq!(stays_open(&answer(version, status, lines)), stays, "{version:?} {status} {lines:?}");
        }
    }

    #[test]
    fn how_long_a_backend_waits() {
        for (lines, seconds) in [
            (&["timeout=5"][..], Some(5)),
            (&["Timeout = 5 , max=100"], Some(5)),
            (&["max=100, timeout=\"20\""], Some(20)),
            (&["timeout=20", "timeout=5"], Some(5)),
            (&["timeout=0"], Some(0)),
            (&["timeout=99999999999999999999"], Some(u32::MAX)),
            (&["timeout=-5"], None),
            (&["timeout=+5"], None),
            (&["timeout="], None),
            (&["timeout"], None),
            (&["max=100"], None),
            (&[], None),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(KEEP_ALIVE, HeaderValue::from_static(line));
            }
            assert_eq!(idle_seconds(&headers), seconds, "{lines:?}");
        }
    }
}
