//! Backends that came later get their share of the tunnels.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::order;
use crate::kit::{AT_ONCE, Backend, Message, Proxy, plain, within};

const TUNNELS: usize = 40;

/// A pool in which a new backend has its whole share at once.
fn config(keys: &str, backends: &[SocketAddr]) -> String {
    growing("off", keys, backends)
}

/// A pool in which its share grows for so long.
fn growing(slow_start: &str, keys: &str, backends: &[SocketAddr]) -> String {
    format!("{AT_ONCE}{}slow_start = \"{slow_start}\"\n{keys}", plain(backends))
}

fn load(backend: SocketAddr) -> String {
    format!("longhaul_backend_tunnels{{pool=\"all\",backend=\"{backend}\"}}")
}

fn rebalanced(result: &str) -> String {
    format!("longhaul_rebalanced_tunnels_total{{pool=\"all\",result=\"{result}\"}}")
}

/// Clients that come back, as often as they are asked to go; they count what they were told.
fn clients(address: SocketAddr) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    for _ in 0..TUNNELS {
        clients.spawn(async move {
            loop {
                let client = crate::kit::Client::connect(address).await;
                let (mut socket, _) = client.open("/", "example.com", "").await;
                socket.receive().await;
                // For as long as nobody asks it to go.
                let Some(told) = socket.try_receive().await else { return };
                assert_eq!(told, Message::close(1012, ""));
                socket.send(&Message::close(1012, "")).await;
                assert_eq!(within("the end", socket.try_receive()).await, None);
            }
        });
    }
    clients
}

#[tokio::test]
async fn a_backend_that_is_added_gets_its_share_and_then_all_is_quiet() {
    let (one, two) = (Backend::echo("one").await, Backend::echo("two").await);
    let keys = "rebalance = { per_second = 8, band = \"20%\", calm = \"10ms\" }\n";
    let proxy = Proxy::start(&config(keys, &[one.address])).await;
    let _clients = clients(proxy.address("plain"));
    proxy.wait_metric(&load(one.address), TUNNELS as f64).await;
    proxy.change_to(&config(keys, &[one.address, two.address])).await;
    // Half of them is the share, and half of the band a tenth more.
    proxy.wait_metric(&load(one.address), 22.0).await;
    proxy.wait_metric(&load(two.address), 18.0).await;
    proxy.wait_metric("longhaul_drain_tunnels{reason=\"rebalance\"}", 0.0).await;
    assert_eq!(proxy.metric(&rebalanced("asked")).await, 18.0);
    assert_eq!(proxy.metric(&load(one.address)).await, 22.0);
    let log = proxy.log();
    let ends: Vec<_> = log.iter().filter(|line| line["message"] == "close").collect();
    assert!(ends.len() == 18 && ends.iter().all(|end| end["reason"] == "rebalance" && end["clean"] == true));
}

/// Those whose turn to be asked is still to come, for `drain.rate` is less than what rebalancing would have.
#[tokio::test]
async fn who_waits_to_be_asked_is_not_chosen_twice() {
    let (one, two) = (Backend::echo("one").await, Backend::echo("two").await);
    let keys = "rebalance = { per_second = 9, band = \"20%\", calm = \"10ms\" }\n";
    let slow =
        |backends: &[SocketAddr]| config(keys, backends).replacen("drain = {", "drain = { rate = 6,", 1);
    let proxy = Proxy::start(&slow(&[one.address])).await;
    let _clients = clients(proxy.address("plain"));
    proxy.wait_metric(&load(one.address), TUNNELS as f64).await;
    proxy.change_to(&slow(&[one.address, two.address])).await;
    proxy.wait_metric(&load(two.address), 18.0).await;
    proxy.wait_metric("longhaul_drain_tunnels{reason=\"rebalance\"}", 0.0).await;
    assert_eq!(proxy.metric(&rebalanced("asked")).await, 18.0);
}

/// Each change of who is ready ends what has begun, and it begins anew when all have been the same for long enough.
#[tokio::test]
async fn while_a_backend_flaps_nobody_is_asked() {
    let backends = [Backend::echo("one").await, Backend::echo("two").await, Backend::echo("three").await];
    let [one, two, three] = [0, 1, 2].map(|index: usize| backends[index].address);
    let calm = Duration::from_secs(3);
    let keys = "rebalance = { per_second = 1, band = \"20%\", calm = \"3s\" }\n";
    let proxy = Proxy::start(&config(keys, &[one])).await;
    let _clients = clients(proxy.address("plain"));
    proxy.wait_metric(&load(one), TUNNELS as f64).await;
    let mut changed = Instant::now();
    proxy.change_to(&config(keys, &[one, two, three])).await;
    proxy.wait_metric_in(&rebalanced("asked"), 1.0..).await;
    assert!(changed.elapsed() >= calm, "{:?}", changed.elapsed());
    for state in ["disabled", "active"] {
        changed = Instant::now();
        order(&proxy, three, state).await;
        let asked = proxy.metric(&rebalanced("asked")).await;
        proxy.wait_metric_in(&rebalanced("asked"), asked + 1.0..).await;
        assert!(changed.elapsed() >= calm, "{state}: {:?}", changed.elapsed());
    }
}

/// A backend that grows has the share that it has grown to, and the rest of it when it has the whole.
#[tokio::test]
async fn a_share_that_grows_is_what_there_is_to_be_had() {
    let (one, two) = (Backend::echo("one").await, Backend::echo("two").await);
    let keys = "rebalance = { per_second = 100, band = \"1%\", calm = \"10ms\" }\n";
    // For some hours it is a tenth of the other's.
    let slow = |backends: &[SocketAddr]| growing("1d", keys, backends);
    let proxy = Proxy::start(&slow(&[one.address])).await;
    let _clients = clients(proxy.address("plain"));
    proxy.wait_metric(&load(one.address), TUNNELS as f64).await;
    let both = [one.address, two.address];
    proxy.change_to(&slow(&both)).await;
    proxy.wait_metric(&load(two.address), 3.0).await;
    assert_eq!(proxy.metric(&rebalanced("asked")).await, 3.0);
    // Some looks at which there is nothing to do.
    sleep(Duration::from_millis(2500)).await;
    assert_eq!(proxy.metric(&rebalanced("asked")).await, 3.0);
    proxy.change_to(&config(keys, &both)).await;
    proxy.wait_metric(&load(two.address), 19.0).await;
    assert_eq!(proxy.metric(&load(one.address)).await, 21.0);
    assert_eq!(proxy.metric(&rebalanced("asked")).await, 19.0);
}

#[tokio::test]
async fn a_dry_run_asks_nobody_and_tells() {
    let (one, two) = (Backend::echo("one").await, Backend::echo("two").await);
    let keys = "rebalance = { calm = \"10ms\", dry_run = true }\n";
    let proxy = Proxy::start(&config(keys, &[one.address])).await;
    let _clients = clients(proxy.address("plain"));
    proxy.wait_metric(&load(one.address), TUNNELS as f64).await;
    proxy.change_to(&config(keys, &[one.address, two.address])).await;
    let told = proxy.record("rebalance: tunnels would be asked to go").await;
    assert_eq!((&told["pool"], &told["tunnels"]), (&"all".into(), &18.into()));
    assert_eq!(proxy.metric(&rebalanced("would_be_asked")).await, 18.0);
    assert_eq!(proxy.metric(&rebalanced("asked")).await, 0.0);
    assert_eq!(proxy.metric(&load(one.address)).await, TUNNELS as f64);
    // Without it another one gets its share. All who have ever been asked are those of now.
    let three = Backend::echo("three").await;
    let keys = "rebalance = { calm = \"10ms\", per_second = 100 }\n";
    proxy.change_to(&config(keys, &[one.address, two.address, three.address])).await;
    proxy.wait_metric_in(&load(three.address), 10.0..).await;
    proxy.wait_metric("longhaul_drain_tunnels{reason=\"rebalance\"}", 0.0).await;
    let asked = proxy.metric(&rebalanced("asked")).await;
    let gone = "longhaul_tunnels_closed_total{route=\"all\",reason=\"rebalance\",initiator=\"proxy\"}";
    proxy.wait_metric(gone, asked).await;
}

/// Who has three times the weight gets three times as many.
#[tokio::test]
async fn a_share_is_by_weight() {
    let (one, two) = (Backend::echo("one").await, Backend::echo("two").await);
    let keys = "rebalance = { per_second = 100, band = \"20%\", calm = \"10ms\" }\n";
    let proxy = Proxy::start(&config(keys, &[one.address])).await;
    let _clients = clients(proxy.address("plain"));
    proxy.wait_metric(&load(one.address), TUNNELS as f64).await;
    let heavy = format!("{{ address = \"{}\", weight = 3 }}", two.address);
    let both = config(keys, &[one.address, two.address]).replace(&format!("\"{}\"", two.address), &heavy);
    proxy.change_to(&both).await;
    // A quarter is the share, and half of the band a tenth more.
    proxy.wait_metric(&load(two.address), 29.0).await;
    proxy.wait_metric("longhaul_drain_tunnels{reason=\"rebalance\"}", 0.0).await;
    assert_eq!(proxy.metric(&rebalanced("asked")).await, 29.0);
}

/// Neither without the table, nor because there is too much where nobody has come.
#[tokio::test]
async fn nobody_is_asked_where_nobody_has_come_or_it_is_off() {
    let backends = [Backend::echo("one").await, Backend::echo("two").await, Backend::echo("three").await];
    let [one, two, witness] = [0, 1, 2].map(|index: usize| backends[index].address);
    // A pool in which somebody has come at the same time shows that they were all looked at.
    let further = |backends: &[SocketAddr]| {
        let listed: Vec<_> = backends.iter().map(|backend| format!("\"{backend}\"")).collect();
        format!(
            "[[routes]]\nname = \"more\"\npath = \"/more\"\npool = \"more\"\n[pools.more]\nslow_start = \"off\"\n\
             backends = [{}]\nrebalance = {{ per_second = 1, calm = \"10ms\" }}\n",
            listed.join(", ")
        )
    };
    for keys in ["", "rebalance = { per_second = 1000, calm = \"10ms\" }\n"] {
        let is_off = keys.is_empty();
        let first = if is_off { vec![one] } else { vec![one, two] };
        let start = config(keys, &first) + &further(&[witness]);
        let proxy = Proxy::start(&start).await;
        let mut tunnels = Vec::new();
        let mut names = BTreeMap::new();
        for path in ["/", "/", "/", "/", "/", "/", "/", "/", "/more", "/more", "/more", "/more"] {
            let (mut socket, _) = proxy.connect("plain").await.open(path, "example.com", "").await;
            let name = socket.receive_text().await;
            *names.entry(name.clone()).or_insert(0) += 1;
            tunnels.push((name, socket));
        }
        if !is_off {
            // All of one backend go by themselves: the other has twice its share.
            assert_eq!((names["one"], names["two"]), (4, 4));
            tunnels.retain(|(name, _)| name != "two");
            proxy.wait_metric(&load(two), 0.0).await;
        }
        proxy.change_to(&(config(keys, &[one, two]) + &further(&[witness, one]))).await;
        let asked = "longhaul_rebalanced_tunnels_total{pool=\"more\",result=\"asked\"}";
        proxy.wait_metric_in(asked, 1.0..).await;
        assert_eq!(proxy.metric(&rebalanced("asked")).await, 0.0);
        for (_, socket) in tunnels.iter_mut().filter(|(name, _)| name == "one") {
            socket.round_trip("still here").await;
        }
    }
}
