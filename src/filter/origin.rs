//! Which pages may open a WebSocket (RFC 6455 10.2). Browsers let any page open one to any server, cookies included;
//! `Origin` is how the server can tell.

use http::HeaderMap;

use crate::config::OriginMatch;
use crate::proto::origin::{Origin, read};

/// Whether one of `allowed` covers the request's `Origin`. A malformed one is covered by none.
pub fn admits(allowed: &[OriginMatch], headers: &HeaderMap) -> bool {
    read(headers).is_ok_and(|origin| allowed.iter().any(|allowed| covers(allowed, &origin)))
}

fn covers(allowed: &OriginMatch, origin: &Origin<'_>) -> bool {
    match (allowed, origin) {
        (OriginMatch::Absent, Origin::Absent) | (OriginMatch::Null, Origin::Null) => true,
        (OriginMatch::Exact(text), Origin::Tuple { .. }) => {
            crate::proto::origin::parse(text).as_ref() == Some(origin)
        }
        (
            OriginMatch::Below { scheme, domain, port },
            Origin::Tuple { scheme: sent, host, port: sent_port },
        ) => {
            let below = host.strip_suffix(domain.as_str());
            let below = below.and_then(|rest| rest.strip_suffix('.')).is_some_and(|rest| !rest.is_empty());
            scheme == sent && port == sent_port && below
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::{HeaderValue, ORIGIN};

    #[test]
    fn each_kind_covers_what_it_says_and_no_more() {
        let exact = OriginMatch::Exact("https://chat.example.com".into());
        let port = OriginMatch::Exact("http://localhost:3000".into());
        let below = OriginMatch::Below { scheme: "https".into(), domain: "example.com".into(), port: None };
        for (allowed, covered, others) in [
            (
                exact,
                vec!["https://chat.example.com", "HTTPS://Chat.Example.com", "https://chat.example.com:443"],
                vec![
                    "http://chat.example.com",
                    "https://chat.example.com:8443",
                    "https://chat.example.com.evil.org",
                    "null",
                    "",
                ],
            ),
            (port, vec!["http://localhost:3000"], vec!["http://localhost", "https://localhost:3000"]),
            (
                below,
                vec!["https://a.example.com", "https://a.b.example.com"],
                vec![
                    "https://example.com",
                    "https://aexample.com",
                    "https://a.example.com:8443",
                    "http://a.example.com",
                    "https://.example.com",
                ],
            ),
            (OriginMatch::Null, vec!["null"], vec!["", "https://null", "NULL"]),
        ] {
            let admitted = |origin: &str| {
                let mut headers = HeaderMap::new();
                headers.insert(ORIGIN, HeaderValue::from_str(origin).unwrap());
                admits(std::slice::from_ref(&allowed), &headers)
            };
            for origin in covered {
                assert!(admitted(origin), "{origin} by {allowed:?}");
            }
            for origin in others {
                assert!(!admitted(origin), "{origin} by {allowed:?}");
            }
            assert!(!admits(std::slice::from_ref(&allowed), &HeaderMap::new()));
        }
    }

    #[test]
    fn absent_and_several() {
        let mut headers = HeaderMap::new();
        let allowed = [OriginMatch::Absent, OriginMatch::Exact("https://a.example".into())];
        assert!(admits(&allowed, &headers));
        headers.append(ORIGIN, HeaderValue::from_static("https://a.example"));
        assert!(admits(&allowed, &headers));
        headers.append(ORIGIN, HeaderValue::from_static("https://a.example"));
        assert!(!admits(&allowed, &headers));
    }
}
