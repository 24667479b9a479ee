//! Listeners that change under their connections.

use std::net::{Ipv4Addr, SocketAddr};

use rustls::{ALL_VERSIONS, HandshakeKind};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::refused;
use crate::kit::{
    Backend, Client, DEADLINE, Head, Pki, Proxy, Reloaded, Resumption, WebSocket, plain, secure, within,
};

/// An address that no other test has, in this process or another.
pub fn own_address(number: u8) -> SocketAddr {
    let [.., high, low] = std::process::id().to_be_bytes();
    SocketAddr::from((Ipv4Addr::new(127, 100 + number, high, low), 18_000))
}

/// Waits until nobody listens at `address`.
pub async fn refuses(address: SocketAddr) {
    let deadline = Instant::now() + DEADLINE;
    while let Ok(connected) = TcpStream::connect(address).await {
        drop(connected);
        assert!(Instant::now() < deadline, "{address} is still served");
        sleep(std::time::Duration::from_millis(5)).await;
    }
}

fn listener(name: &str, address: impl std::fmt::Display) -> String {
    format!("[[listeners]]\nname = \"{name}\"\naddress = \"{address}\"\n")
}

/// Opens a tunnel through any address of the proxy.
async fn open_at(address: SocketAddr) -> WebSocket<Client> {
    let (mut socket, _) = Client::connect(address).await.open("/", "example.com", "").await;
    assert_eq!(socket.receive_text().await, "one");
    socket
}

/// Opens a tunnel over TLS.
async fn open_secure(proxy: &Proxy, visitor: &Resumption) -> WebSocket<Client> {
    let connect = visitor.connect(proxy.address("secure"), "chat.example.com");
    let client = within("a TLS connection", connect).await.expect("the handshake succeeds");
    let (mut socket, _) = client.open("/", "chat.example.com", "").await;
    assert_eq!(socket.receive_text().await, "one");
    socket
}

fn kind(socket: &WebSocket<Client>) -> HandshakeKind {
    socket.stream.tls().expect("TLS").1
}

#[tokio::test]
async fn a_new_certificate_is_for_new_handshakes_and_sessions_are_still_resumed() {
    let (backend, pki) = (Backend::echo("one").await, Pki::new());
    let first = pki.issue(&["chat.example.com"]);
    let proxy = Proxy::start(&(plain(&[backend.address]) + &secure(&[&first]))).await;
    let regular = Resumption::new(&pki, ALL_VERSIONS);
    let mut old = open_secure(&proxy, &regular).await;
    assert!(old.stream.certificate().as_ref() == Some(&first.der));
    assert_eq!(kind(&old), HandshakeKind::Full);

    // The same paths, another content.
    let second = pki.issue(&["chat.example.com"]);
    assert_eq!(proxy.reload().await, Reloaded::Changed(2, "certificates".to_string()));
    let new = open_secure(&proxy, &Resumption::new(&pki, ALL_VERSIONS)).await;
    assert!(new.stream.certificate().as_ref() == Some(&second.der));
    assert_eq!(kind(&open_secure(&proxy, &regular).await), HandshakeKind::Resumed);
    old.round_trip("still here").await;
    old.close(1000).await;
}

#[tokio::test]
async fn certificates_are_added_and_exchanged_by_the_file_too() {
    let (backend, pki) = (Backend::echo("one").await, Pki::new());
    let [chat, other] =
        [pki.issue(&["chat.example.com"]), pki.issue(&["other.example.com", "chat.example.com"])];
    let base = plain(&[backend.address]);
    let proxy = Proxy::start(&(base.clone() + &secure(&[&chat]))).await;
    let mut old = open_secure(&proxy, &Resumption::new(&pki, ALL_VERSIONS)).await;
    let address = proxy.address("secure");
    for (certificates, name, shown) in [
        (&[&chat, &other][..], "other.example.com", &other),
        (&[&other][..], "chat.example.com", &other),
        (&[&chat][..], "chat.example.com", &chat),
    ] {
        let change = proxy.change_to(&(base.clone() + &secure(certificates))).await;
        assert!(change.starts_with("listeners ~1 (secure)"), "{change}");
        let client = Client::connect_tls(address, &pki, name).await;
        assert!(client.certificate().as_ref() == Some(&shown.der), "{name}");
    }
    old.round_trip("still here").await;
}

#[tokio::test]
async fn a_bad_pair_keeps_the_one_in_use() {
    let (backend, pki) = (Backend::echo("one").await, Pki::new());
    let good = pki.issue(&["chat.example.com"]);
    let proxy = Proxy::start(&(plain(&[backend.address]) + &secure(&[&good]))).await;
    let other = pki.issue(&["other.example.com"]);
    // A certificate and the key of another one.
    std::fs::copy(&other.key, &good.key).expect("a writable folder");
    let Reloaded::Rejected(said) = proxy.reload().await else { panic!("accepted") };
    assert!(said.contains("longhaul.toml:"), "{said}");
    let client = Client::connect_tls(proxy.address("secure"), &pki, "chat.example.com").await;
    assert!(client.certificate().as_ref() == Some(&good.der));
    let renewed = pki.issue(&["chat.example.com"]);
    assert_eq!(proxy.reload().await, Reloaded::Changed(2, "certificates".to_string()));
    let client = Client::connect_tls(proxy.address("secure"), &pki, "chat.example.com").await;
    assert!(client.certificate().as_ref() == Some(&renewed.der));
}

#[tokio::test]
async fn a_listener_turns_to_tls_and_back_and_keeps_its_tunnels() {
    let (backend, pki) = (Backend::echo("one").await, Pki::new());
    let issued = pki.issue(&["chat.example.com"]);
    let plain = plain(&[backend.address]).replace("127.0.0.1:0", &own_address(2).to_string());
    let tls = format!("tls = {{ certificates = [{}] }}\n[[routes]]", issued.entry());
    let secure = plain.replacen("[[routes]]", &tls, 1);
    let proxy = Proxy::start(&plain).await;
    let mut before = open_at(own_address(2)).await;
    assert!(proxy.change_to(&secure).await.starts_with("listeners ~1 (plain)"));
    let client = Client::connect_tls(own_address(2), &pki, "chat.example.com").await;
    let (mut encrypted, _) = client.open("/", "chat.example.com", "").await;
    assert_eq!(encrypted.receive_text().await, "one");
    assert!(proxy.change_to(&plain).await.starts_with("listeners ~1 (plain)"));
    let mut after = open_at(own_address(2)).await;
    before.round_trip("still here").await;
    encrypted.round_trip("still here").await;
    after.round_trip("still here").await;
}

#[tokio::test]
async fn a_listener_is_added_and_removed_and_its_tunnels_live_on() {
    let backend = Backend::echo("one").await;
    let base = plain(&[backend.address]);
    let proxy = Proxy::start(&base).await;
    let with_more = base.clone() + &listener("more", own_address(3));
    // Added again after it was removed: the address must be free by then.
    let mut tunnels = Vec::new();
    for _ in 0..3 {
        assert_eq!(proxy.change_to(&with_more).await, "listeners +1 (more)");
        tunnels.push(open_at(own_address(3)).await);
        assert_eq!(proxy.change_to(&base).await, "listeners -1 (more)");
        refuses(own_address(3)).await;
    }
    proxy.record("no longer listening").await;
    for tunnel in &mut tunnels {
        tunnel.round_trip("still here").await;
    }
    proxy.wait_metric("longhaul_connections_active{listener=\"more\"}", 3.0).await;
    for tunnel in tunnels {
        tunnel.close(1000).await;
    }
    proxy.wait_metric("longhaul_connections_active{listener=\"more\"}", 0.0).await;
}

#[tokio::test]
async fn a_listener_moves_to_another_address() {
    let backend = Backend::echo("one").await;
    let config = |address: SocketAddr| plain(&[backend.address]).replace("127.0.0.1:0", &address.to_string());
    let (here, there) = (own_address(4), own_address(5));
    let proxy = Proxy::start(&config(here)).await;
    let mut first = open_at(here).await;
    assert_eq!(proxy.change_to(&config(there)).await, "listeners ~1 (plain)");
    assert_eq!(proxy.address("plain"), there);
    let mut second = open_at(there).await;
    refuses(here).await;
    proxy.change_to(&config(here)).await;
    let mut third = open_at(here).await;
    refuses(there).await;
    for socket in [&mut first, &mut second, &mut third] {
        socket.round_trip("still here").await;
    }
}

#[tokio::test]
async fn two_listeners_exchange_their_addresses() {
    let backend = Backend::echo("one").await;
    let routes = plain(&[backend.address]);
    let routes = routes.split_once("[[routes]]").expect("routes").1;
    let config =
        |a: SocketAddr, b: SocketAddr| format!("{}{}[[routes]]{routes}", listener("a", a), listener("b", b));
    let (here, there) = (own_address(6), own_address(7));
    let proxy = Proxy::start(&config(here, there)).await;
    let mut tunnel = open_at(here).await;
    assert_eq!(proxy.change_to(&config(there, here)).await, "listeners ~2 (a, b)");
    let _other = open_at(here).await;
    // What came before counts where it came in.
    for name in ["a", "b"] {
        let active = format!("longhaul_connections_active{{listener=\"{name}\"}}");
        proxy.wait_metric(&active, 1.0).await;
    }
    tunnel.round_trip("still here").await;
}

#[tokio::test]
async fn a_listener_that_is_only_renamed_keeps_its_socket() {
    let backend = Backend::echo("one").await;
    let config = |name: &str| {
        let base = plain(&[backend.address]).replace("127.0.0.1:0", &own_address(8).to_string());
        base.replacen("name = \"plain\"", &format!("name = \"{name}\""), 1)
    };
    let proxy = Proxy::start(&config("plain")).await;
    let mut tunnel = open_at(own_address(8)).await;
    let change = proxy.change_to(&config("renamed")).await;
    assert_eq!(change, "listeners +1 -1 (added renamed; removed plain)");
    let mut new = open_at(own_address(8)).await;
    assert_eq!(proxy.metric("longhaul_connections_total{listener=\"renamed\"}").await, 1.0);
    for socket in [&mut tunnel, &mut new] {
        socket.round_trip("still here").await;
    }
    let said = |message: &str| proxy.log().iter().filter(|line| line["message"] == message).count();
    assert_eq!((said("listening"), said("no longer listening")), (1, 0));
}

#[tokio::test]
async fn who_is_trusted_changes_for_new_connections() {
    let (backend, mut calls) = Backend::by_hand().await;
    let base = plain(&[backend.address]);
    let trusting = base.replacen("127.0.0.1:0\"", "127.0.0.1:0\"\ntrusted_networks = [\"127.0.0.0/8\"]", 1);
    let proxy = Proxy::start(&base).await;
    let forwarded = "X-Forwarded-For: 192.0.2.7\r\n";
    let request = format!("GET / HTTP/1.1\r\nHost: example.com\r\n{forwarded}\r\n");
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let claimed = |head: &Head| head.get("x-forwarded-for").unwrap_or_default().starts_with("192.0.2.7");
    let mut old = proxy.connect("plain").await;
    for (config, trusted) in [(&trusting, true), (&base, false)] {
        old.send(&request).await;
        let call = calls.next().await;
        assert!(!claimed(&call.head), "a connection keeps what held when it came: {:?}", call.head);
        call.answer(ok).await;
        assert_eq!(old.answer().await.0.status(), 200);
        proxy.change_to(config).await;
        let mut new = proxy.connect("plain").await;
        new.send(&request).await;
        let call = calls.next().await;
        assert_eq!(claimed(&call.head), trusted, "{:?}", call.head);
        call.answer(ok).await;
    }
}

#[tokio::test]
async fn a_keep_alive_connection_follows_the_routes() {
    let backend = Backend::answers("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let base = plain(&[backend.address]);
    let proxy = Proxy::start(&base).await;
    let mut client = proxy.connect("plain").await;
    let request = "GET /page HTTP/1.1\r\nHost: example.com\r\n\r\n";
    for (config, status) in
        [(base.replacen("pool = ", "path = \"/other\"\npool = ", 1), 404), (base.clone(), 200)]
    {
        proxy.change_to(&config).await;
        client.send(request).await;
        assert_eq!(client.answer().await.0.status(), status);
        let handshake = refused(&proxy, "/page", "").await;
        assert_eq!(handshake == 404, status == 404);
    }
}
