//! PROXY headers from proxies in front.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use longhaul::proto::proxy_header::Version;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep};

use super::{GET, OK, config, proxied, send_all, told};
use crate::kit::{Backend, Client, Pki, Proxy, handshake, secure};

const EXPECTED: &str = "proxy_protocol = { trusted_networks = [\"127.0.0.0/8\"] }";

fn faults(reason: &str) -> String {
    format!("longhaul_connection_errors_total{{listener=\"plain\",reason=\"{reason}\"}}")
}

/// A header of version 2 with this command, family and rest.
fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).expect("a short header").to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &length, rest].concat()
}

/// Each header, and who the client is then.
fn headers() -> Vec<(Vec<u8>, &'static str)> {
    let four = [203, 0, 113, 7, 192, 0, 2, 99, 0x12, 0x67, 1, 187];
    // Further TLVs: one that is empty, and one whose length reaches into the request behind it.
    let tlvs = [&four[..], &[0x04, 0, 0], &[0xe0, 0xff, 0xff, 1, 2, 3]].concat();
    vec![
        (b"PROXY TCP4 203.0.113.7 192.0.2.99 4711 443\r\n".to_vec(), "203.0.113.7"),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n".to_vec(), "2001:db8::7"),
        (b"PROXY TCP6 ::ffff:203.0.113.7 ::1 4711 443\r\n".to_vec(), "203.0.113.7"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (b"PROXY UNKNOWN 203.0.113.7 192.0.2.99 4711 443\r\n".to_vec(), "127.0.0.1"),
        (proxied("203.0.113.7:4711", Version::V2), "203.0.113.7"),
        (proxied("[2001:db8::7]:4711", Version::V2), "2001:db8::7"),
        (binary(0x21, 0x11, &tlvs), "203.0.113.7"),
        (binary(0x21, 0x31, &[b'/'; 216]), "127.0.0.1"),
        (binary(0x21, 0x00, &[]), "127.0.0.1"),
        (binary(0x20, 0x00, &[]), "127.0.0.1"),
        (binary(0x20, 0x11, &[]), "127.0.0.1"),
        (binary(0x20, 0x11, &four), "127.0.0.1"),
        (binary(0x20, 0x00, &[0; 9000]), "127.0.0.1"),
    ]
}

#[tokio::test]
async fn a_header_names_the_client() {
    let (backend, mut calls) = Backend::by_hand().await;
    let proxy = Proxy::start(&config(EXPECTED, &backend.address.to_string(), "")).await;
    for (index, (header, expected)) in headers().into_iter().enumerate() {
        let shown = String::from_utf8_lossy(&header).into_owned();
        let mut client = proxy.connect("plain").await;
        let request = GET.replace("/page", &format!("/{index}"));
        // In one segment, and in two cut inside the header.
        let cut = if index % 2 == 0 { 0 } else { header.len() / 2 };
        client.send(&header[..cut]).await;
        client.send([&header[cut..], request.as_bytes()].concat()).await;
        let mut call = calls.next().await;
        let element = if expected.contains(':') { format!("\"[{expected}]\"") } else { expected.into() };
        let element = format!("for={element};host=example.com;proto=http");
        assert_eq!(told(&call.head), (Some(expected), Some(&*element)), "{shown}");
        call.send(OK).await;
        assert_eq!(client.head().await.status(), 200);
        let path = format!("/{index}");
        let record = proxy.wait_for("a record", |line| line["path"] == *path).await;
        assert_eq!(record["client"], expected, "{record}");
        let peer = (expected != "127.0.0.1").then_some("127.0.0.1");
        assert_eq!(record["peer"].as_str(), peer, "{record}");
    }
}

#[tokio::test]
async fn a_header_may_come_in_single_bytes_and_opens_tunnels() {
    let (backend, mut calls) = Backend::by_hand().await;
    let proxy = Proxy::start(&config(EXPECTED, &backend.address.to_string(), "")).await;
    for version in [Version::V1, Version::V2] {
        let mut client = proxy.connect("plain").await;
        for byte in proxied("203.0.113.7:4711", version) {
            client.send([byte]).await;
        }
        let (mut client, mut behind) = calls.tunnel(client, "", "").await;
        client.send(&crate::kit::Message::text("hello")).await;
        assert_eq!(behind.receive_text().await, "hello");
        let (_, table) = proxy.admin("GET", "/api/v1/tunnels").await;
        assert_eq!(table["tunnels"][0]["client"], "203.0.113.7", "{table}");
        drop((client, behind));
        proxy.wait_metric("longhaul_tunnels_active{route=\"all\"}", 0.0).await;
    }
}

/// The header and the ClientHello in one segment: nothing of the latter is lost.
#[tokio::test]
async fn a_header_stands_before_tls() {
    let pki = Pki::new();
    let (backend, mut calls) = Backend::by_hand().await;
    let text = secure(&[&pki.issue(&["localhost"])])
        .replace("[listeners.tls]", &format!("{EXPECTED}\n[listeners.tls]"));
    let proxy = Proxy::start(&(config("", &backend.address.to_string(), "") + &text)).await;
    let address = proxy.address("secure");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("supported versions")
        .with_root_certificates(pki.roots())
        .with_no_client_auth();
    let tls = Arc::new(tls);
    for version in [Version::V1, Version::V2] {
        let tls = tls.clone();
        let client = tokio::task::spawn_blocking(move || {
            let name = ServerName::try_from("localhost").expect("a name");
            let mut session = ClientConnection::new(tls, name).expect("a session");
            let mut first = proxied("203.0.113.7:4711", version);
            session.write_tls(&mut first).expect("room");
            let mut tcp = std::net::TcpStream::connect(address).expect("the proxy listens");
            tcp.write_all(&first).expect("the proxy reads");
            let mut stream = rustls::Stream::new(&mut session, &mut tcp);
            stream.write_all(GET.as_bytes()).expect("the proxy reads");
            let mut answer = String::new();
            let _ = stream.read_to_string(&mut answer);
            answer
        });
        let mut call = calls.next().await;
        assert_eq!(call.head.get("x-forwarded-for"), Some("203.0.113.7"));
        assert_eq!(call.head.get("x-forwarded-proto"), Some("https"));
        call.send(OK).await;
        assert!(client.await.expect("a client").starts_with("HTTP/1.1 200"));
    }
    // TLS without a header is none.
    assert!(
        crate::kit::Resumption::new(&pki, rustls::ALL_VERSIONS).connect(address, "localhost").await.is_err()
    );
    let missing = "longhaul_connection_errors_total{listener=\"secure\",reason=\"proxy_header_missing\"}";
    proxy.wait_metric(missing, 1.0).await;
}

#[tokio::test]
async fn what_is_no_header_is_closed_and_counted() {
    let (backend, _calls) = Backend::by_hand().await;
    let proxy = Proxy::start(&config(EXPECTED, &backend.address.to_string(), "")).await;
    let line = |text: &str| format!("{text}{GET}").into_bytes();
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(100));
    let table = [
        ("proxy_header_missing", line("")),
        ("proxy_header_missing", b"\x16\x03\x01\x02\x00".to_vec()),
        ("proxy_header_missing", line(" PROXY UNKNOWN\r\n")),
        ("proxy_header_malformed", line("PROXY TCP4 203.0.113.7\r\n")),
        ("proxy_header_malformed", line("PROXY TCP4 203.0.113.7 192.0.2.99 4711 443\n")),
        ("proxy_header_malformed", line("PROXY TCP4 2001:db8::7 ::1 4711 443\r\n")),
        ("proxy_header_malformed", line("PROXY UNKNOWNS\r\n")),
        ("proxy_header_malformed", line(&long)),
        ("proxy_header_malformed", [b"PROXY ", &[b'x'; 1 << 16][..]].concat()),
        ("proxy_header_malformed", binary(0x21, 0x11, &[0; 11])),
        ("proxy_header_malformed", binary(0x22, 0x00, &[])),
        ("proxy_header_malformed", binary(0x31, 0x11, &[0; 12])),
        ("proxy_header_malformed", binary(0x20, 0x00, &[0; 60_000])),
    ];
    let mut counts = std::collections::BTreeMap::new();
    for (reason, bytes) in table {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
        let mut client = proxy.connect("plain").await;
        // The end may come before all of it was sent.
        let _ = client.write_all(&bytes).await;
        assert_eq!(client.rest().await.0, b"", "{shown}");
        let count = counts.entry(reason).or_insert(0.0);
        *count += 1.0;
        proxy.wait_metric(&faults(reason), *count).await;
    }
    for bytes in [&b"P"[..], b"PROXY TCP4 203.0.113.7 192", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x01"] {
        let mut client = proxy.connect("plain").await;
        client.send(bytes).await;
        client.shutdown().await.expect("a live socket");
        assert_eq!(client.rest().await.0, b"");
    }
    proxy.wait_metric(&faults("proxy_header_unended"), 3.0).await;
    // Who only connects, as a balancer's probe does, is no fault.
    drop(proxy.connect("plain").await);
    proxy.wait_metric("longhaul_connections_active{listener=\"plain\"}", 0.0).await;
    proxy.wait_metric("longhaul_connections_total{listener=\"plain\"}", 17.0).await;
    let (_, text) = proxy.scrape("/metrics").await;
    let counted = text.lines().filter(|line| line.starts_with("longhaul_connection_errors_total{"));
    assert_eq!(counted.count(), 3, "no other reason is counted");
    assert_eq!(backend.called(), 0);
}

#[tokio::test]
async fn a_header_has_a_deadline_of_its_own() {
    let (backend, _calls) = Backend::by_hand().await;
    let limits = "[limits]\nproxy_header_timeout = \"300ms\"\n";
    let proxy =
        Proxy::start(&(limits.to_owned() + &config(EXPECTED, &backend.address.to_string(), ""))).await;
    // Silence, and a header that never ends although something always comes.
    let begun = Instant::now();
    let mut silent = proxy.connect("plain").await;
    assert_eq!(silent.rest().await.0, b"");
    assert!(begun.elapsed() >= Duration::from_millis(300));
    proxy.wait_metric(&faults("proxy_header_timeout"), 1.0).await;
    let mut slow = proxy.connect("plain").await;
    slow.send(&binary(0x20, 0x00, &[0; 16_000])[..16]).await;
    while slow.write_all(b"\0").await.is_ok() {
        sleep(Duration::from_millis(10)).await;
    }
    proxy.wait_metric(&faults("proxy_header_timeout"), 2.0).await;
    assert_eq!(backend.called(), 0);
}

#[tokio::test]
async fn others_than_the_trusted_are_turned_away() {
    let (backend, _calls) = Backend::by_hand().await;
    let elsewhere = "proxy_protocol = { trusted_networks = [\"192.0.2.0/24\", \"::1\"] }";
    let proxy = Proxy::start(&config(elsewhere, &backend.address.to_string(), "")).await;
    let header = proxied("203.0.113.7:4711", Version::V1);
    for bytes in [GET.as_bytes().to_vec(), [&header[..], GET.as_bytes()].concat(), header] {
        assert_eq!(send_all(proxy.connect("plain").await, &bytes).await, b"");
    }
    proxy.wait_metric(&faults("proxy_header_untrusted"), 3.0).await;
    assert_eq!(backend.called(), 0);
}

#[tokio::test]
async fn on_a_listener_that_expects_none_a_header_is_a_bad_request() {
    let (backend, _calls) = Backend::by_hand().await;
    let trusted = "trusted_networks = [\"127.0.0.0/8\"]";
    let proxy = Proxy::start(&config(trusted, &backend.address.to_string(), "")).await;
    for version in [Version::V1, Version::V2] {
        let bytes = [&proxied("6.6.6.6:1", version)[..], GET.as_bytes()].concat();
        let answer = send_all(proxy.connect("plain").await, &bytes).await;
        assert!(answer.starts_with(b"HTTP/1.1 400 "), "{:?}", String::from_utf8_lossy(&answer));
    }
    proxy.wait_metric(&faults("malformed"), 2.0).await;
    assert_eq!(backend.called(), 0);
}

/// The one rule: the PROXY header of a trusted sender, else the socket; and if that is a trusted proxy, the rightmost
/// untrusted entry of its fields.
#[tokio::test]
async fn the_rule_holds_for_every_pair_of_sources() {
    let (backend, mut calls) = Backend::by_hand().await;
    let both = format!("{EXPECTED}\ntrusted_networks = [\"127.0.0.0/8\", \"10.0.0.0/8\"]");
    let proxy = Proxy::start(&config(&both, &backend.address.to_string(), "")).await;
    let unknown = b"PROXY UNKNOWN\r\n".to_vec();
    for (index, (header, fields, client)) in [
        (proxied("203.0.113.7:1", Version::V2), "X-Forwarded-For: 6.6.6.6\r\n", "203.0.113.7"),
        (proxied("203.0.113.7:1", Version::V1), "Forwarded: for=6.6.6.6\r\n", "203.0.113.7"),
        (
            proxied("10.0.0.9:1", Version::V2),
            "X-Forwarded-For: 6.6.6.6, 203.0.113.8, 10.1.1.1\r\n",
            "203.0.113.8",
        ),
        (proxied("10.0.0.9:1", Version::V1), "", "10.0.0.9"),
        (unknown.clone(), "X-Forwarded-For: 203.0.113.9\r\n", "203.0.113.9"),
        (unknown, "", "127.0.0.1"),
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("/{index}");
        let mut socket = proxy.connect("plain").await;
        socket.send([&header[..], handshake(&path, "example.com", fields).as_bytes()].concat()).await;
        calls.next().await.answer("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").await;
        let record = proxy.wait_for("a record", |line| line["path"] == *path).await;
        assert_eq!(record["client"], client, "{record}");
        drop::<Client>(socket);
    }
}
