//! Plain HTTP on the routes of WebSockets: forwarded, streamed both ways, and named for what it is.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;

use crate::kit::{Backend, Client, Head, Pki, Proxy, plain, read_until, secure, within};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A GET, with these further lines, each ended by CRLF.
fn get(target: &str, lines: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: example.com\r\n{lines}\r\n")
}

#[tokio::test]
async fn an_event_arrives_before_the_next_is_sent() {
    let (backend, mut calls) = Backend::by_hand().await;
    let proxy = Proxy::start(&plain(&[backend.address])).await;
    for (framing, first, second, end) in [
        ("Transfer-Encoding: chunked\r\n", "8\r\ndata: 1\n\r\n", "8\r\ndata: 2\n\r\n", "0\r\n\r\n"),
        ("", "data: 1\n", "data: 2\n", ""),
    ] {
        let mut client = proxy.connect("plain").await;
        client.send(get("/events", "Accept: text/event-stream\r\n")).await;
        let mut call = calls.next().await;
        call.send(format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{framing}\r\n")).await;
        let head = client.head().await;
        assert_eq!(head.get("content-type"), Some("text/event-stream"));
        let mut seen = head.rest;
        call.send(first).await;
        read_until(&mut client, &mut seen, "data: 1\n").await;
        call.send(second).await;
        read_until(&mut client, &mut seen, "data: 2\n").await;
        call.answer(end).await;
        read_until(&mut client, &mut seen, "0\r\n\r\n").await;
    }
}

#[tokio::test]
async fn an_upload_reaches_the_backend_before_it_ends() {
    let (backend, mut calls) = Backend::by_hand().await;
    let proxy = Proxy::start(&plain(&[backend.address])).await;
    let mut client = proxy.connect("plain").await;
    client.send("POST /up HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    let mut call = calls.next().await;
    let mut seen = std::mem::take(&mut call.head.rest);
    client.send("3\r\none\r\n").await;
    read_until(&mut call.stream, &mut seen, "one").await;
    client.send("3\r\ntwo\r\n0\r\n\r\n").await;
    read_until(&mut call.stream, &mut seen, "two\r\n0\r\n\r\n").await;
    call.answer(OK).await;
    assert_eq!(client.answer().await.1, "ok");
}

#[tokio::test]
async fn large_bodies_arrive_whole_both_ways() {
    let backend = Backend::calls(|mut call| async move {
        let chunked = call.head.get("transfer-encoding").is_some();
        let (body, _) = call.head.body(&mut call.stream).await;
        let framing = if chunked { "".into() } else { format!("Content-Length: {}\r\n", body.len()) };
        let head = format!("HTTP/1.1 200 OK\r\n{framing}\r\n");
        call.stream.write_all(&[head.into_bytes(), body].concat()).await.expect("the proxy reads");
        call.stream.shutdown().await.expect("the proxy reads");
    })
    .await;
    let proxy = Proxy::start(&plain(&[backend.address])).await;
    let body: Vec<u8> = (0..8 << 20).map(|at: usize| (at % 251) as u8).collect();
    for chunked in [false, true] {
        let framed = if chunked {
            let chunks = body.chunks(1 << 20);
            let chunks = chunks.flat_map(|chunk| [&b"100000\r\n"[..], chunk, b"\r\n"].concat());
            chunks.chain(*b"0\r\n\r\n").collect()
        } else {
            body.clone()
        };
        let framing = match chunked {
            true => "Transfer-Encoding: chunked".into(),
            false => format!("Content-Length: {}", body.len()),
        };
        let head = format!("POST /echo HTTP/1.1\r\nHost: example.com\r\n{framing}\r\n\r\n");
        let mut client = proxy.connect("plain").await;
        client.send([head.into_bytes(), framed].concat()).await;
        let (received, _) = client.head().await.body(&mut client).await;
        assert!(received == body, "{} of {} bytes, or others, {framing}", received.len(), body.len());
    }
    let series = "longhaul_requests_total{route=\"all\",result=\"2xx\"}";
    proxy.wait_metric(series, 2.0).await;
    let record = proxy.record("request").await;
    assert_eq!((record["status"].as_u64(), record["bytes_to_client"].as_u64()), (Some(200), Some(8 << 20)));
}

#[tokio::test]
async fn answers_without_a_body_leave_the_connection_usable() {
    let (backend, mut calls) = Backend::by_hand().await;
    let proxy = Proxy::start(&plain(&[backend.address])).await;
    let mut client = proxy.connect("plain").await;
    for (method, answer, status, length) in [
        ("HEAD", "200 OK\r\nContent-Length: 1234", 200, Some("1234")),
        ("HEAD", "200 OK\r\nTransfer-Encoding: chunked", 200, None),
        ("GET", "204 No Content", 204, None),
        ("GET", "304 Not Modified\r\nETag: \"a\"", 304, None),
        ("DELETE", "200 OK\r\nContent-Length: 0", 200, Some("0")),
        ("OPTIONS", "204 No Content\r\nAllow: GET", 204, None),
    ] {
        client.send(get("/", "").replace("GET", method)).await;
        let call = calls.next().await;
        assert_eq!(call.head.line, format!("{method} / HTTP/1.1"));
        call.answer(format!("HTTP/1.1 {answer}\r\n\r\n")).await;
        let head = client.head().await;
        assert_eq!((head.status(), head.get("content-length")), (status, length), "{method}: {answer}");
        assert_eq!(head.rest, b"", "{method}: {answer}");
    }
    client.send(get("/last", "")).await;
    calls.next().await.answer(OK).await;
    assert_eq!(client.answer().await.1, "ok");
}

#[tokio::test]
async fn fields_of_one_connection_stay_on_it() {
    let (backend, mut calls) = Backend::by_hand().await;
    let proxy = Proxy::start(&plain(&[backend.address])).await;
    let mut client = proxy.connect("plain").await;
    let lines = "Connection: keep-alive, X-Named, Cookie\r\nX-Named: 1\r\nKeep-Alive: timeout=5\r\nTE: trailers\r\n\
                 Proxy-Authorization: Basic eDp5\r\nProxy-Connection: keep-alive\r\nUpgrade: h2c\r\n\
                 HTTP2-Settings: AAMAAABkAAQAAP__\r\nCookie: a=1\r\nX-Kept: 1\r\nX-Kept: 2\r\n";
    client.send(get("/", lines)).await;
    let call = calls.next().await;
    const GONE: [&str; 8] = [
        "connection",
        "x-named",
        "keep-alive",
        "te",
        "proxy-authorization",
        "proxy-connection",
        "upgrade",
        "http2-settings",
    ];
    for name in GONE {
        assert_eq!(call.head.get(name), None, "{name}");
    }
    assert_eq!(call.head.get("cookie"), Some("a=1"));
    assert_eq!(call.head.all("x-kept"), ["1", "2"]);
    let lines = "Connection: close, X-Named\r\nX-Named: 1\r\nKeep-Alive: timeout=5\r\nUpgrade: h2c\r\n\
                 Proxy-Authenticate: Basic\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n";
    call.answer(OK.replacen("\r\n", &format!("\r\n{lines}"), 1)).await;
    let head = client.head().await;
    for name in GONE.into_iter().chain(["proxy-authenticate"]) {
        assert_eq!(head.get(name), None, "{name}");
    }
    assert_eq!(head.all("set-cookie"), ["a=1", "b=2"]);
}

const SPOOFED: &str = "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: gopher\r\nX-Forwarded-Host: evil.org\r\n\
                       X-Forwarded-Port: 1\r\nForwarded: for=192.0.2.1\r\nX-Real-IP: 192.0.2.1\r\n\
                       X_Forwarded_For: 192.0.2.1\r\nX-Forwarded_Host: evil.org\r\n";

/// What the backend is told of a request with `SPOOFED`, in this order: X-Forwarded-For, -Proto, -Host, -Port,
/// Forwarded, X-Real-IP.
fn forwarding(head: &Head) -> [Option<&str>; 6] {
    assert_eq!((head.get("x_forwarded_for"), head.get("x-forwarded_host")), (None, None));
    let names = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port"];
    let [address, proto, host, port] = names.map(|name| head.get(name));
    [address, proto, host, port, head.get("forwarded"), head.get("x-real-ip")]
}

#[tokio::test]
async fn who_asks_is_told_and_what_a_stranger_claims_is_not() {
    let (backend, mut calls) = Backend::by_hand().await;
    let pki = Pki::new();
    let certificate = pki.issue(&["example.com"]);
    let proxy = Proxy::start(&(plain(&[backend.address]) + &secure(&[&certificate]))).await;
    let tls = Client::connect_tls(proxy.address("secure"), &pki, "example.com").await;
    for (mut client, proto) in [(proxy.connect("plain").await, "http"), (tls, "https")] {
        client.send(get("/", SPOOFED).replace("Host: example.com", "Host: Example.com:8080")).await;
        let call = calls.next().await;
        assert_eq!(call.head.get("host"), Some("Example.com:8080"));
        let element = format!("for=127.0.0.1;host=\"Example.com:8080\";proto={proto}");
        let told = [Some("127.0.0.1"), Some(proto), Some("Example.com:8080"), None, Some(&*element), None];
        assert_eq!(forwarding(&call.head), told);
        call.answer(OK).await;
        assert_eq!(client.answer().await.1, "ok");
    }
}

#[tokio::test]
async fn what_a_trusted_proxy_says_is_kept_and_the_proxy_itself_appended() {
    let (backend, mut calls) = Backend::by_hand().await;
    let config = plain(&[backend.address])
        .replace("name = \"plain\"\n", "name = \"plain\"\ntrusted_networks = [\"127.0.0.0/8\"]\n");
    let proxy = Proxy::start(&config).await;
    let mut client = proxy.connect("plain").await;
    client.send(get("/kept", SPOOFED)).await;
    let call = calls.next().await;
    let told = [
        Some("192.0.2.1, 127.0.0.1"),
        Some("gopher"),
        Some("evil.org"),
        Some("1"),
        Some("for=192.0.2.1, for=127.0.0.1;host=example.com;proto=http"),
        Some("192.0.2.1"),
    ];
    assert_eq!(forwarding(&call.head), told);
    call.answer(OK).await;
    client.answer().await;
    let record = proxy.record("request").await;
    assert_eq!((record["client"].as_str(), record["peer"].as_str()), (Some("192.0.2.1"), Some("127.0.0.1")));
}

#[tokio::test]
async fn one_connection_carries_request_after_request_and_several_at_once() {
    let backend = Backend::calls(|call| async move {
        let target = call.head.target().to_string();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{target}", target.len());
        call.answer(answer).await;
    })
    .await;
    let proxy = Proxy::start(&plain(&[backend.address])).await;
    let mut client = proxy.connect("plain").await;
    for target in ["/1", "/2"] {
        client.send(get(target, "")).await;
        assert_eq!(client.answer().await.1, target);
    }
    client.send(["/3", "/4", "/5"].map(|target| get(target, "")).concat()).await;
    let mut after = Vec::new();
    for target in ["/3", "/4", "/5"] {
        let head = within("an answer", Head::read_after(&mut client, after)).await.expect("an answer");
        let (body, next) = head.body(&mut client).await;
        assert_eq!(body, target.as_bytes());
        after = next;
    }
    assert_eq!(proxy.metric("longhaul_connections_total{listener=\"plain\"}").await, 1.0);
    proxy.wait_metric("longhaul_requests_total{route=\"all\",result=\"2xx\"}", 5.0).await;
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_backends_work() {
    let (backend, mut calls) = Backend::by_hand().await;
    let proxy = Proxy::start(&plain(&[backend.address])).await;
    let mut client = proxy.connect("plain").await;
    client.send(get("/waiting", "")).await;
    let call = calls.next().await;
    drop(client);
    assert_eq!(call.rest().await, b"");
    assert_eq!(proxy.refusal("/waiting").await, "client_gone");

    let mut client = proxy.connect("plain").await;
    client.send(get("/reading", "")).await;
    let mut call = calls.next().await;
    call.send("HTTP/1.1 200 OK\r\n\r\ndata: 1\n").await;
    let mut seen = client.head().await.rest;
    read_until(&mut client, &mut seen, "data: 1\n").await;
    drop(client);
    assert_eq!(call.rest().await, b"");
    let load = format!("longhaul_backend_tunnels{{pool=\"all\",backend=\"{}\"}}", backend.address);
    proxy.wait_metric(&load, 0.0).await;
}

#[tokio::test]
async fn a_silent_backend_is_a_504_and_a_slow_upload_is_not() {
    let (backend, mut calls) = Backend::by_hand().await;
    let proxy = Proxy::start(&(plain(&[backend.address]) + "response_timeout = \"1s\"\n")).await;
    let mut client = proxy.connect("plain").await;
    client.send(get("/silent", "")).await;
    let call = calls.next().await;
    let (head, body) = client.answer().await;
    assert_eq!((head.status(), body.as_str()), (504, "the server did not answer in time\n"));
    assert_eq!(call.rest().await, b"");
    assert_eq!(proxy.refusal("/silent").await, "backend_timeout");
    proxy.wait_metric("longhaul_requests_total{route=\"all\",result=\"backend_timeout\"}", 1.0).await;

    client.send("POST /slow HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    let mut call = calls.next().await;
    let mut seen = std::mem::take(&mut call.head.rest);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(2500) {
        client.send("1\r\nx\r\n").await;
        read_until(&mut call.stream, &mut seen, "x\r\n").await;
        seen.clear();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    client.send("0\r\n\r\n").await;
    read_until(&mut call.stream, &mut seen, "0\r\n\r\n").await;
    call.answer(OK).await;
    assert_eq!(client.answer().await.1, "ok");
}

#[tokio::test]
async fn a_backend_that_breaks_off_is_told_from_one_that_ends() {
    let (backend, mut calls) = Backend::by_hand().await;
    let proxy = Proxy::start(&plain(&[backend.address])).await;
    for (path, answer, reason) in [
        ("/nothing", "", "backend_closed"),
        ("/half-a-head", "HTTP/1.1 200 OK\r\nContent-Le", "backend_closed"),
        ("/not-http", "SSH-2.0-OpenSSH_9.2\r\n\r\n", "backend_malformed"),
    ] {
        let mut client = proxy.connect("plain").await;
        client.send(get(path, "")).await;
        calls.next().await.answer(answer).await;
        assert_eq!(client.answer().await.0.status(), 502, "{path}");
        assert_eq!(proxy.refusal(path).await, reason);
    }
    let mut client = proxy.connect("plain").await;
    client.send(get("/half-a-body", "")).await;
    calls.next().await.answer("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
    let head = client.head().await;
    let (rest, _) = client.rest().await;
    assert_eq!([head.rest, rest].concat(), b"half");
    assert_eq!(proxy.record("request").await["reason"], "backend_broke_off");
}

#[tokio::test]
async fn longhaul_is_no_forward_proxy() {
    let (backend, mut calls) = Backend::by_hand().await;
    let config = plain(&[backend.address])
        .replace("name = \"all\"\npool", "name = \"all\"\nhost = \"a.example\"\npool");
    let proxy = Proxy::start(&config).await;
    let mut client = proxy.connect("plain").await;
    client.send("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n").await;
    let (head, body) = client.answer().await;
    assert_eq!(head.status(), 405);
    assert!(
        head.get("allow").is_some_and(|allow| allow.contains("GET")) && body.contains("CONNECT"),
        "{body}"
    );
    assert_eq!(backend.called(), 0);
    proxy.wait_metric("longhaul_requests_total{route=\"\",result=\"connect_method\"}", 1.0).await;

    // A target in absolute form is understood, and names the host (RFC 9112 3.2.2).
    let mut client = proxy.connect("plain").await;
    client.send("GET http://a.example/x?y=z HTTP/1.1\r\nHost: b.example\r\n\r\n").await;
    let call = calls.next().await;
    assert_eq!((call.head.target(), call.head.get("host")), ("/x?y=z", Some("a.example")));
    call.answer(OK).await;
    assert_eq!(client.answer().await.0.status(), 200);
}

#[tokio::test]
async fn a_client_that_waits_to_be_told_to_go_on_is_told() {
    let (backend, mut calls) = Backend::by_hand().await;
    let proxy = Proxy::start(&plain(&[backend.address])).await;
    let mut client = proxy.connect("plain").await;
    client
        .send("POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        .await;
    let mut call = calls.next().await;
    assert_eq!(client.head().await.status(), 100);
    client.send("body").await;
    let (body, _) = call.head.clone().body(&mut call.stream).await;
    assert_eq!(body, b"body");
    call.answer(OK).await;
    assert_eq!(client.answer().await.1, "ok");
}
