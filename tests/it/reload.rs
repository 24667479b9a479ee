//! Reloads: what a change of the configuration does, what it leaves alone, and what is said about it.

pub mod listeners;
mod pools;
mod wrong;

use std::net::SocketAddr;

use rustix::process::Signal;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::kit::{
    Backend, Client, DEADLINE, Message, Proxy, Reloaded, SOME_DAY, WebSocket, handshake, plain, within,
};

/// Opens a tunnel; the name of the backend comes with it.
async fn open(proxy: &Proxy, path: &str) -> (WebSocket<Client>, String) {
    let (mut socket, _) = proxy.connect("plain").await.open(path, "example.com", "").await;
    let name = socket.receive_text().await;
    (socket, name)
}

/// The status of a handshake that is not answered by a backend.
async fn refused(proxy: &Proxy, path: &str, lines: &str) -> u16 {
    let mut client = proxy.connect("plain").await;
    client.send(handshake(path, "example.com", lines)).await;
    client.head().await.status()
}

/// A further route, and a pool of the same name with one backend.
fn route(name: &str, path: &str, backend: SocketAddr) -> String {
    format!(
        "[[routes]]\nname = \"{name}\"\npath = \"{path}\"\npool = \"{name}\"\n\
         [pools.{name}]\nbackends = [\"{backend}\"]\n"
    )
}

/// `config`, with these further keys in its first route.
fn with_route_keys(config: &str, keys: &str) -> String {
    config.replacen("name = \"all\"\n", &format!("name = \"all\"\n{keys}\n"), 1)
}

#[tokio::test]
async fn routes_come_and_go_and_their_tunnels_stay() {
    let [one, two] = [Backend::echo("one").await, Backend::echo("two").await];
    let base = SOME_DAY.to_owned() + &plain(&[one.address]);
    let proxy = Proxy::start(&base).await;
    assert_eq!(proxy.generation().await, 1);
    let (mut first, name) = open(&proxy, "/news").await;
    assert_eq!(name, "one");

    let change = proxy.change_to(&(base.clone() + &route("news", "/news", two.address))).await;
    assert_eq!(change, "routes +1 (news), pools +1 (news)");
    assert_eq!(proxy.generation().await, 2);
    let (mut second, name) = open(&proxy, "/news").await;
    assert_eq!(name, "two");
    assert_eq!(open(&proxy, "/other").await.1, "one");

    let change = proxy.change_to(&(base.clone() + &route("news", "/late", two.address))).await;
    assert_eq!(change, "routes ~1 (news)");
    assert_eq!(open(&proxy, "/news").await.1, "one");
    assert_eq!(open(&proxy, "/late").await.1, "two");

    let only = base.replace("\"all\"", "\"late\"").replace("[pools.all]", "[pools.late]");
    let only = only.replacen("pool = ", "path = \"/late\"\npool = ", 1);
    let change = proxy.change_to(&only).await;
    assert_eq!(
        change,
        "routes +1 -2 (added late; removed all, news), pools +1 -2 (added late; removed all, news)"
    );
    assert_eq!(refused(&proxy, "/news", "").await, 404);
    assert_eq!(open(&proxy, "/late").await.1, "one");
    assert_eq!(proxy.generation().await, 4);

    // Both tunnels have lost their routes and pools, and one its backend, and are to go some day.
    for socket in [&mut first, &mut second] {
        socket.round_trip("still here").await;
    }
    proxy.wait_metric("longhaul_tunnels_active{route=\"news\"}", 1.0).await;
    second.close(1000).await;
    proxy.wait_metric("longhaul_tunnels_active{route=\"news\"}", 0.0).await;
    first.close(1000).await;
    let closed = "longhaul_tunnels_closed_total{route=\"all\",reason=\"closed\",initiator=\"client\"}";
    proxy.wait_metric_in(closed, 1.0..).await;
}

#[tokio::test]
async fn a_routes_deadlines_hold_for_the_tunnels_that_began_under_them() {
    let backend = Backend::echo("one").await;
    let base = plain(&[backend.address]);
    let hurry = "close_timeout = \"100ms\"\nidle_timeout = ";
    let proxy = Proxy::start(&with_route_keys(&base, &format!("{hurry}\"1s\""))).await;
    let (mut hasty, _) = open(&proxy, "/").await;
    let change = proxy.change_to(&with_route_keys(&base, "idle_timeout = \"1h\"")).await;
    assert_eq!(change, "routes ~1 (all)");
    let (mut patient, _) = open(&proxy, "/").await;
    assert_eq!(hasty.receive().await, Message::close(1001, "idle"));
    assert_eq!(within("the idle end", hasty.try_receive()).await, None);
    let close = proxy.record("close").await;
    assert_eq!(close["reason"], "idle_timeout");

    proxy.change_to(&with_route_keys(&base, &format!("{hurry}\"50ms\""))).await;
    let (mut hasty, _) = open(&proxy, "/").await;
    assert_eq!(hasty.receive().await, Message::close(1001, "idle"));
    assert_eq!(within("the idle end", hasty.try_receive()).await, None);
    patient.round_trip("still here").await;
    patient.close(1000).await;
}

#[tokio::test]
async fn origins_are_asked_of_new_handshakes() {
    let backend = Backend::echo("one").await;
    let base = plain(&[backend.address]);
    let proxy = Proxy::start(&base).await;
    let origin = "Origin: https://there\r\n";
    let (mut socket, _) = proxy.connect("plain").await.open("/", "example.com", origin).await;
    assert_eq!(socket.receive_text().await, "one");
    proxy.change_to(&with_route_keys(&base, "origins = [\"https://here\"]")).await;
    assert_eq!(refused(&proxy, "/", origin).await, 403);
    assert_eq!(refused(&proxy, "/", "Origin: https://here\r\n").await, 101);
    proxy.change_to(&with_route_keys(&base, "origins = [\"https://here\", \"https://there\"]")).await;
    assert_eq!(refused(&proxy, "/", origin).await, 101);
    socket.round_trip("still here").await;
}

#[tokio::test]
async fn conditions_are_asked_of_new_requests() {
    let backend = Backend::echo("one").await;
    let base = plain(&[backend.address]);
    let proxy = Proxy::start(&base).await;
    let (mut socket, _) = open(&proxy, "/").await;
    let change = proxy.change_to(&with_route_keys(&base, "headers = { X-Canary = '1' }")).await;
    assert_eq!(change, "routes ~1 (all)");
    assert_eq!(refused(&proxy, "/", "").await, 404);
    assert_eq!(refused(&proxy, "/", "X-Canary: 1\r\n").await, 101);
    // The same in other words.
    let other = with_route_keys(&base, "path = '/*'\nheaders = { x-canary = \"1\" }");
    proxy.rewrite(&other);
    assert_eq!(proxy.reload().await, Reloaded::Unchanged);
    socket.round_trip("still here").await;
}

#[tokio::test]
async fn a_lower_limit_of_tunnels_ends_none_and_a_higher_one_holds_at_once() {
    let backend = Backend::echo("one").await;
    let config = |max| format!("[limits]\ntunnels_max = {max}\n{}", plain(&[backend.address]));
    let proxy = Proxy::start(&config(3)).await;
    let mut sockets = Vec::new();
    for _ in 0..3 {
        sockets.push(open(&proxy, "/").await.0);
    }
    assert_eq!(proxy.change_to(&config(1)).await, "limits");
    assert_eq!(proxy.metric("longhaul_tunnels_max").await, 1.0);
    assert_eq!(refused(&proxy, "/", "").await, 503);
    for socket in &mut sockets {
        socket.round_trip("still here").await;
    }
    for left in [2.0, 1.0] {
        sockets.pop().expect("a tunnel").close(1000).await;
        proxy.wait_metric("longhaul_tunnels_active{route=\"all\"}", left).await;
        assert_eq!(refused(&proxy, "/", "").await, 503, "{left} are open");
    }
    proxy.change_to(&config(2)).await;
    sockets.push(open(&proxy, "/").await.0);
    assert_eq!(refused(&proxy, "/", "").await, 503);
}

#[tokio::test]
async fn who_waits_at_the_limit_of_connections_is_let_in_by_a_higher_one() {
    let backend = Backend::echo("one").await;
    let config = |max| {
        format!("[limits]\nconnections_max = {max}\ntunnels_max = {max}\n{}", plain(&[backend.address]))
    };
    let proxy = Proxy::start(&config(1)).await;
    let (mut first, _) = open(&proxy, "/").await;
    let mut second = proxy.connect("plain").await;
    second.send(handshake("/", "example.com", "")).await;
    proxy.wait_metric("longhaul_accept_errors_total{listener=\"plain\",reason=\"limit\"}", 1.0).await;
    proxy.change_to(&config(2)).await;
    assert_eq!(second.head().await.status(), 101);
    first.round_trip("still here").await;
}

#[tokio::test]
async fn who_waits_at_the_limit_of_a_listener_that_goes_is_served() {
    let backend = Backend::echo("one").await;
    let base = "[limits]\nconnections_max = 1\ntunnels_max = 9\n".to_string() + &plain(&[backend.address]);
    let further = "[[listeners]]\nname = \"going\"\naddress = \"127.0.0.1:0\"\n";
    let proxy = Proxy::start(&(base.clone() + further)).await;
    let (mut first, _) = open(&proxy, "/").await;
    let mut second = proxy.connect("going").await;
    second.send(handshake("/", "example.com", "")).await;
    proxy.wait_metric("longhaul_accept_errors_total{listener=\"going\",reason=\"limit\"}", 1.0).await;
    proxy.change_to(&base).await;
    assert_eq!(second.head().await.status(), 101);
    first.round_trip("still here").await;
}

#[tokio::test]
async fn limits_of_heads_hold_for_new_connections() {
    let backend = Backend::answers("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let config = |max| format!("[limits]\nhead_fields_max = {max}\n{}", plain(&[backend.address]));
    let proxy = Proxy::start(&config(100)).await;
    let request =
        |fields: usize| format!("GET / HTTP/1.1\r\nHost: example.com\r\n{}\r\n", "X: y\r\n".repeat(fields));
    let mut before = proxy.connect("plain").await;
    before.send(request(1)).await;
    assert_eq!(before.answer().await.0.status(), 200);
    proxy.change_to(&config(20)).await;
    let mut after = proxy.connect("plain").await;
    after.send(request(50)).await;
    assert_eq!(after.head().await.status(), 431);
    before.send(request(50)).await;
    assert_eq!(before.answer().await.0.status(), 200);
}

/// Whether the kernel's timer of the proxy's socket towards this client is the one of keep-alive: `/proc/net/tcp` calls
/// it 2.
async fn wait_for_keepalive(proxy: &Proxy, client: &Client, wanted: bool) {
    let ports = (proxy.address("plain").port(), client.tcp().local_addr().expect("a live socket").port());
    let (local, remote) = (format!("0100007F:{:04X}", ports.0), format!("0100007F:{:04X}", ports.1));
    let deadline = Instant::now() + DEADLINE;
    loop {
        let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel's table of sockets");
        let mut lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let socket = lines.find(|fields| fields.get(1..3) == Some(&[&*local, &*remote]));
        let timer = socket.expect("the socket").get(5).expect("a timer").to_string();
        if timer.starts_with("02:") == wanted && (wanted || timer.starts_with("00:")) {
            return;
        }
        assert!(Instant::now() < deadline, "the timer is {timer}");
        sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn options_of_sockets_hold_for_new_ones() {
    let backend = Backend::echo("one").await;
    let config = |keepalive| format!("[tcp]\nkeepalive = \"{keepalive}\"\n{}", plain(&[backend.address]));
    let proxy = Proxy::start(&config("1h")).await;
    let (mut probed, _) = open(&proxy, "/").await;
    wait_for_keepalive(&proxy, &probed.stream, true).await;
    assert_eq!(proxy.change_to(&config("off")).await, "tcp");
    let (unprobed, _) = open(&proxy, "/").await;
    wait_for_keepalive(&proxy, &unprobed.stream, false).await;
    probed.round_trip("still here").await;
    wait_for_keepalive(&proxy, &probed.stream, true).await;
}

#[tokio::test]
async fn the_log_changes_its_shape_its_level_and_its_records() {
    let backend = Backend::echo("one").await;
    let config = |log: &str| format!("[log]\n{log}\n{}", plain(&[backend.address]));
    let proxy = Proxy::start(&config("format = \"json\"")).await;
    open(&proxy, "/in-json").await.0.close(1000).await;
    proxy.record("close").await;

    // The line that tells of the change is the first in the new shape.
    proxy.rewrite(&config("format = \"text\"\naccess = false"));
    proxy.signal(Signal::HUP);
    let line = proxy.record("configuration changed").await;
    assert!(line["line"].as_str().is_some_and(|line| line.ends_with("change=\"log\"")), "{line}");
    open(&proxy, "/unseen").await.0.close(1000).await;
    proxy.wait_metric_in("longhaul_tunnel_duration_seconds_count{route=\"all\"}", 2.0..).await;

    // Below this level even the change is no news.
    proxy.rewrite(&config("format = \"json\"\nlevel = \"error\"\naccess = false"));
    proxy.signal(Signal::HUP);
    proxy.wait_metric("longhaul_config_generation", 3.0).await;
    proxy.rewrite(&config("format = \"json\""));
    proxy.signal(Signal::HUP);
    let again = |line: &Value| line["message"] == "configuration changed" && line["generation"] == 4;
    proxy.wait_for("the log to speak again", again).await;
    open(&proxy, "/seen").await.0.close(1000).await;
    proxy.wait_for("a record", |line| line["message"] == "open" && line["path"] == "/seen").await;
    let paths: Vec<Value> = proxy
        .log()
        .iter()
        .filter(|line| line["message"] == "open")
        .map(|line| line["path"].clone())
        .collect();
    assert_eq!(paths, ["/in-json", "/seen"]);
    let changes = |line: &&Value| line["message"] == "configuration changed";
    assert_eq!(proxy.log().iter().filter(changes).count(), 2, "generation 3 came silently");
}

#[tokio::test]
async fn a_new_deadline_of_the_drain_holds_for_the_next_stop() {
    let backend = Backend::echo("one").await;
    let config = |deadline| {
        format!(
            "[server]\ndrain = {{ delay = \"0s\", deadline = \"{deadline}\" }}\n{}",
            plain(&[backend.address])
        )
    };
    let mut proxy = Proxy::start(&config("1h")).await;
    let (mut socket, _) = open(&proxy, "/").await;
    assert_eq!(proxy.change_to(&config("1ms")).await, "drain");
    socket.round_trip("still here").await;
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.ended().await.code(), Some(3), "the tunnel was cut");
}

#[tokio::test]
async fn what_needs_a_restart_says_so_and_stays_as_it_was() {
    let backend = Backend::echo("one").await;
    let config = |workers: u32, metrics: &str| {
        let base = plain(&[backend.address]);
        format!("[server]\nworkers = {workers}\n[metrics]\naddress = \"{metrics}\"\n{base}")
    };
    let proxy = Proxy::start(&config(1, "127.0.0.1:0")).await;
    let (mut socket, _) = open(&proxy, "/").await;
    for (workers, metrics, keys) in [
        (3, "127.0.0.1:0", "server.workers"),
        (3, "127.0.0.2:0", "server.workers, metrics.address"),
        // What is as it was at the start needs no restart.
        (1, "127.0.0.2:0", "metrics.address"),
    ] {
        let change = proxy.change_to(&config(workers, metrics)).await;
        assert_eq!(change, format!("after a restart: {keys}"));
        let warns = |line: &Value| line["level"] == "WARN" && line["keys"] == keys;
        proxy.wait_for("a warning", warns).await;
        let (status, text) = proxy.scrape("/metrics").await;
        assert_eq!(status, 200);
        let workers = text.lines().filter(|line| line.starts_with("longhaul_worker_connections{")).count();
        assert_eq!(workers, 1);
        socket.round_trip("still here").await;
        open(&proxy, "/").await.0.round_trip("as before").await;
    }
}

#[tokio::test]
async fn a_file_that_says_the_same_is_no_new_generation() {
    let [one, two] = [Backend::echo("one").await, Backend::echo("two").await];
    let config = plain(&[one.address]) + &route("news", "/news", two.address);
    let proxy = Proxy::start(&config).await;
    let (mut socket, _) = open(&proxy, "/").await;
    let mut other_order = plain(&[one.address]);
    other_order =
        other_order.replacen("[[routes]]", &(route("news", "/news", two.address) + "[[routes]]"), 1);
    for (name, same) in [
        ("the same bytes", config.clone()),
        ("comments", format!("# Seen by nobody.\n{config}\n# The end.\n")),
        ("line ends", config.replace('\n', "\r\n")),
        ("a default, written", with_route_keys(&config, "path = \"/*\"\nidle_timeout = \"60m\"")),
        ("another order", other_order),
    ] {
        proxy.rewrite(&same);
        assert_eq!(proxy.reload().await, Reloaded::Unchanged, "{name}");
        assert_eq!(proxy.generation().await, 1, "{name}");
    }
    assert_eq!(proxy.reloads("accepted").await, 0);
    assert!(proxy.reloads("unchanged").await >= 5);
    assert_eq!(proxy.metric("longhaul_config_last_reload_successful").await, 1.0);
    socket.round_trip("still here").await;
}
