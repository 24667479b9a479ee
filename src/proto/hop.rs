//! Fields that belong to one connection and are not passed on (RFC 9110 7.6.1).
//!
//! What goes, from requests and responses alike:
//! - `Connection` and what it names; `Keep-Alive`, `Proxy-Connection`, `TE`, `Upgrade`, `HTTP2-Settings`,
//!   named or not, since old software forgets to name them;
//! - `Transfer-Encoding`: bodies are framed anew on the next connection. A `Content-Length` beside it goes
//!   too, for it is not the length (RFC 9112 6.3);
//! - `Proxy-Authenticate`, `Proxy-Authentication-Info`, `Proxy-Authorization`: they speak to the nearest
//!   proxy (RFC 9110 11.7), and to a client this one is the origin server.
//!
//! What stays: `Trailer` announces fields for the final recipient (RFC 9110 6.6.2). And some fields stay
//! even when `Connection` names them. RFC 9110 forbids a sender to name what is meant for all recipients;
//! one that does it all the same wants the backend to see another request than the proxy did. These are the
//! fields that frame or describe the content, say which host is meant, who asks and from where.
//!
//! The upgrade fields that a tunnel needs are not passed on but made anew ([`super::handshake`]).

use http::HeaderMap;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderName, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING,
    UPGRADE,
};

use super::{client_certificate, forwarded, list};

const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_AUTHENTICATION_INFO: HeaderName = HeaderName::from_static("proxy-authentication-info");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

const HOP: [HeaderName; 9] = [
    CONNECTION,
    HTTP2_SETTINGS,
    KEEP_ALIVE,
    PROXY_AUTHENTICATE,
    PROXY_AUTHENTICATION_INFO,
    PROXY_AUTHORIZATION,
    PROXY_CONNECTION,
    TE,
    UPGRADE,
];

/// Removes from `headers` what must not be passed on. To be called before the proxy adds fields of its own:
/// a client cannot name those away then.
pub fn strip(headers: &mut HeaderMap) {
    // The lines are shared with the map, so this copies no text.
    let lines: Vec<_> = headers.get_all(CONNECTION).iter().cloned().collect();
    for name in lines.iter().flat_map(|line| list::split(line.as_bytes())) {
        if let Ok(name) = HeaderName::from_bytes(name)
            && !is_protected(&name)
        {
            headers.remove(name);
        }
    }
    if headers.remove(TRANSFER_ENCODING).is_some() {
        headers.remove(CONTENT_LENGTH);
    }
    remove_aliases(headers);
    for name in &HOP {
        headers.remove(name);
    }
}

/// Removes from trailers what must never reach whoever merges them into the head: fields that frame, route or
/// authenticate (RFC 9110 6.5.1), those that say who asks, and what some backends would take for them.
pub fn strip_trailers(trailers: &mut HeaderMap) {
    strip(trailers);
    remove_all(trailers, |name| is_protected(name) || client_certificate::is_ours(name));
}

/// Removes fields that a backend which does not tell `_` from `-` would take for one that the proxy minds: behind CGI and
/// its heirs both are the same variable.
fn remove_aliases(headers: &mut HeaderMap) {
    remove_all(headers, |name| {
        let meant = || HeaderName::from_bytes(name.as_str().replace('_', "-").as_bytes());
        name.as_str().contains('_') && meant().is_ok_and(|meant| is_protected(&meant) || is_hop(&meant))
    });
}

fn remove_all(headers: &mut HeaderMap, unwelcome: impl Fn(&HeaderName) -> bool) {
    let names: Vec<_> = headers.keys().filter(|name| unwelcome(name)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// Whether `name` belongs to one connection, named or not.
fn is_hop(name: &HeaderName) -> bool {
    HOP.contains(name)
}

/// Whether `name` stays although `Connection` names it.
fn is_protected(name: &HeaderName) -> bool {
    const PROTECTED: [&str; 6] = ["authorization", "cookie", "host", "origin", "set-cookie", "via"];
    let name = name.as_str();
    PROTECTED.contains(&name)
        || name.starts_with("content-")
        || name.starts_with("sec-websocket-")
        || forwarded::is_forwarding(name)
        // Removed below; named here, it must not hide a length beside it.
        || name == "transfer-encoding"
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn stripped(lines: &[(&'static str, &'static str)]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        strip(&mut headers);
        let mut left: Vec<_> = headers.keys().map(|name| name.as_str().to_owned()).collect();
        left.sort();
        left
    }

    #[test]
    fn fields_of_one_connection_go() {
        let left = stripped(&[
            ("connection", "close"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABkAAQAAP__"),
            ("proxy-authorization", "Basic eDp5"),
            ("proxy-authenticate", "Basic"),
            ("proxy-authentication-info", "x"),
            ("trailer", "etag"),
            ("accept", "*/*"),
        ]);
        assert_eq!(left, ["accept", "trailer"]);
    }

    #[test]
    fn named_fields_go_on_all_lines_in_any_case() {
        let left = stripped(&[
            ("connection", "X-One, ,x-two"),
            ("connection", "Cache-Control;, X-THREE"),
            ("connection", "not a name, \"x-four\""),
            ("x-one", "1"),
            ("x-one", "1 again"),
            ("x-two", "2"),
            ("x-three", "3"),
            ("x-four", "4"),
            ("cache-control", "no-store"),
        ]);
        assert_eq!(left, ["cache-control", "x-four"]);
    }

    #[test]
    fn some_fields_cannot_be_named_away() {
        let names = [
            "authorization",
            "content-length",
            "content-type",
            "cookie",
            "forwarded",
            "host",
            "origin",
            "sec-websocket-protocol",
            "x-forwarded-for",
            "x-real-ip",
        ];
        let connection: &'static str = Box::leak(names.join(", ").into_boxed_str());
        let mut lines = vec![("connection", connection)];
        lines.extend(names.iter().map(|name| (*name, "x")));
        assert_eq!(stripped(&lines), names);
    }

    #[test]
    fn a_length_beside_a_transfer_coding_is_not_believed() {
        for connection in ["close", "transfer-encoding"] {
            let left = stripped(&[
                ("connection", connection),
                ("transfer-encoding", "chunked"),
                ("content-length", "5"),
            ]);
            assert!(left.is_empty(), "{left:?}");
        }
        assert_eq!(stripped(&[("content-length", "5")]), ["content-length"]);
    }

    #[test]
    fn aliases_of_fields_that_matter_go_and_others_stay() {
        let left = stripped(&[
            ("content_length", "5"),
            ("transfer_encoding", "chunked"),
            ("transfer-encoding_", "chunked"),
            ("x_forwarded-for", "192.0.2.1"),
            ("proxy_authorization", "x"),
            ("sec_websocket_key", "x"),
            ("my_field", "x"),
        ]);
        assert_eq!(left, ["my_field", "transfer-encoding_"]);
    }

    #[test]
    fn trailers_say_nothing_of_the_message_or_of_who_asks() {
        let mut trailers = HeaderMap::new();
        for name in [
            "host",
            "content-length",
            "transfer-encoding",
            "authorization",
            "cookie",
            "connection",
            "te",
            "forwarded",
            "x-real-ip",
            "x-forwarded-for",
            "x-forwarded-proto",
            "x_forwarded_host",
            "x-client-certificate-subject",
            "x-client-certificate-names",
            "x_client_certificate_subject",
            "x-client_certificate-names",
            "grpc-status",
        ] {
            trailers.insert(name, HeaderValue::from_static("x"));
        }
        strip_trailers(&mut trailers);
        assert_eq!(trailers.keys().collect::<Vec<_>>(), ["grpc-status"]);
    }

    proptest! {
        #[test]
        fn stripping_twice_is_stripping_once(
            lines in prop::collection::vec("[a-zA-Z, \\-\"]{0,30}", 0..4),
        ) {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(CONNECTION, HeaderValue::from_str(&line).unwrap());
            }
            headers.insert("host", HeaderValue::from_static("a"));
            strip(&mut headers);
            let once = headers.clone();
            strip(&mut headers);
            prop_assert_eq!(once, headers);
        }
    }
}
