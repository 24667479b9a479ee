use http::Request;
use proptest::prelude::*;

use super::*;

const GOOD: [(&str, &str); 4] = [
    ("upgrade", "websocket"),
    ("connection", "Upgrade"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("sec-websocket-version", "13"),
];

fn head(lines: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder();
    for (name, value) in lines {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

/// A good request, with the lines of `name` replaced by `values`.
fn with(name: &str, values: &[&str]) -> Parts {
    let mut lines: Vec<_> = GOOD.into_iter().filter(|(other, _)| *other != name).collect();
    lines.extend(values.iter().map(|value| (name, *value)));
    head(&lines)
}

#[test]
fn what_is_a_websocket_and_what_is_plain_http() {
    assert!(read_offer(&head(&GOOD)).unwrap().is_some());
    assert!(read_offer(&with("upgrade", &["WebSocket"])).unwrap().is_some());
    assert!(read_offer(&with("upgrade", &["h2c, websocket"])).unwrap().is_some());
    assert!(read_offer(&with("connection", &["keep-alive", "x, UPGRADE"])).unwrap().is_some());
    assert!(read_offer(&with("content-length", &["0"])).unwrap().is_some());
    for upgrade in ["", "h2c", "websocket2", "websocket/13", "web socket"] {
        assert_eq!(read_offer(&with("upgrade", &[upgrade])), Ok(None), "{upgrade}");
    }
    assert_eq!(read_offer(&with("upgrade", &[])), Ok(None));
}

#[test]
fn what_is_refused() {
    use OfferError::*;
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    let table: [(&str, &[&str], OfferError); 33] = [
        ("upgrade", &["websocket", "websocket"], SeveralUpgrades),
        ("upgrade", &["h2c", "websocket"], SeveralUpgrades),
        ("connection", &[], Connection),
        ("connection", &["keep-alive"], Connection),
        ("connection", &["upgraded"], Connection),
        ("transfer-encoding", &["chunked"], Body),
        ("transfer-encoding", &[""], Body),
        ("content-length", &["5"], Body),
        ("content-length", &["00"], Body),
        ("content-length", &[""], Body),
        ("content-length", &["0", "5"], Body),
        ("content-length", &["0, 0"], Body),
        ("sec-websocket-version", &[], Version),
        ("sec-websocket-version", &["8"], Version),
        ("sec-websocket-version", &["777"], Version),
        ("sec-websocket-version", &["13, 8"], Version),
        ("sec-websocket-version", &["013"], Version),
        ("sec-websocket-version", &["13", "13"], Version),
        ("sec-websocket-key", &[], Key),
        ("sec-websocket-key", &[""], Key),
        ("sec-websocket-key", &[key, key], Key),
        ("sec-websocket-key", &["dGhlIHNhbXBsZSBub25jZR=="], Key),
        ("sec-websocket-key", &["dGhlIHNhbXBsZSBub25jZQ"], Key),
        ("sec-websocket-key", &["dGhlIHNhbXBsZSBub25jZTEx"], Key),
        ("sec-websocket-key", &["dGhlIHNhbXBsZSBub25jZTE="], Key),
        ("sec-websocket-key", &["dGhlIHNhbXBsZSBub25j-_=="], Key),
        ("sec-websocket-key", &["dGhlIHNhbXBsZSBub 5jZQ=="], Key),
        ("sec-websocket-protocol", &["chat, chat"], Protocols),
        ("sec-websocket-protocol", &["chat", "chat"], Protocols),
        ("sec-websocket-protocol", &["a b"], Protocols),
        ("sec-websocket-protocol", &["a/b"], Protocols),
        ("sec-websocket-extensions", &["permessage deflate"], Extensions),
        ("sec-websocket-extensions", &["x; y=\"a,b\""], Extensions),
    ];
    for (name, values, error) in table {
        assert_eq!(read_offer(&with(name, values)), Err(error), "{name}: {values:?}");
    }
    let mut post = head(&GOOD);
    post.method = http::Method::POST;
    assert_eq!(read_offer(&post), Err(Method));
    for version in [http::Version::HTTP_10, http::Version::HTTP_2] {
        let mut other = head(&GOOD);
        other.version = version;
        assert_eq!(read_offer(&other), Err(HttpVersion));
    }
}

#[test]
fn only_another_version_is_426() {
    assert_eq!(OfferError::Version.status(), 426);
    assert_eq!(OfferError::Key.status(), 400);
    assert_eq!(OfferError::Body.status(), 400);
}

#[test]
fn only_known_extensions_are_left() {
    for (lines, left, names) in [
        (&["x-foo"][..], None, 0),
        (
            &["x-foo; a=b, Permessage-Deflate; client_max_window_bits", "y"],
            Some("Permessage-Deflate; client_max_window_bits"),
            1,
        ),
        (
            &["y", "permessage-deflate;a, permessage-deflate"],
            Some("permessage-deflate;a, permessage-deflate"),
            2,
        ),
    ] {
        let mut request = with("sec-websocket-extensions", lines);
        let offer = read_offer(&request).unwrap().unwrap();
        let known = offer.without_unknown_extensions(&mut request.headers);
        let values: Vec<_> = request.headers.get_all("sec-websocket-extensions").iter().collect();
        assert_eq!(values, Vec::from_iter(left), "{lines:?}");
        assert_eq!((known.extensions.len(), known.accept()), (names, offer.accept()));
        assert_eq!(read_offer(&request).unwrap().unwrap(), known);
    }
}

#[test]
fn protocols_and_extensions_are_collected_from_all_lines() {
    let mut lines = GOOD.to_vec();
    lines.extend([
        ("sec-websocket-protocol", "graphql-ws, Chat"),
        ("sec-websocket-protocol", "chat"),
        ("sec-websocket-extensions", "Permessage-Deflate; client_max_window_bits, x"),
        ("sec-websocket-extensions", "permessage-deflate;server_no_context_takeover"),
    ]);
    let offer = read_offer(&head(&lines)).unwrap().unwrap();
    assert_eq!(offer.protocols, ["graphql-ws", "Chat", "chat"]);
    assert_eq!(offer.extensions, ["permessage-deflate", "x", "permessage-deflate"]);
}

#[test]
fn the_number_of_names_is_bounded() {
    let name_list = |count: usize| {
        let names: Vec<_> = (0..count).map(|number| format!("p{number}")).collect();
        names.join(",")
    };
    let table = [
        ("sec-websocket-protocol", OfferError::Protocols),
        ("sec-websocket-extensions", OfferError::Extensions),
    ];
    for (field, error) in table {
        assert!(read_offer(&with(field, &[&name_list(NAMES_MAX)])).unwrap().is_some());
        assert_eq!(read_offer(&with(field, &[&name_list(NAMES_MAX + 1)])), Err(error));
    }
}

#[test]
fn what_is_written_for_the_backend_is_a_handshake_again() {
    let mut head = with("upgrade", &["h2c, websocket"]);
    head.headers.append("connection", HeaderValue::from_static("HTTP2-Settings"));
    head.headers.append("sec-websocket-protocol", HeaderValue::from_static("chat"));
    let offer = read_offer(&head).unwrap().unwrap();
    offer.write(&mut head.headers);
    let upgrades: Vec<_> = head.headers.get_all("upgrade").iter().collect();
    let connections: Vec<_> = head.headers.get_all("connection").iter().collect();
    assert_eq!(upgrades, ["websocket"]);
    assert_eq!(connections, ["Upgrade"]);
    assert_eq!(read_offer(&head), Ok(Some(offer)));
}

proptest! {
    #[test]
    fn no_field_value_makes_it_panic(
        name in prop::sample::select(vec![
            "upgrade", "connection", "sec-websocket-key", "sec-websocket-version", "sec-websocket-protocol",
            "sec-websocket-extensions", "content-length",
        ]),
        value in prop::collection::vec(
            any::<u8>().prop_filter("not a field value", |b| *b >= 0x20 && *b != 0x7f), 0..40,
        ),
    ) {
        let mut head = head(&GOOD);
        head.headers.append(name, HeaderValue::from_bytes(&value).unwrap());
        let _ = read_offer(&head);
    }
}
