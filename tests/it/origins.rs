//! `origins`: which pages may open a WebSocket on a route.

use crate::kit::{Backend, Proxy, handshake, plain};

fn config(backend: &Backend, origins: &str) -> String {
    let route = format!("name = \"all\"\norigins = {origins}\npool");
    plain(&[backend.address]).replace("name = \"all\"\npool", &route)
}

#[tokio::test]
async fn only_named_origins_open_a_websocket() {
    const EXACT: &str = "[\"https://chat.example.com\"]";
    const BELOW: &str = "[\"https://*.example.com\"]";
    // What the route allows, the Origin field of the handshake (empty: none), whether it opens.
    let table: [(&str, &[(&str, bool)]); 5] = [
        (
            EXACT,
            &[
                ("https://chat.example.com", true),
                ("https://chat.example.com:443", true),
                ("http://chat.example.com", false),
                ("https://chat.example.com:8443", false),
                ("https://chat.example.com.evil.org", false),
                ("https://evil.org", false),
                ("null", false),
                ("", false),
            ],
        ),
        (
            BELOW,
            &[
                ("https://a.example.com", true),
                ("https://b.a.example.com", true),
                ("https://example.com", false),
                ("https://evilexample.com", false),
                ("https://a.example.com.evil.org", false),
            ],
        ),
        ("[\"null\"]", &[("null", true), ("https://chat.example.com", false), ("", false)]),
        ("[\"absent\"]", &[("", true), ("null", false), ("https://chat.example.com", false)]),
        (
            "[\"https://chat.example.com\", \"absent\"]",
            &[("https://chat.example.com", true), ("", true), ("https://other.example.com", false)],
        ),
    ];
    let backend = Backend::echo("one").await;
    for (origins, cases) in table {
        let proxy = Proxy::start(&config(&backend, origins)).await;
        let mut refused = 0.0;
        for (origin, opens) in cases {
            let field = if origin.is_empty() { String::new() } else { format!("Origin: {origin}\r\n") };
            let mut client = proxy.connect("plain").await;
            client.send(handshake("/ws", "chat.example.com", &field)).await;
            let status = if *opens {
                client.head().await.status()
            } else {
                refused += 1.0;
                let (head, body) = client.answer().await;
                assert_eq!(body, "WebSockets from this origin are not accepted here\n");
                head.status()
            };
            assert_eq!(status, if *opens { 101 } else { 403 }, "{origin:?} on {origins}");
        }
        assert_eq!(proxy.refusal("/ws").await, "origin");
        proxy.wait_metric("longhaul_handshakes_total{route=\"all\",result=\"origin\"}", refused).await;
    }
}

#[tokio::test]
async fn two_origins_are_none() {
    let backend = Backend::echo("one").await;
    let proxy = Proxy::start(&config(&backend, "[\"https://a.example\"]")).await;
    let mut client = proxy.connect("plain").await;
    let fields = "Origin: https://a.example\r\n".repeat(2);
    client.send(handshake("/", "example.com", &fields)).await;
    assert_eq!(client.answer().await.0.status(), 403);
    assert_eq!(backend.called(), 0);
}

#[tokio::test]
async fn plain_requests_on_the_same_route_come_from_anywhere() {
    let backend = Backend::answers("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npage").await;
    let proxy = Proxy::start(&config(&backend, "[\"https://chat.example.com\"]")).await;
    for field in ["", "Origin: https://evil.org\r\n", "Origin: null\r\n"] {
        let request = format!("GET / HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n{field}\r\n");
        let (head, body) = proxy.connect("plain").await.request(request).await;
        assert_eq!((head.status(), body.as_str()), (200, "page"), "{field}");
    }
}
