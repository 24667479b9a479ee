//! PROXY headers to backends.

use std::net::SocketAddr;

use longhaul::proto::proxy_header::{Header, Version};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use super::{GET, OK, address, config, proxied, read_header};
use crate::kit::{Backend, Client, Head, Pki, Proxy, Tls, WebSocket, handshake, pool_tls, switching, within};

/// A connection to a backend: its header, its first request.
type Told = (Header, Head);

/// A backend that reads a header and a request, tells the test, and accepts handshakes and answers the rest.
async fn backend(tls: Option<Tls>) -> (Backend, mpsc::UnboundedReceiver<Told>) {
    let (told, received) = mpsc::unbounded_channel();
    let backend = Backend::raw(move |mut tcp| {
        let (told, tls) = (told.clone(), tls.clone());
        async move {
            let header = read_header(&mut tcp).await;
            match tls {
                None => serve(tcp, header, &told).await,
                Some(tls) => {
                    let Ok(stream) = tls.acceptor().accept(tcp).await else { return };
                    serve(stream, header, &told).await;
                }
            }
        }
    })
    .await;
    (backend, received)
}

async fn serve(
    mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    header: Header,
    told: &mpsc::UnboundedSender<Told>,
) {
    let Some(head) = Head::read(&mut stream).await else { return };
    let upgrades = head.get("upgrade").is_some();
    let early = head.rest.clone();
    let _ = told.send((header, head));
    if upgrades {
        let _ = stream.write_all(switching("").as_bytes()).await;
        WebSocket::backend(stream, early).echo().await;
    } else {
        let _ = stream.write_all(OK.as_bytes()).await;
        let _ = stream.shutdown().await;
    }
}

/// The next connection that is no probe.
async fn next(received: &mut mpsc::UnboundedReceiver<Told>) -> Told {
    loop {
        let told = within("a call of the backend", received.recv()).await.expect("the backend lives");
        if told.1.target() != "/health" {
            return told;
        }
    }
}

fn own(client: &Client) -> SocketAddr {
    client.tcp().local_addr().expect("a connected socket")
}

#[tokio::test]
async fn requests_and_tunnels_begin_with_a_header() {
    for version in ["v1", "v2"] {
        let (backend, mut received) = backend(None).await;
        let pool = format!("proxy_protocol = \"{version}\"");
        let proxy = Proxy::start(&config("", &backend.address.to_string(), &pool)).await;
        let destination = proxy.address("plain");
        let client = proxy.connect("plain").await;
        let expected = Header::Proxied { source: own(&client), destination };
        client.request(GET).await;
        assert_eq!(next(&mut received).await.0, expected);
        let client = proxy.connect("plain").await;
        let expected = Header::Proxied { source: own(&client), destination };
        let (mut socket, _) = client.open("/ws", "example.com", "").await;
        socket.round_trip("hello").await;
        assert_eq!(next(&mut received).await.0, expected);
    }
}

/// A connection of a client carries several requests; each has a connection to the backend of its own.
#[tokio::test]
async fn a_connection_to_a_backend_serves_one_client() {
    let (backend, mut received) = backend(None).await;
    let proxy = Proxy::start(&config("", &backend.address.to_string(), "proxy_protocol = \"v2\"")).await;
    let mut client = proxy.connect("plain").await;
    let own = own(&client);
    for _ in 0..3 {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(client.answer().await.0.status(), 200);
        let (header, _) = next(&mut received).await;
        assert!(matches!(header, Header::Proxied { source, .. } if source == own), "{header:?}");
    }
    assert_eq!(backend.called(), 3);
}

#[tokio::test]
async fn the_header_stands_before_tls() {
    let pki = Pki::new();
    let (backend, mut received) = backend(Some(Tls::new(&pki.issue(&["127.0.0.1"])))).await;
    let pool = format!("proxy_protocol = \"v2\"\n{}", pool_tls(&pki, ""));
    let proxy = Proxy::start(&config("", &backend.address.to_string(), &pool)).await;
    let client = proxy.connect("plain").await;
    let expected = Header::Proxied { source: own(&client), destination: proxy.address("plain") };
    assert_eq!(client.request(GET).await.0.status(), 200);
    assert_eq!(next(&mut received).await.0, expected);
    let (mut socket, _) = proxy.connect("plain").await.open("/ws", "example.com", "").await;
    socket.round_trip("hello").await;
}

/// The client that the one rule names is passed on, with the port where that is known.
#[tokio::test]
async fn the_client_by_the_one_rule_is_named() {
    let (backend, mut received) = backend(None).await;
    let listener =
        "trusted_networks = [\"127.0.0.0/8\"]\nproxy_protocol = { trusted_networks = [\"127.0.0.0/8\"] }";
    let proxy =
        Proxy::start(&config(listener, &backend.address.to_string(), "proxy_protocol = \"v1\"")).await;
    let here = proxy.address("plain");
    let unknown = b"PROXY UNKNOWN\r\n".to_vec();
    for (header, fields, source, destination) in [
        (proxied("203.0.113.7:4711", Version::V2), "", "203.0.113.7:4711", address("192.0.2.99:443")),
        (proxied("[2001:db8::7]:4711", Version::V1), "", "[2001:db8::7]:4711", address("[::]:443")),
        (unknown.clone(), "X-Forwarded-For: 203.0.113.8\r\n", "203.0.113.8:0", here),
        (unknown.clone(), "X-Forwarded-For: ::ffff:203.0.113.8\r\n", "203.0.113.8:0", here),
        (
            unknown,
            "Forwarded: for=\"[2001:db8::8]:80\"\r\n",
            "[2001:db8::8]:0",
            SocketAddr::new(address("[::]:1").ip(), here.port()),
        ),
    ] {
        let mut client = proxy.connect("plain").await;
        client.send([&header[..], handshake("/ws", "example.com", fields).as_bytes()].concat()).await;
        assert_eq!(client.head().await.status(), 101);
        let expected = Header::Proxied { source: address(source), destination };
        assert_eq!(next(&mut received).await.0, expected, "{fields}");
    }
}

#[tokio::test]
async fn probes_speak_for_longhaul_itself() {
    for (version, header) in [("v1", Header::Unknown), ("v2", Header::Local)] {
        for kind in ["kind = \"http\", path = \"/health\"", "kind = \"tcp\""] {
            let (backend, mut received) = backend(None).await;
            let pool = format!("proxy_protocol = \"{version}\"\nhealth = {{ {kind}, interval = \"50ms\" }}");
            let proxy = Proxy::start(&config("", &backend.address.to_string(), &pool)).await;
            let up = format!("longhaul_backend_up{{pool=\"all\",backend=\"{}\"}}", backend.address);
            proxy.wait_metric(&up, 1.0).await;
            if kind.contains("http") {
                let (told, head) = within("a probe", received.recv()).await.expect("the backend lives");
                assert_eq!((told, head.target()), (header, "/health"));
            }
        }
    }
}
