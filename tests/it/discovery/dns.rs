//! The addresses of a name in DNS: both families, for as long as they hold; and what becomes of a pool when nobody answers.

use std::net::{IpAddr, SocketAddr};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RData;
use hickory_proto::rr::RecordType::{A, AAAA};
use tokio::net::TcpListener;

use super::{REMOVED, answers, backends, config, load, one_each, open};
use crate::health::up;
use crate::kit::{Backend, DEADLINE, Dns, NOTHING, Pki, Proxy, Says, Tls, handshake, pool_tls, within};

/// What is looked up.
const NAME: &str = "chat.test";

/// Backends that echo their names, all on one port, and that port.
async fn on_one_port<const N: usize>(names: [(&str, &str); N]) -> ([Backend; N], u16) {
    let bind = async || {
        let mut listeners: Vec<TcpListener> = Vec::new();
        for (_, address) in names {
            let port =
                listeners.first().map_or(0, |first| first.local_addr().expect("a bound socket").port());
            listeners.push(TcpListener::bind((address, port)).await.ok()?);
        }
        Some(listeners)
    };
    let listeners = loop {
        // A port that is free here may be taken there.
        if let Some(listeners) = bind().await {
            break listeners;
        }
    };
    let port = listeners[0].local_addr().expect("a bound socket").port();
    let backends: Vec<_> =
        names.iter().zip(listeners).map(|((name, _), listener)| Backend::echo_on(listener, name)).collect();
    (backends.try_into().unwrap_or_else(|_| unreachable!()), port)
}

/// The words of a source that looks often, whatever the TTL, unless `keys` say otherwise.
fn words(dns: &Dns, port: u16, keys: &str) -> String {
    let often = if keys.contains("ttl_m") { "" } else { ", ttl_min = \"50ms\", ttl_max = \"100ms\"" };
    let server = dns.address;
    format!("kind = \"dns\", name = \"{NAME}\", port = {port}, resolvers = [\"{server}\"]{often}{keys}")
}

fn ips<const N: usize>(addresses: [&str; N]) -> [IpAddr; N] {
    addresses.map(|address| address.parse().expect("an address"))
}

/// Waits until the server has been asked for something this often.
async fn asked(dns: &Dns, name: &str, times: usize) {
    within("a question", async {
        while dns.asked(name, A) < times {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Waits until as many looks as there are now, and two more, have had this result.
async fn two_more(proxy: &Proxy, result: &str) {
    let now = proxy.metric(&answers(result)).await;
    proxy.wait_metric_in(&answers(result), now + 2.0..).await;
}

#[tokio::test]
async fn addresses_of_both_families_come_and_go() {
    let (all, port) = on_one_port([("two", "127.0.0.2"), ("three", "127.0.0.3"), ("six", "::1")]).await;
    let dns = Dns::start().await;
    let [two, three, six] = ips(["127.0.0.2", "127.0.0.3", "::1"]);
    dns.addresses(NAME, 0, &[three, two]);
    let proxy = Proxy::start(&config(&words(&dns, port, ", removal_grace = \"1s\""), "")).await;
    proxy.wait_metric(&backends("named"), 2.0).await;
    let [first, mut second] = one_each(&proxy, ["two", "three"]).await;

    dns.addresses(NAME, 0, &[two, three, six]);
    proxy.wait_metric(&backends("named"), 3.0).await;
    assert_eq!(proxy.metric(&up(all[2].address)).await, 1.0);
    let (mut third, name) = open(&proxy).await;
    assert_eq!(name, "six");
    assert_eq!(proxy.metric(&load(SocketAddr::new(six, port))).await, 1.0);
    // The order of an answer is another one each time, and no change.
    for order in [[six, two, three], [three, six, two]] {
        dns.addresses(NAME, 0, &order);
        two_more(&proxy, "unchanged").await;
    }
    assert_eq!(proxy.metric(&answers("changed")).await, 2.0);

    dns.addresses(NAME, 0, &[three, six]);
    first.parts(1012).await;
    proxy.wait_metric(REMOVED, 1.0).await;
    proxy.wait_metric(&backends("leaving"), 0.0).await;
    for socket in [&mut second, &mut third] {
        socket.round_trip("still here").await;
    }
    assert_eq!((proxy.metric(&answers("changed")).await, proxy.generation().await), (3.0, 1));
    // A family that has nothing any more, of a name that has.
    dns.addresses(NAME, 0, &[three]);
    proxy.wait_metric(&backends("named"), 1.0).await;
    assert_eq!(proxy.metric(&answers("empty")).await, 0.0);
}

/// No time is measured: what holds for an hour is asked for once, while what holds for a moment is asked for many times.
#[tokio::test]
async fn an_answer_holds_for_its_time_within_the_bounds() {
    let ([backend], port) = on_one_port([("one", "127.0.0.1")]).await;
    let dns = Dns::start().await;
    let server = dns.address;
    let pool = |name: &str, keys: &str| {
        format!(
            "[pools.{name}]\ndiscovery = {{ kind = \"dns\", name = \"{name}.test\", port = {port}, \
             resolvers = [\"{server}\"]{keys} }}\n"
        )
    };
    let all = [
        ("short", 0, ", ttl_min = \"20ms\""),
        ("capped", 86_400, ", ttl_min = \"20ms\", ttl_max = \"20ms\""),
        ("long", 86_400, ""),
        ("second", 1, ", ttl_min = \"20ms\""),
        ("least", 0, ", ttl_min = \"1h\", ttl_max = \"1h\""),
    ];
    let mut text = crate::kit::plain(&[backend.address]);
    for (name, ttl, keys) in all {
        dns.addresses(&format!("{name}.test"), ttl, &[backend.address.ip()]);
        text += &pool(name, keys);
    }
    // An alias and what it leads to: who lives shorter counts.
    for (name, alias, ttl) in [("alias", 0, 86_400), ("aliased", 86_400, 0), ("lasting", 86_400, 86_400)] {
        let found = Says::Records(vec![RData::from(backend.address.ip())], ttl);
        for (kind, says) in [(A, found), (AAAA, NOTHING)] {
            dns.set(&format!("{name}.test"), kind, Says::Alias("elsewhere.test", alias, Box::new(says)));
        }
        text += &pool(name, ", ttl_min = \"20ms\"");
    }
    let _proxy = Proxy::start(&text).await;
    let begin = tokio::time::Instant::now();
    for name in ["short.test", "capped.test", "alias.test", "aliased.test"] {
        asked(&dns, name, 20).await;
    }
    asked(&dns, "second.test", 3).await;
    assert!(
        begin.elapsed() >= std::time::Duration::from_secs(2),
        "after two times its time, at the earliest"
    );
    for name in ["long.test", "least.test", "lasting.test"] {
        assert_eq!((dns.asked(name, A), dns.asked(name, AAAA)), (1, 1), "{name}");
    }
}

#[tokio::test]
async fn faults_keep_what_was_found_last_and_are_counted() {
    let (_all, port) = on_one_port([("one", "127.0.0.1"), ("two", "127.0.0.2")]).await;
    let dns = Dns::start().await;
    let [one, two] = ips(["127.0.0.1", "127.0.0.2"]);
    dns.addresses(NAME, 0, &[one]);
    let keys = ", timeout = \"200ms\", removal_grace = \"0s\"";
    let proxy = Proxy::start(&config(&words(&dns, port, keys), "")).await;
    proxy.wait_metric(&backends("named"), 1.0).await;
    let (mut tunnel, _) = open(&proxy).await;
    for (result, says) in [
        ("servfail", Says::Fails(ResponseCode::ServFail)),
        ("refused", Says::Fails(ResponseCode::Refused)),
        ("nxdomain", Says::Fails(ResponseCode::NXDomain)),
        ("empty", NOTHING),
        ("timeout", Says::Silence),
    ] {
        dns.set_both(NAME, &says);
        two_more(&proxy, result).await;
        tunnel.round_trip("still here").await;
        let (socket, name) = open(&proxy).await;
        assert_eq!(name, "one", "{result}");
        socket.close(1000).await;
        assert_eq!(proxy.metric(&backends("named")).await, 1.0, "{result}");
    }
    assert_eq!(proxy.metric(&backends("leaving")).await, 0.0);
    let told = proxy.record("discovery: what was found last stays in force").await;
    assert_eq!((&told["reason"], &told["level"]), (&"servfail".into(), &"WARN".into()));
    let lines = proxy.log();
    let warnings = lines.iter().filter(|line| line["pool"] == "all" && line["level"] == "WARN").count();
    assert_eq!(warnings, 1, "one a minute");
    assert_eq!(proxy.metric(&answers("changed")).await, 1.0);

    // Of one family nothing is heard; the other one says that it has another address.
    dns.set(NAME, A, Says::Records(vec![two.into()], 0));
    proxy.wait_metric(&answers("changed"), 2.0).await;
    assert_eq!(open(&proxy).await.1, "two");
}

#[tokio::test]
async fn at_the_start_a_pool_without_an_answer_refuses_and_nothing_hangs() {
    let (_all, port) = on_one_port([("one", "127.0.0.1")]).await;
    let dns = Dns::start().await;
    dns.set_both(NAME, &Says::Silence);
    let proxy = Proxy::start(&config(&words(&dns, port, ", timeout = \"3s\""), "")).await;
    assert_eq!(proxy.scrape("/readyz").await.0, 503, "the first look is not over");
    let mut client = proxy.connect("plain").await;
    client.send(handshake("/early", "example.com", "")).await;
    let head = client.head().await;
    assert_eq!((head.status(), head.get("retry-after")), (503, Some("2")));
    assert_eq!(proxy.refusal("/early").await, "no_backend_yet");
    assert_eq!(proxy.metric(&backends("named")).await, 0.0);
    assert_eq!(proxy.metric("longhaul_discovery_last_success_timestamp_seconds{pool=\"all\"}").await, 0.0);
    proxy.wait_metric("longhaul_ready", 1.0).await;
    assert_eq!(proxy.metric(&backends("named")).await, 0.0, "ready all the same");

    dns.addresses(NAME, 0, &ips(["127.0.0.1"]));
    proxy.wait_metric(&backends("named"), 1.0).await;
    assert_eq!(open(&proxy).await.1, "one");
    let success = proxy.metric("longhaul_discovery_last_success_timestamp_seconds{pool=\"all\"}").await;
    assert!(success > 1.7e9, "{success}");
}

/// The backend never answers a probe, so without it the process would be ready at once.
#[tokio::test]
async fn readiness_waits_for_the_probes_of_what_was_found_first() {
    let backend = Backend::raw(|stream| async move {
        let _held = stream;
        std::future::pending().await
    })
    .await;
    let dns = Dns::start().await;
    dns.addresses(NAME, 3600, &[backend.address.ip()]);
    let discovery = words(&dns, backend.address.port(), "");
    let health = "health = { kind = \"http\", path = \"/health\", timeout = \"2s\", interval = \"1h\" }";
    let proxy = Proxy::start(&config(&discovery, health)).await;
    proxy.wait_metric(&backends("named"), 1.0).await;
    assert_eq!(proxy.scrape("/readyz").await.0, 503);
    proxy.wait_metric("longhaul_ready", 1.0).await;
}

#[tokio::test]
async fn a_long_answer_comes_over_tcp_and_is_bounded() {
    let dns = Dns::start().await;
    let many: Vec<IpAddr> = (1..=200).map(|last| IpAddr::from([127, 1, 0, last])).collect();
    dns.addresses(NAME, 0, &many);
    let proxy = Proxy::start(&config(&words(&dns, 9, ", backends_max = 150"), "")).await;
    proxy.wait_metric(&backends("named"), 150.0).await;
    two_more(&proxy, "too_many").await;
    two_more(&proxy, "unchanged").await;
    assert_eq!(proxy.metric(&answers("changed")).await, 1.0);
    let told = proxy.record("discovery: the others are left out").await;
    assert_eq!(told["detail"], "200 backends are named, more than the 150 of backends_max");
}

#[tokio::test]
async fn reloads_keep_what_was_found() {
    let (all, port) = on_one_port([("one", "127.0.0.1"), ("two", "127.0.0.2")]).await;
    let dns = Dns::start().await;
    dns.addresses(NAME, 3600, &ips(["127.0.0.1", "127.0.0.2"]));
    let hour = ", ttl_max = \"1h\"";
    let proxy = Proxy::start(&config(&words(&dns, port, hour), "")).await;
    proxy.wait_metric(&backends("named"), 2.0).await;
    let [mut first, mut second] = one_each(&proxy, ["one", "two"]).await;
    let others = "balance = \"round-robin\"\n";
    assert_eq!(proxy.change_to(&config(&words(&dns, port, hour), others)).await, "pools ~1 (all)");
    assert_eq!((dns.asked(NAME, A), dns.asked(NAME, AAAA)), (1, 1), "the same source goes on");
    assert_eq!(proxy.metric(&backends("named")).await, 2.0);

    // Nobody answers the new question: what was found serves until somebody does.
    dns.set_both("other.test", &Says::Fails(ResponseCode::ServFail));
    let other = words(&dns, port, "").replace(NAME, "other.test");
    proxy.change_to(&config(&other, others)).await;
    two_more(&proxy, "servfail").await;
    for backend in &all {
        assert_eq!(proxy.metric(&load(backend.address)).await, 1.0);
    }
    dns.addresses("other.test", 0, &ips(["127.0.0.2"]));
    proxy.wait_metric(&backends("leaving"), 1.0).await;
    assert_eq!(proxy.metric(&backends("named")).await, 1.0);
    for socket in [&mut first, &mut second] {
        socket.round_trip("still here").await;
    }
}

/// Addresses are nobody's name: a certificate is for what was looked up.
#[tokio::test]
async fn the_name_is_what_certificates_are_for() {
    let (pki, dns) = (Pki::new(), Dns::start().await);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    let (_backend, _) = Backend::tls_echo_on(listener, &Tls::new(&pki.issue(&[NAME])), "one");
    dns.addresses(NAME, 0, &[address.ip()]);
    let proxy = Proxy::start(&config(&words(&dns, address.port(), ""), &pool_tls(&pki, ""))).await;
    proxy.wait_metric(&backends("named"), 1.0).await;
    assert_eq!(open(&proxy).await.1, "one");
}

/// Answers alternate while tunnels live and clients come: nobody is cut off, and nobody is refused.
#[tokio::test]
async fn answers_that_flap_cost_no_tunnel() {
    let names = [("a", "127.0.0.1"), ("b", "127.0.0.2"), ("c", "127.0.0.3")];
    let (_all, port) = on_one_port(names).await;
    let dns = Dns::start().await;
    let all = ips(["127.0.0.1", "127.0.0.2", "127.0.0.3"]);
    dns.addresses(NAME, 0, &all);
    let proxy = Proxy::start(&config(&words(&dns, port, ", removal_grace = \"1h\""), "")).await;
    proxy.wait_metric(&backends("named"), 3.0).await;
    let mut tunnels = Vec::new();
    let deadline = tokio::time::Instant::now() + DEADLINE;
    for round in 0.. {
        let away = round % 4;
        let named: Vec<_> = all.iter().enumerate().filter(|(at, _)| *at != away).map(|(_, ip)| *ip).collect();
        dns.addresses(NAME, 0, &named);
        tunnels.push(open(&proxy).await.0);
        if proxy.metric(&answers("changed")).await >= 20.0 && tunnels.len() >= 40 {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{round} rounds");
        if tunnels.len() > 120 {
            tunnels.remove(0).close(1000).await;
        }
    }
    for socket in &mut tunnels {
        socket.round_trip("still here").await;
    }
    assert_eq!(proxy.metric(REMOVED).await, 0.0);
}
