//! Reloads of 10,000 routes: how long one takes, from the order to its answer, and what a snapshot costs in resident
//! memory. `cargo bench --bench reload`.

#[path = "../it/kit/mod.rs"]
#[allow(dead_code, unused_imports)]
mod kit;

use std::time::{Duration, Instant};

use kit::{Backend, Proxy, plain};

const ROUTES: usize = 10_000;
const RELOADS: usize = 20;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let backend = Backend::echo("bench").await;
    let proxy = Proxy::start(&config(&plain(&[backend.address]), 0, 0)).await;
    let few = proxy.metric("process_resident_memory_bytes").await;
    let mut times = Vec::new();
    let mut unchanged = Vec::new();
    for number in 1..=RELOADS {
        proxy.rewrite(&config(&plain(&[backend.address]), ROUTES, number));
        times.push(reload(&proxy).await);
        unchanged.push(reload(&proxy).await);
    }
    let many = proxy.metric("process_resident_memory_bytes").await;
    println!("{RELOADS} reloads of {ROUTES} routes, one of which changes");
    println!("| figure | value |");
    println!("|---|---|");
    // The first one brings the routes.
    println!("| all routes new | {:.1} ms |", milliseconds(times[0]));
    println!("| one route changed, median | {:.1} ms |", milliseconds(median(&mut times)));
    println!("| nothing changed, median | {:.1} ms |", milliseconds(median(&mut unchanged)));
    println!("| resident memory, growth from 1 route | {:.1} MiB |", (many - few) / 1024.0 / 1024.0);
    println!("| resident memory per route | {:.0} bytes |", (many - few) / ROUTES as f64);
}

/// `base` with this many routes more, of which the first one changes with `number`.
fn config(base: &str, routes: usize, number: usize) -> String {
    let mut config = base.to_string();
    for index in 0..routes {
        let minutes = if index == 0 { 60 + number } else { 60 };
        config += &format!(
            "[[routes]]\nname = \"route-{index}\"\nhost = \"host-{index}.example.com\"\npath = \"/ws/*\"\n\
             idle_timeout = \"{minutes}m\"\npool = \"all\"\n"
        );
    }
    config
}

async fn reload(proxy: &Proxy) -> Duration {
    let begun = Instant::now();
    let (status, answer) = proxy.admin("POST", "/api/v1/reload").await;
    assert_eq!(status, 200, "{answer}");
    begun.elapsed()
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
