//! Where connections to backends come from: addresses in turn, and what is said when no port is left at any of them.

mod few_ports;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tokio::net::TcpListener;

use crate::health::up;
use crate::kit::{Backend, Calls, Client, Proxy, WebSocket, connect_errors, handshake, plain};

/// A pool of these backends whose connections come from these addresses.
fn config(backends: &[SocketAddr], addresses: &[&str], keys: &str) -> String {
    let keys = format!("source_addresses = {addresses:?}\n{keys}\n");
    plain(backends) + if addresses.is_empty() { "" } else { &keys }
}

/// Opens a tunnel; where the backend sees it come from.
async fn seen(proxy: &Proxy, calls: &mut Calls) -> (WebSocket<Client>, String) {
    let (client, backend) = calls.tunnel(proxy.connect("plain").await, "", "").await;
    (client, backend.stream.peer_addr().expect("a connection").ip().to_string())
}

#[tokio::test]
async fn connections_come_from_each_address_in_turn() {
    let (backend, mut calls) = Backend::by_hand().await;
    let proxy = Proxy::start(&config(&[backend.address], &["127.0.0.2", "::1", "127.0.0.3"], "")).await;
    let mut came = BTreeMap::<_, usize>::new();
    for _ in 0..8 {
        *came.entry(seen(&proxy, &mut calls).await.1).or_default() += 1;
    }
    assert_eq!(came, BTreeMap::from([("127.0.0.2".into(), 4), ("127.0.0.3".into(), 4)]));
    // A reload changes them for new connections.
    proxy.change_to(&config(&[backend.address], &["127.0.0.4"], "")).await;
    assert_eq!(seen(&proxy, &mut calls).await.1, "127.0.0.4");
    proxy.change_to(&config(&[backend.address], &[], "")).await;
    assert_eq!(seen(&proxy, &mut calls).await.1, "127.0.0.1");
}

#[tokio::test]
async fn each_family_has_its_own_and_one_without_any_is_left_to_the_kernel() {
    let (handle, mut calls) = Calls::handler();
    let listener = TcpListener::bind("[::1]:0").await.expect("a free port");
    let backend = Backend::on(listener, move |mut stream| {
        let handle = handle.clone();
        async move {
            if let Some(head) = crate::kit::Head::read(&mut stream).await {
                handle(crate::kit::Call { stream, head }).await;
            }
        }
    });
    for addresses in [&["127.0.0.2"], &["::1"]] {
        let proxy = Proxy::start(&config(&[backend.address], addresses, "")).await;
        assert_eq!(seen(&proxy, &mut calls).await.1, "::1");
    }
}

/// Only the probes of who comes from the right address pass.
#[tokio::test]
async fn probes_come_from_them_too() {
    let backend = Backend::raw(|mut stream| async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let source = stream.peer_addr().expect("a connection").ip().to_string();
        let status = if source == "127.0.0.2" { "204 No Content" } else { "403 Forbidden" };
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream.write_all(format!("HTTP/1.1 {status}\r\nConnection: close\r\n\r\n").as_bytes()).await;
    })
    .await;
    let health = "health = { kind = \"http\", path = \"/\", interval = \"1h\", rise = 1 }";
    let proxy = Proxy::start(&config(&[backend.address], &["127.0.0.3"], health)).await;
    proxy.record("backend down").await;
    proxy.change_to(&config(&[backend.address], &["127.0.0.2"], health)).await;
    proxy.wait_metric(&up(backend.address), 1.0).await;
}

/// The status of a handshake that gets no tunnel, whether it may be tried again in 5 to 10 seconds, if ever, and the reason
/// in its record.
async fn refused(proxy: &Proxy, mut client: Client, path: &str) -> (u16, Option<bool>, String) {
    client.send(handshake(path, "example.com", "")).await;
    let head = client.head().await;
    let is_soon = |seconds: &str| (5..=10).contains(&seconds.parse::<u32>().expect("a number"));
    (head.status(), head.get("retry-after").map(is_soon), proxy.refusal(path).await)
}

#[tokio::test]
async fn an_address_of_another_machine_is_passed_over_and_alone_it_is_told() {
    let (backend, mut calls) = Backend::by_hand().await;
    let proxy = Proxy::start(&config(&[backend.address], &["192.0.2.1", "127.0.0.2"], "")).await;
    for _ in 0..4 {
        assert_eq!(seen(&proxy, &mut calls).await.1, "127.0.0.2");
    }
    proxy.change_to(&config(&[backend.address], &["192.0.2.1"], "")).await;
    let client = proxy.connect("plain").await;
    assert_eq!(refused(&proxy, client, "/x").await, (502, None, "no_source_address".to_string()));
    assert_eq!(proxy.metric(&connect_errors(backend.address, "source_address")).await, 1.0);
    let warning = proxy.record("cannot connect").await;
    assert_eq!((&warning["level"], &warning["error"]), (&"WARN".into(), &"source_address".into()));
    assert!(
        warning["remedy"].as_str().is_some_and(|remedy| remedy.contains("source_addresses")),
        "{warning}"
    );
}
