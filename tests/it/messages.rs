//! What may happen around a request and its answer: trailers, expectations, clients that leave, long polls.

use crate::kit::{
    Backend, Client, Head, Pki, Proxy, handshake, plain, read_until, secure, switching, within,
};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn get(target: &str, lines: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: example.com\r\n{lines}\r\n")
}

#[tokio::test]
async fn trailers_pass_both_ways_but_for_what_belongs_in_a_head() {
    let (backend, mut calls) = Backend::by_hand().await;
    let proxy = Proxy::start(&plain(&[backend.address])).await;
    const TRAILERS: &str = "0\r\nX-Sum: 1\r\nX-Forwarded-For: 192.0.2.1\r\nContent-Length: 3\r\n\
                            X-Client-Certificate-Subject: CN=admin\r\nX_Client_Certificate_Names: DNS:admin\r\n\r\n";
    const NAMES: &str = "Transfer-Encoding: chunked\r\nTrailer: X-Sum, X-Forwarded-For, Content-Length\r\n\
                         Trailer: X-Client-Certificate-Subject, X_Client_Certificate_Names\r\n";
    let mut client = proxy.connect("plain").await;
    let head = format!("POST / HTTP/1.1\r\nHost: example.com\r\nTE: trailers\r\n{NAMES}\r\n");
    client.send(head + "2\r\nhi\r\n" + TRAILERS).await;
    let mut call = calls.next().await;
    let mut seen = std::mem::take(&mut call.head.rest);
    read_until(&mut call.stream, &mut seen, "0\r\nx-sum: 1\r\n\r\n").await;
    call.answer(format!("HTTP/1.1 200 OK\r\n{NAMES}\r\n2\r\nok\r\n{TRAILERS}")).await;
    let mut seen = client.head().await.rest;
    read_until(&mut client, &mut seen, "0\r\nx-sum: 1\r\n\r\n").await;
    // Who did not ask for trailers gets none (RFC 9110 6.5.1).
    client.send(get("/", "")).await;
    calls.next().await.answer(format!("HTTP/1.1 200 OK\r\n{NAMES}\r\n2\r\nok\r\n{TRAILERS}")).await;
    let (body, after) = client.head().await.body(&mut client).await;
    assert_eq!((&*body, &*after), (&b"ok"[..], &b""[..]));
}

#[tokio::test]
async fn a_backend_may_refuse_what_a_client_waits_to_send() {
    let (backend, mut calls) = Backend::by_hand().await;
    let proxy = Proxy::start(&plain(&[backend.address])).await;
    let mut client = proxy.connect("plain").await;
    client
        .send("POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        .await;
    let call = calls.next().await;
    assert_eq!(call.head.get("expect"), Some("100-continue"));
    call.answer("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").await;
    let mut head = client.head().await;
    if head.status() == 100 {
        head = Head::read_after(&mut client, head.rest).await.expect("an answer");
    }
    assert_eq!(head.status(), 403);
}

#[tokio::test]
async fn a_client_that_leaves_after_early_bytes_ends_the_backends_work() {
    let (backend, mut calls) = Backend::by_hand().await;
    let pki = Pki::new();
    let certificate = pki.issue(&["example.com"]);
    let proxy = Proxy::start(&(plain(&[backend.address]) + &secure(&[&certificate]))).await;
    for is_secure in [false, true] {
        for early in ["G".to_string(), get("/second", ""), "x".repeat(10_000)] {
            for answers in [true, false] {
                let mut client = match is_secure {
                    true => Client::connect_tls(proxy.address("secure"), &pki, "example.com").await,
                    false => proxy.connect("plain").await,
                };
                client.send(get("/events", "") + &early).await;
                let mut call = calls.next().await;
                if answers {
                    call.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n").await;
                    let mut seen = client.head().await.rest;
                    read_until(&mut client, &mut seen, "first").await;
                }
                drop(client);
                assert_eq!(call.rest().await, b"");
            }
        }
    }
    let load = format!("longhaul_backend_tunnels{{pool=\"all\",backend=\"{}\"}}", backend.address);
    proxy.wait_metric(&load, 0.0).await;
    assert_eq!(backend.called(), 12, "what came early was never asked");
}

#[tokio::test]
async fn requests_behind_one_that_takes_its_time_are_answered_after_it() {
    let (backend, mut calls) = Backend::by_hand().await;
    let proxy = Proxy::start(&plain(&[backend.address])).await;
    let mut client = proxy.connect("plain").await;
    // More than is read ahead at once: half of it waits in the socket.
    let cookie = format!("Cookie: {}\r\n", "x".repeat(12_000));
    client.send(get("/poll", "")).await;
    let poll = calls.next().await;
    client.send([get("/1", &cookie), get("/2", &cookie), get("/3", &cookie)].concat()).await;
    poll.answer(OK).await;
    for target in ["/1", "/2", "/3"] {
        let call = calls.next().await;
        assert_eq!((call.head.target(), call.head.get("cookie").map(str::len)), (target, Some(12_000)));
        call.answer(OK).await;
    }
    let mut after = Vec::new();
    for _ in 0..4 {
        let head = within("an answer", Head::read_after(&mut client, after)).await.expect("an answer");
        let body;
        (body, after) = head.body(&mut client).await;
        assert_eq!(body, b"ok");
    }
}

#[tokio::test]
async fn a_long_poll_gets_its_head_before_its_body() {
    let (backend, mut calls) = Backend::by_hand().await;
    let proxy = Proxy::start(&plain(&[backend.address])).await;
    let mut client = proxy.connect("plain").await;
    for _ in 0..2 {
        client.send(get("/poll", "")).await;
        let mut call = calls.next().await;
        call.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n").await;
        let head = client.head().await;
        assert_eq!((head.status(), &*head.rest), (200, &b""[..]));
        call.send("o").await;
        let mut seen = Vec::new();
        read_until(&mut client, &mut seen, "o").await;
        call.answer("k").await;
        read_until(&mut client, &mut seen, "ok").await;
    }
}

/// A request without a body ends with its head, so that a quick 101 finds it complete.
#[tokio::test]
async fn a_101_is_never_too_early_for_a_handshake_and_always_for_a_plain_request() {
    let (backend, mut calls) = Backend::by_hand().await;
    let proxy = Proxy::start(&plain(&[backend.address])).await;
    for lines in ["", "Content-Length: 0\r\n"].repeat(20) {
        let mut client = proxy.connect("plain").await;
        client.send(handshake("/", "example.com", lines)).await;
        let mut call = calls.next().await;
        call.send(switching("")).await;
        assert_eq!(client.head().await.status(), 101);
        client.send("\u{1}").await;
        let mut seen = std::mem::take(&mut call.head.rest);
        read_until(&mut call.stream, &mut seen, "\u{1}").await;
    }
    for body in
        ["Content-Length: 0\r\n\r\n", "Content-Length: 4\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n"]
    {
        let mut client = proxy.connect("plain").await;
        let upgrade = "Connection: Upgrade\r\nUpgrade: h2c\r\n";
        client.send(format!("POST / HTTP/1.1\r\nHost: example.com\r\n{upgrade}{body}")).await;
        let mut call = calls.next().await;
        call.send(switching("")).await;
        assert_eq!(client.head().await.status(), 502, "{body}");
        assert!(!String::from_utf8_lossy(&call.rest().await).contains("GET"), "{body}");
    }
    // Nor does one count that came before there was a request.
    let hasty = Backend::raw(|mut stream| async move {
        let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, switching("").as_bytes()).await;
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut Vec::new()).await;
    })
    .await;
    let proxy = Proxy::start(&plain(&[hasty.address])).await;
    let mut client = proxy.connect("plain").await;
    client.send(get("/", "")).await;
    assert_eq!(client.head().await.status(), 502);
}
