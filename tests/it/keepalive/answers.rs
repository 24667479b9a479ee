//! Which answers leave a connection usable, and which end it.

use rustix::process::Signal;

use crate::kit::{Head, read_until};

use super::{GET, OK, arrived, connections, idle, kept, post, request};

/// Method, answer, the body that the client gets.
const USABLE: &[(&str, &str, &str)] = &[
    ("GET", "200 OK\r\nContent-Length: 2\r\n\r\nok", "ok"),
    ("GET", "200 OK\r\nContent-Length: 0\r\n\r\n", ""),
    ("GET", "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "ok"),
    ("GET", "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n", "ok"),
    (
        "GET",
        "200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n",
        "ok",
    ),
    ("GET", "103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok"),
    ("HEAD", "200 OK\r\nContent-Length: 1234\r\n\r\n", ""),
    ("HEAD", "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", ""),
    ("GET", "204 No Content\r\n\r\n", ""),
    ("GET", "304 Not Modified\r\nContent-Length: 1234\r\n\r\n", ""),
    ("GET", "404 Not Found\r\nContent-Length: 2\r\n\r\nno", "no"),
    (
        "OPTIONS",
        "200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\nKeep-Alive: timeout=60\r\n\r\nok",
        "ok",
    ),
    ("DELETE", "204 No Content\r\nContent-Length: 0\r\n\r\n", ""),
];

#[tokio::test]
async fn answers_with_one_end_leave_a_connection_usable() {
    let (proxy, backend, _calls, mut client, mut call) = kept("").await;
    for (method, answer, expected) in USABLE {
        client.send(request(method, "/x")).await;
        assert_eq!(call.next().await.line, format!("{method} /x HTTP/1.1"));
        call.send(format!("HTTP/1.1 {answer}")).await;
        let head = client.head().await;
        for field in ["connection", "keep-alive"] {
            assert_eq!(head.get(field), None, "{answer}");
        }
        let has_body = *method != "HEAD" && !matches!(head.status(), 204 | 304);
        let (body, after) = if has_body { head.body(&mut client).await } else { (Vec::new(), head.rest) };
        assert_eq!((body.as_slice(), after.as_slice()), (expected.as_bytes(), &b""[..]), "{answer}");
    }
    assert_eq!(backend.called(), 1);
    assert_eq!(proxy.metric(&connections("reused")).await, USABLE.len() as f64);
}

#[tokio::test]
async fn a_body_in_pieces_leaves_a_connection_usable() {
    let (_proxy, backend, _calls, mut client, mut call) = kept("").await;
    for (head, pieces) in [
        ("Content-Length: 6", ["on", "tw", "th"]),
        ("Transfer-Encoding: chunked", ["2\r\non\r\n2", "\r\ntw\r\n2", "\r\nth\r\n0\r\n\r\n"]),
    ] {
        client.send(GET).await;
        call.next().await;
        call.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n")).await;
        let mut head = client.head().await;
        for (piece, seen) in pieces.iter().zip(["on", "tw", "th"]) {
            call.send(piece).await;
            read_until(&mut client, &mut head.rest, seen).await;
        }
        let (body, after) = head.body(&mut client).await;
        assert_eq!((&*body, &*after), (&b"ontwth"[..], &b""[..]));
    }
    // Uploads, too, when they have ended before the answer.
    for body in ["Content-Length: 2\r\n\r\nhi", "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"] {
        client.send(format!("POST / HTTP/1.1\r\nHost: example.com\r\n{body}")).await;
        let head = call.next().await.clone();
        let (body, rest) = head.body(&mut call.stream).await;
        assert_eq!((&*body, &*rest), (&b"hi"[..], &b""[..]));
        call.head.rest.clear();
        call.send(OK).await;
        assert_eq!(client.answer().await.1, "ok");
    }
    assert_eq!(backend.called(), 1);
}

#[tokio::test]
async fn large_bodies_leave_a_connection_usable() {
    let (_proxy, backend, _calls, mut client, mut call) = kept("").await;
    let large = "x".repeat(3 << 20);
    for _ in 0..3 {
        let (sent, ()) = tokio::join!(
            async {
                client.send(post("/large", &large)).await;
                client.answer().await.1
            },
            async {
                let head = call.next().await.clone();
                let (body, rest) = head.body(&mut call.stream).await;
                call.head.rest = rest;
                call.send(
                    [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into(), body]
                        .concat(),
                )
                .await;
            }
        );
        assert!(sent == large);
    }
    assert_eq!(backend.called(), 1);
}

/// Why, request, answer.
const FINAL: &[(&str, &str, &str)] = &[
    ("the backend says so", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"),
    (
        "in any case, among others",
        "GET",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: x, Close\r\n\r\nok",
    ),
    ("HTTP/1.0", "GET", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    ("RFC 9112 C.2.2", "GET", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok"),
    (
        "RFC 9112 6.3: two lengths",
        "GET",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    ("RFC 9110 15.3.5: a body that cannot be", "GET", "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n"),
    (
        "it closes in a moment",
        "GET",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nKeep-Alive: timeout=1\r\n\r\nok",
    ),
    (
        "surplus",
        "GET",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
    ),
    ("surplus behind chunks", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n\r\n"),
    ("surplus behind no body", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    ("surplus behind no body", "GET", "HTTP/1.1 304 Not Modified\r\n\r\nok"),
    ("not HTTP", "GET", "SSH-2.0-OpenSSH_9.2\r\n\r\n"),
    (
        "a 101 that nobody asked for",
        "GET",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    ),
];

#[tokio::test]
async fn answers_with_another_end_are_the_last_on_their_connection() {
    for (why, method, answer) in FINAL {
        let (proxy, backend, mut calls, mut client, mut call) = kept("").await;
        client.send(request(method, "/x")).await;
        call.next().await;
        call.send(answer).await;
        client.head().await;
        assert_eq!(call.rest().await, b"", "{why}");
        let mut client = proxy.connect("plain").await;
        client.send(GET).await;
        calls.next().await.send(OK).await;
        assert_eq!(client.answer().await.1, "ok", "{why}");
        assert_eq!(backend.called(), 2, "{why}");
    }
}

#[tokio::test]
async fn an_answer_before_the_end_of_its_request_is_the_last() {
    for (head, rest) in [
        ("Content-Length: 4", "body"),
        ("Transfer-Encoding: chunked", "4\r\nbody\r\n0\r\n\r\n"),
        ("Content-Length: 4\r\nExpect: 100-continue", "body"),
    ] {
        let (proxy, backend, mut calls, mut client, mut call) = kept("").await;
        client.send(format!("POST / HTTP/1.1\r\nHost: example.com\r\n{head}\r\n\r\n")).await;
        call.next().await;
        call.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\n").await;
        let mut answer = client.head().await;
        if answer.status() == 100 {
            answer = Head::read_after(&mut client, answer.rest).await.expect("an answer");
        }
        assert_eq!(answer.status(), 403);
        // The rest of the upload makes no difference any more, nor does that of the answer.
        client.send(rest).await;
        call.send("no").await;
        assert!(!String::from_utf8_lossy(&call.rest().await).contains("GET"));
        let mut client = proxy.connect("plain").await;
        client.send(GET).await;
        calls.next().await.send(OK).await;
        assert_eq!(client.answer().await.1, "ok", "{head}");
        assert_eq!(backend.called(), 2, "{head}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_takes_the_connection_with_it() {
    for answer in [
        "",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let (proxy, backend, mut calls, mut client, mut call) = kept("").await;
        client.send(GET).await;
        call.next().await;
        if !answer.is_empty() {
            call.send(answer).await;
            let mut seen = Vec::new();
            read_until(&mut client, &mut seen, "half").await;
        }
        drop(client);
        assert_eq!(call.rest().await, b"");
        let mut client = proxy.connect("plain").await;
        client.send(GET).await;
        calls.next().await.send(OK).await;
        assert_eq!(client.answer().await.1, "ok");
        assert_eq!(backend.called(), 2);
    }
}

/// What comes when nothing was asked is for nobody: neither for who asks later, nor for who asks at that moment.
#[tokio::test]
async fn unasked_bytes_end_an_idle_connection() {
    const POISON: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    for is_first in [true, false] {
        let (proxy, backend, mut calls, mut client, mut call) = kept("").await;
        proxy.signal(Signal::STOP);
        if is_first {
            client.send(post("/x", "body")).await;
        }
        call.send(POISON).await;
        arrived(&call).await;
        if !is_first {
            client.send(post("/x", "body")).await;
        }
        proxy.signal(Signal::CONT);
        let mut second = calls.next().await;
        read_until(&mut second.stream, &mut second.head.rest, "body").await;
        second.send(OK).await;
        assert_eq!(client.answer().await.1, "ok");
        assert_eq!(call.rest().await, b"");
        assert_eq!(backend.called(), 2);
    }
    let (proxy, backend, _calls, _client, mut call) = kept("").await;
    call.send(POISON).await;
    assert_eq!(call.rest().await, b"");
    proxy.wait_metric(&idle(&backend), 0.0).await;
}
