//! Passive health: backends on which requests fail are ejected for a while.

mod deaths;
mod terms;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use serde_json::Value;

use super::who_answers;
use crate::kit::{ACCEPT, Backend, Call, Proxy, connect_errors, handshake, plain, refusing, switching};

/// A pool of these backends, that ejects as these keys say, for an hour.
fn config(backends: &[SocketAddr], keys: &str) -> String {
    let ejection = format!("ejection = {{ time = \"1h\", time_max = \"1h\", {keys} }}\n");
    let route = "name = \"all\"\nclose_timeout = \"100ms\"\npool";
    plain(backends).replace("name = \"all\"\npool", route) + "balance = \"round-robin\"\n" + &ejection
}

/// Whether a backend is ejected.
fn ejected(backend: SocketAddr) -> String {
    format!("longhaul_backend_ejected{{pool=\"all\",backend=\"{backend}\"}}")
}

/// How often a backend was ejected for this reason.
fn ejections(backend: SocketAddr, reason: &str) -> String {
    format!("longhaul_backend_ejections_total{{pool=\"all\",backend=\"{backend}\",reason=\"{reason}\"}}")
}

#[tokio::test]
async fn connections_that_fail_eject_a_backend_once() {
    let (_socket, dead) = refusing();
    let well = Backend::echo("well").await;
    let proxy = Proxy::start(&config(&[dead, well.address], "connect_failures = 3")).await;
    for _ in 0..12 {
        assert_eq!(who_answers(&proxy).await, "well");
    }
    assert_eq!(proxy.metric(&connect_errors(dead, "refused")).await, 3.0);
    assert_eq!(proxy.metric(&ejected(dead)).await, 1.0);
    assert_eq!(proxy.metric(&ejected(well.address)).await, 0.0);
    assert_eq!(proxy.metric(&ejections(dead, "connect_failures")).await, 1.0);
    let (status, list) = proxy.admin("GET", "/api/v1/backends?pool=all").await;
    assert_eq!((status, &list["backends"][1]["ejection"]), (200, &Value::Null));
    let ejection = &list["backends"][0]["ejection"];
    assert_eq!(ejection["reason"], "connect_failures");
    assert!((1..=3_600_000).contains(&ejection["left_ms"].as_u64().expect("a number")), "{ejection}");
    let line = proxy.record("backend ejected").await;
    assert_eq!((&line["pool"], &line["backend"]), (&"all".into(), &dead.to_string().into()));
    assert_eq!((&line["reason"], &line["for_ms"]), (&"connect_failures".into(), &3_600_000.into()));
    assert_eq!(proxy.log().iter().filter(|line| line["message"] == "backend ejected").count(), 1);
}

#[tokio::test]
async fn plain_requests_find_out_who_cannot_be_reached_too() {
    let (_socket, dead) = refusing();
    let well = Backend::answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let proxy = Proxy::start(&config(&[dead, well.address], "connect_failures = 2")).await;
    for _ in 0..8 {
        let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        assert_eq!(proxy.connect("plain").await.request(request).await.0.status(), 200);
    }
    assert_eq!(proxy.metric(&connect_errors(dead, "refused")).await, 2.0);
    assert_eq!(proxy.metric(&ejected(dead)).await, 1.0);
}

#[tokio::test]
async fn handshakes_that_fail_eject_a_backend() {
    let close = |status: u16| format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n");
    for (answer, keys, ejects) in [
        (close(503), "", true),
        (close(502), "", true),
        (close(500), "", false),
        (close(404), "", false),
        (close(500), ", handshake_status = [\"500-599\"]", true),
        (close(503), ", handshake_status = [500]", false),
        (close(503), ", handshake_failures = \"off\"", false),
        // The answer to another key.
        (switching("").replace(ACCEPT, "c3BQTE1CaVR4YVE5a1lHenpoWlI="), "", true),
        ("SSH-2.0-OpenSSH\r\n".to_string(), "", true),
        (String::new(), "", true),
    ] {
        let (failing, well) = (Backend::answers(answer.clone()).await, Backend::echo("well").await);
        let keys = match keys.contains("handshake_failures") {
            true => keys[2..].to_string(),
            false => format!("handshake_failures = 2{keys}"),
        };
        let proxy = Proxy::start(&config(&[failing.address, well.address], &keys)).await;
        for _ in 0..10 {
            let mut client = proxy.connect("plain").await;
            client.send(handshake("/ws", "example.com", "")).await;
            client.head().await;
        }
        assert_eq!(
            proxy.metric(&ejected(failing.address)).await,
            f64::from(u8::from(ejects)),
            "{answer}{keys}"
        );
        let count = proxy.metric(&ejections(failing.address, "handshake_failures")).await;
        assert_eq!(count, f64::from(u8::from(ejects)), "{answer}{keys}");
        assert_eq!(failing.called(), if ejects { 2 } else { 5 }, "{answer}{keys}");
    }
}

#[tokio::test]
async fn handshakes_that_hang_eject_a_backend() {
    let hanging = Backend::calls(|call: Call| async move {
        call.rest().await;
    })
    .await;
    let well = Backend::echo("well").await;
    let keys = "handshake_failures = 2";
    let text = config(&[hanging.address, well.address], keys) + "handshake_timeout = \"50ms\"\n";
    let proxy = Proxy::start(&text).await;
    for _ in 0..4 {
        let mut client = proxy.connect("plain").await;
        client.send(handshake("/ws", "example.com", "")).await;
        client.head().await;
    }
    assert_eq!(proxy.metric(&ejected(hanging.address)).await, 1.0);
}

#[tokio::test]
async fn a_success_ends_the_row() {
    // Two failures, one success, and so on.
    let told = Arc::new(AtomicUsize::new(0));
    let backend = Backend::calls(move |call: Call| {
        let step = told.fetch_add(1, SeqCst);
        async move {
            match step % 3 {
                2 => call.accept("").await.echo().await,
                _ => call.answer("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n").await,
            }
        }
    })
    .await;
    let (_socket, other) = refusing();
    let proxy = Proxy::start(&config(&[backend.address, other], "handshake_failures = 3")).await;
    for step in 0..12 {
        let mut client = proxy.connect("plain").await;
        client.send(handshake("/ws", "example.com", "")).await;
        assert_eq!(client.head().await.status(), if step % 3 == 2 { 101 } else { 503 });
    }
    assert_eq!(proxy.metric(&ejected(backend.address)).await, 0.0);
}
