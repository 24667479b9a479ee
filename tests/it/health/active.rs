//! Health checks: what is unknown, who is up, and what it takes to change.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use serde_json::Value;
use tokio::net::TcpListener;

use super::{FAILS, ONCE, PASSES, config, probed, probes, refused, up, who_answers};
use crate::kit::{Backend, Call, Message, Proxy, plain};

#[tokio::test]
async fn a_backend_is_probed_at_once_and_an_unknown_one_is_picked_only_if_none_is_up() {
    let (known, unknown) = (probed("known", || Some(PASSES)).await, probed("unknown", || None).await);
    let proxy = Proxy::start(&config(&[unknown.address, known.address], ONCE)).await;
    proxy.wait_metric(&up(known.address), 1.0).await;
    assert_eq!(proxy.metric(&up(unknown.address)).await, 0.0);
    for _ in 0..5 {
        assert_eq!(who_answers(&proxy).await, "known");
    }
}

#[tokio::test]
async fn unknown_ones_serve_where_there_are_no_others() {
    let (hanging, failing) = (probed("unknown", || None).await, probed("down", || Some(FAILS)).await);
    let proxy = Proxy::start(&config(&[failing.address, hanging.address], ONCE)).await;
    proxy.wait_metric(&probes(failing.address, "failed"), 1.0).await;
    for _ in 0..3 {
        assert_eq!(who_answers(&proxy).await, "unknown");
    }
}

#[tokio::test]
async fn without_checks_every_backend_is_up() {
    let backend = Backend::echo("one").await;
    let proxy = Proxy::start(&plain(&[backend.address])).await;
    assert_eq!(proxy.metric(&up(backend.address)).await, 1.0);
}

#[tokio::test]
async fn http_checks_take_a_backend_down_and_bring_it_back() {
    let passes = Arc::new(AtomicBool::new(true));
    let state = passes.clone();
    let backend = probed("one", move || Some(if state.load(SeqCst) { PASSES } else { FAILS })).await;
    let health = "kind = \"http\", path = \"/health\", interval = \"10ms\"";
    let proxy = Proxy::start(&config(&[backend.address], health)).await;
    for _ in 0..2 {
        proxy.wait_metric(&up(backend.address), 1.0).await;
        assert_eq!(who_answers(&proxy).await, "one");
        passes.store(false, SeqCst);
        proxy.wait_metric(&up(backend.address), 0.0).await;
        let (status, retry_after) = refused(&proxy).await;
        assert_eq!(status, 503);
        assert!(retry_after.is_some_and(|seconds| seconds.parse::<u32>().is_ok()));
        passes.store(true, SeqCst);
    }
    proxy.wait_metric("longhaul_handshakes_total{route=\"all\",result=\"no_backend\"}", 2.0).await;
}

/// Passes and failures in a row, and what the log tells of them.
#[tokio::test]
async fn it_takes_fall_failures_or_rise_passes_in_a_row() {
    for (script, changes) in [
        // The first result counts by itself.
        ("+", "up"),
        ("-", "down"),
        // fall = 3, rise = 2
        ("+--+--+", "up"),
        ("+---", "up down"),
        ("+---+-+-", "up down"),
        ("+---+-++", "up down up"),
    ] {
        let (told, steps) = (Arc::new(AtomicUsize::new(0)), script.as_bytes());
        let step = told.clone();
        let backend = probed("one", move || match steps.get(step.fetch_add(1, SeqCst)) {
            Some(b'+') => Some(PASSES),
            Some(_) => Some(FAILS),
            None => None,
        })
        .await;
        let health =
            "kind = \"http\", path = \"/health\", interval = \"1ms\", timeout = \"1h\", rise = 2, fall = 3";
        let proxy = Proxy::start(&config(&[backend.address], health)).await;
        let passed = script.matches('+').count() as f64;
        proxy.wait_metric(&probes(backend.address, "passed"), passed).await;
        proxy.wait_metric(&probes(backend.address, "failed"), script.len() as f64 - passed).await;
        let last = changes.split(' ').next_back() == Some("up");
        proxy.wait_metric(&up(backend.address), f64::from(u8::from(last))).await;
        proxy.record(if last { "backend up" } else { "backend down" }).await;
        let seen: Vec<String> = proxy
            .log()
            .iter()
            .filter_map(|line| line["message"].as_str()?.strip_prefix("backend ").map(str::to_string))
            .collect();
        assert_eq!(seen.join(" "), changes, "{script}");
    }
}

#[tokio::test]
async fn tcp_checks_see_whether_a_port_opens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    let backend = Backend::on(listener, |stream| async move { drop(stream) });
    let proxy = Proxy::start(&config(&[address], "kind = \"tcp\", interval = \"10ms\"")).await;
    proxy.wait_metric(&up(address), 1.0).await;
    drop(backend);
    proxy.wait_metric(&up(address), 0.0).await;
    assert_eq!(refused(&proxy).await.0, 503);
    let down = proxy.record("backend down").await;
    assert_eq!((&down["backend"], &down["reason"]), (&Value::from(address.to_string()), &"refused".into()));
    let _again = echo_on(TcpListener::bind(address).await.expect("the port is free again"));
    proxy.wait_metric(&up(address), 1.0).await;
    assert_eq!(who_answers(&proxy).await, "again");
}

/// Echoes on this socket what comes as a handshake.
fn echo_on(listener: TcpListener) -> Backend {
    Backend::on(listener, |mut stream| async move {
        if let Some(head) = crate::kit::Head::read(&mut stream).await {
            let mut socket = Call { stream, head }.accept("").await;
            socket.send(&Message::text("again")).await;
            socket.echo().await;
        }
    })
}

#[tokio::test]
async fn a_probe_that_hangs_has_failed_at_its_deadline() {
    let backend = probed("one", || None).await;
    let health = "kind = \"http\", path = \"/health\", interval = \"1h\", timeout = \"20ms\"";
    let proxy = Proxy::start(&config(&[backend.address], health)).await;
    assert_eq!(proxy.record("backend down").await["reason"], "timeout");
    assert_eq!(refused(&proxy).await.0, 503);
}

/// Until it is up, and not after: the next probe would come in an hour.
#[tokio::test]
async fn a_backend_that_is_not_up_is_probed_more_often() {
    let passes = Arc::new(AtomicBool::new(false));
    let state = passes.clone();
    let backend = probed("one", move || Some(if state.load(SeqCst) { PASSES } else { FAILS })).await;
    let health = "kind = \"http\", path = \"/health\", interval = \"1h\", interval_down = \"1ms\", rise = 3";
    let proxy = Proxy::start(&config(&[backend.address], health)).await;
    proxy.wait_metric_in(&probes(backend.address, "failed"), 5.0..).await;
    passes.store(true, SeqCst);
    proxy.wait_metric(&up(backend.address), 1.0).await;
    assert_eq!(proxy.metric(&probes(backend.address, "passed")).await, 3.0);
    assert_eq!(who_answers(&proxy).await, "one");
}

#[tokio::test]
async fn metrics_tell_what_probes_have_found_and_how_long_the_last_one_took() {
    let slow = probed("slow", || Some(PASSES)).await;
    let (fails, hangs) = (probed("fails", || Some(FAILS)).await, probed("hangs", || None).await);
    let proxy = Proxy::start(&config(&[slow.address, fails.address, hangs.address], ONCE)).await;
    for (backend, health) in [(&slow, "up"), (&fails, "down"), (&hangs, "unknown")] {
        let found = |health| {
            format!(
                "longhaul_backend_health{{pool=\"all\",backend=\"{}\",health=\"{health}\"}}",
                backend.address
            )
        };
        proxy.wait_metric(&found(health), 1.0).await;
        let (_, metrics) = proxy.scrape("/metrics").await;
        let others = ["up", "down", "unknown"].into_iter().filter(|other| *other != health);
        assert!(others.map(found).all(|other| !metrics.contains(&other)), "{metrics}");
        let took = format!(
            "longhaul_backend_probe_duration_seconds{{pool=\"all\",backend=\"{}\"}}",
            backend.address
        );
        match health {
            "unknown" => assert!(!metrics.contains(&took), "{metrics}"),
            _ => proxy.wait_metric_in(&took, f64::MIN_POSITIVE..60.0).await,
        }
    }
}
