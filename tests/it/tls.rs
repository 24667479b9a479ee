//! TLS towards clients: versions, certificates by name, resumption, ALPN, deadlines, and the end that TLS announces.

mod ciphers;
mod clients;
mod names;
mod records;
mod tickets;

use std::io::Write;
use std::time::Duration;

use rustls::version::{TLS12, TLS13};
use rustls::{ALL_VERSIONS, HandshakeKind, SupportedProtocolVersion};
use tokio::io::AsyncWriteExt;

use crate::kit::{Backend, Client, Message, Pki, Proxy, Resumption, plain, secure, within};

const GET: &str = "GET / HTTP/1.1\r\nHost: chat.example.com\r\n\r\n";
const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn handshakes(result: &str, version: &str) -> String {
    format!("longhaul_tls_handshakes_total{{listener=\"secure\",result=\"{result}\",version=\"{version}\"}}")
}

/// Connects, sends a request, and reads the answer: in TLS 1.3 the tickets come before it.
async fn visit(proxy: &Proxy, visitor: &Resumption) -> Client {
    let connect = visitor.connect(proxy.address("secure"), "chat.example.com");
    let mut client = within("a TLS connection", connect).await.expect("the handshake succeeds");
    client.send(GET).await;
    assert_eq!(client.answer().await.1, "ok");
    client
}

#[tokio::test]
async fn both_versions_are_spoken_unless_the_older_is_refused() {
    let (backend, pki) = (Backend::answers(ANSWER).await, Pki::new());
    let certificate = pki.issue(&["chat.example.com"]);
    let config = plain(&[backend.address]) + &secure(&[&certificate]);
    const V12: &[&SupportedProtocolVersion] = &[&TLS12];
    const V13: &[&SupportedProtocolVersion] = &[&TLS13];
    for (minimum, spoken, version, accepted) in [
        ("", V12, "1.2", true),
        ("", V13, "1.3", true),
        ("", ALL_VERSIONS, "1.3", true),
        ("min_version = \"1.2\"\n", V12, "1.2", true),
        ("min_version = \"1.3\"\n", V12, "", false),
        ("min_version = \"1.3\"\n", ALL_VERSIONS, "1.3", true),
    ] {
        let proxy = Proxy::start(&(config.clone() + minimum)).await;
        let visitor = Resumption::new(&pki, spoken);
        if accepted {
            visit(&proxy, &visitor).await;
            proxy.wait_metric(&handshakes("full", version), 1.0).await;
            assert_eq!(proxy.record("request").await["tls"], version);
        } else {
            let refused = visitor.connect(proxy.address("secure"), "chat.example.com").await;
            assert!(refused.is_err(), "{minimum}");
            proxy.wait_metric(&handshakes("failed", ""), 1.0).await;
        }
    }
}

#[tokio::test]
async fn the_certificate_is_the_one_for_the_name_that_is_asked_for() {
    let (backend, pki) = (Backend::answers(ANSWER).await, Pki::new());
    // A client that asks by address sends no name at all (RFC 6066 3).
    let default = pki.issue(&["default.example.com", "127.0.0.1"]);
    let exact = pki.issue(&["chat.example.com", "feed.example.com"]);
    let wildcard = pki.issue(&["*.example.com"]);
    let config = plain(&[backend.address]) + &secure(&[&default, &wildcard, &exact]);
    let proxy = Proxy::start(&config).await;
    for (name, expected) in [
        ("default.example.com", &default),
        ("chat.example.com", &exact),
        ("CHAT.example.com", &exact),
        ("feed.example.com", &exact),
        ("other.example.com", &wildcard),
        ("127.0.0.1", &default),
    ] {
        let client = Client::connect_tls(proxy.address("secure"), &pki, name).await;
        assert!(client.certificate().as_ref() == Some(&expected.der), "{name}");
    }
    // These get the default, which is not for them: the client itself says what it was shown.
    for name in ["example.com", "a.b.example.com", "unknown.org"] {
        let visitor = Resumption::new(&pki, ALL_VERSIONS);
        let refused =
            visitor.connect(proxy.address("secure"), name).await.err().expect("a wrong certificate");
        assert!(refused.to_string().contains("default.example.com"), "{name}: {refused}");
    }
}

#[tokio::test]
async fn sessions_are_resumed_by_every_worker() {
    let (backend, pki) = (Backend::answers(ANSWER).await, Pki::new());
    let certificate = pki.issue(&["chat.example.com"]);
    let config =
        "[server]\nworkers = 2\n".to_string() + &plain(&[backend.address]) + &secure(&[&certificate]);
    let proxy = Proxy::start(&config).await;
    for (version, name) in [(&TLS12, "1.2"), (&TLS13, "1.3")] {
        let visitor = Resumption::new(&pki, &[version]);
        let first = visit(&proxy, &visitor).await;
        assert_eq!(first.tls().expect("TLS").1, HandshakeKind::Full, "{name}");
        // All stay open, so that both workers get some.
        let mut open = vec![first];
        for _ in 0..6 {
            let client = visit(&proxy, &visitor).await;
            assert_eq!(client.tls().expect("TLS").1, HandshakeKind::Resumed, "{name}");
            open.push(client);
        }
        for worker in [0, 1] {
            let carried = format!("longhaul_worker_connections{{worker=\"{worker}\"}}");
            assert!(proxy.metric(&carried).await >= 2.0, "worker {worker}");
        }
        proxy.wait_metric(&handshakes("full", name), 1.0).await;
        proxy.wait_metric(&handshakes("resumed", name), 6.0).await;
        drop(open);
        proxy.wait_metric("longhaul_connections_active{listener=\"secure\"}", 0.0).await;
    }
}

#[tokio::test]
async fn http_1_is_agreed_on_where_the_client_asks() {
    let (backend, pki) = (Backend::answers(ANSWER).await, Pki::new());
    let certificate = pki.issue(&["chat.example.com"]);
    let config = plain(&[backend.address]) + &secure(&[&certificate]) + "http2 = false\n";
    let proxy = Proxy::start(&config).await;
    for (offered, agreed) in [
        (&["http/1.1"][..], Some(b"http/1.1".to_vec())),
        (&["h2", "http/1.1"], Some(b"http/1.1".to_vec())),
        (&[], None),
    ] {
        let client = visit(&proxy, &Resumption::offering(&pki, ALL_VERSIONS, offered)).await;
        assert_eq!(client.tls().expect("TLS").2, agreed, "{offered:?}");
    }
    let visitor = Resumption::offering(&pki, ALL_VERSIONS, &["h2"]);
    let refused = visitor.connect(proxy.address("secure"), "chat.example.com").await;
    assert!(refused.is_err(), "a client that speaks no HTTP/1.1 is told so");
    proxy.wait_metric(&handshakes("failed", ""), 1.0).await;
}

#[tokio::test]
async fn a_client_that_does_not_finish_the_handshake_is_cut() {
    let (backend, pki) = (Backend::answers(ANSWER).await, Pki::new());
    let certificate = pki.issue(&["chat.example.com"]);
    let limits = "[limits]\ntls_handshake_timeout = \"200ms\"\n";
    let proxy =
        Proxy::start(&(limits.to_string() + &plain(&[backend.address]) + &secure(&[&certificate]))).await;
    for (count, beginning) in [(1.0, &b""[..]), (2.0, b"\x16\x03\x01\x02\x00\x01")] {
        let mut client = proxy.connect("secure").await;
        client.send(beginning).await;
        let (answer, _) = client.rest().await;
        assert_eq!(answer, b"");
        proxy.wait_metric(&handshakes("timeout", ""), count).await;
    }
    proxy.wait_metric("longhaul_connections_active{listener=\"secure\"}", 0.0).await;
    assert_eq!(backend.called(), 0);
}

#[tokio::test]
async fn plain_text_on_a_tls_port_is_refused_without_harm() {
    let (backend, pki) = (Backend::answers(ANSWER).await, Pki::new());
    let certificate = pki.issue(&["chat.example.com"]);
    let proxy = Proxy::start(&(plain(&[backend.address]) + &secure(&[&certificate]))).await;
    for (count, bytes) in
        [(1.0, GET.as_bytes()), (2.0, &[0xff; 4096]), (3.0, b"\x16\x03\x01\x00\x04\x01\x00\x00\x00")]
    {
        let mut client = proxy.connect("secure").await;
        client.send(bytes).await;
        let (answer, _) = client.rest().await;
        assert!(!answer.starts_with(b"HTTP"), "an alert at most: {answer:?}");
        proxy.wait_metric(&handshakes("failed", ""), count).await;
    }
    assert_eq!(backend.called(), 0);
    visit(&proxy, &Resumption::new(&pki, ALL_VERSIONS)).await;
}

#[tokio::test]
async fn the_end_of_a_tunnel_is_announced_before_the_connection_ends() {
    let ((backend, mut calls), pki) = (Backend::by_hand().await, Pki::new());
    let certificate = pki.issue(&["chat.example.com"]);
    let route = "name = \"all\"\nidle_timeout = \"1s\"\nclose_timeout = \"100ms\"\npool";
    let config = plain(&[backend.address]).replace("name = \"all\"\npool", route) + &secure(&[&certificate]);
    let proxy = Proxy::start(&config).await;
    for end in ["a Close", "an end", "a deadline"] {
        let client = Client::connect_tls(proxy.address("secure"), &pki, "chat.example.com").await;
        let (mut client, mut backend) = calls.tunnel(client, "", "").await;
        backend.send(&Message::text("last words")).await;
        match end {
            "a Close" => backend.send(&Message::close(1001, "")).await,
            "an end" => {}
            _ => {
                assert_eq!(backend.receive().await, Message::close(1001, "idle"));
                assert_eq!(within("the end", backend.try_receive()).await, None);
            }
        }
        drop(backend);
        assert_eq!(client.receive_text().await, "last words");
        // rustls reports an end that close_notify (RFC 8446 6.1) did not announce as an error.
        let (_, ended) = client.stream.rest().await;
        ended.unwrap_or_else(|error| panic!("{end}: {error}"));
    }
}

/// Bytes of a record that does not end are none of the tunnel's: they keep nobody from being idle.
#[tokio::test]
async fn half_a_record_keeps_no_tunnel_alive() {
    let ((backend, mut calls), pki) = (Backend::by_hand().await, Pki::new());
    let certificate = pki.issue(&["chat.example.com"]);
    let route = "name = \"all\"\nidle_timeout = \"2s\"\nclose_timeout = \"100ms\"\npool";
    let config = plain(&[backend.address]).replace("name = \"all\"\npool", route) + &secure(&[&certificate]);
    let proxy = Proxy::start(&config).await;
    let client = Client::connect_tls(proxy.address("secure"), &pki, "chat.example.com").await;
    let (mut client, mut backend) = calls.tunnel(client, "", "").await;
    let Client::Tls(tls) = &mut client.stream else { panic!("TLS") };
    let (tcp, session) = tls.get_mut();
    session.writer().write_all(&Message::binary(vec![7; 16_000]).frame(true)).expect("room");
    let mut record = Vec::new();
    session.write_tls(&mut record).expect("memory");
    let dripping = async {
        for piece in record[..10_000].chunks(10) {
            if tcp.write_all(piece).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        () = dripping => panic!("it is cut before"),
        end = backend.receive() => assert_eq!(end, Message::close(1001, "idle")),
    }
    drop((client, backend));
    assert_eq!(proxy.record("close").await["bytes_to_backend"], 0);
}
