//! WebSockets over HTTP/2 (RFC 8441).

use std::time::Duration;

use h2::Reason;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use super::{OK, connect, pipe, proxy};
use crate::kit::{Backend, Message, Proxy, Reply, within};

const ON: &str = "extended_connect = true\n";
/// After so long without a move it is taken to have stopped.
const QUIET: Duration = Duration::from_millis(400);

#[tokio::test]
async fn an_extended_connect_becomes_a_handshake_and_a_tunnel() {
    let (backend, mut calls) = Backend::by_hand().await;
    let (proxy, pki) = proxy(&backend, ON).await;
    let mut client = connect(&proxy, &pki).await;
    assert!(client.requests.is_extended_connect_protocol_enabled());
    let fields = [
        ("sec-websocket-protocol", "chat, superchat"),
        ("sec-websocket-extensions", "permessage-deflate"),
        ("origin", "https://chat.example.com"),
        ("sec-websocket-key", "bm90IGEgc2VjcmV0IGtleQ=="),
        ("cookie", "a=1"),
        ("cookie", "b=2"),
    ];
    let mut keys = Vec::new();
    for _ in 0..2 {
        let ((mut client, head), mut backend) = tokio::join!(client.open("/ws?x=1", &fields), async {
            let call = calls.next().await;
            assert_eq!(call.head.line, "GET /ws?x=1 HTTP/1.1");
            for (name, value) in [
                ("host", "chat.example.com"),
                ("upgrade", "websocket"),
                ("connection", "Upgrade"),
                ("sec-websocket-version", "13"),
                ("sec-websocket-protocol", "chat, superchat"),
                ("sec-websocket-extensions", "permessage-deflate"),
                ("origin", "https://chat.example.com"),
                ("cookie", "a=1; b=2"),
            ] {
                assert_eq!(call.head.get(name), Some(value), "{name}");
            }
            for name in ["content-length", "transfer-encoding", ":protocol"] {
                assert_eq!(call.head.get(name), None, "{name}");
            }
            keys.push(call.head.get("sec-websocket-key").expect("a key").to_string());
            call.accept("Sec-WebSocket-Protocol: superchat\r\nX-Own: 1\r\n").await
        });
        let headers = head.headers();
        assert_eq!(headers.get("sec-websocket-protocol").unwrap(), "superchat");
        assert_eq!(headers.get("x-own").unwrap(), "1");
        for name in ["upgrade", "connection", "sec-websocket-accept", "content-length", "transfer-encoding"] {
            assert_eq!(headers.get(name), None, "{name}");
        }
        client.send(&Message::text("up")).await;
        assert_eq!(backend.receive_text().await, "up");
        backend.send(&Message::text("down")).await;
        assert_eq!(client.receive_text().await, "down");
        let (_, table) = proxy.admin("GET", "/api/v1/tunnels").await;
        assert_eq!((&table["tunnels"][0]["http"], &table["total"]), (&"2".into(), &1.into()));
        let closing = async {
            let message = backend.receive().await;
            backend.send(&message).await;
            backend.stream.shutdown().await.unwrap();
            backend.stream.read_to_end(&mut Vec::new()).await.expect("an end, not a reset");
        };
        tokio::join!(client.close(1000), closing);
        proxy.wait_metric("longhaul_tunnels_active{route=\"all\"}", 0.0).await;
    }
    assert!(keys[0] != keys[1] && !keys.contains(&"bm90IGEgc2VjcmV0IGtleQ==".to_string()), "{keys:?}");
    let closed = "longhaul_tunnels_closed_total{route=\"all\",reason=\"closed\",initiator=\"client\"}";
    proxy.wait_metric(closed, 2.0).await;
    for message in ["open", "close"] {
        let record = proxy.record(message).await;
        assert_eq!((&record["http"], &record["subprotocol"]), (&"2".into(), &"superchat".into()));
    }
    assert!(!client.is_over());
}

#[tokio::test]
async fn what_is_not_an_open_tunnel_does_not_look_like_one() {
    let (backend, mut calls) = Backend::by_hand().await;
    let (proxy, pki) = proxy(&backend, ON).await;
    let mut client = connect(&proxy, &pki).await;
    let wrong = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    for (answer, status, body) in [
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", 403, Some("no")),
        ("HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n", 302, Some("")),
        (OK, 502, None),
        ("HTTP/1.1 204 No Content\r\nUpgrade: websocket\r\n\r\n", 502, None),
        (wrong, 502, None),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n", 502, None),
    ] {
        let (answered, _sender) = client.connect_websocket("/ws", &[]).await;
        let (reply, ()) = tokio::join!(Reply::read(answered), async {
            calls.next().await.answer(answer).await;
        });
        let reply = reply.expect("an answer");
        assert_eq!(reply.status, status, "{answer:?}");
        assert!(body.is_none_or(|body| reply.body == body), "{reply:?}");
    }
    proxy.wait_metric("longhaul_handshakes_total{route=\"all\",result=\"backend_bad_101\"}", 4.0).await;
    proxy.wait_metric("longhaul_handshakes_total{route=\"all\",result=\"declined\"}", 2.0).await;
    assert_eq!(proxy.metric("longhaul_tunnels_opened_total{route=\"all\"}").await, 0.0);
}

#[tokio::test]
async fn what_is_not_a_handshake_reaches_no_backend() {
    let backend = Backend::answers(OK).await;
    let (proxy, pki) = proxy(&backend, ON).await;
    let mut client = connect(&proxy, &pki).await;
    let many = "x, ".repeat(65);
    for (fields, status, version) in [
        (&[("sec-websocket-version", "8")][..], 426, Some("13")),
        (&[("content-length", "0")], 400, None),
        (&[("sec-websocket-protocol", "a b")], 400, None),
        (&[("sec-websocket-extensions", &*many)], 400, None),
    ] {
        let (answer, _sender) = client.connect_websocket("/ws", fields).await;
        let reply = Reply::read(answer).await.expect("an answer");
        assert_eq!((reply.status, reply.get("sec-websocket-version")), (status, version), "{fields:?}");
        assert_eq!(reply.get("upgrade").or(reply.get("connection")), None);
    }
    for (protocol, status) in [(Some("h2c"), 501), (Some("connect-udp"), 501), (None, 405)] {
        let uri = if protocol.is_some() { "https://chat.example.com/ws" } else { "chat.example.com:443" };
        let mut request = http::Request::builder().method("CONNECT").uri(uri).body(()).unwrap();
        if let Some(protocol) = protocol {
            request.extensions_mut().insert(h2::ext::Protocol::from_static(protocol));
        }
        let (answer, _sender) = client.send(request, false).await;
        assert_eq!(Reply::read(answer).await.expect("an answer").status, status, "{protocol:?}");
    }
    assert_eq!(backend.called(), 0);
    assert!(!client.is_over());
}

#[tokio::test]
async fn by_default_it_is_not_offered() {
    let backend = Backend::answers(OK).await;
    let (proxy, pki) = proxy(&backend, "").await;
    let mut client = connect(&proxy, &pki).await;
    assert!(!client.requests.is_extended_connect_protocol_enabled());
    assert_eq!(client.get("/").await.body, "ok");
    assert_eq!(backend.called(), 1);
}

#[tokio::test]
async fn an_end_is_an_end_and_the_other_direction_goes_on() {
    let (backend, mut calls) = Backend::by_hand().await;
    let (proxy, pki) = pipe(&backend, ON).await;
    let mut client = connect(&proxy, &pki).await;
    let ((mut ours, _), mut theirs) =
        tokio::join!(client.open("/ws", &[]), async { calls.next().await.accept("").await });
    ours.stream.shutdown().await.unwrap();
    assert_eq!(within("the end", theirs.try_receive()).await, None);
    theirs.send(&Message::text("still here")).await;
    assert_eq!(ours.receive_text().await, "still here");
    theirs.stream.shutdown().await.unwrap();
    assert_eq!(within("the end", ours.try_receive()).await, None);
    assert_eq!(ours.stream.reset, None);
    let ((mut ours, _), mut theirs) =
        tokio::join!(client.open("/ws", &[]), async { calls.next().await.accept("").await });
    theirs.stream.shutdown().await.unwrap();
    assert_eq!(within("the end", ours.try_receive()).await, None);
    ours.send(&Message::text("still here")).await;
    assert_eq!(theirs.receive_text().await, "still here");
    ours.stream.shutdown().await.unwrap();
    assert_eq!(within("the end", theirs.try_receive()).await, None);
    for initiator in ["client", "backend"] {
        let closed = format!(
            "longhaul_tunnels_closed_total{{route=\"all\",reason=\"ended\",initiator=\"{initiator}\"}}"
        );
        proxy.wait_metric(&closed, 1.0).await;
    }
}

#[tokio::test]
async fn a_reset_is_a_reset_both_ways() {
    let (backend, mut calls) = Backend::by_hand().await;
    let (proxy, pki) = pipe(&backend, ON).await;
    let mut client = connect(&proxy, &pki).await;
    for half_closed in [false, true] {
        let ((mut ours, _), mut theirs) =
            tokio::join!(client.open("/ws", &[]), async { calls.next().await.accept("").await });
        if half_closed {
            ours.stream.shutdown().await.unwrap();
            assert_eq!(within("the end", theirs.try_receive()).await, None);
        }
        ours.stream.reset(Reason::CANCEL);
        if half_closed {
            proxy.wait_metric("longhaul_tunnels_active{route=\"all\"}", 0.0).await;
        } else {
            let ended = within("the reset", theirs.stream.read_u8()).await.expect_err("a reset");
            assert_eq!(ended.kind(), std::io::ErrorKind::ConnectionReset);
        }
    }
    let ((mut ours, _), theirs) =
        tokio::join!(client.open("/ws", &[]), async { calls.next().await.accept("").await });
    SockRef::from(&theirs.stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(theirs);
    assert_eq!(within("the reset", ours.try_receive()).await, None);
    assert_eq!(ours.stream.reset, Some(Reason::CANCEL));
    for (initiator, count) in [("client", 2.0), ("backend", 1.0)] {
        let closed = format!(
            "longhaul_tunnels_closed_total{{route=\"all\",reason=\"reset\",initiator=\"{initiator}\"}}"
        );
        proxy.wait_metric(&closed, count).await;
    }
    assert!(!client.is_over());
}

#[tokio::test]
async fn a_stream_that_nobody_reads_stops_none_of_its_sisters() {
    let (backend, mut calls) = Backend::by_hand().await;
    let (proxy, pki) = proxy(&backend, ON).await;
    let mut client = connect(&proxy, &pki).await;
    let ((mut sister, _), mut echo) =
        tokio::join!(client.open("/ws", &[]), async { calls.next().await.accept("").await });
    let ((mut stopped, _), mut unread) = tokio::join!(client.open("/ws", &[]), async {
        let call = calls.next().await;
        SockRef::from(&call.stream).set_recv_buffer_size(4096).unwrap();
        call.accept("").await.stream
    });
    // Fills the sockets between longhaul and the backend, in parts that leave most of the stream's window unused.
    let sent_to_backend = "longhaul_tunnel_bytes_total{route=\"all\",direction=\"to_backend\"}";
    let mut sent = 0;
    while proxy.metric(sent_to_backend).await >= sent as f64 || moves(&proxy, sent_to_backend, sent).await {
        stopped.send_raw(&[b'a'; 4096]).await;
        sent += 4096;
    }
    let before = proxy.metric("process_resident_memory_bytes").await;
    // One frame each: h2 does not join them.
    for _ in 0..10_000 {
        stopped.stream.sender.reserve_capacity(1);
        stopped.stream.sender.send_data("b".into(), false).unwrap();
    }
    sent += 10_000;
    for round in 0..20 {
        sister.send(&Message::text(&format!("round {round}"))).await;
        assert_eq!(echo.receive_text().await, format!("round {round}"));
        echo.send(&Message::text("back")).await;
        assert_eq!(sister.receive_text().await, "back");
    }
    // The rest of the window, and then the client has to wait.
    while let Ok(more) = timeout(QUIET, stopped.stream.write(&[b'c'; 4096])).await {
        sent += more.expect("a live stream");
    }
    sister.send(&Message::text("still")).await;
    assert_eq!(echo.receive_text().await, "still");
    let grown = proxy.metric("process_resident_memory_bytes").await - before;
    assert!(grown < 16e6, "{grown}");
    // What was stopped goes on when it is read.
    SockRef::from(&unread).set_recv_buffer_size(1 << 20).unwrap();
    let mut received = vec![0; sent];
    within("all of it", unread.read_exact(&mut received)).await.expect("all of it");
    assert!(received.is_sorted());
    stopped.send_raw(b"d").await;
    assert_eq!(within("more", unread.read_u8()).await.expect("more"), b'd');
    assert!(!client.is_over());
}

/// Whether all that was sent still gets through, given a moment.
async fn moves(proxy: &Proxy, series: &str, sent: usize) -> bool {
    timeout(QUIET, async {
        while proxy.metric(series).await < sent as f64 {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .is_ok()
}
