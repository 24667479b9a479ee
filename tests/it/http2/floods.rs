//! What a hostile client of HTTP/2 may try: each flood is bounded and counted, and others are served meanwhile.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout};

use super::{OK, connect, faults, proxy, raw};
use crate::kit::frames::{
    CONNECT, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, Frames, GET, HEADERS, Outcome,
    PING, POST, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame,
};
use crate::kit::{Backend, DEADLINE, Pki, Proxy};

/// What is written before a flood that nothing stops counts as endless.
const FLOOD_BYTES_MAX: usize = 64 << 20;

/// Somebody else is served.
async fn others_are_served(proxy: &Proxy, pki: &Pki) {
    assert_eq!(connect(proxy, pki).await.get("/").await.body, "ok");
}

/// Writes `bytes` again and again and reads nothing, until the proxy has closed the connection, or reads no more.
async fn flood(client: &mut Frames, bytes: &dyn Fn(u32) -> Vec<u8>) {
    let mut written = 0;
    for round in 0.. {
        let bytes = bytes(round);
        written += bytes.len();
        assert!(written < FLOOD_BYTES_MAX, "nothing stops it");
        let sent = timeout(Duration::from_secs(2), async {
            client.0.write_all(&bytes).await?;
            client.0.flush().await
        });
        if !matches!(sent.await, Ok(Ok(()))) {
            break;
        }
    }
}

type Maker<'a> = &'a dyn Fn(u32) -> Vec<u8>;

/// Lets a flood go, and others ask meanwhile; then it is counted under `reason`, and has left nothing behind.
async fn is_bounded(proxy: &Proxy, pki: &Pki, name: &str, bytes: Maker<'_>, reason: &str) {
    let before = proxy.metric(&faults(reason)).await;
    let memory = proxy.metric("process_resident_memory_bytes").await;
    let mut client = raw(proxy, pki).await;
    tokio::join!(flood(&mut client, bytes), others_are_served(proxy, pki));
    let deadline = Instant::now() + DEADLINE;
    while proxy.metric(&faults(reason)).await != before + 1.0 {
        let (_, text) = proxy.scrape("/metrics").await;
        let counted: Vec<_> = text.lines().filter(|line| line.contains("connection_errors_total{")).collect();
        assert!(Instant::now() < deadline, "{name} is not {reason}: {counted:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    others_are_served(proxy, pki).await;
    drop(client);
    let grown = proxy.metric("process_resident_memory_bytes").await - memory;
    assert!(grown < 32e6, "{name}: {grown}");
}

/// Streams of 50, in each round others.
fn streams(round: u32) -> impl Iterator<Item = u32> {
    (0..50).map(move |index| (round * 50 + index) * 2 + 1)
}

#[tokio::test]
async fn floods_of_resets_end_the_connection() {
    let backend = Backend::answers(OK).await;
    let (proxy, pki) = proxy(&backend, "").await;
    let (get, post) = (block(&GET), block(&POST));
    let short = block(&[&POST[..], &[("content-length", b"1")]].concat());
    let rapid = |stream| {
        [
            frame(HEADERS, END_STREAM | END_HEADERS, stream, &get),
            frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()),
        ]
        .concat()
    };
    // Here it is the server that has to reset the stream (CVE-2025-8671): for a body longer than its length, for a window
    // that grows over 2^31, for streams that are too many.
    let long = |stream| {
        [frame(HEADERS, END_HEADERS, stream, &short), frame(DATA, END_STREAM, stream, b"xx")].concat()
    };
    let wide = |stream| {
        [frame(HEADERS, END_HEADERS, stream, &post), frame(WINDOW_UPDATE, 0, stream, &[127, 255, 255, 255])]
            .concat()
    };
    let open = |stream| frame(HEADERS, END_HEADERS, stream, &post);
    for (name, stream) in [
        ("rapid reset", &rapid as &dyn Fn(u32) -> Vec<u8>),
        ("long bodies", &long),
        ("windows that are too large", &wide),
        ("too many streams", &open),
    ] {
        let bytes = |round| streams(round).flat_map(stream).collect();
        is_bounded(&proxy, &pki, name, &bytes, "reset_flood").await;
    }
    proxy.wait_metric("longhaul_connections_active{listener=\"secure\"}", 0.0).await;
}

#[tokio::test]
async fn floods_of_fields_end_the_connection() {
    let backend = Backend::answers(OK).await;
    let (proxy, pki) = proxy(&backend, "").await;
    let get = block(&GET);
    let endless = |fragment: Vec<u8>| {
        let get = get.clone();
        move |round: u32| match round {
            0 => frame(HEADERS, END_STREAM, 1, &get),
            _ => frame(CONTINUATION, 0, 1, &fragment),
        }
    };
    let small = endless(block(&[("x", b"y")]));
    let empty = endless(Vec::new());
    let large = endless(block(&[("x", &[b'x'; 15_000])]));
    // The beginning of a value that does not end: of 16 MiB, by its length.
    let unended = endless([&[0, 1, b'x', 127, 0x81, 0xff, 0xff, 7][..], &[b'x'; 15_000]].concat());
    // One field in the table, and then one byte for each time that it is meant (CVE-2016-6581).
    let indexed = {
        let mut field = block(&[("x", &[b'x'; 3_900])]);
        field[0] = 0x40;
        let bomb = [&get[..], &field, &[0xbe; 10_000]].concat();
        move |_: u32| frame(HEADERS, END_STREAM | END_HEADERS, 1, &bomb)
    };
    for (name, bytes, reason) in [
        ("CONTINUATION", &small as Maker, "header_flood"),
        ("empty CONTINUATION", &empty, "header_flood"),
        ("large CONTINUATION", &large, "header_flood"),
        ("a value without end", &unended, "header_flood"),
        ("fields from the table", &indexed, "head_too_large"),
    ] {
        is_bounded(&proxy, &pki, name, bytes, reason).await;
    }
    proxy.wait_metric("longhaul_connections_active{listener=\"secure\"}", 0.0).await;
    assert_eq!(proxy.metric(&faults("malformed")).await, 0.0);
}

#[tokio::test]
async fn floods_of_what_is_just_answered_end_the_connection() {
    let backend = Backend::answers(OK).await;
    let (proxy, pki) = proxy(&backend, "").await;
    let pings = |_| frame(PING, 0, 0, &[7; 8]).repeat(100);
    let settings = |_| frame(SETTINGS, 0, 0, &[]).repeat(100);
    // With a size of the table that changes each time.
    let sizes = |round: u32| {
        let size = |index: u32| [&[0, 1][..], &(round * 100 + index).to_be_bytes()].concat();
        (0..100).flat_map(|index| frame(SETTINGS, 0, 0, &size(index))).collect()
    };
    let post = block(&POST);
    let empty = |round| match round {
        0 => frame(HEADERS, END_HEADERS, 1, &post),
        _ => frame(DATA, 0, 1, &[]),
    };
    for (name, bytes, reason) in [
        ("PING", &pings as Maker, "ping_flood"),
        ("SETTINGS", &settings, "settings_flood"),
        ("sizes", &sizes, "settings_flood"),
        ("empty DATA", &empty, "data_flood"),
    ] {
        is_bounded(&proxy, &pki, name, bytes, reason).await;
    }
    proxy.wait_metric("longhaul_connections_active{listener=\"secure\"}", 0.0).await;
}

#[tokio::test]
async fn many_pings_are_answered_and_too_many_are_not() {
    let backend = Backend::answers(OK).await;
    let (proxy, pki) = proxy(&backend, "").await;
    let mut client = raw(&proxy, &pki).await;
    for round in 0..9_u8 {
        client.0.send(frame(PING, 0, 0, &[round; 8]).repeat(100)).await;
        let mut answered = 0;
        while answered < 100 {
            let (kind, flags, _, payload) = client.receive().await.expect("an answer");
            answered += usize::from((kind, flags) == (PING, 1) && payload == [round; 8]);
        }
    }
    client.send(HEADERS, END_STREAM | END_HEADERS, 1, &block(&GET)).await;
    assert!(matches!(client.outcome(1).await, Outcome::Answered(_)));
    client.0.send(frame(PING, 0, 0, &[9; 8]).repeat(10_000)).await;
    assert_eq!(client.outcome(3).await, Outcome::Goaway(ENHANCE_YOUR_CALM));
    proxy.wait_metric(&faults("ping_flood"), 1.0).await;
}

#[tokio::test]
async fn a_hundred_empty_data_frames_are_taken_and_one_more_is_not() {
    let (backend, mut calls) = Backend::by_hand().await;
    let (proxy, pki) = proxy(&backend, "").await;
    let mut client = raw(&proxy, &pki).await;
    let post = block(&POST);
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
async fn no_frames_are_too_much_for_it() {
    let backend = Backend::answers(OK).await;
    let (proxy, pki) = proxy(&backend, "extended_connect = true\n").await;
    let seed = fastrand::u64(..);
    // Shown when the test fails.
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let heads = [block(&GET), block(&POST), block(&CONNECT)];
    for _ in 0..200 {
        let mut client = raw(&proxy, &pki).await;
        let mut bytes = Vec::new();
        for _ in 0..rng.usize(1..40) {
            let (kind, flags, stream) = (rng.u8(..11), rng.u8(..), rng.u32(..8));
            let random: Vec<u8> = (0..rng.usize(..40)).map(|_| rng.u8(..)).collect();
            let payload = match kind {
                HEADERS if rng.u8(..4) > 0 => {
                    // Neither padded nor with a priority, for most of them to be whole.
                    bytes.extend(frame(HEADERS, flags & !0x28, stream, rng.choice(&heads).expect("a head")));
                    continue;
                }
                RST_STREAM | WINDOW_UPDATE => rng.u32(..10).to_be_bytes().to_vec(),
                PING => vec![0; 8],
                SETTINGS if flags & 1 != 0 => Vec::new(),
                SETTINGS => [&[0, rng.u8(..10)][..], &rng.u32(..70_000).to_be_bytes()].concat(),
                _ => random,
            };
            let stream = if matches!(kind, PING | SETTINGS) { 0 } else { stream };
            bytes.extend(frame(kind, flags, stream, &payload));
        }
        let _ = timeout(DEADLINE, client.0.write_all(&bytes)).await.expect("room to write, or an end");
        let _ = client.0.flush().await;
    }
    others_are_served(&proxy, &pki).await;
    proxy.wait_metric("longhaul_connections_active{listener=\"secure\"}", 0.0).await;
    let errors = proxy.errors();
    assert!(!errors.contains("panicked"), "{errors}");
}
