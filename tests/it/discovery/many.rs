//! Ten thousand backends come and go, again and again: what was known of them goes with them.

use std::net::SocketAddr;

use super::file::{list, start, write};
use super::{answers, backends, echoes, open};
use crate::kit::Proxy;

const ADDRESSES: u16 = 10_000;
/// Each with addresses of its own.
const CYCLES: u8 = 12;
/// Of the least of the last six cycles. What a backend and its metrics take is about 1 KiB, so the six before would leave 60
/// MiB behind. What the allocator holds back goes up and down, between 25 and 85 MiB over the 20 of the beginning.
const RESIDENT_MAX: f64 = 100.0 * 1024.0 * 1024.0;

/// Nobody listens there.
fn addresses(cycle: u8) -> Vec<SocketAddr> {
    let address =
        |index: u16| SocketAddr::from(([127, cycle + 1, index.to_be_bytes()[0], index.to_be_bytes()[1]], 9));
    (0..ADDRESSES).map(address).collect()
}

/// How many samples there are of the metrics of backends, family by family.
async fn series(proxy: &Proxy) -> Vec<(String, usize)> {
    let mut families = std::collections::BTreeMap::new();
    for line in proxy.scrape("/metrics").await.1.lines() {
        if let Some((family, labels)) = line.split_once('{')
            && labels.contains("backend=")
        {
            *families.entry(family.to_owned()).or_default() += 1;
        }
    }
    families.into_iter().collect()
}

#[tokio::test]
async fn ten_thousand_that_come_and_go_leave_nothing_behind() {
    let (_backends, [stays]) = echoes(["stays"]).await;
    let keys = ", backends_max = 10000, removal_grace = \"0s\"";
    let proxy = start(keys, "connect_timeout = \"1s\"", &list(&[stays])).await;
    let (mut tunnel, _) = open(&proxy).await;
    let before = series(&proxy).await;
    assert!(before.len() >= 3 && before.iter().all(|(_, count)| *count == 1), "{before:?}");
    let mut resident = Vec::new();
    for cycle in 0..CYCLES {
        let mut all = addresses(cycle);
        all.push(stays);
        write(&proxy, &list(&all[1..]));
        proxy.wait_metric(&backends("named"), f64::from(ADDRESSES)).await;
        // Those that are tried and refuse leave counts.
        for _ in 0..8 {
            let mut client = proxy.connect("plain").await;
            client.send("GET / HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n").await;
            client.head().await;
        }
        let most = series(&proxy).await;
        let of = |family: &str| most.iter().find(|(name, _)| name == family).map_or(0, |(_, count)| *count);
        assert_eq!(of("longhaul_backend_up"), usize::from(ADDRESSES));
        assert!(of("longhaul_backend_connect_errors_total") > 0, "{most:?}");

        write(&proxy, &list(&[stays]));
        proxy.wait_metric(&answers("changed"), f64::from(2 * (cycle + 1))).await;
        proxy.wait_metric(&backends("leaving"), 0.0).await;
        assert_eq!(series(&proxy).await, before);
        tunnel.round_trip("still here").await;
        resident.push(proxy.metric("process_resident_memory_bytes").await);
    }
    let least = resident.iter().skip(6).copied().fold(f64::INFINITY, f64::min);
    assert!(least < RESIDENT_MAX, "{resident:?}");
}
