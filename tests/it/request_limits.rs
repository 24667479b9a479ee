//! Limits of requests, each crossed: the target, the rest between two, handshakes that wait, the body.

use std::time::Duration;

use tokio::time::sleep;

use crate::kit::{Backend, Client, Pki, Proxy, handshake, plain, read_until, secure};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: example.com\r\n\r\n")
}

#[tokio::test]
async fn a_target_over_the_limit_is_414() {
    let backend = Backend::answers(OK).await;
    let limits = "[limits]\ntarget_bytes_max = \"256B\"\n";
    let proxy = Proxy::start(&(limits.to_string() + &plain(&[backend.address]))).await;
    for (bytes, status) in [(256, 200), (257, 414), (70_000, 414)] {
        let mut client = proxy.connect("plain").await;
        let target = format!("/{}", "x".repeat(bytes - 1));
        // The HTTP library refuses the largest by itself: before all of it has been read.
        let _ = tokio::io::AsyncWriteExt::write_all(&mut client, get(&target).as_bytes()).await;
        let status_seen = client.head().await.status();
        assert!(status_seen == status || (bytes > 32_768 && status_seen == 431), "{bytes}: {status_seen}");
    }
    proxy.wait_metric("longhaul_requests_total{route=\"\",result=\"target_too_long\"}", 1.0).await;
    assert_eq!(backend.called(), 1);
}

#[tokio::test]
async fn a_connection_may_rest_for_a_time_of_its_own() {
    let backend = Backend::answers(OK).await;
    let faults = "longhaul_connection_errors_total{listener=\"plain\",reason=\"head_timeout\"}";
    // It ends after the rest, and nobody is to blame.
    let limits = "[limits]\nkeepalive_timeout = \"200ms\"\nhead_timeout = \"1h\"\n";
    let proxy = Proxy::start(&(limits.to_string() + &plain(&[backend.address]))).await;
    let mut client = proxy.connect("plain").await;
    for _ in 0..2 {
        client.send(get("/")).await;
        assert_eq!(client.answer().await.1, "ok");
    }
    assert_eq!(client.rest().await.0, b"");
    proxy.wait_metric("longhaul_connections_active{listener=\"plain\"}", 0.0).await;
    assert_eq!(proxy.metric(faults).await, 0.0);

    // A rest is no head: it may be longer, and the head that follows has its whole time.
    let limits = "[limits]\nkeepalive_timeout = \"1h\"\nhead_timeout = \"200ms\"\n";
    let proxy = Proxy::start(&(limits.to_string() + &plain(&[backend.address]))).await;
    let mut client = proxy.connect("plain").await;
    for _ in 0..2 {
        client.send(get("/")).await;
        assert_eq!(client.answer().await.1, "ok");
        sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(proxy.metric(faults).await, 0.0);
    client.send("GET / HT").await;
    assert_eq!(client.rest().await.0, b"");
    proxy.wait_metric(faults, 1.0).await;
}

/// A client that sends on, and looks only afterwards, finds the answer and a clean end.
#[tokio::test]
async fn an_answer_that_ends_an_upload_can_be_read() {
    let (backend, mut calls) = Backend::by_hand().await;
    let pki = Pki::new();
    let certificate = pki.issue(&["example.com"]);
    let config = plain(&[backend.address])
        .replace("name = \"all\"\npool", "name = \"all\"\nbody_bytes_max = \"1MiB\"\npool");
    let proxy = Proxy::start(&(config + &secure(&[&certificate]))).await;
    let much = "x".repeat(8 << 20);
    for is_secure in [false, true] {
        for head in ["Content-Length: 8388608\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n800000\r\n"] {
            let mut client = match is_secure {
                true => Client::connect_tls(proxy.address("secure"), &pki, "example.com").await,
                false => proxy.connect("plain").await,
            };
            client.send(format!("POST / HTTP/1.1\r\nHost: example.com\r\n{head}")).await;
            if head.contains("chunked") {
                tokio::spawn(calls.next().await.rest());
            }
            client.send(&much).await;
            let (answer, ended) = client.rest().await;
            let answer = String::from_utf8_lossy(&answer);
            assert!(answer.starts_with("HTTP/1.1 413 ") && answer.ends_with("too large\n"), "{answer}");
            assert!(ended.is_ok(), "{ended:?}");
        }
    }
    // So can one to what is no request at all.
    let mut client = proxy.connect("plain").await;
    client.send("what?\r\n\r\n".to_string() + &much).await;
    let (answer, ended) = client.rest().await;
    assert!(answer.starts_with(b"HTTP/1.1 400 ") && ended.is_ok(), "{ended:?}");
}

#[tokio::test]
async fn handshakes_that_wait_for_an_answer_are_bounded() {
    let (backend, mut calls) = Backend::by_hand().await;
    let limits = "[limits]\nhandshakes_max = 1\n";
    let proxy = Proxy::start(&(limits.to_string() + &plain(&[backend.address]))).await;
    let mut first = proxy.connect("plain").await;
    first.send(handshake("/", "example.com", "")).await;
    let call = calls.next().await;
    let mut second = proxy.connect("plain").await;
    second.send(handshake("/", "example.com", "")).await;
    let (head, _) = second.answer().await;
    let seconds = head.get("retry-after").and_then(|seconds| seconds.parse().ok());
    assert!(head.status() == 503 && seconds.is_some_and(|seconds| (2..=5).contains(&seconds)), "{head:?}");
    proxy.wait_metric("longhaul_handshakes_total{route=\"all\",result=\"handshake_limit\"}", 1.0).await;
    let _backend = call.accept("").await;
    assert_eq!(first.head().await.status(), 101);
    // A tunnel is no handshake any more, and neither is one whose client left.
    second.send(handshake("/", "example.com", "")).await;
    let left = calls.next().await;
    drop(second);
    assert_eq!(left.rest().await, b"");
    // Its place is free a moment after the backend has seen its end.
    loop {
        let mut third = proxy.connect("plain").await;
        third.send(handshake("/", "example.com", "")).await;
        tokio::select! {
            call = calls.next() => call.answer(OK).await,
            head = third.head() => {
                assert_eq!(head.status(), 503);
                continue;
            }
        }
        assert_eq!(third.answer().await.0.status(), 200);
        return;
    }
}

#[tokio::test]
async fn a_body_over_the_routes_limit_is_413() {
    let (backend, mut calls) = Backend::by_hand().await;
    let config = plain(&[backend.address])
        .replace("name = \"all\"\npool", "name = \"all\"\nbody_bytes_max = \"10B\"\npool");
    let proxy = Proxy::start(&config).await;
    let post = |lines: &str| format!("POST / HTTP/1.1\r\nHost: example.com\r\n{lines}\r\n\r\n");
    // By its length: at once, nobody is told to go on, and no backend hears of it.
    let mut client = proxy.connect("plain").await;
    client.send(post("Content-Length: 11\r\nExpect: 100-continue")).await;
    assert_eq!(client.head().await.status(), 413);
    assert_eq!(backend.called(), 0);
    // As it crosses: the backend's request is cut, and never looks complete.
    let mut client = proxy.connect("plain").await;
    client.send(post("Transfer-Encoding: chunked") + "9\r\n123456789\r\n").await;
    let mut call = calls.next().await;
    let mut seen = std::mem::take(&mut call.head.rest);
    read_until(&mut call.stream, &mut seen, "123456789").await;
    client.send("2\r\nab\r\n0\r\n\r\n").await;
    assert_eq!(client.head().await.status(), 413);
    let rest = String::from_utf8(call.rest().await).expect("text");
    assert!(!rest.contains("ab") && !rest.contains("0\r\n\r\n"), "{rest:?}");
    proxy.wait_metric("longhaul_requests_total{route=\"all\",result=\"body_too_large\"}", 2.0).await;
    // Just as much as it may be.
    for (lines, body) in
        [("Content-Length: 10", "1234567890"), ("Transfer-Encoding: chunked", "a\r\n1234567890\r\n0\r\n\r\n")]
    {
        let mut client = proxy.connect("plain").await;
        client.send(post(lines) + body).await;
        let mut call = calls.next().await;
        let (body, _) = call.head.clone().body(&mut call.stream).await;
        assert_eq!(body, b"1234567890");
        call.answer(OK).await;
        assert_eq!(client.answer().await.0.status(), 200);
    }
}
