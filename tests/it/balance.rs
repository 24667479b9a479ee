//! Consistent hash: who serves a key, whoever chooses; and the balancers that draw.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use crate::kit::{Backend, Client, DEADLINE, Proxy, WebSocket};

/// Backends that say who they are.
async fn echoes(names: &[&str]) -> Vec<Backend> {
    let mut backends = Vec::new();
    for name in names {
        backends.push(Backend::echo(name).await);
    }
    backends
}

fn config(balance: &str, backends: &[SocketAddr]) -> String {
    let backends: Vec<String> = backends.iter().map(|address| format!("\"{address}\"")).collect();
    format!(
        "[[listeners]]\nname = \"plain\"\naddress = \"127.0.0.1:0\"\ntrusted_networks = [\"127.0.0.0/8\"]\n\
         [[routes]]\nname = \"all\"\npool = \"all\"\n\
         [pools.all]\nbalance = {balance}\nbackends = [{}]\n",
        backends.join(", ")
    )
}

fn hash(key: &str) -> String {
    format!("{{ hash = \"{key}\" }}")
}

/// Opens a tunnel; the name of the backend comes with it.
async fn open(proxy: &Proxy, target: &str, lines: &str) -> (WebSocket<Client>, String) {
    let (mut socket, _) = proxy.connect("plain").await.open(target, "example.com", lines).await;
    let name = socket.receive_text().await;
    (socket, name)
}

async fn served_by(proxy: &Proxy, target: &str, lines: &str) -> String {
    open(proxy, target, lines).await.1
}

#[tokio::test]
async fn every_kind_of_key_keeps_its_backend_and_keys_are_spread() {
    let backends = echoes(&["a", "b", "c"]).await;
    let addresses: Vec<_> = backends.iter().map(|backend| backend.address).collect();
    let room = |kind: &str, room: usize| match kind {
        "client" => ("/ws".to_owned(), format!("X-Forwarded-For: 192.0.2.{room}\r\n")),
        "path" => (format!("/rooms/{room}?any"), String::new()),
        "query:room" => (format!("/ws?x=1&room={room}"), String::new()),
        "cookie:room" => ("/ws".to_owned(), format!("Cookie: x=1; room={room}\r\n")),
        "header:X-Room" => ("/ws".to_owned(), format!("X-Room: {room}\r\n")),
        other => panic!("{other}"),
    };
    for kind in ["client", "path", "query:room", "cookie:room", "header:X-Room"] {
        let proxy = Proxy::start(&config(&hash(kind), &addresses)).await;
        let mut counts = BTreeMap::new();
        for number in 0..60 {
            let (target, lines) = room(kind, number);
            let (_open, name) = open(&proxy, &target, &lines).await;
            // Load does not matter: the first one is still open.
            assert_eq!(served_by(&proxy, &target, &lines).await, name, "{kind} {number}");
            *counts.entry(name).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 3, "{kind}: {counts:?}");
    }
}

#[tokio::test]
async fn two_longhauls_agree_whatever_the_order_in_their_files() {
    let backends = echoes(&["a", "b", "c", "d"]).await;
    let mut addresses: Vec<_> = backends.iter().map(|backend| backend.address).collect();
    let one = Proxy::start(&config(&hash("query:room"), &addresses)).await;
    addresses.reverse();
    addresses.swap(0, 1);
    let other = Proxy::start(&config(&hash("query:room"), &addresses)).await;
    let mut names = BTreeMap::new();
    for room in 0..100 {
        let target = format!("/ws?room={room}");
        let name = served_by(&one, &target, "").await;
        assert_eq!(served_by(&other, &target, "").await, name, "{target}");
        *names.entry(name).or_insert(0) += 1;
    }
    assert_eq!(names.len(), 4, "{names:?}");
    assert!(names.values().all(|count| *count > 3), "{names:?}");
}

#[tokio::test]
async fn keys_of_a_backend_that_is_gone_move_alone_and_come_back() {
    let mut backends = echoes(&["a", "b", "c"]).await;
    let addresses: Vec<_> = backends.iter().map(|backend| backend.address).collect();
    let text = config(&hash("query:room"), &addresses);
    let proxy = Proxy::start(&text).await;
    let target = |room: usize| format!("/ws?room={room}");
    let mut before = Vec::new();
    for room in 0..90 {
        before.push(served_by(&proxy, &target(room), "").await);
    }
    // Nobody listens there any more: each of its keys finds the next one, always the same.
    drop(backends.pop());
    for _ in 0..2 {
        let mut moved = BTreeMap::new();
        for (room, before) in before.iter().enumerate() {
            let now = served_by(&proxy, &target(room), "").await;
            if before == "c" {
                *moved.entry(now.clone()).or_insert(0) += 1;
                assert_eq!(served_by(&proxy, &target(room), "").await, now);
            } else {
                assert_eq!(&now, before);
            }
        }
        assert_eq!(moved.keys().collect::<Vec<_>>(), ["a", "b"]);
    }
    let listener = tokio::net::TcpListener::bind(addresses[2]).await.expect("its port is free");
    let _again = Backend::echo_on(listener, "c");
    // Until one of its keys has found out that it is there again.
    let (found, begun) = (before.iter().position(|name| name == "c").expect("some"), Instant::now());
    while served_by(&proxy, &target(found), "").await != "c" {
        assert!(begun.elapsed() < DEADLINE);
    }
    for (room, before) in before.iter().enumerate() {
        assert_eq!(&served_by(&proxy, &target(room), "").await, before);
    }
}

/// Of a pool that is made anew before each choice, the first one is not always the next.
#[tokio::test]
async fn turns_do_not_begin_with_the_first_whenever_the_pool_changes() {
    let backends = echoes(&["a", "b", "c"]).await;
    let addresses: Vec<_> = backends.iter().map(|backend| backend.address).collect();
    let text = config("\"round-robin\"", &addresses);
    let proxy = Proxy::start(&text).await;
    let mut counts = BTreeMap::new();
    // That one of three is never drawn in 40 draws happens once in three million times.
    for round in 0..40 {
        proxy.change_to(&(text.clone() + &format!("max_tunnels = {}\n", 100 + round))).await;
        *counts.entry(served_by(&proxy, "/ws", "").await).or_insert(0) += 1;
    }
    assert_eq!(counts.len(), 3, "{counts:?}");
}

#[tokio::test]
async fn over_the_bound_on_load_a_key_goes_on_to_the_next() {
    let backends = echoes(&["a", "b", "c"]).await;
    let addresses: Vec<_> = backends.iter().map(|backend| backend.address).collect();
    let proxy = Proxy::start(&config("{ hash = \"path\", load_max = \"150%\" }", &addresses)).await;
    let mut tunnels = Vec::new();
    let mut counts = BTreeMap::new();
    for _ in 0..30 {
        let (tunnel, name) = open(&proxy, "/one", "").await;
        tunnels.push(tunnel);
        *counts.entry(name).or_insert(0) += 1;
    }
    // Half of all is one and a half times a third of them.
    let mut counts: Vec<_> = counts.into_values().collect();
    counts.sort_unstable();
    assert_eq!(counts, [15, 15]);
}

#[tokio::test]
async fn without_a_key_anybody_serves() {
    let backends = echoes(&["a", "b"]).await;
    let addresses: Vec<_> = backends.iter().map(|backend| backend.address).collect();
    let proxy = Proxy::start(&config(&hash("cookie:sid"), &addresses)).await;
    let mut names = BTreeMap::new();
    // That one of two is never drawn in 64 draws does not happen.
    for _ in 0..64 {
        *names.entry(served_by(&proxy, "/ws", "Cookie: sid=; other=1\r\n").await).or_insert(0) += 1;
    }
    assert_eq!(names.len(), 2, "{names:?}");
}

#[tokio::test]
async fn drawn_backends_are_all_met_and_two_choices_level_loads() {
    let backends = echoes(&["a", "b", "c"]).await;
    let addresses: Vec<_> = backends.iter().map(|backend| backend.address).collect();
    for (balance, least) in [("\"random\"", 1), ("\"power-of-two\"", 25)] {
        let proxy = Proxy::start(&config(balance, &addresses)).await;
        let mut tunnels = Vec::new();
        let mut counts = BTreeMap::new();
        for _ in 0..90 {
            let (tunnel, name) = open(&proxy, "/", "").await;
            tunnels.push(tunnel);
            *counts.entry(name).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 3, "{balance}: {counts:?}");
        assert!(counts.values().all(|count| *count >= least), "{balance}: {counts:?}");
    }
}
