//! Live tunnels of a backend that goes down.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use serde_json::Value;

use super::{FAILS, PASSES, config, probed, up};
use crate::kit::{AT_ONCE, Backend, Call, Calls, Client, Proxy, WebSocket, handshake};

/// Checks that run often, with these further keys.
fn often(keys: &str) -> String {
    format!("kind = \"http\", path = \"/health\", interval = \"1ms\", rise = 1, fall = 1{keys}")
}

/// Tunnels of who is down are asked to go, at once.
fn draining(backends: &[SocketAddr]) -> String {
    AT_ONCE.to_owned() + &config(backends, &often(", on_down = \"drain\""))
}

/// A backend that echoes, and passes its probes as long as the switch is on.
async fn switched(name: &'static str) -> (Backend, Arc<AtomicBool>) {
    let passes = Arc::new(AtomicBool::new(true));
    let state = passes.clone();
    (probed(name, move || Some(if state.load(SeqCst) { PASSES } else { FAILS })).await, passes)
}

async fn open(proxy: &Proxy) -> (WebSocket<Client>, String) {
    let (mut socket, _) = proxy.connect("plain").await.open("/ws", "example.com", "").await;
    let name = socket.receive_text().await;
    (socket, name)
}

#[tokio::test]
async fn they_live_on() {
    let (backend, passes) = switched("one").await;
    let proxy = Proxy::start(&config(&[backend.address], &often(""))).await;
    proxy.wait_metric(&up(backend.address), 1.0).await;
    let (mut tunnel, _) = open(&proxy).await;
    passes.store(false, SeqCst);
    proxy.wait_metric(&up(backend.address), 0.0).await;
    let failed = super::probes(backend.address, "failed");
    let now = proxy.metric(&failed).await;
    proxy.wait_metric_in(&failed, now + 10.0..).await;
    tunnel.round_trip("still here").await;
    tunnel.close(1000).await;
}

#[tokio::test]
async fn where_they_are_drained_those_of_that_backend_end() {
    let ((one, passes), (two, _)) = (switched("one").await, switched("two").await);
    let proxy = Proxy::start(&draining(&[one.address, two.address])).await;
    for backend in [&one, &two] {
        proxy.wait_metric(&up(backend.address), 1.0).await;
    }
    let mut tunnels = Vec::new();
    for _ in 0..6 {
        tunnels.push(open(&proxy).await);
    }
    passes.store(false, SeqCst);
    let mut ended = 0;
    for (mut tunnel, name) in tunnels {
        if name == "two" {
            tunnel.round_trip("still here").await;
            continue;
        }
        tunnel.parts(1012).await;
        ended += 1;
    }
    assert_eq!(ended, 3);
    let closed = "longhaul_tunnels_closed_total{route=\"all\",reason=\"backend_down\",initiator=\"proxy\"}";
    proxy.wait_metric(closed, 3.0).await;
    let record = proxy.wait_for("a record", |line| line["message"] == "close").await;
    assert_eq!(record["backend"], Value::from(one.address.to_string()));
    // It is back, and nobody is ended any more.
    passes.store(true, SeqCst);
    proxy.wait_metric(&up(one.address), 1.0).await;
    for _ in 0..2 {
        open(&proxy).await.0.round_trip("well").await;
    }
}

/// A backend that has been up again meanwhile.
#[tokio::test]
async fn those_of_every_outage_are_drained() {
    let (backend, passes) = switched("one").await;
    let proxy = Proxy::start(&draining(&[backend.address])).await;
    for _ in 0..3 {
        passes.store(true, SeqCst);
        proxy.wait_metric(&up(backend.address), 1.0).await;
        let (tunnel, _) = open(&proxy).await;
        passes.store(false, SeqCst);
        tunnel.parts(1012).await;
        // Nobody is looked for any more.
        proxy.wait_metric("longhaul_drain_tunnels{reason=\"backend_down\"}", 0.0).await;
    }
}

/// A handshake that was under way when its backend went down.
#[tokio::test]
async fn a_tunnel_that_opens_late_is_drained_too() {
    let passes = Arc::new(AtomicBool::new(true));
    let (state, (handle, mut calls)) = (passes.clone(), Calls::handler());
    let backend = Backend::calls(move |call: Call| {
        let (is_well, handle) = (state.load(SeqCst), handle.clone());
        async move {
            match call.head.target() {
                "/health" if is_well => call.answer(PASSES).await,
                "/health" => call.answer(FAILS).await,
                _ => handle(call).await,
            }
        }
    })
    .await;
    let proxy = Proxy::start(&draining(&[backend.address])).await;
    proxy.wait_metric(&up(backend.address), 1.0).await;
    let mut client = proxy.connect("plain").await;
    client.send(handshake("/ws", "example.com", "")).await;
    let call = calls.next().await;
    passes.store(false, SeqCst);
    proxy.wait_metric(&up(backend.address), 0.0).await;
    let _behind = call.accept("").await;
    let head = client.head().await;
    assert_eq!(head.status(), 101);
    WebSocket::client(client, head.rest).parts(1012).await;
    assert_eq!(proxy.record("close").await["reason"], "backend_down");
}
