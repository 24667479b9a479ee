//! What a second look found: each of these once went wrong.

use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::kit::{Backend, Proxy, Reloaded, handshake, plain, read_until, switching, within};

#[tokio::test]
async fn a_backends_version_of_http_is_its_own() {
    let (backend, mut calls) = Backend::by_hand().await;
    let proxy = Proxy::start(&plain(&[backend.address])).await;
    let mut client = proxy.connect("plain").await;
    client.send("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n").await;
    calls.next().await.answer("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
    let (head, body) = client.answer().await;
    assert_eq!((head.line.as_str(), body.as_str()), ("HTTP/1.1 200 OK", "hi"));
    client.send(handshake("/ws", "example.com", "")).await;
    let mut call = calls.next().await;
    call.send(switching("").replace("HTTP/1.1", "HTTP/1.0")).await;
    assert_eq!(client.head().await.line, "HTTP/1.1 101 Switching Protocols");
}

#[tokio::test]
async fn a_client_that_stops_in_its_body_is_to_blame_for_it() {
    let (backend, mut calls) = Backend::by_hand().await;
    let proxy = Proxy::start(&(plain(&[backend.address]) + "response_timeout = \"300ms\"\n")).await;
    let mut client = proxy.connect("plain").await;
    client.send("POST /half HTTP/1.1\r\nHost: example.com\r\nContent-Length: 10\r\n\r\nhello").await;
    let call = calls.next().await;
    assert_eq!(client.head().await.status(), 400);
    assert_eq!(proxy.refusal("/half").await, "request_body");
    assert_eq!(call.rest().await, b"hello");
}

#[tokio::test]
async fn a_body_in_which_nothing_moves_ends_after_idle_timeout_also_for_a_client_that_has_gone() {
    let (backend, mut calls) = Backend::by_hand().await;
    let config = plain(&[backend.address])
        .replace("name = \"all\"\npool", "name = \"all\"\nidle_timeout = \"300ms\"\npool");
    let proxy = Proxy::start(&config).await;
    // The byte behind the request keeps the proxy's HTTP library from looking at the socket again.
    for behind in ["", "G"] {
        let mut client = proxy.connect("plain").await;
        client.send(format!("GET /events HTTP/1.1\r\nHost: example.com\r\n\r\n{behind}")).await;
        let mut call = calls.next().await;
        call.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n").await;
        let head = client.head().await;
        let mut seen = head.rest;
        read_until(&mut client, &mut seen, "first").await;
        if behind.is_empty() {
            assert_eq!(client.rest().await.0, b"", "the body must not look complete");
        } else {
            drop(client);
        }
        assert_eq!(call.rest().await, b"", "the backend learns that nobody listens any more");
    }
    let idle = proxy.wait_for("the record", |line| line["message"] == "request").await;
    assert_eq!(idle["reason"], "idle_timeout");
    proxy.wait_metric("longhaul_connections_active{listener=\"plain\"}", 0.0).await;
    let load = format!("longhaul_backend_tunnels{{pool=\"all\",backend=\"{}\"}}", backend.address);
    proxy.wait_metric(&load, 0.0).await;
}

/// A listener whose certificate and key are at `path`.
fn listener_with(path: &str) -> String {
    format!(
        "[[listeners]]\nname = \"more\"\naddress = \"127.0.0.1:0\"\n\
         tls = {{ certificates = [{{ cert = \"{path}\", key = \"{path}\" }}] }}\n"
    )
}

#[tokio::test]
async fn pipes_and_devices_in_place_of_certificates_are_refused_and_never_read() {
    let backend = Backend::echo("one").await;
    let base = plain(&[backend.address]);
    let proxy = Proxy::start(&base).await;
    let pipe = proxy.folder.path().join("pipe.pem");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for path in ["pipe.pem", "/dev/zero"] {
        proxy.rewrite(&(base.clone() + &listener_with(path)));
        let Reloaded::Rejected(problem) = proxy.reload().await else { panic!("{path} was accepted") };
        assert!(problem.contains("no regular file"), "{problem}");
    }
    // A name that leads nowhere is noticed by a watch that still looks.
    proxy.rewrite(&(base.clone() + &listener_with("missing.pem")));
    let missing = |line: &Value| line["message"].as_str().is_some_and(|text| text.contains("missing.pem"));
    proxy.wait_for("the watch", missing).await;
    let change = proxy.change_to(&base.replacen("pool = ", "idle_timeout = \"9m\"\npool = ", 1)).await;
    assert_eq!(change, "routes ~1 (all)");
}

#[tokio::test]
async fn a_reload_that_never_ends_does_not_keep_the_process_from_stopping() {
    let backend = Backend::echo("one").await;
    let mut proxy = Proxy::start(&plain(&[backend.address])).await;
    std::fs::remove_file(proxy.file()).unwrap();
    assert!(Command::new("mkfifo").arg(proxy.file()).status().unwrap().success());
    let reload = proxy.admin("POST", "/api/v1/reload");
    let stop = async {
        // Opening the pipe waits until longhaul reads from it.
        let (file, opened) = (proxy.file(), std::fs::OpenOptions::new());
        let open = move || opened.clone().write(true).open(file);
        let writer = within("longhaul to read", tokio::task::spawn_blocking(open)).await.unwrap().unwrap();
        proxy.signal(Signal::TERM);
        writer
    };
    let ((status, answer), _writer) = tokio::join!(reload, stop);
    assert_eq!((status, answer), (503, json!({ "error": "longhaul is stopping" })));
    assert_eq!(proxy.ended().await.code(), Some(0));
}

#[tokio::test]
async fn who_asks_a_stopping_process_to_reload_is_answered() {
    let backend = Backend::echo("one").await;
    let config = format!("[server]\ndrain = {{ delay = \"1h\" }}\n{}", plain(&[backend.address]));
    let mut proxy = Proxy::start(&config).await;
    proxy.signal(Signal::TERM);
    proxy.record("stopping").await;
    assert_eq!(proxy.admin("POST", "/api/v1/reload").await.0, 503);
    proxy.signal(Signal::TERM);
    proxy.ended().await;
}

#[tokio::test]
async fn what_was_counted_for_names_that_are_gone_is_forgotten() {
    let backend = Backend::echo("one").await;
    let base = plain(&[backend.address]);
    let gone = "[[routes]]\nname = \"gone\"\npath = \"/gone\"\npool = \"gone\"\n\
                [pools.gone]\nbackends = [\"127.0.0.1:1\"]\n";
    let proxy = Proxy::start(&(base.clone() + gone)).await;
    let (mut kept, _) = proxy.connect("plain").await.open("/kept", "example.com", "").await;
    assert_eq!(kept.receive_text().await, "one");
    for path in ["/gone", "/other"] {
        let mut client = proxy.connect("plain").await;
        client.send(handshake(path, "example.com", "")).await;
        client.head().await;
    }
    let kept_series = "longhaul_handshakes_total{route=\"all\",result=\"opened\"}";
    proxy.wait_metric(kept_series, 2.0).await;
    let gone_series = "longhaul_backend_connect_errors_total{pool=\"gone\",backend=\"127.0.0.1:1\"";
    assert!(proxy.scrape("/metrics").await.1.contains(gone_series));
    // The second change is there because the first may meet a request to the removed route that is just ending.
    proxy.change_to(&base).await;
    proxy.change_to(&base.replacen("pool = ", "idle_timeout = \"9m\"\npool = ", 1)).await;
    let metrics = proxy.scrape("/metrics").await.1;
    assert!(!metrics.contains("\"gone\""), "{metrics}");
    assert_eq!(proxy.metric(kept_series).await, 2.0);
    kept.round_trip("still here").await;
}
