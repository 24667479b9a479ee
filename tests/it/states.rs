//! Backends that drain, are disabled, stand by, or have just come: who gets the next tunnel.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::kit::{Backend, Client, Proxy, WebSocket, within};

/// Pools of these entries; `keys` are of the pool.
fn config(keys: &str, backends: &[String]) -> String {
    format!(
        "[[listeners]]\nname = \"plain\"\naddress = \"127.0.0.1:0\"\n[[routes]]\nname = \"all\"\npool = \"all\"\n\
         [pools.all]\n{keys}\nbackends = [{}]\n",
        backends.join(", ")
    )
}

fn entry(address: SocketAddr, keys: &str) -> String {
    format!("{{ address = \"{address}\", {keys} }}")
}

const IN_TURN: &str = "balance = \"round-robin\"";
/// Quick enough to wait for.
const PROBED: &str = "health = { kind = \"tcp\", interval = \"10ms\", rise = 1, fall = 1 }";

/// Opens a tunnel; the name of the backend comes with it.
async fn open(proxy: &Proxy) -> (WebSocket<Client>, String) {
    let (mut socket, _) = proxy.connect("plain").await.open("/", "example.com", "").await;
    let name = socket.receive_text().await;
    (socket, name)
}

/// Who serves six that come one after the other.
async fn serving(proxy: &Proxy) -> String {
    let mut names = BTreeSet::new();
    for _ in 0..6 {
        names.insert(open(proxy).await.1);
    }
    names.into_iter().collect()
}

fn series(metric: &str, backend: SocketAddr, more: &str) -> String {
    format!("longhaul_backend_{metric}{{pool=\"all\",backend=\"{backend}\"{more}}}")
}

async fn state(proxy: &Proxy, backend: SocketAddr, state: &str) {
    let (_, metrics) = proxy.scrape("/metrics").await;
    let series = series("state", backend, &format!(",state=\"{state}\""));
    assert!(metrics.contains(&format!("{series} 1\n")), "{series} in\n{metrics}");
}

async fn order(proxy: &Proxy, backend: &str, state: &str) -> (u16, Value) {
    let path = format!("/api/v1/backends/state?pool=all&backend={backend}&state={state}");
    proxy.admin("POST", &path).await
}

async fn listed(proxy: &Proxy) -> Vec<Value> {
    let (status, list) = proxy.admin("GET", "/api/v1/backends?pool=all").await;
    assert_eq!(status, 200);
    list["backends"].as_array().expect("a list").clone()
}

#[tokio::test]
async fn who_is_disabled_keeps_what_it_has_as_does_who_drains_if_it_may() {
    let backends = [Backend::echo("a").await, Backend::echo("b").await, Backend::echo("c").await];
    let [a, b, c] = [0, 1, 2].map(|index: usize| backends[index].address);
    let with = |state: &str| {
        let keys = format!("{IN_TURN}\non_draining = \"keep\"");
        config(&keys, &[entry(a, &format!("state = \"{state}\"")), entry(b, ""), entry(c, "")])
    };
    let proxy = Proxy::start(&with("active")).await;
    let (mut tunnel, name) = open(&proxy).await;
    assert_eq!(name, "a");
    state(&proxy, a, "active").await;
    for wanted in ["draining", "disabled"] {
        assert_eq!(proxy.change_to(&with(wanted)).await, "pools ~1 (all)");
        assert_eq!(serving(&proxy).await, "bc");
        tunnel.round_trip("still here").await;
        state(&proxy, a, wanted).await;
    }
    proxy.change_to(&with("active")).await;
    assert_eq!(serving(&proxy).await, "abc");
    tunnel.round_trip("still here").await;
}

#[tokio::test]
async fn an_order_holds_over_reloads_until_the_file_says_something_new() {
    let [a, b] = [Backend::echo("a").await, Backend::echo("b").await];
    let with = |state: &str, timeout: &str| {
        let keys = format!("{IN_TURN}\nconnect_timeout = \"{timeout}\"");
        config(&keys, &[entry(a.address, &format!("state = \"{state}\"")), entry(b.address, "weight = 2")])
    };
    let proxy = Proxy::start(&with("active", "1s")).await;
    let (status, answer) = order(&proxy, &a.address.to_string(), "disabled").await;
    assert_eq!((status, &answer["state"]), (200, &json!("disabled")));
    assert!(answer["until"].as_str().expect("a text").contains("reload"), "{answer}");
    assert_eq!(serving(&proxy).await, "b");
    let expected = json!({
        "pool": "all", "backend": a.address.to_string(), "state": "disabled", "ordered": "disabled", "health": "up",
        "ejection": null, "backup": false, "weight": 1, "tunnels": 0, "max_tunnels": null, "free": null,
    });
    assert_eq!(listed(&proxy).await[0], expected);
    assert_eq!(listed(&proxy).await[1]["ordered"], Value::Null);

    assert_eq!(proxy.change_to(&with("active", "2s")).await, "pools ~1 (all)");
    assert_eq!(serving(&proxy).await, "b");
    state(&proxy, a.address, "disabled").await;
    proxy.change_to(&with("draining", "2s")).await;
    state(&proxy, a.address, "draining").await;
    assert_eq!(listed(&proxy).await[0]["ordered"], Value::Null);

    assert_eq!(order(&proxy, &a.address.to_string(), "active").await.0, 200);
    assert_eq!(serving(&proxy).await, "ab");
    let configured = (200, json!({ "state": "draining", "until": null }));
    assert_eq!(order(&proxy, &a.address.to_string(), "configured").await, configured);
    assert_eq!(serving(&proxy).await, "b");
    proxy.record("state of a backend ordered").await;
}

#[tokio::test]
async fn orders_that_make_no_sense_change_nothing() {
    let a = Backend::echo("a").await;
    let proxy = Proxy::start(&config("", &[entry(a.address, "")])).await;
    let address = a.address.to_string();
    for (parameters, status, problem) in [
        (format!("pool=all&backend={address}"), 400, "name a pool"),
        (format!("pool=all&backend={address}&state=down"), 400, "state is active"),
        (format!("pool=all&backend={address}&state=draining&for=1h"), 400, "the parameters are"),
        (format!("pool=other&backend={address}&state=draining"), 404, "there is no backend"),
        ("pool=all&backend=127.0.0.1:1&state=draining".to_owned(), 404, "there is no backend"),
    ] {
        let (found, answer) = proxy.admin("POST", &format!("/api/v1/backends/state?{parameters}")).await;
        assert_eq!(found, status, "{parameters}: {answer}");
        assert!(answer["error"].as_str().expect("a text").contains(problem), "{parameters}: {answer}");
    }
    assert_eq!(proxy.admin("GET", "/api/v1/backends/state").await.0, 405);
    assert_eq!(proxy.admin("POST", "/api/v1/backends").await.0, 405);
    assert_eq!(proxy.admin("GET", "/api/v1/backends?pool=none").await.0, 404);
    assert_eq!(proxy.admin("GET", "/api/v1/backends").await.1["backends"].as_array().map(Vec::len), Some(1));
    state(&proxy, a.address, "active").await;
    assert_eq!(serving(&proxy).await, "a");
}

#[tokio::test]
async fn who_is_disabled_is_not_probed_and_comes_back_by_its_probes() {
    let [a, b] = [Backend::echo("a").await, Backend::echo("b").await];
    let proxy =
        Proxy::start(&config(&format!("{IN_TURN}\n{PROBED}"), &[entry(a.address, ""), entry(b.address, "")]))
            .await;
    let passed = series("probes_total", a.address, ",result=\"passed\"");
    proxy.wait_metric_in(&passed, 2.0..).await;
    assert_eq!(order(&proxy, &a.address.to_string(), "disabled").await.0, 200);
    proxy.wait_metric(&series("up", a.address, ""), 0.0).await;
    let before = proxy.metric(&passed).await;
    // The other one is probed several times in the meantime.
    let others = series("probes_total", b.address, ",result=\"passed\"");
    let seen = proxy.metric(&others).await;
    proxy.wait_metric_in(&others, seen + 3.0..).await;
    assert_eq!(proxy.metric(&passed).await, before);
    assert_eq!(serving(&proxy).await, "b");
    assert_eq!(order(&proxy, &a.address.to_string(), "active").await.0, 200);
    proxy.wait_metric(&series("up", a.address, ""), 1.0).await;
    assert_eq!(serving(&proxy).await, "ab");
}

#[tokio::test]
async fn backups_serve_while_nobody_else_is_up() {
    let [standby, b] = [Backend::echo("standby").await, Backend::echo("b").await];
    let entries = [entry(standby.address, "backup = true"), entry(b.address, "")];
    let proxy = Proxy::start(&config(&format!("{IN_TURN}\n{PROBED}\nsticky = {{}}"), &entries)).await;
    let address = b.address;
    proxy.wait_metric(&series("up", address, ""), 1.0).await;
    assert_eq!(serving(&proxy).await, "b");
    assert_eq!(listed(&proxy).await[1]["backup"], true);
    drop(b);
    proxy.wait_metric(&series("up", address, ""), 0.0).await;
    let (mut tunnel, head) = proxy.connect("plain").await.open("/", "example.com", "").await;
    assert_eq!(tunnel.receive_text().await, "standby");
    let _b = Backend::echo_on(TcpListener::bind(address).await.expect("its port is free"), "b");
    proxy.wait_metric(&series("up", address, ""), 1.0).await;
    assert_eq!(serving(&proxy).await, "b");
    // Neither does its cookie keep a client at it.
    let cookie = head.get("set-cookie").expect("a cookie").split(';').next().expect("a pair");
    let (mut other, _) =
        proxy.connect("plain").await.open("/", "example.com", &format!("Cookie: {cookie}\r\n")).await;
    assert_eq!(other.receive_text().await, "b");
    tunnel.round_trip("still here").await;
}

#[tokio::test]
async fn a_backup_is_tried_when_the_others_cannot_be_reached() {
    let (_socket, refusing) = crate::kit::refusing();
    let standby = Backend::echo("standby").await;
    let entries = [entry(refusing, ""), entry(standby.address, "backup = true")];
    let proxy = Proxy::start(&config("", &entries)).await;
    assert_eq!(serving(&proxy).await, "standby");
}

/// Who of `count` further tunnels goes to `name`.
async fn share_of(name: &str, proxy: &Proxy, count: usize, tunnels: &mut Vec<WebSocket<Client>>) -> usize {
    let mut share = 0;
    for _ in 0..count {
        let (tunnel, served) = open(proxy).await;
        tunnels.push(tunnel);
        share += usize::from(served == name);
    }
    share
}

#[tokio::test]
async fn a_backend_that_is_added_starts_slowly_and_those_of_the_start_do_not() {
    let [a, b] = [Backend::echo("a").await, Backend::echo("b").await];
    for (slow_start, expected) in [("1h", 1), ("off", 10)] {
        let with = |backends: &[String]| config(&format!("slow_start = \"{slow_start}\""), backends);
        let proxy = Proxy::start(&with(&[entry(a.address, "")])).await;
        let mut tunnels = Vec::new();
        assert_eq!(share_of("a", &proxy, 10, &mut tunnels).await, 10);
        proxy.change_to(&with(&[entry(a.address, ""), entry(b.address, "")])).await;
        // With one it has a tenth of what the other has.
        assert_eq!(share_of("b", &proxy, 10, &mut tunnels).await, expected, "{slow_start}");
        let proxy = Proxy::start(&with(&[entry(a.address, ""), entry(b.address, "")])).await;
        assert_eq!(share_of("b", &proxy, 10, &mut tunnels).await, 5);
    }
}

#[tokio::test]
async fn a_backend_that_comes_up_starts_slowly_and_grows() {
    let a = Backend::echo("a").await;
    for slow_start in ["1h", "100ms"] {
        let (refused, address) = crate::kit::refusing();
        let keys = format!("slow_start = \"{slow_start}\"\n{PROBED}");
        let proxy = Proxy::start(&config(&keys, &[entry(a.address, ""), entry(address, "")])).await;
        proxy.wait_metric(&series("up", a.address, ""), 1.0).await;
        let mut tunnels = Vec::new();
        assert_eq!(share_of("a", &proxy, 40, &mut tunnels).await, 40);
        drop(refused);
        let _b = Backend::echo_on(TcpListener::bind(address).await.expect("its port is free"), "b");
        proxy.wait_metric(&series("up", address, ""), 1.0).await;
        if slow_start == "1h" {
            // With the fifth it would have more than a tenth.
            assert_eq!(share_of("b", &proxy, 10, &mut tunnels).await, 4);
            continue;
        }
        let grown = async {
            let mut share = 0;
            while share * 2 < tunnels.len() {
                share += share_of("b", &proxy, 1, &mut tunnels).await;
            }
        };
        within("as many as the other", grown).await;
    }
}
