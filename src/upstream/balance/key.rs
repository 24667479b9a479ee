//! What of a request is hashed, as a number: XXH3 of its bytes, the same in every version and on every machine.

use std::net::IpAddr;

use http::request::Parts;
use twox_hash::XxHash3_64;

use crate::config::HashKey;
use crate::proto::peer::Peer;
use crate::proto::{cookie, query};

/// The key of a request of `client`. `None` when the request has no such thing, or an empty one: then anybody may serve
/// it.
pub fn of(key: &HashKey, head: &Parts, client: Peer) -> Option<u64> {
    match key {
        HashKey::Client => match client.ip()? {
            IpAddr::V4(address) => hash(&address.octets()),
            IpAddr::V6(address) => hash(&address.octets()),
        },
        HashKey::Path => hash(head.uri.path().as_bytes()),
        HashKey::Header(name) => hash(head.headers.get(name)?.as_bytes()),
        HashKey::Cookie(name) => hash(cookie::values(&head.headers, name).next()?),
        HashKey::Query(name) => hash(&query::values(head.uri.query()?, name).next()?.decode()),
    }
}

fn hash(bytes: &[u8]) -> Option<u64> {
    (!bytes.is_empty()).then(|| XxHash3_64::oneshot(bytes))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn key(key: &HashKey, target: &str, lines: &[(&str, &str)], client: &str) -> Option<u64> {
        let mut request = Request::get(target);
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        let client = match client {
            "unix" => Peer::Unix,
            client => Peer::new(client.parse().unwrap()),
        };
        of(key, &request.body(()).unwrap().into_parts().0, client)
    }

    #[test]
    fn the_same_thing_is_the_same_key() {
        let cookie = HashKey::Cookie("sid".to_owned());
        let query = HashKey::Query("room".to_owned());
        let header = HashKey::Header("x-room".parse().unwrap());
        let known = Some(XxHash3_64::oneshot(b"7 a"));
        for (kind, target, lines) in [
            (&cookie, "/", &[("cookie", "a=b; sid=7 a"), ("cookie", "sid=other")][..]),
            (&query, "/a?x=1&room=7+a&room=other", &[]),
            (&query, "/b?%72oom=7%20a", &[]),
            (&header, "/", &[("X-Room", "7 a"), ("x-room", "other")]),
        ] {
            assert_eq!(key(kind, target, lines, "unix"), known, "{kind:?} {target}");
        }
        let paths = ["/a/%62", "/a/%62?x=1"].map(|target| key(&HashKey::Path, target, &[], "unix"));
        assert_eq!(paths, [Some(XxHash3_64::oneshot(b"/a/%62")); 2]);
        let clients = ["192.0.2.1:1", "192.0.2.1:2", "[::ffff:192.0.2.1]:3"]
            .map(|client| key(&HashKey::Client, "/", &[], client));
        assert_eq!(clients, [Some(XxHash3_64::oneshot(&[192, 0, 2, 1])); 3]);
    }

    #[test]
    fn what_is_not_there_is_no_key() {
        let name = || "a".to_owned();
        for (kind, target, lines) in [
            (HashKey::Client, "/", &[][..]),
            (HashKey::Cookie(name()), "/", &[("cookie", "b=1; A=2; a=")]),
            (HashKey::Query(name()), "/", &[]),
            (HashKey::Query(name()), "/?b=1&a=", &[]),
            (HashKey::Header("a".parse().unwrap()), "/", &[("b", "1")]),
        ] {
            assert_eq!(key(&kind, target, lines, "unix"), None, "{kind:?}");
        }
    }

    /// Another figure would move every client of every deployment.
    #[test]
    fn the_hash_stays_what_it_is() {
        assert_eq!(key(&HashKey::Path, "/ws", &[], "unix"), Some(5_183_859_147_552_618_785));
    }
}
