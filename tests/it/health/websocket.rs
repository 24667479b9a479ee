//! WebSocket probes: a real handshake, perhaps a ping, and a good-bye.

use std::collections::BTreeSet;

use longhaul::proto::frame::{Header, Opcode};
use longhaul::proto::proxy_header::{self, Version};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

use super::{config, failed, probes, up, verdict, verdict_of};
use crate::kit::{
    ACCEPT, Backend, Call, Calls, Head, Message, Pki, Proxy, Tls, UnixBackend, WebSocket, plain, pool_tls,
    switching, within,
};

/// A probe that runs once, with these further keys.
fn once(keys: &str) -> String {
    format!("kind = \"websocket\", path = \"/ws?probe=1\", interval = \"1h\", timeout = \"20s\"{keys}")
}

/// Takes a probe's good-bye, and its end.
async fn part<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(mut socket: WebSocket<S>) {
    assert_eq!(socket.receive().await, Message::close(1000, ""));
    socket.send(&Message::close(1000, "")).await;
    assert_eq!(within("the end", socket.try_receive()).await, None);
}

#[tokio::test]
async fn each_probe_is_a_handshake_of_its_own_and_says_good_bye() {
    let (backend, mut calls) = Backend::by_hand().await;
    let keys = "kind = \"websocket\", path = \"/ws?probe=1\", interval = \"1ms\", timeout = \"20s\", \
                headers = { Host = \"chat.example.com\", Authorization = \"Bearer abc\" }";
    let proxy = Proxy::start(&config(&[backend.address], keys)).await;
    let mut seen = BTreeSet::new();
    for _ in 0..5 {
        let call = calls.next().await;
        assert_eq!(call.head.line, "GET /ws?probe=1 HTTP/1.1");
        for (name, value) in [
            ("host", "chat.example.com"),
            ("authorization", "Bearer abc"),
            ("upgrade", "websocket"),
            ("connection", "Upgrade"),
            ("sec-websocket-version", "13"),
        ] {
            assert_eq!(call.head.get(name), Some(value));
        }
        assert_eq!(
            (call.head.get("sec-websocket-protocol"), call.head.get("sec-websocket-extensions")),
            (None, None)
        );
        seen.insert(call.head.get("sec-websocket-key").expect("a key").to_string());
        part(call.accept("").await).await;
    }
    assert_eq!(seen.len(), 5, "every key is fresh");
    proxy.wait_metric(&up(backend.address), 1.0).await;
    assert_eq!(proxy.metric(&probes(backend.address, "failed")).await, 0.0);
}

#[tokio::test]
async fn the_answer_must_be_that_of_a_websocket() {
    for (answer, reason, detail) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_string(), "status", "200"),
        ("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n".to_string(), "status", "403"),
        // The answer to another key.
        (switching(""), "backend_bad_101", ""),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n".to_string(), "backend_bad_101", ""),
        ("SSH-2.0-OpenSSH\r\n".to_string(), "backend_malformed", ""),
        (String::new(), "backend_closed", ""),
    ] {
        let backend = Backend::answers(answer.clone()).await;
        assert_eq!(verdict(backend.address, &once("")).await, failed(reason, detail), "{answer}");
    }
    let backend = Backend::calls(|call: Call| async move {
        let lines = "Sec-WebSocket-Protocol: chat\r\n";
        let mut call = call;
        let answer = call.switching(lines);
        call.send(answer).await;
        call.rest().await;
    })
    .await;
    // Chosen and not offered, offered and chosen, offered and another one chosen.
    assert_eq!(verdict(backend.address, &once("")).await, failed("backend_bad_101", ""));
    assert_eq!(verdict(backend.address, &once(", subprotocol = \"chat\"")).await, Ok(()));
    assert_eq!(
        verdict(backend.address, &once(", subprotocol = \"chat.v2\"")).await,
        failed("backend_bad_101", "")
    );
    assert!(switching("").contains(ACCEPT));
}

#[tokio::test]
async fn a_subprotocol_that_is_asked_for_must_be_chosen() {
    let (backend, mut calls) = Backend::by_hand().await;
    let proxy = Proxy::start(&config(&[backend.address], &once(", subprotocol = \"chat.v2\""))).await;
    let call = calls.next().await;
    assert_eq!(call.head.get("sec-websocket-protocol"), Some("chat.v2"));
    part(call.accept("").await).await;
    assert_eq!(verdict_of(&proxy, &backend.address.to_string()).await, failed("subprotocol", ""));
}

/// What a backend does with a probe's ping, and what the probe finds.
async fn pinged<F>(
    act: impl Fn(WebSocket<tokio::net::TcpStream>, Vec<u8>) -> F + Clone + Send + Sync + 'static,
) -> super::Verdict
where
    F: Future<Output = ()> + Send + 'static,
{
    let backend = Backend::calls(move |call: Call| {
        let act = act.clone();
        async move {
            let mut socket = call.accept("").await;
            let ping = socket.receive().await;
            assert_eq!(ping.opcode, Opcode::Ping);
            assert_eq!(ping.payload.len(), 8);
            act(socket, ping.payload).await;
        }
    })
    .await;
    verdict(backend.address, &once(", ping_timeout = \"300ms\"")).await
}

fn control(opcode: Opcode, payload: impl Into<Vec<u8>>) -> Message {
    Message { opcode, payload: payload.into() }
}

#[tokio::test]
async fn a_ping_is_answered_whatever_else_the_backend_says() {
    let passed = pinged(|mut socket, payload| async move {
        socket.send(&Message::text("welcome")).await;
        socket.send(&Message::binary(vec![7; 100_000])).await;
        socket.send(&control(Opcode::Pong, "unasked")).await;
        socket.send(&control(Opcode::Ping, "are you there?")).await;
        assert_eq!(socket.receive().await, control(Opcode::Pong, "are you there?"));
        // In pieces.
        for byte in control(Opcode::Pong, payload).frame(false) {
            socket.send_raw(&[byte]).await;
        }
        part(socket).await;
    });
    assert_eq!(passed.await, Ok(()));
}

#[tokio::test]
async fn a_ping_that_is_not_answered_takes_a_backend_down() {
    for payload in [None, Some("another")] {
        let verdict = pinged(move |mut socket, _| async move {
            if let Some(payload) = payload {
                socket.send(&control(Opcode::Pong, payload)).await;
            }
            part(socket).await;
        });
        assert_eq!(verdict.await, failed("pong_timeout", ""));
    }
    let closed = pinged(|mut socket, _| async move {
        socket.send(&Message::close(1013, "")).await;
        part(socket).await;
    });
    assert_eq!(closed.await, failed("closed", ""));
    let gone = pinged(|socket, _| async move { drop(socket) });
    assert_eq!(gone.await, failed("backend_closed", ""));
}

#[tokio::test]
async fn what_a_backend_may_say_is_bounded_and_framed() {
    let endless = pinged(|mut socket, _| async move {
        let header = Header { fin: true, rsv: 0, opcode: Opcode::Binary, mask: None, length: 1 << 40 };
        let mut bytes = Vec::new();
        header.write(&mut bytes);
        bytes.resize(64 * 1024, 0);
        while tokio::io::AsyncWriteExt::write_all(&mut socket.stream, &bytes).await.is_ok() {}
    });
    assert_eq!(endless.await, failed("too_much", ""));
    for frame in [
        control(Opcode::Pong, "masked").frame(true),
        vec![0xc1, 0x00],
        vec![0x83, 0x00],
        vec![0x89, 0x7e, 0x00, 0x80],
    ] {
        let broken = pinged(move |mut socket, _| {
            let frame = frame.clone();
            async move {
                socket.send_raw(&frame).await;
                let _ = socket.stream.read_to_end(&mut Vec::new()).await;
            }
        });
        assert_eq!(broken.await, failed("framing", ""));
    }
}

/// The good-bye is a courtesy: who does not return it is up all the same, and in time for the deadline.
#[tokio::test]
async fn a_backend_that_does_not_say_good_bye_is_up() {
    let backend = Backend::calls(|call: Call| async move {
        let _socket = call.accept("").await;
        std::future::pending::<()>().await;
    })
    .await;
    let keys = "kind = \"websocket\", path = \"/\", interval = \"1h\", timeout = \"1s\"";
    assert_eq!(verdict(backend.address, keys).await, Ok(()));
}

#[tokio::test]
async fn probes_go_over_tls_behind_a_proxy_header() {
    let pki = Pki::new();
    let tls = Tls::new(&pki.issue(&["127.0.0.1"]));
    let (headers, mut told) = mpsc::unbounded_channel();
    let backend = Backend::raw(move |mut tcp| {
        let (tls, headers) = (tls.clone(), headers.clone());
        async move {
            let mut bytes = Vec::new();
            let header = loop {
                bytes.push(tcp.read_u8().await.expect("a header"));
                if let Some((header, _)) = proxy_header::read(&bytes).expect("a header") {
                    break header;
                }
            };
            let mut stream = tls.acceptor().accept(tcp).await.expect("a handshake");
            let head = Head::read(&mut stream).await.expect("a request");
            let mut socket = Call { stream, head }.accept("").await;
            let ping = socket.receive().await;
            socket.send(&control(Opcode::Pong, ping.payload)).await;
            part(socket).await;
            let _ = headers.send(header);
        }
    })
    .await;
    for version in [Version::V1, Version::V2] {
        let word = if version == Version::V1 { "v1" } else { "v2" };
        let pool = format!("proxy_protocol = \"{word}\"\n{}", pool_tls(&pki, ""));
        let text = config(&[backend.address], &once(", ping_timeout = \"20s\"")) + &pool;
        let proxy = Proxy::start(&text).await;
        assert_eq!(verdict_of(&proxy, &backend.address.to_string()).await, Ok(()));
        let header = within("a whole probe", told.recv()).await.expect("the backend lives");
        assert!(matches!(header, proxy_header::Header::Local | proxy_header::Header::Unknown), "{header:?}");
    }
}

#[tokio::test]
async fn probes_go_over_unix_sockets() {
    let folder = tempfile::tempdir().expect("a folder");
    let (handle, mut calls) = Calls::handler();
    let backend = UnixBackend::raw(folder.path().join("ws.sock"), move |mut stream| {
        let handle = handle.clone();
        async move {
            if let Some(head) = Head::read(&mut stream).await {
                handle(Call { stream, head }).await;
            }
        }
    });
    let text = plain(&["127.0.0.1:1".parse().expect("an address")])
        .replace("127.0.0.1:1", &backend.address())
        + &format!("health = {{ {} }}\n", once(""));
    let proxy = Proxy::start(&text).await;
    let call = calls.next().await;
    assert_eq!(call.head.get("host"), Some("localhost"));
    part(call.accept("").await).await;
    assert_eq!(verdict_of(&proxy, &backend.address()).await, Ok(()));
}
