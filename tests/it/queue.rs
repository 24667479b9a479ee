//! Backends that carry so many tunnels and not more, and the line of those who wait for one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tokio::task::JoinSet;

use crate::kit::{Backend, Client, Message, Proxy, WebSocket, handshake, within};

/// A pool with these keys, `backends` among them.
fn config(keys: &str) -> String {
    format!(
        "[server]\nworkers = 2\n[[listeners]]\nname = \"plain\"\naddress = \"127.0.0.1:0\"\n\
         [[routes]]\nname = \"all\"\npool = \"all\"\n[pools.all]\n{keys}\n"
    )
}

/// One backend that carries one tunnel.
fn one(backend: &Backend, queue: &str) -> String {
    config(&format!("backends = [\"{}\"]\nmax_tunnels = 1\nqueue = {{ {queue} }}", backend.address))
}

/// A time that no test waits for.
const LONG: &str = "timeout = \"1h\"";
const WAITING: &str = "longhaul_pool_waiting{pool=\"all\"}";
const OPEN: &str = "longhaul_tunnels_active{route=\"all\"}";

fn free(backend: SocketAddr) -> String {
    format!("longhaul_backend_tunnels_free{{pool=\"all\",backend=\"{backend}\"}}")
}

async fn refused(proxy: &Proxy, reason: &str, count: f64) {
    proxy
        .wait_metric(&format!("longhaul_handshakes_total{{route=\"all\",result=\"{reason}\"}}"), count)
        .await;
}

/// Opens a tunnel; the name of the backend comes with it.
async fn open(proxy: &Proxy) -> (WebSocket<Client>, String) {
    let (mut socket, _) = proxy.connect("plain").await.open("/", "example.com", "").await;
    let name = socket.receive_text().await;
    (socket, name)
}

/// A client whose handshake is on its way.
async fn asking(proxy: &Proxy) -> Client {
    let mut client = proxy.connect("plain").await;
    client.send(handshake("/", "example.com", "")).await;
    client
}

/// A client that is the last of `count` who wait.
async fn waiting(proxy: &Proxy, count: usize) -> Client {
    let client = asking(proxy).await;
    proxy.wait_metric(WAITING, count as f64).await;
    client
}

/// The tunnel of a client that waited; the name of the backend comes with it.
async fn served(mut client: Client) -> (WebSocket<Client>, String) {
    let head = client.head().await;
    assert_eq!(head.status(), 101, "{head:?}");
    let mut socket = WebSocket::client(client, head.rest);
    let name = socket.receive_text().await;
    (socket, name)
}

async fn is_busy(client: &mut Client) {
    let head = client.head().await;
    assert_eq!(head.status(), 503, "{head:?}");
    assert!(head.get("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok()), "{head:?}");
}

/// A backend that accepts everybody, and the most that it had at once.
async fn counting() -> (Backend, Arc<AtomicUsize>) {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = most.clone();
    let backend = Backend::calls(move |call| {
        let (now, most) = (now.clone(), seen.clone());
        async move {
            most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
            let mut socket = call.accept("").await;
            let close = socket.receive().await;
            // Before the proxy can know that this one is over.
            now.fetch_sub(1, SeqCst);
            socket.send(&close).await;
        }
    });
    (backend.await, most)
}

#[tokio::test]
async fn fifty_clients_at_once_never_come_to_more_than_a_backend_may_carry() {
    let [(a, most_of_a), (b, most_of_b)] = [counting().await, counting().await];
    for balance in ["least-connections", "round-robin", "random", "power-of-two"] {
        let keys = format!(
            "balance = \"{balance}\"\nmax_tunnels = 5\nqueue = {{ {LONG} }}\n\
             backends = [\"{}\", {{ address = \"{}\", max_tunnels = 3 }}]",
            a.address, b.address
        );
        let proxy = Arc::new(Proxy::start(&config(&keys)).await);
        let mut clients = JoinSet::new();
        for _ in 0..50 {
            let proxy = proxy.clone();
            clients.spawn(async move {
                for _ in 0..3 {
                    let (socket, _) = proxy.connect("plain").await.open("/", "example.com", "").await;
                    socket.close(1000).await;
                }
            });
        }
        while let Some(ended) = within("all clients", clients.join_next()).await {
            ended.expect("every client is served");
        }
        assert_eq!((most_of_a.load(SeqCst), most_of_b.load(SeqCst)), (5, 3), "{balance}");
        proxy.wait_metric(&free(a.address), 5.0).await;
        proxy.wait_metric(&free(b.address), 3.0).await;
        assert_eq!(proxy.metric(WAITING).await, 0.0);
        assert!(proxy.metric("longhaul_pool_waits_total{pool=\"all\"}").await >= 1.0);
    }
}

#[tokio::test]
async fn who_came_first_is_served_first() {
    let backend = Backend::echo("a").await;
    let proxy = Proxy::start(&one(&backend, LONG)).await;
    let (mut tunnel, _) = open(&proxy).await;
    let mut clients = Vec::new();
    for count in 1..=5 {
        clients.push(waiting(&proxy, count).await);
    }
    for client in clients {
        tunnel.close(1000).await;
        (tunnel, _) = served(client).await;
    }
    assert_eq!(proxy.metric("longhaul_pool_waits_total{pool=\"all\"}").await, 5.0);
    assert_eq!(proxy.metric(WAITING).await, 0.0);
}

#[tokio::test]
async fn who_has_waited_for_too_long_is_told_when_to_come_back() {
    let backend = Backend::echo("a").await;
    let proxy = Proxy::start(&one(&backend, "timeout = \"50ms\"")).await;
    let (mut tunnel, _) = open(&proxy).await;
    for count in [1.0, 2.0] {
        is_busy(&mut asking(&proxy).await).await;
        refused(&proxy, "queue_timeout", count).await;
        assert_eq!(proxy.metric(WAITING).await, 0.0);
    }
    assert_eq!(backend.called(), 1);
    tunnel.round_trip("still here").await;
    tunnel.close(1000).await;
    proxy.wait_metric(OPEN, 0.0).await;
    open(&proxy).await.0.round_trip("as before").await;
}

#[tokio::test]
async fn over_the_bound_of_the_line_nobody_waits() {
    let backend = Backend::echo("a").await;
    for waiting_max in [0, 2] {
        let proxy = Proxy::start(&one(&backend, &format!("waiting_max = {waiting_max}, {LONG}"))).await;
        let (tunnel, _) = open(&proxy).await;
        let mut clients = Vec::new();
        for count in 1..=waiting_max {
            clients.push(waiting(&proxy, count).await);
        }
        for count in [1.0, 2.0] {
            is_busy(&mut asking(&proxy).await).await;
            refused(&proxy, "queue_full", count).await;
        }
        assert_eq!(proxy.metric(WAITING).await, waiting_max as f64);
        tunnel.close(1000).await;
        for client in clients {
            served(client).await.0.close(1000).await;
        }
    }
}

#[tokio::test]
async fn who_leaves_gives_its_place_in_line_back() {
    let backend = Backend::echo("a").await;
    let proxy = Proxy::start(&one(&backend, &format!("waiting_max = 2, {LONG}"))).await;
    let (tunnel, _) = open(&proxy).await;
    let [first, second] = [waiting(&proxy, 1).await, waiting(&proxy, 2).await];
    drop(first);
    proxy.wait_metric(WAITING, 1.0).await;
    refused(&proxy, "client_gone", 1.0).await;
    let third = waiting(&proxy, 2).await;
    tunnel.close(1000).await;
    served(second).await.0.close(1000).await;
    served(third).await.0.round_trip("as before").await;
    assert_eq!(backend.called(), 3);
}

#[tokio::test]
async fn a_reload_keeps_the_counts_and_serves_who_waits_where_there_is_room_now() {
    let [a, b] = [Backend::echo("a").await, Backend::echo("b").await];
    let with = |keys: &str, backends: &[&Backend]| {
        let backends: Vec<_> = backends.iter().map(|backend| format!("\"{}\"", backend.address)).collect();
        config(&format!("{keys}\nbackends = [{}]", backends.join(", ")))
    };
    let bound = |max: usize| format!("max_tunnels = {max}\nqueue = {{ {LONG} }}");
    // Those that were opened before there was a bound count, too.
    let proxy = Proxy::start(&with("", &[&a])).await;
    let mut tunnels = vec![open(&proxy).await, open(&proxy).await];
    proxy.change_to(&with(&bound(2), &[&a])).await;
    assert_eq!(proxy.metric(&free(a.address)).await, 0.0);
    let client = waiting(&proxy, 1).await;
    proxy.change_to(&with(&bound(3), &[&a])).await;
    tunnels.push(served(client).await);
    // Below what it carries: nothing is cut.
    proxy.change_to(&with(&bound(1), &[&a])).await;
    for (tunnel, _) in &mut tunnels {
        tunnel.round_trip("still here").await;
    }
    let [client, other] = [waiting(&proxy, 1).await, waiting(&proxy, 2).await];
    proxy.change_to(&with(&bound(1), &[&a, &b])).await;
    let (tunnel, name) = served(client).await;
    assert_eq!(name, "b");
    proxy.wait_metric(WAITING, 1.0).await;
    tunnel.close(1000).await;
    let (_tunnel, name) = served(other).await;
    assert_eq!(name, "b");
    let last = waiting(&proxy, 1).await;
    proxy.change_to(&with("", &[&a])).await;
    assert_eq!(served(last).await.1, "a");
}

#[tokio::test]
async fn a_backend_that_may_be_chosen_again_serves_who_waits() {
    let [a, b] = [Backend::echo("a").await, Backend::echo("b").await];
    let keys = format!(
        "max_tunnels = 1\nqueue = {{ {LONG} }}\nbackends = [\"{}\", {{ address = \"{}\", state = \"disabled\" }}]",
        a.address, b.address
    );
    let proxy = Proxy::start(&config(&keys)).await;
    let (_tunnel, name) = open(&proxy).await;
    assert_eq!(name, "a");
    let client = waiting(&proxy, 1).await;
    let order = format!("/api/v1/backends/state?pool=all&backend={}&state=active", b.address);
    assert_eq!(proxy.admin("POST", &order).await.0, 200);
    let (_other, name) = served(client).await;
    assert_eq!(name, "b");
    let (_, list) = proxy.admin("GET", "/api/v1/backends").await;
    for backend in list["backends"].as_array().expect("a list") {
        assert_eq!((&backend["max_tunnels"], &backend["free"]), (&1.into(), &0.into()), "{list}");
    }
}

#[tokio::test]
async fn who_is_full_is_passed_by_but_backups_stay_in_reserve() {
    let [a, b, backup] = [Backend::echo("a").await, Backend::echo("b").await, Backend::echo("backup").await];
    let keys = format!(
        "max_tunnels = 1\nsticky = {{}}\nbalance = \"round-robin\"\nqueue = {{ {LONG} }}\n\
         backends = [\"{}\", \"{}\", {{ address = \"{}\", backup = true }}]",
        a.address, b.address, backup.address
    );
    let proxy = Proxy::start(&config(&keys)).await;
    let (mut first, head) = proxy.connect("plain").await.open("/", "example.com", "").await;
    assert_eq!(first.receive_text().await, "a");
    let cookie = head.get("set-cookie").and_then(|cookie| cookie.split(';').next()).expect("a cookie");
    let cookie = format!("Cookie: {cookie}\r\n");
    let (mut second, head) = proxy.connect("plain").await.open("/", "example.com", &cookie).await;
    assert_eq!(second.receive_text().await, "b");
    // From now on it comes back to that one.
    assert!(head.get("set-cookie").is_some());
    let client = waiting(&proxy, 1).await;
    first.close(1000).await;
    assert_eq!(served(client).await.1, "a");
}

#[tokio::test]
async fn requests_take_no_tunnels_place_and_wait_for_none() {
    let (backend, mut calls) = Backend::by_hand().await;
    let proxy = Proxy::start(&one(&backend, LONG)).await;
    let (mut tunnel, mut far) = {
        let mut client = asking(&proxy).await;
        let far = calls.next().await.accept("").await;
        let head = client.head().await;
        (WebSocket::client(client, head.rest), far)
    };
    // Requests are served while it is full.
    let mut client = proxy.connect("plain").await;
    client.send("GET /page HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n").await;
    calls.next().await.answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    assert_eq!(client.answer().await.1, "ok");
    assert_eq!(proxy.metric(&free(backend.address)).await, 0.0);
    far.send(&Message::text("still here")).await;
    assert_eq!(tunnel.receive_text().await, "still here");
    // A handshake that is declined gives its place back with the answer's head, however long its body is.
    let mut declined = waiting(&proxy, 1).await;
    drop((tunnel, far));
    let mut call = calls.next().await;
    call.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\n\r\nno").await;
    assert_eq!(declined.head().await.status(), 403);
    proxy.wait_metric(&free(backend.address), 1.0).await;
}

#[tokio::test]
async fn who_cannot_be_reached_holds_nobodys_place() {
    let (_socket, refusing) = crate::kit::refusing();
    let backend = Backend::echo("a").await;
    let keys = format!(
        "max_tunnels = 1\nbalance = \"round-robin\"\nqueue = {{ {LONG} }}\nbackends = [\"{refusing}\", \"{}\"]",
        backend.address
    );
    let proxy = Proxy::start(&config(&keys)).await;
    let (tunnel, _) = open(&proxy).await;
    assert_eq!(proxy.metric(&free(refusing)).await, 1.0);
    // It has tried the one that has room, and does not wait for the other one.
    assert_eq!(asking(&proxy).await.head().await.status(), 502);
    refused(&proxy, "backend_refused", 1.0).await;
    tunnel.close(1000).await;
    proxy.wait_metric(&free(backend.address), 1.0).await;
    // The same where a reload brought that one while it waited.
    let proxy = Proxy::start(&one(&backend, LONG)).await;
    let (mut tunnel, _) = open(&proxy).await;
    let mut client = waiting(&proxy, 1).await;
    proxy.change_to(&config(&keys)).await;
    assert_eq!(client.head().await.status(), 502);
    refused(&proxy, "backend_refused", 1.0).await;
    tunnel.round_trip("still here").await;
}
