//! Resident bytes of an idle tunnel: opens tunnels through a process of longhaul, each of which has echoed a message,
//! and divides what the process grew by their number. `cargo bench --bench idle`.

#[path = "../it/kit/mod.rs"]
#[allow(dead_code, unused_imports)]
mod kit;

use kit::{Backend, Client, Message, Pki, Proxy, Resumption, WebSocket, handshake, plain};

/// Opened before the first reading, so that what is allocated once is not counted.
const WARM_UP: usize = 200;
/// Opened between the readings.
const TUNNELS: usize = 2_000;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    println!(
        "resident memory per idle tunnel over {TUNNELS} tunnels, one worker, after an echo of 125 bytes"
    );
    println!("| case | bytes | KiB |");
    println!("|---|---|---|");
    for tls in [false, true] {
        let bytes = measure(tls).await;
        let case = if tls { "idle tunnel, TLS" } else { "idle tunnel, plain" };
        println!("| {case} | {bytes:.0} | {:.2} |", bytes / 1024.0);
    }
}

async fn measure(tls: bool) -> f64 {
    let (backend, pki) = (Backend::echo("bench").await, Pki::new());
    let mut config = plain(&[backend.address]);
    if tls {
        let certificate = pki.issue(&["localhost"]).entry();
        let listener = format!("address = \"127.0.0.1:0\"\ntls = {{ certificates = [{certificate}] }}");
        config = config.replacen("address = \"127.0.0.1:0\"", &listener, 1);
    }
    let config = format!("[server]\nworkers = 1\n[log]\nformat = \"json\"\naccess = false\n{config}");
    let proxy = Proxy::start(&config).await;
    let trust = Resumption::new(&pki, rustls::ALL_VERSIONS);
    let mut tunnels = Vec::new();
    for _ in 0..WARM_UP {
        tunnels.push(open(&proxy, tls, &trust).await);
    }
    let before = resident_bytes(&proxy);
    for _ in 0..TUNNELS {
        tunnels.push(open(&proxy, tls, &trust).await);
    }
    proxy.wait_metric("longhaul_tunnels_active{route=\"all\"}", (WARM_UP + TUNNELS) as f64).await;
    (resident_bytes(&proxy) - before) / TUNNELS as f64
}

async fn open(proxy: &Proxy, tls: bool, trust: &Resumption) -> WebSocket<Client> {
    let address = proxy.address("plain");
    let client = match tls {
        true => trust.connect(address, "localhost").await.expect("a TLS session"),
        false => Client::connect(address).await,
    };
    let (mut socket, _) = client.open_with(handshake("/", "localhost", "")).await;
    assert_eq!(socket.receive_text().await, "bench");
    let message = Message::binary(vec![7; 125]);
    socket.send(&message).await;
    assert_eq!(socket.receive().await, message);
    socket
}

fn resident_bytes(proxy: &Proxy) -> f64 {
    let path = format!("/proc/{}/smaps_rollup", proxy.pid().as_raw_nonzero());
    let text = std::fs::read_to_string(path).expect("longhaul runs");
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:")).expect("a resident size");
    let kib: f64 = line.trim().trim_end_matches(" kB").trim().parse().expect("a number");
    kib * 1024.0
}
