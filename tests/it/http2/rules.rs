//! Requests that HTTP/2 does not allow, or not here (RFC 9113 8, RFC 8441).

use super::{OK, proxy, raw};
use crate::kit::Backend;
use crate::kit::frames::{CONNECT, END_HEADERS, END_STREAM, GET, HEADERS, Outcome, PROTOCOL_ERROR, block};

#[tokio::test]
async fn requests_that_break_the_rules_reach_no_backend() {
    let backend = Backend::answers(OK).await;
    let (proxy, pki) = proxy(&backend, "extended_connect = true\n").await;
    let refused = Outcome::Reset(PROTOCOL_ERROR);
    let many: Vec<(&str, &[u8])> = vec![("x", b"y"); 101];
    let with = |fields: &[(&'static str, &'static [u8])]| [&GET[..], fields].concat();
    let replaced = |name: &str, value: &'static [u8]| -> Vec<(&'static str, &'static [u8])> {
        let field =
            |(own, old): &(&'static str, &'static [u8])| (*own, if *own == name { value } else { *old });
        GET.iter().map(field).collect()
    };
    let without = |name: &str| GET.iter().copied().filter(|(own, _)| *own != name).collect::<Vec<_>>();
    // RFC 9113 8.2, 8.3: what is malformed is a stream error; what h2 lets through is answered with 400.
    for (fields, resets) in [
        (with(&[("connection", b"close")]), true),
        (with(&[("transfer-encoding", b"chunked")]), true),
        (with(&[("upgrade", b"websocket")]), true),
        (with(&[("keep-alive", b"1")]), true),
        (with(&[("proxy-connection", b"close")]), true),
        (with(&[("te", b"gzip")]), true),
        (with(&[("X-Upper", b"1")]), true),
        (with(&[(":path", b"/twice")]), true),
        (with(&[(":status", b"200")]), true),
        (with(&[(":unknown", b"1")]), true),
        (with(&[(":protocol", b"websocket")]), true),
        (replaced(":path", b""), true),
        (replaced(":path", b"/a b"), true),
        (replaced(":path", b"/a\r\nX: 1"), true),
        (replaced(":method", b"GE T"), true),
        (replaced(":authority", b"a b"), true),
        (without(":path"), true),
        (without(":method"), true),
        (without(":scheme"), true),
        (with(&[("host", b"other.example")]), false),
        (with(&[("host", b"chat.example.com"), ("host", b"chat.example.com")]), false),
        (replaced(":authority", b"user@chat.example.com"), false),
        (without(":authority"), false),
        (replaced(":path", b"*"), false),
        (replaced(":path", b"nowhere"), true),
        (replaced(":path", b"https://other.example/"), true),
        (replaced(":scheme", b"ftp"), false),
        (with(&[("content-length", b"0"), ("content-length", b"1")]), true),
        (with(&[("x", b" y")]), false),
        (with(&[("x", b"y\t")]), false),
        ([&GET[..], &many[..]].concat(), false),
    ] {
        let shown: Vec<_> =
            fields.iter().take(6).map(|(name, value)| format!("{name}: {}", value.escape_ascii())).collect();
        let mut client = raw(&proxy, &pki).await;
        client.send(HEADERS, END_STREAM | END_HEADERS, 1, &block(&fields)).await;
        match client.outcome(1).await {
            Outcome::Answered(status) if !resets => {
                let expected = if fields.len() > 100 { 431 } else { 400 };
                assert_eq!(status, expected, "{shown:?}");
            }
            // Of some names h2 says that the whole block cannot be read.
            Outcome::Goaway(PROTOCOL_ERROR) if resets => {}
            outcome => assert!(resets && outcome == refused, "{shown:?}: {outcome:?}"),
        }
    }
    for value in [&b"a\r\nb"[..], b"a\nb", b"a\0b"] {
        let mut client = raw(&proxy, &pki).await;
        client
            .send(HEADERS, END_STREAM | END_HEADERS, 1, &block(&[&GET[..], &[("x", value)]].concat()))
            .await;
        let outcome = client.outcome(1).await;
        assert!(matches!(outcome, Outcome::Reset(_) | Outcome::Goaway(_)), "{outcome:?}");
    }
    assert_eq!(backend.called(), 0);
}

/// A field in HTTP/2.
type Field = (&'static str, &'static [u8]);

#[tokio::test]
async fn connects_that_break_the_rules_reach_no_backend() {
    let backend = Backend::answers(OK).await;
    let without =
        |name: &str| CONNECT.iter().copied().filter(|(own, _)| *own != name).collect::<Vec<Field>>();
    let with = |field: Field| {
        let others = without(field.0);
        // What begins with a colon stands before what does not.
        let (pseudo, fields): (Vec<Field>, Vec<Field>) =
            [&others[..], &[field]].concat().into_iter().partition(|(name, _)| name.starts_with(':'));
        [pseudo, fields].concat()
    };
    for (offered, fields, answer) in [
        (true, without(":path"), None),
        (true, without(":scheme"), None),
        (true, without(":authority"), Some(400)),
        (true, with((":scheme", b"ftp")), Some(400)),
        (true, with((":path", b"*")), Some(400)),
        (true, with((":method", b"GET")), None),
        (true, with((":protocol", b"h2c")), Some(501)),
        (true, with((":protocol", b"")), Some(501)),
        (true, with((":protocol", b"websocket, h2c")), Some(501)),
        (true, with(("content-length", b"0")), Some(400)),
        (true, with(("sec-websocket-protocol", b"a b")), Some(400)),
        (true, with(("connection", b"upgrade")), None),
        (true, with(("upgrade", b"websocket")), None),
        // RFC 9113 8.5: a tunnel to anywhere, which has neither a scheme nor a path.
        (true, without(":protocol"), None),
        (true, CONNECT[..2].to_vec(), Some(405)),
        (false, CONNECT.to_vec(), None),
    ] {
        let (proxy, pki) = proxy(&backend, &format!("extended_connect = {offered}\n")).await;
        let mut client = raw(&proxy, &pki).await;
        client.send(HEADERS, END_HEADERS, 1, &block(&fields)).await;
        let shown: Vec<_> =
            fields.iter().map(|(name, value)| format!("{name}: {}", value.escape_ascii())).collect();
        match (client.outcome(1).await, answer) {
            (outcome, Some(status)) => assert_eq!(outcome, Outcome::Answered(status), "{shown:?}"),
            (outcome, None) => assert!(
                matches!(outcome, Outcome::Reset(_) | Outcome::Goaway(PROTOCOL_ERROR)),
                "{shown:?}: {outcome:?}"
            ),
        }
    }
    assert_eq!(backend.called(), 0);
}
