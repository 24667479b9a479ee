//! Kept connections that have died: unnoticed, or just as a request comes.

use rustix::process::Signal;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::kit::{Backend, Pki, Proxy, Tls, plain, pool_tls, read_until, within};

use super::{GET, OK, RESENDS, arrived, connections, idle, kept, post, request};

#[tokio::test]
async fn one_that_its_backend_closes_is_gone_at_once() {
    let (proxy, backend, mut calls, mut client, call) = kept("").await;
    drop(call);
    proxy.wait_metric(&idle(&backend), 0.0).await;
    client.send(GET).await;
    calls.next().await.send(OK).await;
    assert_eq!(client.answer().await.1, "ok");
    assert_eq!(proxy.metric(&connections("reused")).await, 0.0);
    assert_eq!(proxy.metric(RESENDS).await, 0.0);
}

/// The proxy learns of the end and of the request at the same time. Nothing of the request was sent, so that any method may
/// be sent again.
#[tokio::test]
async fn a_request_that_meets_the_end_is_served_whatever_it_does() {
    for is_first in [true, false] {
        let (proxy, backend, mut calls, mut client, mut call) = kept("").await;
        proxy.signal(Signal::STOP);
        if is_first {
            client.send(post("/x", "body")).await;
        }
        call.stream.shutdown().await.expect("a live socket");
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
}

#[tokio::test]
async fn an_idempotent_request_is_sent_again() {
    for method in ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"] {
        let (proxy, backend, mut calls, mut client, mut call) = kept("").await;
        client.send(request(method, "/again")).await;
        assert_eq!(call.next().await.line, format!("{method} /again HTTP/1.1"));
        let before = call.head.clone();
        drop(call);
        let mut second = calls.next().await;
        assert_eq!((&second.head.line, &second.head.fields), (&before.line, &before.fields));
        second.send("HTTP/1.1 204 No Content\r\n\r\n").await;
        assert_eq!(client.head().await.status(), 204, "{method}");
        assert_eq!(backend.called(), 2);
        assert_eq!(proxy.metric(RESENDS).await, 1.0);
        assert_eq!(proxy.metric(&connections("opened")).await, 2.0);
        // It is one request, and no backend has failed.
        let answered = "longhaul_requests_total{route=\"all\",result=\"2xx\"}";
        proxy.wait_metric(answered, 2.0).await;
        let refused = proxy.log().iter().filter(|line| line["message"] == "refused").count();
        assert_eq!(refused, 0);
    }
}

#[tokio::test]
async fn a_request_that_could_happen_twice_is_not_sent_again() {
    let put = "PUT /x HTTP/1.1\r\nHost: example.com\r\nContent-Length: 4\r\n\r\nbody";
    for (sent, end) in [
        (post("/x", "body"), "body"),
        (post("/x", ""), "x"),
        (request("PATCH", "/x"), "x"),
        (request("PROPFIND", "/x"), "x"),
        // Its body is gone.
        (put.to_string(), "body"),
    ] {
        let (proxy, backend, _calls, mut client, mut call) = kept("").await;
        client.send(&sent).await;
        let target = call.next().await.target().to_string();
        let mut seen = [target.into_bytes(), std::mem::take(&mut call.head.rest)].concat();
        read_until(&mut call.stream, &mut seen, end).await;
        drop(call);
        assert_eq!(client.head().await.status(), 502, "{sent}");
        assert_eq!(proxy.refusal("/x").await, "backend_closed");
        assert_eq!(backend.called(), 1);
        assert_eq!(proxy.metric(RESENDS).await, 0.0);
    }
}

/// The body is still with the client when the connection ends.
#[tokio::test]
async fn an_idempotent_request_whose_body_is_whole_is_sent_again() {
    let (_proxy, backend, mut calls, mut client, mut call) = kept("").await;
    client.send("PUT /x HTTP/1.1\r\nHost: example.com\r\nContent-Length: 4\r\n\r\n").await;
    call.next().await;
    drop(call);
    let mut second = calls.next().await;
    assert_eq!(second.head.get("content-length"), Some("4"));
    client.send("body").await;
    read_until(&mut second.stream, &mut second.head.rest, "body").await;
    second.send(OK).await;
    assert_eq!(client.answer().await.1, "ok");
    assert_eq!(backend.called(), 2);
}

#[tokio::test]
async fn an_answer_that_has_begun_is_not_asked_for_again() {
    for begun in ["H", "HTTP/1.1 200 OK\r\nContent-Le", "HTTP/1.1 100 Continue\r\n\r\n"] {
        let (proxy, backend, _calls, mut client, mut call) = kept("").await;
        client.send(request("GET", "/x")).await;
        call.next().await;
        call.answer(begun).await;
        assert_eq!(client.head().await.status(), 502, "{begun}");
        assert_eq!(proxy.refusal("/x").await, "backend_closed");
        assert_eq!(backend.called(), 1);
    }
}

#[tokio::test]
async fn a_request_is_sent_twice_at_most() {
    let (proxy, backend, mut calls, mut client, mut call) = kept("").await;
    client.send(request("GET", "/x")).await;
    call.next().await;
    drop(call);
    drop(calls.next().await);
    assert_eq!(client.head().await.status(), 502);
    assert_eq!(proxy.refusal("/x").await, "backend_closed");
    assert_eq!(backend.called(), 2);
}

#[tokio::test]
async fn another_backend_gets_it_when_the_first_has_gone() {
    let (first, mut calls) = Backend::by_hand().await;
    let (second, mut others) = Backend::by_hand().await;
    let config = format!(
        "[server]\nworkers = 1\n{}balance = \"round-robin\"\n",
        plain(&[first.address, second.address])
    );
    let proxy = Proxy::start(&config).await;
    let mut client = proxy.connect("plain").await;
    client.send(GET).await;
    let mut call = calls.next().await;
    call.send(OK).await;
    client.answer().await;
    client.send(GET).await;
    let mut other = others.next().await;
    other.send(OK).await;
    client.answer().await;
    client.send(request("GET", "/moved")).await;
    call.next().await;
    let address = first.address;
    drop(first);
    within("nobody to listen", async { while TcpStream::connect(address).await.is_ok() {} }).await;
    drop(call);
    // A new one, not the one that was kept: that may have died with the first.
    let mut moved = others.next().await;
    assert_eq!(moved.head.target(), "/moved");
    moved.send(OK).await;
    assert_eq!(client.answer().await.1, "ok");
    let record = proxy.wait_for("the record", |line| line["path"] == "/moved").await;
    assert_eq!(record["backend"], second.address.to_string());
}

#[tokio::test]
async fn over_tls_it_is_the_same() {
    let pki = Pki::new();
    let (backend, mut calls) = Backend::tls_by_hand(&Tls::new(&pki.issue(&["127.0.0.1"]))).await;
    let proxy = Proxy::start(&super::config(&backend, &pool_tls(&pki, ""))).await;
    let mut client = proxy.connect("plain").await;
    // With close_notify and without.
    for is_polite in [true, false] {
        client.send(GET).await;
        let mut call = calls.next().await;
        call.send(OK).await;
        client.answer().await;
        if is_polite {
            call.stream.shutdown().await.expect("a live socket");
        }
        drop(call);
        proxy.wait_metric(&idle(&backend), 0.0).await;
        client.send(GET).await;
        let mut call = calls.next().await;
        call.send(OK).await;
        assert_eq!(client.answer().await.1, "ok");
        // Under the request.
        client.send(GET).await;
        call.next().await;
        if is_polite {
            call.stream.shutdown().await.expect("a live socket");
        }
        drop(call);
        let mut call = calls.next().await;
        call.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok").await;
        assert_eq!(client.answer().await.1, "ok");
    }
    assert_eq!(backend.called(), 6);
    assert_eq!(proxy.metric(RESENDS).await, 2.0);
}
