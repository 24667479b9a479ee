//! The log: who was there, where it went and how it ended; nothing secret, nothing forged, and never in the way.

use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::kit::{Backend, Client, Message, Pki, Proxy, handshake, plain, within};

/// A backend that speaks the subprotocol `chat` and echoes.
async fn chat() -> Backend {
    Backend::calls(|call| async move {
        if call.head.get("upgrade").is_some() {
            call.accept("Sec-WebSocket-Protocol: chat\r\n").await.echo().await;
        } else {
            let mut stream = call.stream;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npage").await;
        }
    })
    .await
}

const CHAT: &str = "Sec-WebSocket-Protocol: other, chat\r\n";

fn keys(record: &Value) -> Vec<&str> {
    record.as_object().expect("a record").keys().map(String::as_str).collect()
}

/// Sends a request and reads its answer; the status.
async fn status(proxy: &Proxy, request: impl AsRef<[u8]>) -> u16 {
    let mut client = proxy.connect("plain").await;
    client.send(request).await;
    client.head().await.status()
}

#[tokio::test]
async fn a_tunnel_leaves_two_records_with_the_same_id() {
    let (backend, pki) = (chat().await, Pki::new());
    let tls = format!(
        "address = \"127.0.0.1:0\"\ntls = {{ certificates = [{}] }}",
        pki.issue(&["example.com"]).entry()
    );
    let proxy = Proxy::start(&plain(&[backend.address]).replacen("address = \"127.0.0.1:0\"", &tls, 1)).await;
    let client = Client::connect_tls(proxy.address("plain"), &pki, "example.com").await;
    let (mut socket, _) = client.open("/ws/room", "example.com", CHAT).await;
    socket.round_trip("hello").await;
    socket.round_trip("again").await;
    socket.close(4001).await;
    let (open, close) = (proxy.record("open").await, proxy.record("close").await);

    let of_open = [
        "timestamp",
        "level",
        "message",
        "id",
        "listener",
        "client",
        "tls",
        "http",
        "method",
        "host",
        "path",
        "route",
        "backend",
        "subprotocol",
        "handshake_ms",
    ];
    assert_eq!(keys(&open), of_open);
    let of_close = [
        "timestamp",
        "level",
        "message",
        "id",
        "listener",
        "client",
        "route",
        "backend",
        "http",
        "subprotocol",
        "reason",
        "initiator",
        "close_code",
        "close_initiator",
        "clean",
        "lived_ms",
        "bytes_to_backend",
        "bytes_to_client",
        "messages_to_backend",
        "messages_to_client",
    ];
    assert_eq!(keys(&close), of_close);
    for (record, key, value) in [
        (&open, "level", Value::from("INFO")),
        (&open, "listener", "plain".into()),
        (&open, "client", "127.0.0.1".into()),
        (&open, "tls", "1.3".into()),
        (&open, "method", "GET".into()),
        (&open, "host", "example.com".into()),
        (&open, "path", "/ws/room".into()),
        (&open, "route", "all".into()),
        (&open, "backend", backend.address.to_string().into()),
        (&open, "subprotocol", "chat".into()),
        (&close, "id", open["id"].clone()),
        (&close, "client", "127.0.0.1".into()),
        (&close, "route", "all".into()),
        (&close, "backend", backend.address.to_string().into()),
        (&close, "subprotocol", "chat".into()),
        (&close, "reason", "closed".into()),
        (&close, "initiator", "client".into()),
        (&close, "close_code", 4001.into()),
        // Two texts of 5 bytes and a Close of 2, each with its header, towards the backend masked.
        (&close, "bytes_to_backend", (2 * (6 + 5) + 6 + 2).into()),
        (&close, "bytes_to_client", (2 * (2 + 5) + 2 + 2).into()),
        (&close, "messages_to_backend", 2.into()),
        (&close, "messages_to_client", 2.into()),
    ] {
        assert_eq!(record[key], value, "{key}");
    }
    assert!(open["handshake_ms"].as_f64() > Some(0.0) && close["lived_ms"].as_f64() > Some(0.0));
    let records = |message: &str| proxy.log().iter().filter(|line| line["message"] == message).count();
    assert_eq!((records("open"), records("close")), (1, 1));
}

#[tokio::test]
async fn every_other_request_leaves_one_record() {
    let backend = chat().await;
    let config =
        plain(&[backend.address]).replace("pool = \"all\"", "pool = \"all\"\nhost = \"example.com\"");
    let proxy = Proxy::start(&config).await;
    assert_eq!(status(&proxy, "GET /page HTTP/1.1\r\nHost: example.com\r\n\r\n").await, 200);
    assert_eq!(status(&proxy, handshake("/ws", "nowhere", "")).await, 404);
    assert_eq!(status(&proxy, handshake("/ws", "example.com", "").replace(": 13", ": 12")).await, 426);
    let request = proxy.record("request").await;
    assert_eq!((&request["status"], &request["bytes_to_client"]), (&200.into(), &4.into()));
    assert_eq!((&request["route"], &request["path"]), (&"all".into(), &"/page".into()));
    let no_route = proxy.wait_for("a refusal", |line| line["reason"] == "no_route").await;
    assert_eq!((&no_route["message"], &no_route["status"]), (&"refused".into(), &404.into()));
    assert_eq!((&no_route["host"], &no_route["route"]), (&"nowhere".into(), &Value::Null));
    let version = proxy.wait_for("a refusal", |line| line["reason"] == "handshake_version").await;
    assert_eq!((&version["message"], &version["status"]), (&"refused".into(), &426.into()));
    let ids: std::collections::BTreeSet<_> =
        proxy.log().iter().filter_map(|line| line["id"].as_str().map(str::to_string)).collect();
    assert_eq!(ids.len(), 3);
}

#[tokio::test]
async fn text_has_one_line_a_record_too() {
    let backend = chat().await;
    let proxy = Proxy::start(&("[log]\nformat = \"text\"\n".to_string() + &plain(&[backend.address]))).await;
    let (socket, _) = proxy.connect("plain").await.open("/ws", "example.com", CHAT).await;
    socket.close(1000).await;
    let (open, close) = (proxy.record("open").await, proxy.record("close").await);
    let (id, backend) = (open["id"].as_str().expect("an id"), backend.address);
    let line = |record: &Value| record["line"].as_str().expect("a line of text").to_string();
    let (timestamp, rest) = line(&open).split_once(' ').map(|(a, b)| (a.to_string(), b.to_string())).unwrap();
    assert!(humantime::parse_rfc3339(&timestamp).is_ok(), "{timestamp}");
    let start = format!(
        "INFO open id={id} listener=plain client=127.0.0.1 http=1.1 method=GET host=example.com path=/ws route=all \
         backend={backend} subprotocol=chat handshake_ms="
    );
    assert!(rest.trim_start().starts_with(&start), "{rest}");
    let part = format!(" INFO close id={id} listener=plain client=127.0.0.1 route=all backend={backend} ");
    let end = "bytes_to_backend=8 bytes_to_client=4 messages_to_backend=0 messages_to_client=0";
    assert!(line(&close).contains(&part) && line(&close).ends_with(end), "{close}");
}

#[tokio::test]
async fn access_records_can_be_turned_off() {
    let backend = chat().await;
    let config = "[log]\nformat = \"json\"\naccess = false\n[server]\ndrain = { delay = \"0s\" }\n";
    let mut proxy = Proxy::start(&(config.to_string() + &plain(&[backend.address]))).await;
    let (mut socket, _) = proxy.connect("plain").await.open("/ws", "example.com", CHAT).await;
    socket.round_trip("hello").await;
    socket.close(1000).await;
    assert_eq!(status(&proxy, "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n").await, 200);
    assert_eq!(status(&proxy, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n").await, 400);
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.ended().await.code(), Some(0));
    let ids: Vec<Value> = proxy.log().into_iter().filter(|line| !line["id"].is_null()).collect();
    assert_eq!(ids, Vec::<Value>::new());
    assert!(proxy.log().iter().any(|line| line["message"] == "stopping"), "the rest of the log goes on");
}

#[tokio::test]
async fn query_strings_are_written_nowhere() {
    let (backend, dead) = (chat().await, Backend::answers("nonsense\r\n\r\n").await);
    for format in ["json", "text"] {
        let mut config = format!(
            "[log]\nformat = \"{format}\"\nlevel = \"trace\"\n[server]\ndrain = {{ delay = \"0s\" }}\n"
        );
        config += &plain(&[backend.address]);
        config += &format!(
            "[[routes]]\nname = \"dead\"\nhost = \"dead\"\npool = \"dead\"\n[pools.dead]\nbackends = [\"{}\"]\n",
            dead.address
        );
        config = config.replace("name = \"all\"", "name = \"all\"\nhost = \"example.com\"");
        let mut proxy = Proxy::start(&config).await;
        let (socket, _) = proxy.connect("plain").await.open("/ws?token=secret", "example.com", CHAT).await;
        socket.close(1000).await;
        for (target, host, expected) in [
            ("/page?token=secret", "example.com", 200),
            ("http://example.com/page?token=secret", "example.com", 200),
            ("/page?token=secret", "nowhere", 404),
            ("/page?token=secret", "dead", 502),
            ("/page?token=secret#secret", "bad host", 400),
        ] {
            let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            assert_eq!(status(&proxy, request).await, expected, "{target} {host}");
        }
        assert_eq!(status(&proxy, handshake("/ws?token=secret", "nowhere", "")).await, 404);
        proxy.signal(Signal::TERM);
        assert_eq!(proxy.ended().await.code(), Some(0));
        let log = proxy.log();
        assert!(log.iter().filter(|line| !line["id"].is_null()).count() >= 8, "{log:#?}");
        let leaks: Vec<_> = log.iter().filter(|line| line.to_string().contains("secret")).collect();
        assert!(leaks.is_empty(), "{leaks:#?}");
    }
}

/// What comes from the wire stays within its field, and moves no terminal.
#[tokio::test]
async fn nobody_forges_a_record() {
    let backend = chat().await;
    let requests: [(&[u8], u16, &str); 7] = [
        (b"GET /a%0Ab HTTP/1.1\r\nHost: example.com\r\n\r\n", 200, "path=/a%0Ab "),
        (b"GET /\"reason=forged HTTP/1.1\r\nHost: example.com\r\n\r\n", 200, r#"path="/\"reason=forged" "#),
        (b"GET /id=forged HTTP/1.1\r\nHost: example.com\r\n\r\n", 200, r#"path="/id=forged" "#),
        (b"GET / HTTP/1.1\r\nHost: a\" reason=\"forged\r\n\r\n", 400, r#"host="a\" reason=\"forged" "#),
        (b"GET / HTTP/1.1\r\nHost: a\tb\r\n\r\n", 400, r#"host="a\tb" "#),
        (b"GET / HTTP/1.1\r\nHost: a\xe2\x80\xa8b\xc2\x9b31m\r\n\r\n", 400, r#"host="a\u{2028}b\u{9b}31m" "#),
        (b"GET / HTTP/1.1\r\nHost: a\\nb\r\n\r\n", 400, r#"host="a\\nb" "#),
    ];
    for format in ["json", "text"] {
        let config = format!("[log]\nformat = \"{format}\"\n[server]\ndrain = {{ delay = \"0s\" }}\n");
        let mut proxy = Proxy::start(&(config + &plain(&[backend.address]))).await;
        for (request, expected, _) in &requests {
            assert_eq!(status(&proxy, request).await, *expected, "{}", String::from_utf8_lossy(request));
        }
        // These are no requests, and leave no record.
        for target in ["/\u{1b}[31m", "/a\rb", "/a\nb", "/a\0b"] {
            assert_eq!(
                status(&proxy, format!("GET {target} HTTP/1.1\r\nHost: example.com\r\n\r\n")).await,
                400
            );
        }
        proxy.signal(Signal::TERM);
        assert_eq!(proxy.ended().await.code(), Some(0));
        let records: Vec<Value> = proxy
            .log()
            .into_iter()
            .filter(|line| line["message"] == "request" || line["message"] == "refused")
            .collect();
        assert_eq!(records.len(), requests.len(), "{records:#?}");
        for line in proxy.raw_log() {
            let moves = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
            assert!(!line.contains(moves), "{line:?}");
            if format == "json" {
                assert!(
                    serde_json::from_str::<Value>(&line).is_ok_and(|record| record.is_object()),
                    "{line:?}"
                );
            }
        }
        for (_, _, shown) in requests.iter().filter(|_| format == "text") {
            let is_shown = |record: &Value| record["line"].as_str().is_some_and(|line| line.contains(shown));
            assert!(records.iter().any(is_shown), "{shown} is not in {records:#?}");
        }
    }
}

/// Makes longhaul write `count` records.
async fn chatter(proxy: &Proxy, count: usize) {
    let (mut reader, mut writer) = tokio::io::split(proxy.connect("plain").await);
    let answered = tokio::spawn(async move {
        let mut bytes = Vec::new();
        let _ = reader.read_to_end(&mut bytes).await;
        String::from_utf8_lossy(&bytes).matches("HTTP/1.1 404").count()
    });
    let request = "GET / HTTP/1.1\r\nHost: nowhere\r\n\r\n".repeat(count - 1)
        + "GET / HTTP/1.1\r\nHost: nowhere\r\nConnection: close\r\n\r\n";
    within("room to write", writer.write_all(request.as_bytes())).await.expect("longhaul reads");
    assert_eq!(within("all answers", answered).await.expect("a count"), count);
}

fn cut_at_once(backend: &Backend) -> String {
    "[server]\ndrain = { delay = \"0s\", deadline = \"1ms\" }\n".to_string()
        + &plain(&[backend.address]).replace("name = \"all\"", "name = \"all\"\nhost = \"example.com\"")
}

#[tokio::test]
async fn a_log_that_nobody_reads_costs_lines_and_nothing_else() {
    let backend = chat().await;
    let mut proxy = Proxy::start(&cut_at_once(&backend)).await;
    let (mut tunnel, _) = proxy.connect("plain").await.open("/ws", "example.com", CHAT).await;
    proxy.leave_log_unread();
    assert_eq!(proxy.metric("longhaul_log_dropped_total").await, 0.0);
    // What the queue and the pipe hold, and then some.
    chatter(&proxy, 12_000).await;
    let dropped = proxy.metric("longhaul_log_dropped_total").await;
    assert!((1.0..12_000.0).contains(&dropped), "{dropped}");
    tunnel.round_trip("still here").await;
    let (mut another, _) = proxy.connect("plain").await.open("/ws", "example.com", CHAT).await;
    another.round_trip("still here").await;
    proxy.wait_metric("longhaul_tunnels_active{route=\"all\"}", 2.0).await;
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.ended().await.code(), Some(3));
}

#[tokio::test]
async fn a_log_that_is_closed_costs_lines_and_nothing_else() {
    let backend = chat().await;
    let mut proxy = Proxy::start(&cut_at_once(&backend)).await;
    proxy.close_log();
    let (mut tunnel, _) = proxy.connect("plain").await.open("/ws", "example.com", CHAT).await;
    chatter(&proxy, 2_000).await;
    tunnel.round_trip("still here").await;
    let dropped = proxy.metric("longhaul_log_dropped_total").await;
    assert!(dropped >= 1.0, "{dropped}");
    tunnel.send(&Message::close(1000, "")).await;
    assert_eq!(tunnel.receive().await, Message::close(1000, ""));
    drop(tunnel);
    proxy.wait_metric("longhaul_tunnels_active{route=\"all\"}", 0.0).await;
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.ended().await.code(), Some(0));
}
