//! The Upgrade handshake (RFC 6455 4), checked as the server towards clients and as the client towards backends.

use tokio::io::AsyncReadExt;

use crate::kit::{ACCEPT, Backend, KEY, Message, Proxy, WebSocket, handshake, plain, switching, within};

#[tokio::test]
async fn a_wrong_handshake_is_refused_and_no_backend_hears_of_it() {
    const VERSION: &str = "Sec-WebSocket-Version: 13\r\n";
    let key = format!("Sec-WebSocket-Key: {KEY}\r\n");
    let with_key = |key: &str| format!("Sec-WebSocket-Key: {key}\r\n");
    let twice = |line: &str| line.repeat(2);
    // What of a good handshake is replaced, and by what; status, part of the text, reason.
    let (malformed, version) = ("handshake_malformed", "handshake_version");
    let table: Vec<(&str, String, u16, &str, &str)> = vec![
        ("GET ", "POST ".into(), 400, "send GET", malformed),
        (" HTTP/1.1", " HTTP/1.0".into(), 400, "send HTTP/1.1", malformed),
        ("Host: example.com\r\n", String::new(), 400, "send one Host", "host_malformed"),
        ("Host: example.com\r\n", twice("Host: example.com\r\n"), 400, "send one Host", "host_malformed"),
        ("Host: example.com", "Host: a@example.com".into(), 400, "host is malformed", "host_malformed"),
        ("Connection: Upgrade\r\n", String::new(), 400, "send Connection: Upgrade", malformed),
        ("Connection: Upgrade", "Connection: keep-alive".into(), 400, "send Connection: Upgrade", malformed),
        ("Upgrade: websocket\r\n", twice("Upgrade: websocket\r\n"), 400, "send one, Upgrade", malformed),
        ("\r\n\r\n", "\r\nContent-Length: 5\r\n\r\nhello".into(), 400, "has a body", malformed),
        ("\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(), 400, "has a body", malformed),
        (VERSION, "Sec-WebSocket-Version: 8\r\n".into(), 426, "send one Sec-WebSocket-Version: 13", version),
        (VERSION, "Sec-WebSocket-Version: 13, 8\r\n".into(), 426, "Version: 13", version),
        (VERSION, twice(VERSION), 426, "Version: 13", version),
        (VERSION, String::new(), 426, "Version: 13", version),
        (&key, String::new(), 400, "16 random bytes in base64", malformed),
        (&key, twice(&key), 400, "send one Sec-WebSocket-Key", malformed),
        (&key, with_key(""), 400, "16 random bytes", malformed),
        (&key, with_key("dGhlIHNhbXBsZSBub25j"), 400, "16 random bytes", malformed),
        (&key, with_key("dGhlIHNhbXBsZSBub25jZTE="), 400, "16 random bytes", malformed),
        (&key, with_key("dGhlIHNhbXBsZSBub25jZR=="), 400, "16 random bytes", malformed),
        (&key, with_key("!!!!!!!!!!!!!!!!!!!!!!!!"), 400, "16 random bytes", malformed),
        ("\r\n\r\n", "\r\nSec-WebSocket-Protocol: a, a\r\n\r\n".into(), 400, "different tokens", malformed),
        ("\r\n\r\n", "\r\nSec-WebSocket-Protocol: a b\r\n\r\n".into(), 400, "different tokens", malformed),
        ("\r\n\r\n", "\r\nSec-WebSocket-Extensions: a b\r\n\r\n".into(), 400, "extensions", malformed),
    ];
    let backend = Backend::echo("one").await;
    let proxy = Proxy::start(&plain(&[backend.address])).await;
    let mut counts = std::collections::BTreeMap::new();
    for (number, (part, instead, status, text, reason)) in table.into_iter().enumerate() {
        let path = format!("/{number}");
        let request = handshake(&path, "example.com", "").replacen(part, &instead, 1);
        let mut client = proxy.connect("plain").await;
        client.send(&request).await;
        let (head, body) = client.answer().await;
        assert_eq!(head.status(), status, "{request}");
        assert!(body.contains(text), "{request}{body}");
        assert_eq!(head.get("sec-websocket-version"), (status == 426).then_some("13"), "{request}");
        assert_eq!(proxy.refusal(&path).await, reason, "{request}");
        *counts.entry(reason).or_insert(0.0) += 1.0;
    }
    for reason in [malformed, version] {
        let series = format!("longhaul_handshakes_total{{route=\"\",result=\"{reason}\"}}");
        proxy.wait_metric(&series, counts[reason]).await;
    }
    assert_eq!(backend.called(), 0);
}

#[tokio::test]
async fn unusual_handshakes_that_are_valid_open() {
    let table = [
        ("Connection: Upgrade", "Connection: keep-alive , uPGRADE"),
        ("Connection: Upgrade", "Connection: keep-alive\r\nConnection: Upgrade"),
        ("Upgrade: websocket", "upgrade:WebSocket"),
        ("\r\n\r\n", "\r\nContent-Length: 0\r\n\r\n"),
        ("\r\n\r\n", "\r\nX-Unknown: \"\r\nX-Empty:\r\n\r\n"),
        ("GET / ", "GET http://example.com/?a=b "),
    ];
    let backend = Backend::echo("one").await;
    let proxy = Proxy::start(&plain(&[backend.address])).await;
    for (part, instead) in table {
        let request = handshake("/", "example.com", "").replacen(part, instead, 1);
        let (mut socket, _) = proxy.connect("plain").await.open_with(&request).await;
        assert_eq!(socket.receive_text().await, "one", "{request}");
    }
}

#[tokio::test]
async fn a_client_of_another_version_may_try_again_on_the_same_connection() {
    let backend = Backend::echo("one").await;
    let proxy = Proxy::start(&plain(&[backend.address])).await;
    let mut client = proxy.connect("plain").await;
    client.send(handshake("/", "example.com", "").replace("Version: 13", "Version: 14")).await;
    assert_eq!(client.answer().await.0.status(), 426);
    let (mut socket, _) = client.open("/", "example.com", "").await;
    assert_eq!(socket.receive_text().await, "one");
}

#[tokio::test]
async fn a_101_that_does_not_answer_the_offer_is_a_502_and_the_backend_is_hung_up_on() {
    let with = |lines: &str| format!("HTTP/1.1 101 Switching Protocols\r\n{lines}\r\n");
    let good = format!("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {ACCEPT}\r\n");
    let without = |line: &str| with(&good.replace(line, ""));
    let and = |lines: &str| with(&format!("{good}{lines}\r\n"));
    let table = [
        without(&format!("Sec-WebSocket-Accept: {ACCEPT}\r\n")),
        with(&good.replace(ACCEPT, "AAAAAAAAAAAAAAAAAAAAAAAAAAA=")),
        with(&good.replace(ACCEPT, &ACCEPT.to_uppercase())),
        and(&format!("Sec-WebSocket-Accept: {ACCEPT}")),
        with(&good.replace("Upgrade: websocket", "Upgrade: h2c")),
        without("Upgrade: websocket\r\n"),
        without("Connection: Upgrade\r\n"),
        and("Sec-WebSocket-Protocol: chat.v3"),
        and("Sec-WebSocket-Protocol: chat.v1, chat.v2"),
        and("Sec-WebSocket-Extensions: x-unoffered"),
        and("Sec-WebSocket-Extensions: permessage-deflate, x-unoffered"),
    ];
    let (backend, mut calls) = Backend::by_hand().await;
    let proxy = Proxy::start(&plain(&[backend.address])).await;
    let offers =
        "Sec-WebSocket-Protocol: chat.v1, chat.v2\r\nSec-WebSocket-Extensions: permessage-deflate\r\n";
    for (number, answer) in table.iter().enumerate() {
        let path = format!("/{number}");
        let mut client = proxy.connect("plain").await;
        client.send(handshake(&path, "example.com", offers)).await;
        let mut call = calls.next().await;
        call.send(answer).await;
        let (head, body) = client.answer().await;
        assert_eq!(head.status(), 502, "{answer}");
        assert_eq!(body, "the server's answer to the WebSocket handshake is wrong\n");
        assert_eq!(call.rest().await, b"", "{answer}");
        assert_eq!(proxy.refusal(&path).await, "backend_bad_101", "{answer}");
    }
    let series = "longhaul_handshakes_total{route=\"all\",result=\"backend_bad_101\"}";
    proxy.wait_metric(series, table.len() as f64).await;
    assert_eq!(proxy.metric("longhaul_tunnels_opened_total{route=\"all\"}").await, 0.0);
}

#[tokio::test]
async fn a_101_to_a_plain_request_is_a_502() {
    let (backend, mut calls) = Backend::by_hand().await;
    let proxy = Proxy::start(&plain(&[backend.address])).await;
    let mut client = proxy.connect("plain").await;
    client
        .send("GET /plain HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
        .await;
    let mut call = calls.next().await;
    assert_eq!(call.head.get("upgrade"), None);
    call.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n").await;
    assert_eq!(client.answer().await.0.status(), 502);
    assert_eq!(call.rest().await, b"");
    assert_eq!(proxy.refusal("/plain").await, "backend_bad_101");
    proxy.wait_metric("longhaul_requests_total{route=\"all\",result=\"backend_bad_101\"}", 1.0).await;
}

#[tokio::test]
async fn subprotocol_extensions_and_other_fields_pass_both_ways() {
    let (backend, mut calls) = Backend::by_hand().await;
    let proxy = Proxy::start(&plain(&[backend.address])).await;
    let offers = [
        ("Sec-WebSocket-Protocol", "chat.v1, chat.v2"),
        ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits, x-webkit-deflate-frame"),
        ("Cookie", "session=1; theme=dark"),
        ("Origin", "https://example.com"),
        ("Authorization", "Bearer abc"),
        ("User-Agent", "a test"),
        ("X-Custom", "kept"),
    ];
    let agreed = [
        ("Sec-WebSocket-Protocol", "chat.v2"),
        ("Sec-WebSocket-Extensions", "permessage-deflate; server_no_context_takeover"),
        ("Set-Cookie", "node=1; HttpOnly"),
        ("X-Served-By", "one"),
    ];
    let lines = |fields: &[(&str, &str)]| -> String {
        fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect()
    };
    let mut client = proxy.connect("plain").await;
    client.send(handshake("/ws?token=1", "example.com:8080", &lines(&offers))).await;
    let call = calls.next().await;
    assert_eq!(call.head.line, "GET /ws?token=1 HTTP/1.1");
    let needed = [
        ("Host", "example.com:8080"),
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", KEY),
    ];
    for (name, value) in offers.iter().chain(&needed) {
        let sent = call.head.get(name).unwrap_or_default();
        assert!(sent.eq_ignore_ascii_case(value), "{name}: {sent}");
    }
    let mut backend_socket = call.accept(&lines(&agreed)).await;
    let head = client.head().await;
    assert_eq!(head.status(), 101);
    let needed = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Accept", ACCEPT)];
    for (name, value) in agreed.iter().chain(&needed) {
        let sent = head.get(name).unwrap_or_default();
        assert!(sent.eq_ignore_ascii_case(value), "{name}: {sent}");
    }
    backend_socket.send(&Message::text("hello")).await;
    let mut frame = [0; 7];
    within("a frame", client.read_exact(&mut frame)).await.expect("a frame");
    assert_eq!(&frame, b"\x81\x05hello");
    assert_eq!(proxy.record("open").await["subprotocol"], "chat.v2");
}

/// Answers of a backend that will not have a WebSocket: the client gets each whole, and its connection is HTTP still.
#[tokio::test]
async fn a_declined_handshake_passes_whole_and_leaves_plain_http() {
    let table = [
        ("403 Forbidden\r\nContent-Length: 9\r\nX-Why: banned", "forbidden", 403, "forbidden"),
        (
            "200 OK\r\nTransfer-Encoding: chunked\r\nX-Why: page",
            "4\r\npage\r\n3\r\n: x\r\n0\r\n\r\n",
            200,
            "page: x",
        ),
        ("302 Found\r\nLocation: /login\r\nContent-Length: 0", "", 302, ""),
        ("401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 2", "no", 401, "no"),
        ("426 Upgrade Required\r\nSec-WebSocket-Version: 12\r\nContent-Length: 0", "", 426, ""),
        ("500 Oh\r\nX-Why: end of stream", "until the end", 500, "until the end"),
    ];
    let (backend, mut calls) = Backend::by_hand().await;
    let proxy = Proxy::start(&plain(&[backend.address])).await;
    for (head, body, status, text) in table {
        let mut client = proxy.connect("plain").await;
        client.send(handshake("/ws", "example.com", "")).await;
        calls.next().await.answer(format!("HTTP/1.1 {head}\r\n\r\n{body}")).await;
        let (answer, received) = client.answer().await;
        assert_eq!((answer.status(), received.as_str()), (status, text));
        let field = head.split("\r\n").find(|line| line.starts_with(['X', 'L', 'W', 'S']));
        if let Some((name, value)) = field.and_then(|field| field.split_once(": ")) {
            assert_eq!(answer.get(name), Some(value), "{head}");
        }
        client.send("GET /again HTTP/1.1\r\nHost: example.com\r\n\r\n").await;
        let call = calls.next().await;
        assert_eq!(call.head.target(), "/again");
        call.answer("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nplain").await;
        assert_eq!(client.answer().await.1, "plain");
    }
    let declined = "longhaul_handshakes_total{route=\"all\",result=\"declined\"}";
    proxy.wait_metric(declined, table.len() as f64).await;
}

/// A handshake that a backend declines must not open a way around the routes.
#[tokio::test]
async fn nothing_after_a_declined_handshake_reaches_the_backend_raw() {
    let (backend, mut calls) = Backend::by_hand().await;
    let config =
        plain(&[backend.address]).replace("name = \"all\"\npool", "name = \"all\"\npath = \"/ws\"\npool");
    let proxy = Proxy::start(&config).await;
    let smuggled = "GET /internal HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n";
    for together in [true, false] {
        let mut client = proxy.connect("plain").await;
        let request = handshake("/ws", "example.com", "");
        client.send(if together { format!("{request}{smuggled}") } else { request }).await;
        let mut call = calls.next().await;
        call.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno").await;
        let head = client.head().await;
        assert_eq!(head.status(), 200);
        if !together {
            client.send(smuggled).await;
        }
        let (rest, _) = client.rest().await;
        let rest = String::from_utf8([head.rest, rest].concat()).expect("text");
        assert!(rest.starts_with("noHTTP/1.1 404 Not Found\r\n"), "{rest}");
        assert_eq!(call.rest().await, b"");
    }
    assert_eq!(backend.called(), 2);
}

#[tokio::test]
async fn bytes_that_come_with_either_head_are_not_lost() {
    let (backend, mut calls) = Backend::by_hand().await;
    let proxy = Proxy::start(&plain(&[backend.address])).await;
    for (from_client, from_backend) in
        [(7, 0), (0, 7), (20_000, 0), (0, 20_000), (20_000, 20_000), (100_000, 0)]
    {
        let letters =
            |length: usize| Message::binary((0..length).map(|at| (at % 251) as u8).collect::<Vec<_>>());
        let (up, down) = (letters(from_client), letters(from_backend));
        let mut client = proxy.connect("plain").await;
        client.send([handshake("/", "example.com", "").into_bytes(), up.frame(true)].concat()).await;
        let mut call = calls.next().await;
        let early = [switching("").into_bytes(), down.frame(false)].concat();
        call.send(early).await;
        let head = client.head().await;
        let mut client = WebSocket::client(client, head.rest);
        let mut backend = WebSocket::backend(call.stream, call.head.rest);
        assert_eq!(client.receive().await, down, "{from_backend} bytes from the backend");
        assert_eq!(backend.receive().await, up, "{from_client} bytes from the client");
        backend.send(&Message::text("after")).await;
        assert_eq!(client.receive_text().await, "after");
        client.send(&Message::text("after")).await;
        assert_eq!(backend.receive_text().await, "after");
    }
}
