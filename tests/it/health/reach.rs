//! Backends that cannot be reached, in pools with neither health checks nor ejection: each request that goes past them does so
//! because another one has found out.

use std::net::SocketAddr;
use std::time::Instant;

use tokio::net::TcpListener;

use super::connect::Deaf;
use super::{refused, who_answers};
use crate::kit::{Backend, DEADLINE, Proxy, connect_errors, plain, refusing};

/// How often a backend may be tried that nobody reaches: the first time, and once a second after it.
fn tries_max(since: Instant) -> f64 {
    (since.elapsed().as_secs() + 1) as f64
}

/// A pool of these backends.
fn config(backends: &[SocketAddr], balance: &str) -> String {
    plain(backends) + &format!("balance = \"{balance}\"\nconnect_timeout = \"100ms\"\n")
}

/// Also where it is the least loaded: it carries nothing.
#[tokio::test]
async fn a_silent_backend_costs_one_handshake_a_second_its_time() {
    for balance in ["least-connections", "power-of-two", "round-robin", "random"] {
        let (deaf, well) = (Deaf::new(), Backend::echo("well").await);
        let proxy = Proxy::start(&config(&[deaf.address(), well.address], balance)).await;
        let (begun, mut tunnels) = (Instant::now(), Vec::new());
        for _ in 0..30 {
            let (mut socket, _) = proxy.connect("plain").await.open("/", "example.com", "").await;
            assert_eq!(socket.receive_text().await, "well");
            tunnels.push(socket);
        }
        let timeouts = proxy.metric(&connect_errors(deaf.address(), "timeout")).await;
        assert!((1.0..=tries_max(begun)).contains(&timeouts), "{balance}: {timeouts}");
    }
}

#[tokio::test]
async fn no_client_hears_of_six_that_refuse_beside_one_that_serves() {
    for balance in ["least-connections", "power-of-two", "round-robin", "random"] {
        let sockets: Vec<_> = (0..6).map(|_| refusing()).collect();
        let well = Backend::echo("well").await;
        let mut addresses: Vec<_> = sockets.iter().map(|(_, address)| *address).collect();
        addresses.push(well.address);
        let proxy = Proxy::start(&config(&addresses, balance)).await;
        let begun = Instant::now();
        for _ in 0..40 {
            assert_eq!(who_answers(&proxy).await, "well", "{balance}");
        }
        for address in &addresses[..6] {
            let refusals = proxy.metric(&connect_errors(*address, "refused")).await;
            assert!(refusals <= tries_max(begun), "{balance}: {refusals}");
        }
    }
}

/// One second later, or two.
#[tokio::test]
async fn who_can_be_reached_again_serves_again() {
    let ((socket, address), well) = (refusing(), Backend::echo("well").await);
    let proxy = Proxy::start(&config(&[address, well.address], "round-robin")).await;
    assert_eq!(who_answers(&proxy).await, "well");
    drop(socket);
    let listener = TcpListener::bind(address).await.expect("the port is free");
    let _back = Backend::echo_on(listener, "back");
    let begun = Instant::now();
    while who_answers(&proxy).await != "back" {
        assert!(begun.elapsed() < DEADLINE);
    }
    // From then on it has its share.
    let mut names = [who_answers(&proxy).await, who_answers(&proxy).await];
    names.sort_unstable();
    assert_eq!(names, ["back", "well"]);
}

/// Where nobody else is there: whoever has just failed may be reached now.
#[tokio::test]
async fn who_is_out_of_reach_is_asked_where_there_is_no_other() {
    let ((socket, address), (_other, other)) = (refusing(), refusing());
    let proxy = Proxy::start(&config(&[address, other], "least-connections")).await;
    for _ in 0..3 {
        assert_eq!(refused(&proxy).await.0, 502);
    }
    drop(socket);
    let listener = TcpListener::bind(address).await.expect("the port is free");
    let _back = Backend::echo_on(listener, "back");
    assert_eq!(who_answers(&proxy).await, "back");
}

/// Ejection takes out a part of a pool; what it must leave in is still not asked by all.
#[tokio::test]
async fn what_ejection_leaves_in_the_pool_is_gone_past_as_well() {
    let sockets: Vec<_> = (0..3).map(|_| refusing()).collect();
    let well = Backend::echo("well").await;
    let mut addresses: Vec<_> = sockets.iter().map(|(_, address)| *address).collect();
    addresses.push(well.address);
    let ejection =
        "ejection = { connect_failures = 2, ejected_max = \"25%\", time = \"1h\", time_max = \"1h\" }\n";
    let proxy = Proxy::start(&(config(&addresses, "least-connections") + ejection)).await;
    let (begun, mut tunnels) = (Instant::now(), Vec::new());
    for _ in 0..30 {
        let (mut socket, _) = proxy.connect("plain").await.open("/", "example.com", "").await;
        assert_eq!(socket.receive_text().await, "well");
        tunnels.push(socket);
    }
    for address in &addresses[..3] {
        let refusals = proxy.metric(&connect_errors(*address, "refused")).await;
        assert!((2.0..=tries_max(begun) + 1.0).contains(&refusals), "{refusals}");
    }
}

/// All tries to connect together take no longer than four times `connect_timeout`.
#[tokio::test]
async fn silent_backends_cost_one_request_no_more_than_four_times_the_timeout() {
    let deaf: Vec<_> = (0..8).map(|_| Deaf::new()).collect();
    let addresses: Vec<_> = deaf.iter().map(Deaf::address).collect();
    let proxy = Proxy::start(&config(&addresses, "round-robin")).await;
    assert_eq!(refused(&proxy).await.0, 504);
    let mut tried = 0.0;
    for address in addresses {
        tried += proxy.metric(&connect_errors(address, "timeout")).await;
    }
    // Fewer where the machine is slow.
    assert!((2.0..=4.0).contains(&tried), "{tried}");
}

/// To be too early for one backend is no try.
#[tokio::test]
async fn backends_that_are_asked_too_fast_do_not_use_up_the_tries() {
    let mut backends = Vec::new();
    for _ in 0..8 {
        backends.push(Backend::echo("well").await);
    }
    let addresses: Vec<_> = backends.iter().map(|backend| backend.address).collect();
    let rate = "handshake_rate = { per_second = 1, burst = 1, wait = \"0s\" }\n";
    let proxy = Proxy::start(&(config(&addresses, "random") + rate)).await;
    for _ in 0..8 {
        assert_eq!(who_answers(&proxy).await, "well");
    }
}
