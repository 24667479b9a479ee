//! Who is ejected, for how long, and what that means.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use tokio::net::TcpListener;

use super::{config, ejected, ejections};
use crate::health::{PASSES, probed, probes, refused, up, who_answers};
use crate::kit::{Backend, Call, Message, Proxy, WebSocket, plain, refusing};

/// A backend that takes handshakes while it is well, and answers 503 otherwise; as soon as it is unwell.
async fn moody(name: &'static str) -> (Backend, Arc<AtomicBool>) {
    let well = Arc::new(AtomicBool::new(false));
    let state = well.clone();
    let backend = Backend::calls(move |call: Call| {
        let is_well = state.load(SeqCst);
        async move {
            if !is_well {
                return call.answer("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n").await;
            }
            let mut socket: WebSocket<_> = call.accept("").await;
            socket.send(&Message::text(name)).await;
            socket.echo().await;
        }
    })
    .await;
    (backend, well)
}

/// Sends handshakes until one of the answers is 503, and as many behind it as there are backends.
async fn fail(proxy: &Proxy, count: usize) {
    let mut failed = 0;
    while failed < count {
        let mut client = proxy.connect("plain").await;
        client.send(crate::kit::handshake("/ws", "example.com", "")).await;
        failed += usize::from(client.head().await.status() == 503);
    }
}

#[tokio::test]
async fn a_backend_serves_again_when_its_time_is_over() {
    let ((moody, well), other) = (moody("moody").await, Backend::echo("other").await);
    let text = plain(&[moody.address, other.address])
        + "balance = \"round-robin\"\nejection = { handshake_failures = 2, time = \"300ms\" }\n";
    let proxy = Proxy::start(&text).await;
    fail(&proxy, 2).await;
    proxy.wait_metric(&ejections(moody.address, "handshake_failures"), 1.0).await;
    well.store(true, SeqCst);
    proxy.wait_metric(&ejected(moody.address), 0.0).await;
    let names = [who_answers(&proxy).await, who_answers(&proxy).await];
    assert!(names.contains(&"moody".to_string()), "{names:?}");
    assert_eq!(proxy.metric(&ejections(moody.address, "handshake_failures")).await, 1.0);
}

/// Probes that pass do not: they passed while requests failed.
#[tokio::test]
async fn probes_do_not_end_an_ejection() {
    let unwell = Backend::calls(|call: Call| async move {
        match call.head.target() {
            "/health" => call.answer(PASSES).await,
            _ => call.answer("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n").await,
        }
    })
    .await;
    let other = probed("other", || Some(PASSES)).await;
    let text = config(&[unwell.address, other.address], "handshake_failures = 2")
        + "health = { kind = \"http\", path = \"/health\", interval = \"1ms\" }\n";
    let proxy = Proxy::start(&text).await;
    proxy.wait_metric(&up(unwell.address), 1.0).await;
    proxy.wait_metric(&up(other.address), 1.0).await;
    fail(&proxy, 2).await;
    let passed = proxy.metric(&probes(unwell.address, "passed")).await;
    proxy.wait_metric_in(&probes(unwell.address, "passed"), passed + 20.0..).await;
    assert_eq!(proxy.metric(&ejected(unwell.address)).await, 1.0);
    for _ in 0..4 {
        assert_eq!(who_answers(&proxy).await, "other");
    }
}

#[tokio::test]
async fn cookies_do_not_lead_to_who_is_ejected() {
    let ((moody, well), other) = (moody("moody").await, Backend::echo("other").await);
    let text = config(&[moody.address, other.address], "handshake_failures = 1") + "sticky = {}\n";
    let proxy = Proxy::start(&text).await;
    well.store(true, SeqCst);
    let (mut socket, head) = proxy.connect("plain").await.open("/ws", "example.com", "").await;
    assert_eq!(socket.receive_text().await, "moody");
    let (cookie, _) = head.get("set-cookie").and_then(|cookie| cookie.split_once(';')).expect("a cookie");
    let lines = format!("Cookie: {cookie}\r\n");
    well.store(false, SeqCst);
    let mut client = proxy.connect("plain").await;
    client.send(crate::kit::handshake("/ws", "example.com", &lines)).await;
    assert_eq!(client.head().await.status(), 503);
    well.store(true, SeqCst);
    let (mut socket, head) = proxy.connect("plain").await.open("/ws", "example.com", &lines).await;
    assert_eq!(socket.receive_text().await, "other");
    assert_ne!(head.get("set-cookie").and_then(|cookie| Some(cookie.split_once(';')?.0)), Some(cookie));
}

#[tokio::test]
async fn only_a_part_of_a_pool_is_ejected_and_never_the_last() {
    for (members, keys, most) in [
        (1, "", 0.0),
        (2, "", 1.0),
        (4, "", 2.0),
        (4, ", ejected_max = \"1%\"", 1.0),
        (3, ", ejected_max = \"100%\"", 2.0),
    ] {
        let sockets: Vec<_> = (0..members).map(|_| refusing()).collect();
        let addresses: Vec<_> = sockets.iter().map(|(_, address)| *address).collect();
        let proxy = Proxy::start(&config(&addresses, &format!("connect_failures = 1{keys}"))).await;
        for _ in 0..8 {
            assert_eq!(refused(&proxy).await.0, 502);
        }
        let mut count = 0.0;
        for address in &addresses {
            count += proxy.metric(&ejected(*address)).await;
        }
        assert_eq!(count, most, "of {members}{keys}");
        let warned = |line: &serde_json::Value| line["message"] == "backend not ejected: too few are left";
        proxy.wait_for("a warning", warned).await;
    }
}

/// Others that are down do not count as left.
#[tokio::test]
async fn the_last_one_that_is_up_is_not_ejected() {
    let unwell = Backend::calls(|call: Call| async move {
        match call.head.target() {
            "/health" => call.answer(PASSES).await,
            _ => call.answer("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n").await,
        }
    })
    .await;
    let (_socket, down) = refusing();
    let text = config(&[unwell.address, down], "handshake_failures = 1")
        + "health = { kind = \"http\", path = \"/health\", interval = \"1h\" }\n";
    let proxy = Proxy::start(&text).await;
    proxy.record("backend down").await;
    proxy.wait_metric(&up(unwell.address), 1.0).await;
    fail(&proxy, 5).await;
    assert_eq!(proxy.metric(&ejected(unwell.address)).await, 0.0);
}

#[tokio::test]
async fn an_ejected_backend_is_asked_when_there_is_no_other() {
    let (socket, first) = refusing();
    let other = Backend::echo("other").await;
    let proxy = Proxy::start(&config(&[first, other.address], "connect_failures = 1")).await;
    for _ in 0..2 {
        assert_eq!(who_answers(&proxy).await, "other");
    }
    assert_eq!(proxy.metric(&ejected(first)).await, 1.0);
    drop(socket);
    let _back =
        Backend::on(TcpListener::bind(first).await.expect("the port is free"), |mut stream| async move {
            let Some(head) = crate::kit::Head::read(&mut stream).await else { return };
            let mut socket = Call { stream, head }.accept("").await;
            socket.send(&Message::text("back")).await;
            socket.echo().await;
        });
    assert_eq!(who_answers(&proxy).await, "other");
    drop(other);
    assert_eq!(who_answers(&proxy).await, "back");
    assert_eq!(proxy.metric(&ejected(first)).await, 1.0);
}

#[tokio::test]
async fn an_ejection_outlives_a_reload_that_leaves_it() {
    let (_socket, dead) = refusing();
    let well = Backend::echo("well").await;
    let text = config(&[dead, well.address], "connect_failures = 1");
    let proxy = Proxy::start(&text).await;
    for _ in 0..2 {
        who_answers(&proxy).await;
    }
    assert_eq!(proxy.metric(&ejected(dead)).await, 1.0);
    proxy.change_to(&text.replace("connect_failures = 1", "connect_failures = 2")).await;
    assert_eq!(proxy.metric(&ejected(dead)).await, 1.0);
    proxy.change_to(&plain(&[dead, well.address])).await;
    assert_eq!(proxy.metric(&ejected(dead)).await, 0.0);
    assert_eq!(proxy.metric(&ejections(dead, "connect_failures")).await, 1.0);
}
