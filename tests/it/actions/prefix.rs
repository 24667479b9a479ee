//! Paths that begin otherwise for the backend than for the client.

use super::get;
use crate::kit::{Backend, Calls, Http2, Pki, Proxy, handshake, secure};

async fn started(routes: &str) -> (Proxy, Backend, Calls, Pki) {
    let (backend, calls) = Backend::by_hand().await;
    let pki = Pki::new();
    let text = format!(
        "[[listeners]]\nname = \"plain\"\naddress = \"127.0.0.1:0\"\n{}extended_connect = true\n{routes}\
         [pools.all]\nkeepalive = \"off\"\nbackends = [\"{}\"]\n",
        secure(&[&pki.issue(&["chat.example.com"])]),
        backend.address
    );
    (Proxy::start(&text).await, backend, calls, pki)
}

const ROUTES: &str = r#"
[[routes]]
name = "api"
path = "/api/*"
pool = "all"
strip_prefix = "/api"
[[routes]]
name = "old"
path = "/old/*"
pool = "all"
replace_prefix = { from = "/old", to = "/new/v2" }
[[routes]]
name = "moved"
path = "/moved/*"
strip_prefix = "/moved"
redirect = { to = "https://new.example.com${path}${query}" }
[[routes]]
name = "here"
path = "/here/*"
strip_prefix = "/here"
redirect = { to = "${path}" }
[[routes]]
name = "all"
pool = "all"
replace_prefix = { from = "/", to = "/app" }
"#;

#[tokio::test]
async fn the_backend_gets_another_beginning_of_the_path() {
    let (proxy, _backend, mut calls, pki) = started(ROUTES).await;
    let mut client = Http2::connect(proxy.address("secure"), &pki).await;
    for (target, expected) in [
        ("/api", "/"),
        ("/api?a=b", "/?a=b"),
        ("/api/", "/"),
        ("/api/x/%2Fy%20?c=/api", "/x/%2Fy%20?c=/api"),
        ("/api//evil.example/", "/evil.example/"),
        ("/old", "/new/v2"),
        ("/old/x?y", "/new/v2/x?y"),
        ("/apis", "/app/apis"),
        ("/", "/app/"),
    ] {
        let target_absolute = format!("http://chat.example.com{target}");
        for line in [target, &target_absolute] {
            let mut plain = proxy.connect("plain").await;
            plain.send(get(line, "")).await;
            let call = calls.next().await;
            assert_eq!(call.head.line, format!("GET {expected} HTTP/1.1"));
            // Locations are the backend's, as ever.
            call.answer("HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n").await;
            assert_eq!(plain.head().await.get("location"), Some("/x"));
        }
        let opening = proxy.connect("plain").await.open(target, "chat.example.com", "");
        let (_, call) = tokio::join!(opening, async {
            let call = calls.next().await;
            let line = call.head.line.clone();
            call.accept("").await;
            line
        });
        assert_eq!(call, format!("GET {expected} HTTP/1.1"));
        let (reply, line) = tokio::join!(client.get(target), async {
            let call = calls.next().await;
            let line = call.head.line.clone();
            call.answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
            line
        });
        assert_eq!((reply.status, line), (200, format!("GET {expected} HTTP/1.1")));
        let (_, line) = tokio::join!(client.open(target, &[]), async {
            let call = calls.next().await;
            let line = call.head.line.clone();
            call.accept("").await;
            line
        });
        assert_eq!(line, format!("GET {expected} HTTP/1.1"));
    }
    let record = proxy.wait_for("a record", |line| line["path"] == "/old/x").await;
    assert_eq!(record["route"], "old", "records have what the client asked for");
}

#[tokio::test]
async fn a_redirect_has_what_is_left() {
    let (proxy, ..) = started(ROUTES).await;
    for (target, location) in [
        ("/moved/a?b", "https://new.example.com/a?b"),
        ("/moved", "https://new.example.com/"),
        ("/moved//evil.example", "https://new.example.com/evil.example"),
        ("/here//evil.example/x", "/evil.example/x"),
        ("/here/\\evil.example/x", "/evil.example/x"),
    ] {
        let (head, _) = proxy.connect("plain").await.request(get(target, "")).await;
        assert_eq!(head.get("location"), Some(location), "{target}");
    }
}

#[tokio::test]
async fn nothing_leads_out_of_what_is_served() {
    let (proxy, backend, _calls, pki) = started(ROUTES).await;
    let mut client = Http2::connect(proxy.address("secure"), &pki).await;
    let mut count = 0.0;
    for path in
        ["/old/../secret", "/old/x/%2e%2E/%2e./secret", "/old/..;x/secret", "/old/x%2f..%5c..%2Fsecret"]
    {
        let (head, body) = proxy.connect("plain").await.request(get(path, "")).await;
        assert_eq!(
            (head.status(), body.as_str()),
            (400, "the path has a .. in it; send it resolved\n"),
            "{path}"
        );
        let mut socket = proxy.connect("plain").await;
        socket.send(handshake(path, "chat.example.com", "")).await;
        assert_eq!(socket.head().await.status(), 400);
        assert_eq!(client.get(path).await.status, 400);
        count += 1.0;
    }
    assert_eq!(backend.called(), 0);
    proxy.wait_metric("longhaul_requests_total{route=\"old\",result=\"path_climbs\"}", 2.0 * count).await;
    proxy.wait_metric("longhaul_handshakes_total{route=\"old\",result=\"path_climbs\"}", count).await;
}
