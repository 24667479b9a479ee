//! What bounds retries: attempts, the budget, the deadline; and ejections, which count every offer.

use super::{BUSY, REFUSED, closing, config, declined, expect_retries, hanging, who_serves};
use crate::kit::{Backend, Proxy};

#[tokio::test]
async fn attempts_bound_the_backends_that_are_asked() {
    for (keys, asked) in [("attempts = 1", 1), ("attempts = 2", 2), ("attempts = 3", 3), ("", 4)] {
        let mut backends = Vec::new();
        for _ in 0..5 {
            backends.push(closing().await);
        }
        let addresses: Vec<_> = backends.iter().map(|backend| backend.address).collect();
        let proxy = Proxy::start(&config(&addresses, keys)).await;
        assert_eq!(declined(&proxy).await.0.status(), 502);
        assert_eq!(backends.iter().map(Backend::called).sum::<usize>(), asked, "{keys}");
        expect_retries(&proxy, &[("reset", (asked - 1) as f64)]).await;
    }
}

/// Also where connections do not come about.
#[tokio::test]
async fn one_attempt_is_one_backend() {
    let (_socket, refuses) = crate::kit::refusing();
    let well = Backend::echo("well").await;
    let proxy = Proxy::start(&config(&[refuses, well.address], "attempts = 1")).await;
    assert_eq!(declined(&proxy).await.0.status(), 502);
    expect_retries(&proxy, &[]).await;
}

#[tokio::test]
async fn the_budget_bounds_them() {
    let (busy, well) = (Backend::answers(BUSY).await, Backend::echo("well").await);
    let keys = "status = [503], budget = \"0%\", budget_per_second = 0";
    let proxy = Proxy::start(&config(&[busy.address, well.address], keys)).await;
    let (head, body) = declined(&proxy).await;
    assert_eq!((head.status(), &*body), (503, "busy"));
    assert_eq!(proxy.metric(REFUSED).await, 1.0);
    expect_retries(&proxy, &[]).await;
    // Ten of ten.
    let keys = "status = [503], budget = \"100%\", budget_per_second = 0";
    let proxy = Proxy::start(&config(&[busy.address, well.address], keys)).await;
    for _ in 0..10 {
        assert_eq!(who_serves(&proxy).await.1, "well");
    }
    assert_eq!(proxy.metric(REFUSED).await, 0.0);
}

/// Nor does it begin anew when the configuration does.
#[tokio::test]
async fn the_budget_outlives_a_reload() {
    let busy = [Backend::answers(BUSY).await, Backend::answers(BUSY).await];
    let addresses = busy.each_ref().map(|backend| backend.address);
    let text = config(&addresses, "status = [503], budget = \"0%\", budget_per_second = 1");
    let (proxy, begun) = (Proxy::start(&text).await, std::time::Instant::now());
    for change in ["1ms", "2ms"] {
        proxy.change_to(&text.replace("back_off = \"0s\"", &format!("back_off = \"{change}\""))).await;
        for _ in 0..15 {
            declined(&proxy).await;
        }
    }
    let retries = proxy.metric(&super::retries("status")).await;
    // Those of ten seconds, and of each that has gone by.
    assert!((10.0..=11.0 + begun.elapsed().as_secs_f64()).contains(&retries), "{retries}");
}

/// A budget that is spent does not take from a slow backend the time that it has without retries.
#[tokio::test]
async fn without_a_budget_a_slow_backend_has_its_time() {
    let (slow, mut calls) = Backend::by_hand().await;
    let well = Backend::echo("well").await;
    let keys = "try_timeout = \"1ms\", budget = \"0%\", budget_per_second = 0";
    let proxy = Proxy::start(&config(&[slow.address, well.address], keys)).await;
    let mut client = proxy.connect("plain").await;
    client.send(crate::kit::handshake("/ws", "example.com", "")).await;
    let call = calls.next().await;
    proxy.wait_metric(REFUSED, 1.0).await;
    let _backend = call.accept("").await;
    assert_eq!(client.head().await.status(), 101);
    assert_eq!(well.called(), 0);
}

/// A wait that would end behind the deadline is none: the client gets what there is, at once.
#[tokio::test]
async fn no_retry_is_waited_for_longer_than_there_is_time() {
    let (busy, well) = (Backend::answers(BUSY).await, Backend::echo("well").await);
    // Drawn by lot: one in 600,000 of these waits fits.
    let keys = "status = [503], try_timeout = \"off\", back_off = \"7d\", back_off_max = \"7d\"";
    let text = config(&[busy.address, well.address], keys) + "handshake_timeout = \"1s\"\n";
    let proxy = Proxy::start(&text).await;
    assert_eq!(declined(&proxy).await.1, "busy");
    expect_retries(&proxy, &[]).await;
    assert_eq!(proxy.metric(REFUSED).await, 0.0);
}

/// However often a handshake goes on.
#[tokio::test]
async fn all_tries_together_have_the_handshake_timeout() {
    let hanging = [hanging().await, hanging().await, hanging().await];
    let addresses = hanging.each_ref().map(|backend| backend.address);
    let text = config(&addresses, "try_timeout = \"50ms\"") + "handshake_timeout = \"120ms\"\n";
    let proxy = Proxy::start(&text).await;
    let begun = std::time::Instant::now();
    assert_eq!(declined(&proxy).await.0.status(), 504);
    assert!(begun.elapsed() >= std::time::Duration::from_millis(120));
    let refused = "longhaul_handshakes_total{route=\"all\",http=\"1.1\",result=\"backend_timeout\"}";
    assert_eq!(proxy.metric(refused).await, 1.0);
    assert!(hanging.iter().all(|backend| backend.called() == 1));
    expect_retries(&proxy, &[("timeout", 2.0)]).await;
}

/// Whoever failed an offer is judged by it, also where the client hears of none.
#[tokio::test]
async fn offers_that_went_on_count_for_ejections() {
    let well = Backend::echo("well").await;
    for failing in [Backend::answers(BUSY).await, closing().await, hanging().await] {
        let keys = "status = [503], try_timeout = \"20ms\"";
        let text = config(&[failing.address, well.address], keys)
            + "ejection = { handshake_failures = 2, time = \"1h\", time_max = \"1h\" }\n";
        let proxy = Proxy::start(&text).await;
        for _ in 0..6 {
            assert_eq!(who_serves(&proxy).await.1, "well");
        }
        let ejected = format!("longhaul_backend_ejected{{pool=\"all\",backend=\"{}\"}}", failing.address);
        assert_eq!(proxy.metric(&ejected).await, 1.0);
        assert_eq!(failing.called(), 2);
    }
}
