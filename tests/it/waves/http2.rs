//! HTTP/2: when the process stops, the connection goes with all its tunnels; when a backend does, its tunnels go alone.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::io::AsyncReadExt;

use super::order;
use crate::kit::http2::Carried;
use crate::kit::{
    AT_ONCE, Backend, Calls, Client, Http2, Message, Pki, Proxy, WebSocket, plain, secure, within,
};

/// A proxy in front of these backends, with tunnels over HTTP/2.
async fn start(first: &str, backends: &[&Backend]) -> (Proxy, Pki) {
    let pki = Pki::new();
    let certificate = pki.issue(&["chat.example.com"]);
    let addresses: Vec<_> = backends.iter().map(|backend| backend.address).collect();
    let pool = plain(&addresses) + "balance = \"round-robin\"\n";
    let config = [first, &pool, &secure(&[&certificate]), "extended_connect = true\n"].concat();
    (Proxy::start(&config).await, pki)
}

async fn tunnel(connection: &mut Http2, calls: &mut Calls) -> WebSocket<Carried> {
    let (opened, behind) =
        tokio::join!(connection.open("/", &[]), async { calls.next().await.accept("").await });
    tokio::spawn(behind.echo());
    opened.0
}

/// At two a second: the two tunnels of a connection have one slot, and count for two.
#[tokio::test]
async fn all_tunnels_of_a_connection_go_in_its_slot_and_it_goes_with_them() {
    let (backend, mut calls) = Backend::by_hand().await;
    let first = "[server]\ndrain = { delay = \"0s\", window = \"0s\", rate = 2 }\n";
    let (mut proxy, pki) = start(first, &[&backend]).await;
    let address = proxy.address("secure");
    let (mut old, mut young) = (Http2::connect(address, &pki).await, Http2::connect(address, &pki).await);
    let mut sockets = Vec::new();
    for _ in 0..2 {
        sockets.push(("old", tunnel(&mut old, &mut calls).await));
    }
    sockets.push(("young", tunnel(&mut young, &mut calls).await));
    let listed = async {
        loop {
            let (_, table) = proxy.admin("GET", "/api/v1/tunnels").await;
            let idle: Vec<_> =
                (0..3).filter_map(|index| table["tunnels"][index]["idle_ms"].as_u64()).collect();
            match idle[..] {
                [one, other, young] if one.min(other) >= young + 100 => return,
                [_, _, _] => sockets[2].1.round_trip("here").await,
                _ => {}
            }
        }
    };
    within("the young one to be the last that was active", listed).await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let tasks: Vec<_> = sockets
        .into_iter()
        .map(|(name, mut socket)| {
            let told = told.clone();
            tokio::spawn(async move {
                assert_eq!(socket.receive().await, Message::close(1001, ""));
                told.lock().unwrap().push(name);
                socket.send(&Message::close(1001, "")).await;
                assert_eq!(within("the end", socket.try_receive()).await, None);
            })
        })
        .collect();
    let begun = Instant::now();
    proxy.signal(Signal::TERM);
    old.ended().await.expect("a graceful end");
    assert_eq!(*told.lock().unwrap(), ["old", "old"]);
    young.ended().await.expect("a graceful end");
    assert!(begun.elapsed() >= Duration::from_millis(950), "{:?}", begun.elapsed());
    for task in tasks {
        task.await.expect("it was told");
    }
    assert_eq!(proxy.ended().await.code(), Some(0));
}

/// Frames by hand, for what a client that knows of GOAWAY would not do.
struct Raw(Client);

impl Raw {
    async fn begin(address: std::net::SocketAddr, pki: &Pki) -> Raw {
        let mut client = Http2::secure(address, pki).await;
        client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
        Raw(client)
    }

    /// A head (RFC 7541 6.2.2: literal, not indexed), END_HEADERS, and END_STREAM where it is all.
    async fn ask(&mut self, stream: u8, fields: &[(&str, &str)]) {
        let mut block = Vec::new();
        for (name, value) in fields {
            block.push(0);
            for text in [name, value] {
                block.push(u8::try_from(text.len()).expect("a short text"));
                block.extend_from_slice(text.as_bytes());
            }
        }
        let flags = if fields[0].1 == "CONNECT" { 4 } else { 5 };
        let length = u8::try_from(block.len()).expect("a short head");
        self.0.send([&[0, 0, length, 1, flags, 0, 0, 0, stream], &block[..]].concat()).await;
    }

    /// The next frame of this type and stream; others are passed over.
    async fn frame(&mut self, kind: u8, stream: u8) -> Vec<u8> {
        within("a frame", async {
            loop {
                let mut head = [0; 9];
                self.0.read_exact(&mut head).await.expect("a live connection");
                let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
                self.0.read_exact(&mut payload).await.expect("a live connection");
                if (head[3], head[8]) == (kind, stream) {
                    return payload;
                }
            }
        })
        .await
    }
}

#[tokio::test]
async fn a_tunnel_that_is_asked_for_behind_goaway_is_refused() {
    let (backend, mut calls) = Backend::by_hand().await;
    let (proxy, pki) = start(AT_ONCE, &[&backend]).await;
    let mut raw = Raw::begin(proxy.address("secure"), &pki).await;
    let connect = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "https"),
        (":path", "/"),
        (":authority", "chat.example.com"),
        ("sec-websocket-version", "13"),
    ];
    raw.ask(1, &connect).await;
    let _behind = calls.next().await.accept("").await;
    raw.frame(1, 1).await;
    proxy.signal(Signal::TERM);
    // GOAWAY comes with the Close, in whatever order; its PING is not answered, so that streams may still come.
    raw.frame(7, 0).await;
    raw.ask(3, &connect).await;
    assert_eq!(raw.frame(3, 3).await, [0, 0, 0, 7], "REFUSED_STREAM");
    // A plain request that crosses it is answered all the same.
    let get = [(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "chat.example.com")];
    raw.ask(5, &get).await;
    calls.next().await.answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    raw.frame(1, 5).await;
}

#[tokio::test]
async fn where_a_backend_drains_its_tunnels_go_alone() {
    let ((one, mut calls), (two, mut others)) = (Backend::by_hand().await, Backend::by_hand().await);
    let (proxy, pki) = start(AT_ONCE, &[&one, &two]).await;
    let mut connection = Http2::connect(proxy.address("secure"), &pki).await;
    let goes = tunnel(&mut connection, &mut calls).await;
    let mut stays = tunnel(&mut connection, &mut others).await;
    order(&proxy, one.address, "draining").await;
    goes.parts(1012).await;
    stays.round_trip("still here").await;
    tunnel(&mut connection, &mut others).await.round_trip("and more").await;
}
