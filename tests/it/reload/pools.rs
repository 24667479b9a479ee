//! Pools that change under their tunnels: who carries the next one, what is kept of the backends, and what is probed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use super::{open, refused};
use crate::health::{FAILS, ONCE, PASSES, config as checked, probed, probes, up};
use crate::kit::{Backend, Proxy, SOME_DAY, plain};

fn load(backend: SocketAddr) -> String {
    format!("longhaul_backend_tunnels{{pool=\"all\",backend=\"{backend}\"}}")
}

#[tokio::test]
async fn a_backend_that_leaves_keeps_its_tunnels_for_a_while_and_gets_no_new_ones() {
    let [one, two] = [Backend::echo("one").await, Backend::echo("two").await];
    let with = |backend: SocketAddr| SOME_DAY.to_owned() + &plain(&[backend]);
    let proxy = Proxy::start(&with(one.address)).await;
    let (mut tunnel, _) = open(&proxy, "/").await;
    let change = proxy.change_to(&with(two.address)).await;
    assert_eq!(change, "pools ~1 (all), backends +1 -1");
    let mut others = Vec::new();
    for _ in 0..3 {
        let (socket, name) = open(&proxy, "/").await;
        assert_eq!(name, "two");
        others.push(socket);
    }
    tunnel.round_trip("still here").await;
    assert_eq!(proxy.metric(&load(one.address)).await, 1.0);
    assert_eq!(proxy.metric(&load(two.address)).await, 3.0);
    tunnel.close(1000).await;
    // Nobody holds it any more: it goes from the metrics, too.
    crate::kit::within("its end", async {
        while proxy.scrape("/metrics").await.1.contains(&load(one.address)) {}
    })
    .await;
}

#[tokio::test]
async fn a_backend_that_stays_keeps_its_count() {
    let [one, two] = [Backend::echo("one").await, Backend::echo("two").await];
    let with = |backends: &[SocketAddr]| SOME_DAY.to_owned() + &plain(backends) + "slow_start = \"off\"\n";
    let proxy = Proxy::start(&with(&[one.address])).await;
    let mut tunnels = vec![open(&proxy, "/").await, open(&proxy, "/").await];
    proxy.change_to(&with(&[one.address, two.address])).await;
    assert_eq!(proxy.metric(&load(one.address)).await, 2.0);
    // The new one has fewer, until it has as many.
    for _ in 0..2 {
        let next = open(&proxy, "/").await;
        assert_eq!(next.1, "two");
        tunnels.push(next);
    }
    // One leaves, and comes back while a tunnel still holds it: it is the same one.
    proxy.change_to(&with(&[two.address])).await;
    proxy.change_to(&with(&[one.address, two.address])).await;
    assert_eq!(proxy.metric(&load(one.address)).await, 2.0);
    for (socket, _) in &mut tunnels {
        socket.round_trip("still here").await;
    }
    for (socket, _) in tunnels {
        socket.close(1000).await;
    }
    for backend in [&one, &two] {
        proxy.wait_metric(&load(backend.address), 0.0).await;
    }
}

#[tokio::test]
async fn the_way_to_choose_changes_with_the_next_handshake() {
    let [a, b, c] = [Backend::echo("a").await, Backend::echo("b").await, Backend::echo("c").await];
    let base = plain(&[a.address, b.address, c.address]);
    let weighted = base
        .replace(&format!("\"{}\"", a.address), &format!("{{ address = \"{}\", weight = 2 }}", a.address));
    let proxy = Proxy::start(&format!("[server]\nworkers = 1\n{base}")).await;
    let mut tunnels = Vec::new();
    for (config, order) in [
        (base.clone() + "balance = \"round-robin\"\n", "abcabc"),
        (weighted + "balance = \"round-robin\"\n", "abacabac"),
        // Six are with a, and four with each of the others: of those that have as few, any may be chosen.
        (base, "bbcc"),
    ] {
        let change = proxy.change_to(&format!("[server]\nworkers = 1\n{config}")).await;
        assert_eq!(change, "pools ~1 (all)");
        let mut names = String::new();
        for _ in 0..order.len() {
            let (socket, name) = open(&proxy, "/").await;
            tunnels.push(socket);
            names += &name;
        }
        if order == "bbcc" {
            let mut sorted: Vec<char> = names.chars().collect();
            sorted.sort_unstable();
            names = sorted.into_iter().collect();
        }
        // Turns begin anywhere.
        assert!(order.repeat(2).contains(&names), "{names} for {order}");
    }
    for tunnel in &mut tunnels {
        tunnel.round_trip("still here").await;
    }
}

/// The next probe would come in an hour, so whatever is known after a reload was known before.
#[tokio::test]
async fn what_is_known_of_a_backend_survives_every_reload_that_leaves_it() {
    let (well, unwell) = (probed("well", || Some(PASSES)).await, probed("unwell", || Some(FAILS)).await);
    let more = Backend::echo("more").await;
    let base = checked(&[unwell.address, well.address], ONCE);
    let proxy = Proxy::start(&base).await;
    proxy.wait_metric(&up(well.address), 1.0).await;
    proxy.wait_metric(&probes(unwell.address, "failed"), 1.0).await;
    let (mut tunnel, _) = open(&proxy, "/").await;
    let mut balanced = base.replace("balance = \"round-robin\"", "connect_timeout = \"1s\"");
    balanced = balanced.replacen("[[routes]]\n", "[[routes]]\nhost = \"*.com\"\n", 1);
    for config in [
        super::with_route_keys(&base, "idle_timeout = \"2h\""),
        base.clone() + &super::route("more", "/more", more.address),
        balanced,
        // A further backend, which has no probes behind it.
        checked(&[unwell.address, well.address, more.address], ONCE),
        base.clone(),
    ] {
        let config = config.replace("host = \"*.com\"", "host = \"example.com\"");
        proxy.change_to(&config).await;
        for _ in 0..3 {
            assert_ne!(open(&proxy, "/").await.1, "unwell", "{config}");
        }
        assert_eq!(proxy.metric(&up(well.address)).await, 1.0, "{config}");
        assert_eq!(proxy.metric(&up(unwell.address)).await, 0.0, "{config}");
        // The others have been left at once.
        proxy.wait_metric(&load(well.address), 1.0).await;
    }
    assert_eq!(proxy.metric(&probes(well.address, "passed")).await, 1.0);
    assert_eq!(proxy.metric(&probes(unwell.address, "failed")).await, 1.0);
    tunnel.round_trip("still here").await;
}

#[tokio::test]
async fn new_checks_begin_at_once_and_what_was_known_holds_until_they_say_otherwise() {
    let probing = Arc::new(AtomicUsize::new(0));
    let counter = probing.clone();
    // The first probe fails, later ones pass.
    let backend = probed("one", move || match counter.fetch_add(1, SeqCst) {
        0 => Some(FAILS),
        _ => Some(PASSES),
    })
    .await;
    let config = |rise: u32, interval: &str| {
        let health = format!(
            "kind = \"http\", path = \"/health\", interval = \"{interval}\", timeout = \"1h\", rise = {rise}"
        );
        checked(&[backend.address], &health)
    };
    let proxy = Proxy::start(&config(2, "1h")).await;
    proxy.record("backend down").await;
    assert_eq!(proxy.change_to(&config(2, "2h")).await, "pools ~1 (all)");
    proxy.wait_metric(&probes(backend.address, "passed"), 1.0).await;
    // Down is down until `rise` probes say otherwise; only what is unknown believes the first.
    assert_eq!(proxy.metric(&up(backend.address)).await, 0.0);
    assert_eq!(refused(&proxy, "/", "").await, 503);
    proxy.change_to(&config(1, "1h")).await;
    proxy.wait_metric(&up(backend.address), 1.0).await;
    assert_eq!(open(&proxy, "/").await.1, "one");
}

#[tokio::test]
async fn a_backend_is_up_while_its_new_check_has_not_answered() {
    let hangs = Arc::new(AtomicBool::new(false));
    let state = hangs.clone();
    let backend = probed("one", move || (!state.load(SeqCst)).then_some(PASSES)).await;
    let proxy = Proxy::start(&checked(&[backend.address], ONCE)).await;
    proxy.wait_metric(&up(backend.address), 1.0).await;
    hangs.store(true, SeqCst);
    let called = backend.called();
    let other = ONCE.replacen("1h", "2h", 1);
    proxy.change_to(&checked(&[backend.address], &other)).await;
    crate::kit::within("a probe", async {
        while backend.called() == called {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    })
    .await;
    assert_eq!(proxy.metric(&up(backend.address)).await, 1.0);
    assert_eq!(open(&proxy, "/").await.1, "one");
}

#[tokio::test]
async fn a_backend_that_leaves_is_probed_no_more() {
    let (stays, leaves) = (probed("stays", || Some(PASSES)).await, probed("leaves", || Some(PASSES)).await);
    let often = "kind = \"http\", path = \"/health\", interval = \"1ms\"";
    let proxy = Proxy::start(&checked(&[stays.address, leaves.address], often)).await;
    proxy.wait_metric_in(&probes(leaves.address, "passed"), 1.0..).await;
    proxy.change_to(&checked(&[stays.address], often)).await;
    // What was under way when the change came may still arrive.
    let rounds = |more: f64| {
        let (proxy, stays) = (&proxy, stays.address);
        async move {
            let now = proxy.metric(&probes(stays, "passed")).await;
            proxy.wait_metric_in(&probes(stays, "passed"), now + more..).await;
        }
    };
    rounds(20.0).await;
    let called = leaves.called();
    rounds(50.0).await;
    assert_eq!(leaves.called(), called);
}

#[tokio::test]
async fn without_checks_a_backend_that_was_down_is_up_and_with_checks_they_decide() {
    let backend = probed("one", || Some(FAILS)).await;
    let often = "kind = \"http\", path = \"/health\", interval = \"1ms\"";
    let proxy = Proxy::start(&checked(&[backend.address], often)).await;
    for _ in 0..2 {
        // Unknown is not up, but serves where nobody else does.
        proxy.wait_metric_in(&probes(backend.address, "failed"), 1.0..).await;
        proxy.wait_metric(&up(backend.address), 0.0).await;
        assert_eq!(refused(&proxy, "/", "").await, 503);
        proxy.change_to(&plain(&[backend.address])).await;
        assert_eq!(proxy.metric(&up(backend.address)).await, 1.0);
        let (mut tunnel, name) = open(&proxy, "/").await;
        assert_eq!(name, "one");
        proxy.change_to(&checked(&[backend.address], often)).await;
        proxy.wait_metric(&up(backend.address), 0.0).await;
        tunnel.round_trip("still here").await;
    }
}
