//! Workers: connections are spread over them by what they carry now.

use crate::kit::{Backend, Client, Proxy, WebSocket, plain};

fn config(backend: &Backend, workers: &str) -> String {
    format!("[server]\nworkers = {workers}\n") + &plain(&[backend.address])
}

/// What the two workers carry.
async fn loads(proxy: &Proxy) -> [f64; 2] {
    let load = |worker| proxy.metric(worker);
    [
        load("longhaul_worker_connections{worker=\"0\"}").await,
        load("longhaul_worker_connections{worker=\"1\"}").await,
    ]
}

async fn open(proxy: &Proxy) -> WebSocket<Client> {
    let (mut socket, _) = proxy.connect("plain").await.open("/ws", "example.com", "").await;
    assert_eq!(socket.receive_text().await, "one");
    socket
}

#[tokio::test]
async fn tunnels_are_spread_over_two_by_live_count() {
    let backend = Backend::echo("one").await;
    let proxy = Proxy::start(&config(&backend, "2")).await;
    let (mut before, mut tunnels) = ([0.0; 2], [Vec::new(), Vec::new()]);
    for _ in 0..40 {
        let socket = open(&proxy).await;
        let after = loads(&proxy).await;
        tunnels[usize::from(after[1] > before[1])].push(socket);
        before = after;
    }
    assert_eq!(before, [20.0, 20.0]);
    let [first, mut second] = tunnels;
    for socket in first {
        socket.close(1000).await;
    }
    proxy.wait_metric("longhaul_worker_connections{worker=\"0\"}", 0.0).await;
    let mut refilled = Vec::new();
    for _ in 0..20 {
        refilled.push(open(&proxy).await);
    }
    assert_eq!(loads(&proxy).await, [20.0, 20.0]);
    for socket in refilled.iter_mut().chain(&mut second) {
        socket.round_trip("hello").await;
    }
}

#[tokio::test]
async fn one_worker_carries_everything() {
    let backend = Backend::echo("one").await;
    let proxy = Proxy::start(&config(&backend, "1")).await;
    let mut sockets = [open(&proxy).await, open(&proxy).await];
    assert_eq!(loads(&proxy).await, [2.0, 0.0]);
    let (_, metrics) = proxy.scrape("/metrics").await;
    assert_eq!(metrics.matches("\nlonghaul_worker_connections{").count(), 1);
    for socket in &mut sockets {
        socket.round_trip("hello").await;
    }
}

#[tokio::test]
async fn auto_is_one_per_core() {
    let backend = Backend::echo("one").await;
    let proxy = Proxy::start(&config(&backend, "\"auto\"")).await;
    open(&proxy).await.round_trip("hello").await;
    let (_, metrics) = proxy.scrape("/metrics").await;
    let cores = std::thread::available_parallelism().expect("a number of cores").get();
    assert_eq!(metrics.matches("\nlonghaul_worker_connections{").count(), cores);
}
