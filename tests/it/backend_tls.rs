//! TLS to backends: what passes through it, what is asked for, and what becomes of a backend that does not get it right.

mod endings;
mod health;
mod reload;
mod trust;

use std::time::{Duration, Instant};

use rustls::version::{TLS12, TLS13};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt, split};

use crate::kit::{
    Backend, Client, Message, Pki, Proxy, Tls, WebSocket, connect_errors, handshake, plain, pool_tls,
    refusing, secure, within,
};

/// Opens a tunnel; who answered.
async fn open(proxy: &Proxy) -> (WebSocket<Client>, String) {
    let (mut socket, _) = proxy.connect("plain").await.open("/ws", "example.com", "").await;
    let name = socket.receive_text().await;
    (socket, name)
}

/// The status of a handshake that gets no tunnel, and the reason in its record.
async fn refused(proxy: &Proxy, path: &str) -> (u16, String) {
    let mut client = proxy.connect("plain").await;
    client.send(handshake(path, "example.com", "")).await;
    (client.head().await.status(), proxy.refusal(path).await)
}

/// What a warning says of the only backend that cannot be reached: the failure, and what rustls calls it.
async fn warning(proxy: &Proxy) -> (String, String) {
    let line = proxy.record("cannot connect").await;
    assert_eq!(line["level"], "WARN", "{line}");
    let text = |name: &str| line[name].as_str().unwrap_or_default().to_string();
    (text("error"), text("detail"))
}

const PAGE: &str = "GET /page HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn tunnels_and_requests_pass() {
    let pki = Pki::new();
    for versions in [&[&TLS12], &[&TLS13]] {
        let tls = Tls::with(&pki.issue(&["127.0.0.1"]), versions, None);
        let (backend, _) = Backend::tls_echo(&tls, "one").await;
        let proxy = Proxy::start(&(plain(&[backend.address]) + &pool_tls(&pki, ""))).await;
        let (mut socket, name) = open(&proxy).await;
        assert_eq!(name, "one");
        socket.round_trip("through TLS").await;
        socket.close(1000).await;
        let (head, body) = proxy.connect("plain").await.request(PAGE).await;
        assert_eq!((head.status(), &*body), (200, "one"));
        let close = proxy.record("close").await;
        assert_eq!((&close["reason"], &close["initiator"]), (&"closed".into(), &"client".into()));
        proxy.wait_metric("longhaul_requests_total{route=\"all\",result=\"2xx\"}", 1.0).await;
    }
}

/// A request of 3 MiB up, an answer of 3 MiB down.
#[tokio::test]
async fn bodies_are_streamed_both_ways() {
    let pki = Pki::new();
    let (backend, _) = Backend::tls(&Tls::new(&pki.issue(&["127.0.0.1"])), |mut call| async move {
        let (body, _) = call.head.clone().body(&mut call.stream).await;
        call.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len())).await;
        call.answer(body).await;
    })
    .await;
    let proxy = Proxy::start(&(plain(&[backend.address]) + &pool_tls(&pki, ""))).await;
    let body: Vec<u8> = (0..3 << 20).map(|at: u32| (at % 251) as u8).collect();
    let head =
        format!("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    let mut client = proxy.connect("plain").await;
    client.send([head.as_bytes(), &body].concat()).await;
    let head = client.head().await;
    assert_eq!(head.status(), 200);
    assert!(head.body(&mut client).await.0 == body);
}

#[tokio::test]
async fn with_tls_on_both_legs_a_mebibyte_passes_each_way_at_once() {
    let pki = Pki::new();
    let (front, behind) = (pki.issue(&["example.com"]), pki.issue(&["127.0.0.1"]));
    let (backend, mut calls) = Backend::tls_by_hand(&Tls::new(&behind)).await;
    let proxy = Proxy::start(&(secure(&[&front]) + &plain(&[backend.address]) + &pool_tls(&pki, ""))).await;
    let client = Client::connect_tls(proxy.address("secure"), &pki, "example.com").await;
    let (client, backend) = calls.tunnel(client, "", "").await;
    let payload: Vec<u8> = (0..1 << 20).map(|at: u32| (at % 249) as u8).collect();
    let message = Message::binary(payload);
    let (up, down) = (message.frame(true), message.frame(false));
    let ((mut client_reads, mut client_writes), (mut backend_reads, mut backend_writes)) =
        (split(client.stream), split(backend.stream));
    let (mut at_backend, mut at_client) = (vec![0; up.len()], vec![0; down.len()]);
    let moving = async {
        tokio::try_join!(
            async { client_writes.write_all(&up).await.and(client_writes.flush().await) },
            async { backend_writes.write_all(&down).await.and(backend_writes.flush().await) },
            async { backend_reads.read_exact(&mut at_backend).await.map(drop) },
            async { client_reads.read_exact(&mut at_client).await.map(drop) },
        )
    };
    within("everything", moving).await.expect("live streams");
    assert!(at_backend == up && at_client == down);
    for direction in ["to_backend", "to_client"] {
        let messages = format!("longhaul_tunnel_messages_total{{route=\"all\",direction=\"{direction}\"}}");
        proxy.wait_metric(&messages, 1.0).await;
    }
}

/// SNI is a name, never an address (RFC 6066 3).
#[tokio::test]
async fn the_name_of_the_backend_is_asked_for_and_http_1_agreed_on() {
    let pki = Pki::new();
    let certificate = pki.issue(&["localhost", "127.0.0.1", "chat.internal"]);
    let (backend, mut calls) = Backend::tls_by_hand(&Tls::new(&certificate)).await;
    let by_name = plain(&[backend.address]).replace("\"127.0.0.1:", "\"localhost:");
    // The listener's address is an IP address again.
    let by_name = by_name.replacen("\"localhost:0\"", "\"127.0.0.1:0\"", 1);
    for (config, keys, asked) in [
        (by_name.clone(), "", Some("localhost")),
        (plain(&[backend.address]), "", None),
        (plain(&[backend.address]), "server_name = \"Chat.Internal\"", Some("chat.internal")),
        (by_name, "server_name = \"127.0.0.1\"", None),
    ] {
        let proxy = Proxy::start(&(config + &pool_tls(&pki, keys))).await;
        let mut client = proxy.connect("plain").await;
        client.send(PAGE).await;
        let call = calls.next().await;
        assert_eq!(call.server_name(), asked, "{keys}");
        assert_eq!(call.protocol(), Some("http/1.1"));
        // In HTTP the host stays the client's.
        assert_eq!(call.head.get("host"), Some("example.com"));
        call.answer("HTTP/1.1 204 No Content\r\n\r\n").await;
        assert_eq!(client.head().await.status(), 204);
    }
}

#[tokio::test]
async fn the_second_connection_resumes_the_session_of_the_first() {
    let pki = Pki::new();
    for versions in [&[&TLS12], &[&TLS13]] {
        let tls = Tls::with(&pki.issue(&["127.0.0.1"]), versions, None);
        let (backend, mut calls) = Backend::tls_by_hand(&tls).await;
        let workers = "[server]\nworkers = 2\n".to_string();
        let proxy = Proxy::start(&(workers + &plain(&[backend.address]) + &pool_tls(&pki, ""))).await;
        for resumed in [false, true, true] {
            let mut client = proxy.connect("plain").await;
            client.send(PAGE).await;
            let call = calls.next().await;
            assert_eq!(call.is_resumed(), resumed);
            call.answer("HTTP/1.1 204 No Content\r\n\r\n").await;
            assert_eq!(client.head().await.status(), 204);
        }
    }
}

#[tokio::test]
async fn a_backend_that_never_answers_the_handshake_is_left_at_the_deadline() {
    let pki = Pki::new();
    let silent = Backend::raw(|mut tcp| async move {
        let _ = tcp.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let pool = plain(&[silent.address]) + &pool_tls(&pki, "").replace("20s", "300ms");
    let proxy = Proxy::start(&pool).await;
    let begun = Instant::now();
    assert_eq!(refused(&proxy, "/ws").await, (504, "backend_tls_timeout".into()));
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert_eq!(proxy.metric(&connect_errors(silent.address, "tls_timeout")).await, 1.0);
    assert_eq!(proxy.record("cannot connect").await["error"], "tls_timeout");
}

#[tokio::test]
async fn a_backend_that_speaks_something_else_is_told_from_one_that_is_not_believed() {
    let pki = Pki::new();
    let silent = |reset: bool| {
        Backend::raw(move |mut tcp| async move {
            let _ = tcp.read(&mut [0; 16]).await;
            if reset {
                let _ = SockRef::from(&tcp).set_linger(Some(Duration::ZERO));
            } else {
                let _ = tcp.shutdown().await;
                let _ = tcp.read_to_end(&mut Vec::new()).await;
            }
        })
    };
    for (what, backend, detail) in [
        ("plain text", Backend::plain_text().await, "corrupt message"),
        ("an end", silent(false).await, "eof"),
        ("a reset", silent(true).await, "reset"),
    ] {
        let proxy = Proxy::start(&(plain(&[backend.address]) + &pool_tls(&pki, ""))).await;
        assert_eq!(refused(&proxy, "/ws").await, (502, "backend_tls".into()), "{what}");
        let (error, told) = warning(&proxy).await;
        assert_eq!(error, "tls");
        assert!(told.contains(detail), "{what}: {told}");
        assert_eq!(proxy.metric(&connect_errors(backend.address, "tls")).await, 1.0);
        assert_eq!(backend.called(), 1);
    }
}

/// Nothing of a request goes to a backend whose handshake fails, so another one may have it.
#[tokio::test]
async fn where_tls_fails_another_backend_is_tried() {
    let (pki, other) = (Pki::new(), Pki::new());
    let (good, _) = Backend::tls_echo(&Tls::new(&pki.issue(&["127.0.0.1"])), "good").await;
    let (unknown, _) = Backend::tls_echo(&Tls::new(&other.issue(&["127.0.0.1"])), "unknown").await;
    let plain_text = Backend::plain_text().await;
    let (_socket, nobody) = refusing();
    let backends = [unknown.address, plain_text.address, nobody, good.address];
    let config = plain(&backends) + "balance = \"round-robin\"\n" + &pool_tls(&pki, "");
    let proxy = Proxy::start(&format!("[server]\nworkers = 1\n{config}")).await;
    for _ in 0..4 {
        let (mut socket, name) = open(&proxy).await;
        assert_eq!(name, "good");
        socket.round_trip("still here").await;
        socket.close(1000).await;
    }
    for (backend, reason) in
        [(unknown.address, "certificate"), (plain_text.address, "tls"), (nobody, "refused")]
    {
        assert!(proxy.metric(&connect_errors(backend, reason)).await >= 1.0, "{reason}");
    }
    // One warning in ten seconds for each backend, however often it is met. The log is in order: whatever was said before is
    // there when the record of one more request is.
    proxy.connect("plain").await.request("GET /last HTTP/1.1\r\nConnection: close\r\n\r\n").await;
    proxy.refusal("/last").await;
    let warned = |line: &serde_json::Value| line["message"] == "cannot connect" && line["level"] == "WARN";
    let warned = proxy.log().iter().filter(|line| warned(line)).count();
    assert!((2..=4).contains(&warned), "{warned} warnings");
}
