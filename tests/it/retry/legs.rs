//! The same rules for handshakes that come over HTTP/2 (RFC 8441), and for backends that speak TLS.

use std::net::SocketAddr;

use bytes::Bytes;

use super::{BUSY, closing, config, declined, expect_retries, hanging, who_serves};
use crate::kit::{
    Backend, Call, Http2, Message, Pki, Proxy, Reply, Tls, WebSocket, pool_tls, refusing, secure,
};

/// A pool of these backends behind a listener with HTTP/2, too.
async fn start(pki: &Pki, backends: &[SocketAddr], pool: &str) -> (Proxy, Http2) {
    let keys = "try_timeout = \"20ms\", status = [503]";
    let listener = secure(&[&pki.issue(&["chat.example.com"])]) + "extended_connect = true\n";
    let proxy = Proxy::start(&(listener + &config(backends, keys) + pool)).await;
    let client = Http2::connect(proxy.address("secure"), pki).await;
    (proxy, client)
}

/// What the client has sent before it heard of a tunnel goes to who opens it, once.
#[tokio::test]
async fn a_handshake_over_http2_goes_on_for_each_reason() {
    let pki = Pki::new();
    let (_socket, refuses) = refusing();
    let (closes, hangs, busy) = (closing().await, hanging().await, Backend::answers(BUSY).await);
    for (first, reason) in [
        (refuses, "connect"),
        (closes.address, "reset"),
        (hangs.address, "timeout"),
        (busy.address, "status"),
    ] {
        let (second, mut calls) = Backend::by_hand().await;
        let (proxy, mut client) = start(&pki, &[first, second.address], "").await;
        let (answer, mut sender) =
            client.connect_websocket("/ws?a=1", &[("sec-websocket-protocol", "chat"), ("x-own", "1")]).await;
        let early = Message::text("early").frame(true);
        sender.send_data(Bytes::from(early), false).expect("a live stream");
        let call: Call = calls.next().await;
        let names = ["upgrade", "sec-websocket-protocol", "x-own"];
        assert_eq!(names.map(|name| call.head.get(name)), [Some("websocket"), Some("chat"), Some("1")]);
        assert_eq!((call.head.target(), &*call.head.rest), ("/ws?a=1", &b""[..]), "{reason}");
        let mut behind = call.accept("Sec-WebSocket-Protocol: chat\r\n").await;
        let (head, receiver) = answer.await.expect("an answer").into_parts();
        assert_eq!(
            (head.status.as_u16(), &head.headers["sec-websocket-protocol"]),
            (200, &"chat".parse().unwrap())
        );
        assert_eq!(behind.receive_text().await, "early", "{reason}");
        let mut front = WebSocket::client(crate::kit::http2::Carried::new(sender, receiver), Vec::new());
        front.send(&Message::text("hello")).await;
        assert_eq!(behind.receive_text().await, "hello");
        behind.send(&Message::text("back")).await;
        assert_eq!(front.receive_text().await, "back");
        expect_retries(&proxy, &[(reason, 1.0)]).await;
        assert_eq!(second.called(), 1);
    }
}

#[tokio::test]
async fn a_client_of_http2_gets_the_last_answer_whole_and_keeps_its_connection() {
    let (pki, busy, closes) = (Pki::new(), Backend::answers(BUSY).await, closing().await);
    let (proxy, mut client) = start(&pki, &[busy.address, closes.address], "").await;
    for round in 1..=2 {
        let (answer, _sender) = client.connect_websocket("/ws", &[]).await;
        let reply = Reply::read(answer).await.expect("an answer");
        assert_eq!(
            (reply.status, reply.get("retry-after"), &*reply.body),
            (503, Some("7"), "busy"),
            "{round}"
        );
    }
    assert!(!client.is_over());
    assert_eq!(
        proxy.metric("longhaul_handshakes_total{route=\"all\",http=\"2\",result=\"declined\"}").await,
        2.0
    );
}

#[tokio::test]
async fn handshakes_and_requests_go_on_from_backends_with_tls() {
    let (pki, others) = (Pki::new(), Pki::new());
    let tls = Tls::new(&pki.issue(&["127.0.0.1"]));
    let (_socket, refuses) = refusing();
    let (stranger, _) = Backend::tls_echo(&Tls::new(&others.issue(&["127.0.0.1"])), "stranger").await;
    let (closes, _) = Backend::tls(&tls, |call| async move { drop(call) }).await;
    let (hangs, _) = Backend::tls(&tls, |call| async move { drop(call.rest().await) }).await;
    let (busy, _) = Backend::tls(&tls, |call| async move { call.answer(BUSY).await }).await;
    for (first, reason) in [
        (refuses, "connect"),
        (stranger.address, "connect"),
        (closes.address, "reset"),
        (hangs.address, "timeout"),
        (busy.address, "status"),
    ] {
        let (well, _) = Backend::tls_echo(&tls, "well").await;
        let backends = [first, well.address];
        let (proxy, mut client) = start(&pki, &backends, &pool_tls(&pki, "")).await;
        let (mut socket, name) = who_serves(&proxy).await;
        assert_eq!(name, "well", "{reason}");
        socket.round_trip("hello").await;
        expect_retries(&proxy, &[(reason, 1.0)]).await;

        let (proxy_2, mut client_2) = start(&pki, &backends, &pool_tls(&pki, "")).await;
        let (mut socket, _) = client_2.open("/ws", &[]).await;
        assert_eq!(socket.receive_text().await, "well", "{reason}");
        socket.round_trip("hello").await;
        expect_retries(&proxy_2, &[(reason, 1.0)]).await;

        // A plain request has no bound but the answer's for a try.
        if reason != "timeout" {
            let requests = || proxy.metric("longhaul_requests_total{route=\"all\",result=\"2xx\"}");
            for count in 1..=2 {
                assert_eq!(client.get("/page").await.body, "well", "{reason}");
                assert_eq!(requests().await, f64::from(count));
            }
        }
    }
    let (proxy, _client) = start(&pki, &[busy.address, closes.address], &pool_tls(&pki, "")).await;
    assert_eq!(declined(&proxy).await.1, "busy");
}
