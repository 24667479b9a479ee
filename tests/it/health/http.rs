//! HTTP probes: what they ask, and which answers will do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use super::{Verdict, config, failed, up, verdict};
use crate::kit::{Backend, Call, Proxy, within};

/// A probe that runs once, with these further keys.
fn http(keys: &str) -> String {
    format!("kind = \"http\", path = \"/health?deep=1\", interval = \"1h\", timeout = \"20s\"{keys}")
}

/// Whether a backend with this answer passes; else the reason and the detail.
async fn judged(answer: &str, keys: &str) -> Verdict {
    let backend = Backend::answers(answer).await;
    verdict(backend.address, &http(keys)).await
}

fn answer(status: u16, body: &str) -> String {
    format!("HTTP/1.1 {status} Whatever\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn the_status_decides() {
    for (status, keys, passes) in [
        (200, "", true),
        (399, "", true),
        (400, "", false),
        (503, "", false),
        (401, ", status = [401, \"500-503\"]", true),
        (501, ", status = [401, \"500-503\"]", true),
        (200, ", status = [401, \"500-503\"]", false),
        (504, ", status = [401, \"500-503\"]", false),
    ] {
        let expected = if passes { Ok(()) } else { failed("status", &status.to_string()) };
        assert_eq!(judged(&answer(status, ""), keys).await, expected, "{status}{keys}");
    }
}

#[tokio::test]
async fn the_body_decides_where_it_is_asked_about() {
    let body = "{ \"database\": \"up\" }";
    for (keys, passes) in [
        ("", true),
        (", body = \"up\"", true),
        (", body = \"down\"", false),
        (", body = '~\"database\":\\s*\"(up|ready)\"'", true),
        (", body = '~^up'", false),
        // Of the first ten bytes.
        (", body = \"data\", body_bytes_max = \"10B\"", true),
        (", body = \"up\", body_bytes_max = \"10B\"", false),
    ] {
        let expected = if passes { Ok(()) } else { failed("body", "") };
        assert_eq!(judged(&answer(200, body), keys).await, expected, "{keys}");
    }
    // The status is looked at first.
    assert_eq!(judged(&answer(500, body), ", body = \"up\"").await, failed("status", "500"));
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nall\r\n3\r\n up\r\n0\r\n\r\n";
    assert_eq!(judged(chunked, ", body = \"all up\"").await, Ok(()));
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nup";
    assert_eq!(judged(cut, ", body = \"up\"").await, failed("backend_closed", ""));
}

/// A body that never ends is read to the bound, and no further.
#[tokio::test]
async fn no_more_of_a_body_is_read_than_is_searched() {
    let backend = Backend::calls(|mut call: Call| async move {
        call.send("HTTP/1.1 200 OK\r\n\r\n").await;
        while call.stream.write_all(&[b'a'; 4096]).await.is_ok() {}
    })
    .await;
    let keys = http(", body = \"b\", body_bytes_max = \"1MiB\"");
    assert_eq!(verdict(backend.address, &keys).await, failed("body", ""));
}

#[tokio::test]
async fn a_request_is_as_it_was_asked_for() {
    let (backend, mut calls) = Backend::by_hand().await;
    let own = backend.address.to_string();
    for (keys, line, host, token) in [
        ("", "GET /health?deep=1 HTTP/1.1", &*own, None),
        (", method = \"HEAD\"", "HEAD /health?deep=1 HTTP/1.1", &*own, None),
        (
            ", headers = { host = \"chat.example.com\", X-Token = \"a b\" }",
            "GET /health?deep=1 HTTP/1.1",
            "chat.example.com",
            Some("a b"),
        ),
    ] {
        let proxy = Proxy::start(&config(&[backend.address], &http(keys))).await;
        let call = calls.next().await;
        assert_eq!(call.head.line, line);
        assert_eq!(call.head.all("host"), [host]);
        assert_eq!(call.head.get("x-token"), token);
        assert_eq!(call.head.get("connection"), Some("close"));
        assert!(call.head.get("user-agent").is_some_and(|agent| agent.starts_with("longhaul/")));
        call.answer("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n").await;
        proxy.wait_metric(&up(backend.address), 1.0).await;
    }
}

/// Probes that hang, fail and pass leave nothing open behind them.
#[tokio::test]
async fn probes_leave_no_connection_behind() {
    let (ends, mut ended) = mpsc::unbounded_channel();
    let number = Arc::new(AtomicUsize::new(0));
    let backend = Backend::calls(move |mut call: Call| {
        let (ends, number) = (ends.clone(), number.clone());
        async move {
            match number.fetch_add(1, SeqCst) % 4 {
                0 => {}
                1 => call.send(super::PASSES).await,
                // A body that goes on, and one that stops.
                2 => call.send("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nok").await,
                _ => call.send("HTTP/1.1 500 No\r\nContent-Length: 100000\r\n\r\n").await,
            }
            call.rest().await;
            let _ = ends.send(());
        }
    })
    .await;
    let keys = "kind = \"http\", path = \"/\", body = \"never\", interval = \"1ms\", timeout = \"20ms\"";
    let proxy = Proxy::start(&config(&[backend.address], keys)).await;
    let before = proxy.metric("process_open_fds").await;
    for _ in 0..40 {
        within("the end of a probe", ended.recv()).await.expect("the backend lives");
    }
    proxy.wait_metric_in("process_open_fds", ..=before + 3.0).await;
}
