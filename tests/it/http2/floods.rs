//! What a hostile client of HTTP/2 may try: each flood is bounded and counted, and others are served meanwhile.

use super::{OK, connect, faults, proxy};
use crate::kit::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, GET, HEADERS, Outcome, PING, RST_STREAM, SETTINGS,
    block, frame,
};
use crate::kit::{Backend, Client, Http2, Pki, Proxy};

/// RFC 9113 7.
const PROTOCOL_ERROR: u32 = 1;
const ENHANCE_YOUR_CALM: u32 = 11;

async fn raw(proxy: &Proxy, pki: &Pki) -> Frames {
    let client: Client = Http2::secure(proxy.address("secure"), pki).await;
    Frames::begin(client).await
}

/// Somebody else is served.
async fn others_are_served(proxy: &Proxy, pki: &Pki) {
    assert_eq!(connect(proxy, pki).await.get("/").await.body, "ok");
}

/// Writes `bytes` again and again, until the proxy has closed or has read 64 MiB.
async fn flood(client: &mut Frames, bytes: impl Fn(u32) -> Vec<u8>) {
    use tokio::io::AsyncWriteExt;
    let mut written = 0;
    for round in 0.. {
        let bytes = bytes(round);
        written += bytes.len();
        let sent = tokio::time::timeout(std::time::Duration::from_secs(2), async {
            client.0.write_all(&bytes).await?;
            client.0.flush().await
        });
        if !matches!(sent.await, Ok(Ok(()))) || written > 64 << 20 {
            break;
        }
    }
}

#[tokio::test]
async fn floods_end_the_connection_and_are_counted() {
    let backend = Backend::answers(OK).await;
    let (proxy, pki) = proxy(&backend, "").await;
    let get = block(&GET);
    let request = |stream| frame(HEADERS, END_STREAM | END_HEADERS, stream, &get);
    let reset = |stream| frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
    let short = block(&[(":method", b"POST"), GET[1], GET[2], GET[3], ("content-length", b"1")]);
    // A body longer than its length: the server has to reset the stream (CVE-2025-8671).
    let wrong = |stream| {
        [frame(HEADERS, END_HEADERS, stream, &short), frame(DATA, END_STREAM, stream, b"xx")].concat()
    };
    let rapid = |round: u32| {
        let streams = (0..50).map(|index| (round * 50 + index) * 2 + 1);
        streams.flat_map(|stream| [request(stream), reset(stream)].concat()).collect::<Vec<u8>>()
    };
    let made = |round: u32| {
        let streams = (0..50).map(|index| (round * 50 + index) * 2 + 1);
        streams.flat_map(wrong).collect::<Vec<u8>>()
    };
    let endless = |round: u32| match round {
        0 => frame(HEADERS, END_STREAM, 1, &get),
        _ => frame(CONTINUATION, 0, 1, &block(&[("x", b"y")])),
    };
    let empty_endless = |round: u32| match round {
        0 => frame(HEADERS, END_STREAM, 1, &get),
        _ => frame(CONTINUATION, 0, 1, &[]),
    };
    let large = vec![b'x'; 15_000];
    let bomb = |round: u32| match round {
        0 => frame(HEADERS, END_STREAM, 1, &get),
        _ => frame(CONTINUATION, 0, 1, &block(&[("x", &large)])),
    };
    let post = block(&[(":method", b"POST"), GET[1], GET[2], GET[3]]);
    let empty = |round: u32| match round {
        0 => frame(HEADERS, END_HEADERS, 1, &post),
        _ => frame(DATA, 0, 1, &[]),
    };
    type Maker<'a> = &'a dyn Fn(u32) -> Vec<u8>;
    for (name, bytes, reasons) in [
        ("rapid reset", &rapid as Maker, &["reset_flood", "flood"][..]),
        ("made resets", &made, &["reset_flood", "flood"]),
        ("CONTINUATION", &endless, &["flood", "malformed"]),
        ("empty CONTINUATION", &empty_endless, &["flood"]),
        ("header bomb", &bomb, &["malformed", "flood"]),
        ("empty DATA", &empty, &["data_flood", "flood"]),
    ] {
        let count = async || {
            let mut sum = 0.0;
            for reason in reasons {
                sum += proxy.metric(&faults(reason)).await;
            }
            sum
        };
        let before = count().await;
        let memory = proxy.metric("process_resident_memory_bytes").await;
        let mut client = raw(&proxy, &pki).await;
        flood(&mut client, bytes).await;
        others_are_served(&proxy, &pki).await;
        drop(client);
        let deadline = std::time::Instant::now() + crate::kit::DEADLINE;
        while count().await == before {
            assert!(std::time::Instant::now() < deadline, "{name} is not counted");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        let grown = proxy.metric("process_resident_memory_bytes").await - memory;
        assert!(grown < 32e6, "{name}: {grown}");
    }
    proxy.wait_metric("longhaul_connections_active{listener=\"secure\"}", 0.0).await;
}

#[tokio::test]
async fn a_hundred_empty_data_frames_are_taken_and_one_more_is_not() {
    let (backend, mut calls) = Backend::by_hand().await;
    let (proxy, pki) = proxy(&backend, "").await;
    let mut client = raw(&proxy, &pki).await;
    let post = block(&[(":method", b"POST"), GET[1], GET[2], GET[3]]);
    // Over the whole life of the connection: they are spread over two streams.
    for stream in [1, 3] {
        client.send(HEADERS, END_HEADERS, stream, &post).await;
        for _ in 0..50 {
            client.send(DATA, 0, stream, &[]).await;
        }
        client.send(DATA, END_STREAM, stream, b"end").await;
        let mut call = calls.next().await;
        let (body, _) = call.head.clone().body(&mut call.stream).await;
        assert_eq!(body, b"end");
        call.answer(OK).await;
        assert!(matches!(client.outcome(stream).await, Outcome::Answered(_)));
    }
    client.send(HEADERS, END_HEADERS, 5, &post).await;
    client.send(DATA, 0, 5, &[]).await;
    assert_eq!(client.outcome(5).await, Outcome::Goaway(ENHANCE_YOUR_CALM));
    proxy.wait_metric(&faults("data_flood"), 1.0).await;
}

#[tokio::test]
async fn pings_and_settings_that_are_not_waited_for_use_no_memory() {
    let backend = Backend::answers(OK).await;
    let (proxy, pki) = proxy(&backend, "").await;
    let before = proxy.metric("process_resident_memory_bytes").await;
    for kind in [PING, SETTINGS] {
        let payload: &[u8] = if kind == PING { &[7; 8] } else { &[] };
        let mut client = raw(&proxy, &pki).await;
        // Nothing of the answers is read.
        flood(&mut client, |_| frame(kind, 0, 0, payload).repeat(1000)).await;
        others_are_served(&proxy, &pki).await;
    }
    let grown = proxy.metric("process_resident_memory_bytes").await - before;
    assert!(grown < 32e6, "{grown}");
    proxy.wait_metric("longhaul_connections_active{listener=\"secure\"}", 0.0).await;
}

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
            Outcome::Answered(block) if !resets => {
                // Of `:status` 400 the table has the index 12; 431 is written out behind the name's index, 8.
                assert!([0x8c, 0x48].contains(&block[0]), "{shown:?}: {block:?}");
            }
            // Of some names h2 says that the whole block cannot be read.
            Outcome::Goaway(PROTOCOL_ERROR) if resets => {}
            outcome => assert!(resets && outcome == refused, "{shown:?}: {outcome:?}"),
        }
    }
    for value in [&b"a\r\nb"[..], b"a\0b"] {
        let mut client = raw(&proxy, &pki).await;
        client
            .send(HEADERS, END_STREAM | END_HEADERS, 1, &block(&[&GET[..], &[("x", value)]].concat()))
            .await;
        let outcome = client.outcome(1).await;
        assert!(matches!(outcome, Outcome::Reset(_) | Outcome::Goaway(_)), "{outcome:?}");
    }
    assert_eq!(backend.called(), 0);
}
