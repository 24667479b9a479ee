//! The services of a name in DNS: ports, weights, priorities, and targets that have addresses of their own.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType::{A, SRV};
use tokio::net::TcpListener;

use super::{REMOVED, answers, backends, config, echoes, load, one_each, open};
use crate::kit::{Backend, Dns, NOTHING, Pki, Proxy, Says, Tls, connect_errors, pool_tls, refusing, within};

/// What is looked up.
const NAME: &str = "_ws._tcp.chat.test";

/// The words of a source that looks often, whatever the TTL.
fn words(dns: &Dns, keys: &str) -> String {
    let server = dns.address;
    let often = "ttl_min = \"50ms\", ttl_max = \"100ms\"";
    format!("kind = \"srv\", name = \"{NAME}\", resolvers = [\"{server}\"], {often}{keys}")
}

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// A server that knows these services, all here: priority, weight and the backend; their targets are `0.test` and so on.
async fn server(services: &[(u16, u16, SocketAddr)]) -> Dns {
    let dns = Dns::start().await;
    name(&dns, services);
    dns
}

fn name(dns: &Dns, services: &[(u16, u16, SocketAddr)]) {
    let targets: Vec<String> = (0..services.len()).map(|index| format!("{index}.test")).collect();
    let records: Vec<_> = services
        .iter()
        .zip(&targets)
        .map(|((priority, weight, address), target)| (*priority, *weight, address.port(), target.as_str()))
        .collect();
    for target in &targets {
        dns.addresses(target, 0, &[HERE]);
    }
    dns.services(NAME, 0, &records);
}

#[tokio::test]
async fn ports_and_weights_are_those_of_the_records() {
    let (_backends, [one, two, zero]) = echoes(["one", "two", "zero"]).await;
    let dns = server(&[(10, 30, one), (10, 10, two), (10, 0, zero)]).await;
    let proxy = Proxy::start(&config(&words(&dns, ""), "")).await;
    proxy.wait_metric(&backends("named"), 3.0).await;
    let mut tunnels = Vec::new();
    for _ in 0..41 {
        tunnels.push(open(&proxy).await);
    }
    let loads = [one, two, zero].map(load);
    assert_eq!(proxy.metric(&loads[0]).await, 30.0);
    assert_eq!(proxy.metric(&loads[1]).await, 10.0);
    assert_eq!(proxy.metric(&loads[2]).await, 1.0);
}

/// However many it has.
#[tokio::test]
async fn the_addresses_of_a_target_share_its_weight() {
    let alone = Backend::echo("alone").await;
    let first = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = first.local_addr().expect("a bound socket").port();
    let mut shared = vec![Backend::echo_on(first, "shared")];
    for host in [2, 3] {
        let listener =
            TcpListener::bind((IpAddr::from([127, 0, 0, host]), port)).await.expect("another address' port");
        shared.push(Backend::echo_on(listener, "shared"));
    }
    let dns = Dns::start().await;
    dns.addresses("alone.test", 0, &[HERE]);
    dns.addresses("shared.test", 0, &[1, 2, 3].map(|host| IpAddr::from([127, 0, 0, host])));
    dns.services(NAME, 0, &[(1, 40, alone.address.port(), "alone.test"), (1, 40, port, "shared.test")]);
    let proxy = Proxy::start(&config(&words(&dns, ""), "")).await;
    proxy.wait_metric(&backends("named"), 4.0).await;
    let mut tunnels = Vec::new();
    for _ in 0..60 {
        tunnels.push(open(&proxy).await);
    }
    let loads = shared.iter().map(|backend| load(backend.address));
    for load in loads {
        assert_eq!(proxy.metric(&load).await, 10.0);
    }
    assert_eq!(proxy.metric(&load(alone.address)).await, 30.0);
}

/// The best priority serves that has an address; when none of its targets has one any more, it keeps those that it had. When
/// it is not named any more, another one serves.
#[tokio::test]
async fn the_best_priority_serves_and_another_one_when_it_is_gone() {
    let (_backends, [best, next, last]) = echoes(["best", "next", "last"]).await;
    let dns = server(&[(1, 1, best), (2, 1, next), (3, 1, last)]).await;
    // Of this one nothing was ever known.
    dns.set_both("0.test", &Says::Fails(ResponseCode::NXDomain));
    let proxy = Proxy::start(&config(&words(&dns, ", removal_grace = \"1h\""), "")).await;
    proxy.wait_metric(&backends("named"), 2.0).await;
    let (mut tunnel, name_of) = open(&proxy).await;
    assert_eq!(name_of, "next");
    assert_eq!(open(&proxy).await.1, "next");
    dns.addresses("0.test", 0, &[HERE]);
    proxy.wait_metric(&answers("changed"), 2.0).await;
    assert_eq!(open(&proxy).await.1, "best");
    dns.set_both("0.test", &NOTHING);
    proxy.wait_metric_in(&answers("empty"), 2.0..).await;
    assert_eq!(open(&proxy).await.1, "best");
    assert_eq!(proxy.metric(&answers("changed")).await, 2.0);

    name(&dns, &[(2, 1, last)]);
    proxy.wait_metric(&answers("changed"), 3.0).await;
    assert_eq!(open(&proxy).await.1, "last");
    tunnel.round_trip("still here").await;
}

/// Whoever cannot be reached at the best priority is served by another one, with the same request.
#[tokio::test]
async fn other_priorities_stand_by() {
    let (_backends, [best, standby]) = echoes(["best", "standby"]).await;
    let (_nobody, nobody) = refusing();
    let dns = server(&[(1, 1, nobody), (2, 7, standby)]).await;
    let proxy = Proxy::start(&config(&words(&dns, ""), "")).await;
    proxy.wait_metric(&backends("named"), 2.0).await;
    assert_eq!(open(&proxy).await.1, "standby");
    assert_eq!(proxy.metric(&connect_errors(nobody, "refused")).await, 1.0);

    name(&dns, &[(1, 1, best), (2, 7, standby)]);
    proxy.wait_metric(&answers("changed"), 2.0).await;
    let mut tunnels = Vec::new();
    for _ in 0..4 {
        let (socket, name) = open(&proxy).await;
        assert_eq!(name, "best");
        tunnels.push(socket);
    }
    // It is a backup no longer, and has one tunnel already.
    name(&dns, &[(2, 1, best), (2, 1, standby)]);
    proxy.wait_metric(&answers("changed"), 3.0).await;
    assert_eq!(open(&proxy).await.1, "standby");
}

/// One priority after the other (RFC 2782): each stands by for those that are better.
#[tokio::test]
async fn priorities_stand_in_one_after_the_other() {
    let (_backends, [third, last]) = echoes(["third", "last"]).await;
    let [(_one, first), (_two, second)] = [refusing(), refusing()];
    let dns = server(&[(9, 100, last), (1, 1, first), (2, 1, second), (5, 1, third)]).await;
    let proxy = Proxy::start(&config(&words(&dns, ""), "")).await;
    proxy.wait_metric(&backends("named"), 4.0).await;
    let begun = Instant::now();
    for _ in 0..6 {
        let (socket, name) = open(&proxy).await;
        assert_eq!(name, "third");
        socket.close(1000).await;
    }
    // Who has refused is tried again after a second.
    let tries_max = (begun.elapsed().as_secs() + 1) as f64;
    for nobody in [first, second] {
        let refusals = proxy.metric(&connect_errors(nobody, "refused")).await;
        assert!((1.0..=tries_max).contains(&refusals), "{refusals}");
    }
    let (_, list) = proxy.admin("GET", "/api/v1/backends").await;
    let list = list["backends"].as_array().expect("a list");
    assert_eq!(list.iter().filter(|backend| backend["backup"] == true).count(), 3);
    // A better one that is named takes them over.
    let (_better, [better]) = echoes(["better"]).await;
    name(&dns, &[(1, 1, first), (2, 1, better), (5, 1, third), (9, 100, last)]);
    proxy.wait_metric(&answers("changed"), 2.0).await;
    assert_eq!(open(&proxy).await.1, "better");
}

/// The bound on backends leaves out those that stand by first.
#[tokio::test]
async fn of_too_many_backups_are_left_out() {
    let (_backends, addresses) = echoes(["a", "b", "c", "d"]).await;
    let (mut low, mut high) = (addresses, addresses);
    low.sort();
    high.sort();
    high.reverse();
    // In whichever order their addresses come.
    for [best, next, ..] in [low, high] {
        let dns = server(&[(1, 1, best), (2, 1, next)]).await;
        let proxy = Proxy::start(&config(&words(&dns, ", backends_max = 1"), "")).await;
        proxy.wait_metric_in(&answers("too_many"), 1.0..).await;
        proxy.wait_metric(&backends("named"), 1.0).await;
        let (_socket, _) = open(&proxy).await;
        assert_eq!(proxy.metric(&load(best)).await, 1.0);
    }
}

#[tokio::test]
async fn a_target_may_have_many_addresses_and_another_name() {
    let listeners = [
        TcpListener::bind("127.0.0.2:0").await.expect("a free port"),
        TcpListener::bind("[::1]:0").await.expect("a free port"),
    ];
    let addresses =
        [&listeners[0], &listeners[1]].map(|listener| listener.local_addr().expect("a bound socket"));
    let [four, six] = listeners;
    let _backends = [Backend::echo_on(four, "four"), Backend::echo_on(six, "six")];
    let dns = Dns::start().await;
    dns.services(
        NAME,
        0,
        &[(0, 1, addresses[0].port(), "Four.test"), (0, 1, addresses[1].port(), "six.test")],
    );
    dns.addresses("four.test", 0, &[addresses[0].ip()]);
    dns.addresses("six.test", 0, &[addresses[1].ip()]);
    let proxy = Proxy::start(&config(&words(&dns, ""), "")).await;
    proxy.wait_metric(&backends("named"), 2.0).await;
    one_each(&proxy, ["four", "six"]).await;
}

#[tokio::test]
async fn faults_keep_what_was_found_last() {
    let (_backends, [one, two]) = echoes(["one", "two"]).await;
    let dns = server(&[(0, 1, one), (0, 1, two)]).await;
    let keys = ", timeout = \"200ms\", removal_grace = \"0s\"";
    let proxy = Proxy::start(&config(&words(&dns, keys), "")).await;
    proxy.wait_metric(&backends("named"), 2.0).await;
    let mut tunnels = one_each(&proxy, ["one", "two"]).await;
    let silence = || Says::Silence;
    for (result, services, target) in [
        ("servfail", Some(Says::Fails(ResponseCode::ServFail)), None),
        ("nxdomain", Some(Says::Fails(ResponseCode::NXDomain)), None),
        ("empty", Some(NOTHING), None),
        ("timeout", Some(silence()), None),
        ("servfail", None, Some(Says::Fails(ResponseCode::ServFail))),
        ("nxdomain", None, Some(Says::Fails(ResponseCode::NXDomain))),
        ("timeout", None, Some(silence())),
    ] {
        name(&dns, &[(0, 1, one), (0, 1, two)]);
        services.into_iter().for_each(|says| dns.set(NAME, SRV, says));
        target.into_iter().for_each(|says| dns.set_both("0.test", &says));
        let before = proxy.metric(&answers(result)).await;
        proxy.wait_metric_in(&answers(result), before + 2.0..).await;
        assert_eq!(proxy.metric(&backends("named")).await, 2.0, "{result}");
    }
    // "." says that there is decidedly no such service: as empty as an answer can be.
    dns.services(NAME, 0, &[(0, 0, 1, ".")]);
    let before = proxy.metric(&answers("empty")).await;
    proxy.wait_metric_in(&answers("empty"), before + 2.0..).await;
    assert_eq!(proxy.metric(&backends("named")).await, 2.0);
    for socket in &mut tunnels {
        socket.round_trip("still here").await;
    }
    assert_eq!((proxy.metric(&answers("changed")).await, proxy.metric(REMOVED).await), (1.0, 0.0));
}

#[tokio::test]
async fn a_target_that_is_no_longer_named_leaves() {
    let (_backends, [one, two]) = echoes(["one", "two"]).await;
    let dns = server(&[(0, 1, one), (0, 1, two)]).await;
    let proxy = Proxy::start(&config(&words(&dns, ", removal_grace = \"0s\""), "")).await;
    proxy.wait_metric(&backends("named"), 2.0).await;
    let [mut stays, goes] = one_each(&proxy, ["one", "two"]).await;
    name(&dns, &[(0, 1, one)]);
    goes.parts(1012).await;
    stays.round_trip("still here").await;
    let asked = dns.asked("1.test", A);
    let looks = dns.asked(NAME, SRV);
    within("two more looks", async {
        while dns.asked(NAME, SRV) < looks + 3 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
    assert!(dns.asked("1.test", A) <= asked + 1, "nobody asks for it any more");
}

#[tokio::test]
async fn the_name_of_certificates_is_written() {
    let pki = Pki::new();
    let (backend, _) = Backend::tls_echo(&Tls::new(&pki.issue(&["chat.example.com"])), "one").await;
    let dns = server(&[(0, 0, backend.address)]).await;
    let tls = pool_tls(&pki, "server_name = \"chat.example.com\"");
    let proxy = Proxy::start(&config(&words(&dns, ""), &tls)).await;
    proxy.wait_metric(&backends("named"), 1.0).await;
    assert_eq!(open(&proxy).await.1, "one");
}
