//! Redirects and answers that are always the same: over both versions of HTTP, for plain requests and for WebSockets.

use http::{Response, StatusCode};

use super::get;
use crate::kit::{Client, Head, Http2, Pki, Proxy, Reloaded, handshake, secure};

/// Listeners `plain` and `secure`, and these routes, none of which needs the one backend there is.
fn config(pki: &Pki, routes: &str) -> String {
    format!(
        "[[listeners]]\nname = \"plain\"\naddress = \"127.0.0.1:0\"\n{}extended_connect = true\n{routes}\n\
         [[routes]]\nname = \"rest\"\npool = \"rest\"\n[pools.rest]\nbackends = [\"127.0.0.1:1\"]\n",
        secure(&[&pki.issue(&["chat.example.com"])])
    )
}

fn route(name: &str, action: &str) -> String {
    format!("[[routes]]\nname = \"{name}\"\npath = \"/{name}/*\"\n{action}\n")
}

async fn ask(proxy: &Proxy, request: String) -> (Head, String) {
    proxy.connect("plain").await.request(request).await
}

async fn refused_tunnel(client: &mut Http2, path: &str) -> Response<()> {
    let (answer, _sender) = client.connect_websocket(path, &[]).await;
    crate::kit::within("an answer", answer).await.expect("an answer").map(drop)
}

#[tokio::test]
async fn a_redirect_leads_where_it_says_and_is_counted() {
    let pki = Pki::new();
    let routes = [
        route("tls", r#"redirect = { to = "https://${host}${path}${query}", status = 308 }"#),
        route("moved", r#"redirect = { to = "https://new.example.com/chat", status = 301 }"#),
        route("self", r#"redirect = { to = "${scheme}://${authority}/x#y" }"#),
        route("path", r#"redirect = { to = "/login${query}", status = 303 }"#),
    ];
    let proxy = Proxy::start(&config(&pki, &routes.concat())).await;
    for (target, status, location) in [
        ("/tls", 308, "https://chat.example.com/tls"),
        ("/tls/a%2Fb?c=%20d&e=/../f", 308, "https://chat.example.com/tls/a%2Fb?c=%20d&e=/../f"),
        ("/tls//evil.example/", 308, "https://chat.example.com/tls//evil.example/"),
        ("/moved/a?b", 301, "https://new.example.com/chat"),
        ("/self", 307, "http://chat.example.com/x#y"),
        ("/path?to=//evil.example", 303, "/login?to=//evil.example"),
    ] {
        let (head, body) = ask(&proxy, get(target, "")).await;
        assert_eq!((head.status(), head.get("location"), body.as_str()), (status, Some(location), ""));
        let (head, _) = ask(
            &proxy,
            handshake(target, "chat.example.com", "").replace("Upgrade\r\n", "Upgrade, close\r\n"),
        )
        .await;
        assert_eq!((head.status(), head.get("location")), (status, Some(location)));
        let mut client = Http2::connect(proxy.address("secure"), &pki).await;
        let location = location.replace("http://", "https://");
        let reply = client.get(target).await;
        assert_eq!((reply.status, reply.get("location")), (status, Some(location.as_str())));
        let answer = refused_tunnel(&mut client, target).await;
        assert_eq!(answer.status().as_u16(), status);
        assert_eq!(answer.headers()["location"], location);
    }
    for (http, family) in [("1.1", "requests"), ("1.1", "handshakes"), ("2", "requests"), ("2", "handshakes")]
    {
        let series =
            format!("longhaul_{family}_total{{route=\"tls\",http=\"{http}\",result=\"redirected\"}}");
        proxy.wait_metric(&series, 3.0).await;
    }
    let record = proxy.record("redirected").await;
    assert_eq!(
        (&record["route"], &record["status"], &record["path"]),
        (&"tls".into(), &308.into(), &"/tls".into())
    );
    assert_eq!(proxy.metric("longhaul_requests_total{result=\"3xx\"}").await, 0.0, "those are backends'");
}

#[tokio::test]
async fn the_scheme_is_what_a_trusted_proxy_in_front_says() {
    let pki = Pki::new();
    let text = config(&pki, &route("self", r#"redirect = { to = "${scheme}://${host}/" }"#));
    let trusting = text.replacen(
        "address = \"127.0.0.1:0\"",
        "address = \"127.0.0.1:0\"\ntrusted_networks = [\"127.0.0.1\"]",
        1,
    );
    for (text, expected) in [(text, "http://chat.example.com/"), (trusting, "https://chat.example.com/")] {
        let proxy = Proxy::start(&text).await;
        let (head, _) = ask(&proxy, get("/self", "X-Forwarded-Proto: https\r\n")).await;
        assert_eq!(head.get("location"), Some(expected));
    }
}

#[tokio::test]
async fn a_fixed_answer_is_what_it_says_and_is_counted() {
    let pki = Pki::new();
    let routes = route(
        "down",
        r#"respond = { status = 503, headers = { Retry-After = "120", X-Request = "${request.id} from ${client.address}" }, body = "<h1>Soon</h1>", content_type = "text/html" }"#,
    ) + &route("empty", "respond = { status = 204 }")
        + &route("hello", "respond = { status = 200, body = \"hello\\n\" }")
        + &route("silent", "respond = { status = 404 }");
    let proxy = Proxy::start(&config(&pki, &routes)).await;
    let (head, body) = ask(&proxy, get("/down", "")).await;
    assert_eq!((head.status(), body.as_str()), (503, "<h1>Soon</h1>"));
    assert_eq!((head.get("content-type"), head.get("retry-after")), (Some("text/html"), Some("120")));
    let record = proxy.record("responded").await;
    let id = record["id"].as_str().expect("an id");
    assert_eq!(head.get("x-request"), Some(format!("{id} from 127.0.0.1").as_str()));
    assert_eq!((&record["route"], &record["status"]), (&"down".into(), &503.into()));

    // Several on one connection, handshakes among them.
    let mut client = proxy.connect("plain").await;
    for _ in 0..2 {
        client.send(handshake("/down", "chat.example.com", "")).await;
        let (head, body) = client.answer().await;
        assert_eq!((head.status(), body.as_str()), (503, "<h1>Soon</h1>"));
        client.send("GET /hello HTTP/1.1\r\nHost: chat.example.com\r\n\r\n").await;
        let (head, body) = client.answer().await;
        assert_eq!((head.status(), body.as_str()), (200, "hello\n"));
        assert_eq!(head.get("content-type"), Some("text/plain; charset=utf-8"));
        client.send("HEAD /hello HTTP/1.1\r\nHost: chat.example.com\r\n\r\n").await;
        let head = client.head().await;
        assert_eq!((head.status(), head.get("content-length"), head.rest.len()), (200, Some("6"), 0));
        client.send("GET /empty HTTP/1.1\r\nHost: chat.example.com\r\n\r\n").await;
        let head = client.head().await;
        assert_eq!((head.status(), head.get("content-length"), head.get("content-type")), (204, None, None));
        client.send("GET /silent HTTP/1.1\r\nHost: chat.example.com\r\n\r\n").await;
        let (head, body) = client.answer().await;
        assert_eq!((head.status(), head.get("content-type"), body.as_str()), (404, None, ""));
    }
    proxy
        .wait_metric("longhaul_requests_total{route=\"hello\",http=\"1.1\",result=\"responded\"}", 4.0)
        .await;
    proxy
        .wait_metric("longhaul_handshakes_total{route=\"down\",http=\"1.1\",result=\"responded\"}", 2.0)
        .await;
}

#[tokio::test]
async fn over_http_2_an_answer_never_looks_like_a_tunnel() {
    let pki = Pki::new();
    let routes = route("down", "respond = { status = 503, body = \"soon\" }")
        + &route("hello", "respond = { status = 200, body = \"hello\" }");
    let proxy = Proxy::start(&config(&pki, &routes)).await;
    let mut client = Http2::connect(proxy.address("secure"), &pki).await;
    for (path, status, body) in [("/down", 503, "soon"), ("/hello", 200, "hello")] {
        let reply = client.get(path).await;
        assert_eq!((reply.status, reply.body.as_str()), (status, body));
        assert_eq!(reply.get("content-length"), Some(body.len().to_string().as_str()));
    }
    assert_eq!(refused_tunnel(&mut client, "/down").await.status(), 503);
    // 200 would open the tunnel.
    assert_eq!(refused_tunnel(&mut client, "/hello").await.status(), StatusCode::NOT_FOUND);
    assert_eq!(proxy.refusal("/hello").await, "no_websocket");
    proxy.wait_metric("longhaul_handshakes_total{route=\"down\",http=\"2\",result=\"responded\"}", 1.0).await;
    proxy
        .wait_metric("longhaul_handshakes_total{route=\"hello\",http=\"2\",result=\"no_websocket\"}", 1.0)
        .await;
    let (head, body) =
        ask(&proxy, handshake("/hello", "chat.example.com", "").replace("Upgrade\r\n", "Upgrade, close\r\n"))
            .await;
    assert_eq!(
        (head.status(), body.as_str()),
        (200, "hello"),
        "over HTTP/1.1 that is an answer like any other"
    );
}

/// What is sent is not read, and does not keep the answer from its reader.
#[tokio::test]
async fn a_body_that_comes_does_not_hide_the_answer() {
    let pki = Pki::new();
    let routes = route("down", "respond = { status = 503, body = \"soon\" }")
        + &route("moved", r#"redirect = { to = "https://new.example.com${path}" }"#);
    let proxy = Proxy::start(&config(&pki, &routes)).await;
    for (path, status) in [("/down", 503), ("/moved", 307)] {
        let mut client: Client = proxy.connect("plain").await;
        let length = 1 << 20;
        client.send(format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n")).await;
        assert_eq!(client.head().await.status(), status);
        client.send(vec![b'x'; length]).await;
        let (_, ended) = client.rest().await;
        assert!(ended.is_ok(), "{ended:?}");
        let mut client = Http2::connect(proxy.address("secure"), &pki).await;
        let reply = client.request("POST", path, &[], &"x".repeat(1000)).await;
        assert_eq!(reply.status, status);
    }
}

#[tokio::test]
async fn a_file_is_served_as_it_is_and_watched() {
    let pki = Pki::new();
    let file = pki.path().join("down.html");
    std::fs::write(&file, "one").expect("a writable folder");
    let action =
        format!("respond = {{ status = 503, file = \"{}\", content_type = \"text/html\" }}", file.display());
    let proxy = Proxy::start(&config(&pki, &route("down", &action))).await;
    let said = async || {
        let (head, body) = ask(&proxy, get("/down", "")).await;
        assert_eq!((head.status(), head.get("content-type")), (503, Some("text/html")));
        body
    };
    assert_eq!(said().await, "one");
    std::fs::write(&file, "two").expect("a writable folder");
    let changed =
        |line: &serde_json::Value| line["message"] == "configuration changed" && line["change"] == "answers";
    proxy.wait_for("a new generation", changed).await;
    assert_eq!(said().await, "two");
    for (content, problem) in
        [(Some("x".repeat((1 << 20) + 1)), "is larger than 1 MiB"), (None, "cannot read")]
    {
        match content {
            Some(content) => std::fs::write(&file, content).expect("a writable folder"),
            None => std::fs::remove_file(&file).expect("a file"),
        }
        let Reloaded::Rejected(problems) = proxy.reload().await else { panic!("this cannot be served") };
        assert!(problems.contains(problem) && problems.contains(":13"), "{problems}");
        assert_eq!(said().await, "two");
    }
}

/// Whoever only sends clients elsewhere has no backend to name, and may come to have one.
#[tokio::test]
async fn no_pool_is_needed_where_no_route_asks_one() {
    let text = "[[listeners]]\nname = \"plain\"\naddress = \"127.0.0.1:0\"\n".to_owned()
        + &route("tls", "redirect = { to = \"https://${host}${path}\" }")
        + &route("late", "respond = { status = 410 }");
    let proxy = Proxy::start(&text).await;
    let (head, _) = ask(&proxy, get("/tls/x", "")).await;
    assert_eq!((head.status(), head.get("location")), (307, Some("https://chat.example.com/tls/x")));
    assert_eq!(ask(&proxy, get("/late/x", "")).await.0.status(), 410);
    let backend = super::named("here").await;
    let pool = format!("[pools.rest]\nbackends = [\"{}\"]\n", backend.address);
    proxy.change_to(&(text.clone() + &route("rest", "pool = \"rest\"") + &pool)).await;
    assert_eq!(ask(&proxy, get("/rest/x", "")).await.1, "here");
    proxy.change_to(&text).await;
    assert_eq!(ask(&proxy, get("/rest/x", "")).await.0.status(), 404);
}
