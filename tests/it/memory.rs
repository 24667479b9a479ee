//! What generations leave behind: nothing, even while tunnels live that began in them.

use crate::kit::{Backend, Proxy, plain};

const RELOADS: usize = 1_000;
/// Generations whose tunnel stays open; in the others it is closed before the next reload. More would need more
/// descriptors than a test may take for granted.
const TUNNELS: usize = 200;
/// Before the first reading: what is allocated once, and the slack that the allocator keeps.
const WARM_UP: usize = 100;
const ROUTES: usize = 100;
/// Bytes of a comment. A snapshot keeps the text that it was made of, so this is less than what a leaked one costs.
const COMMENT: usize = 512 * 1024;
/// Growth that is far more than an allocator's slack, and far less than what the tunnels' generations would hold: 100
/// MiB.
const GROWTH_MAX: f64 = 40.0 * 1024.0 * 1024.0;

#[tokio::test]
async fn a_thousand_generations_leave_nothing_behind() {
    let backend = Backend::echo("one").await;
    let mut base = plain(&[backend.address]);
    for index in 0..ROUTES {
        base += &format!("[[routes]]\nname = \"r{index}\"\npath = \"/r/{index}\"\npool = \"all\"\n");
        // Nobody reads these tunnels for as long as the machine takes.
        base += "pings.client = \"off\"\n";
    }
    base += &format!("# {}\n", "x".repeat(COMMENT));
    let config = |generation: usize| {
        let route = format!("name = \"all\"\nidle_timeout = \"{}s\"\n", 3600 + generation);
        base.replacen("name = \"all\"\n", &route, 1).replacen(
            "path = \"/r/7\"",
            &format!("path = \"/g/{generation}\""),
            1,
        )
    };
    let quiet = "[server]\nworkers = 1\n[log]\nformat = \"json\"\nlevel = \"info\"\naccess = false\n";
    let proxy = Proxy::start(&(quiet.to_string() + &config(0))).await;
    let reload = async |generation: usize| {
        proxy.rewrite(&(quiet.to_string() + &config(generation)));
        let (status, answer) = proxy.admin("POST", "/api/v1/reload").await;
        assert_eq!(status, 200, "{answer}");
    };
    for generation in 1..=WARM_UP {
        reload(generation).await;
    }
    let begin = proxy.metric("process_resident_memory_bytes").await;
    let mut tunnels = Vec::new();
    for generation in WARM_UP + 1..=WARM_UP + RELOADS {
        reload(generation).await;
        let path = format!("/g/{generation}");
        let (mut socket, _) = proxy.connect("plain").await.open(&path, "example.com", "").await;
        assert_eq!(socket.receive_text().await, "one");
        if tunnels.len() < TUNNELS {
            tunnels.push(socket);
        } else {
            socket.close(1000).await;
        }
    }
    assert_eq!(proxy.generation().await, (1 + WARM_UP + RELOADS) as u64);
    let grown = proxy.metric("process_resident_memory_bytes").await - begin;
    assert!(grown < GROWTH_MAX, "{grown} bytes more with {TUNNELS} tunnels of as many generations");
    for tunnel in &mut tunnels {
        tunnel.round_trip("still here").await;
    }
    for tunnel in tunnels {
        tunnel.close(1000).await;
    }
    proxy.wait_metric("longhaul_tunnels_active{route=\"r7\"}", 0.0).await;
    reload(0).await;
    let grown = proxy.metric("process_resident_memory_bytes").await - begin;
    assert!(grown < GROWTH_MAX, "{grown} bytes more after the tunnels have ended");
}
