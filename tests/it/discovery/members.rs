//! Backends that discovery names are members of their pool as any others are: who chooses them, who comes back to them,
//! and what is kept of them.

use std::net::SocketAddr;

use super::file::{list, start, write};
use super::{answers, backends, echoes, load, one_each, open};
use crate::kit::{Backend, Client, Proxy, WebSocket, plain};

/// Opens a tunnel with these further lines; who serves it, and the cookie that was set.
async fn ask(proxy: &Proxy, lines: &str) -> (WebSocket<Client>, String, Option<String>) {
    let (mut socket, head) = proxy.connect("plain").await.open("/", "example.com", lines).await;
    let name = socket.receive_text().await;
    let set = head.get("set-cookie").and_then(|set| set.split(';').next()).map(str::to_owned);
    (socket, name, set)
}

#[tokio::test]
async fn a_cookie_leads_to_its_backend_whoever_comes_and_goes() {
    let (_backends, addresses) = echoes(["a", "b", "c", "d"]).await;
    let proxy = start("", "balance = \"round-robin\"\nsticky = {}", &list(&addresses[..2])).await;
    let mut cookies = Vec::new();
    for _ in 0..2 {
        let (_, name, cookie) = ask(&proxy, "").await;
        cookies.push((name, cookie.expect("a cookie")));
    }
    cookies.sort();
    assert_eq!([&*cookies[0].0, &*cookies[1].0], ["a", "b"]);
    let lists: [&[SocketAddr]; 3] =
        [&addresses, &addresses[..3], &[addresses[3], addresses[1], addresses[0]]];
    for (index, backends) in lists.into_iter().enumerate() {
        write(&proxy, &list(backends));
        proxy.wait_metric(&answers("changed"), (index + 1) as f64).await;
        for (name, cookie) in &cookies {
            for _ in 0..3 {
                let (_, served, set) = ask(&proxy, &format!("Cookie: {cookie}\r\n")).await;
                assert_eq!((&served, set), (name, None));
            }
        }
    }
    // Whose backend is gone gets another one, and its cookie.
    write(&proxy, &list(&addresses[1..]));
    proxy.wait_metric(&answers("changed"), 4.0).await;
    let (_, served, set) = ask(&proxy, &format!("Cookie: {}\r\n", cookies[0].1)).await;
    assert!(served != "a" && set.is_some_and(|set| set != cookies[0].1));
}

/// Replicas agree on who serves a key, however each of them came to know the backends.
#[tokio::test]
async fn a_key_is_served_as_where_the_configuration_lists_the_backends() {
    let (_backends, addresses) = echoes(["a", "b", "c", "d", "e"]).await;
    let hash = "balance = { hash = \"header:x-room\" }\n";
    let found = start("", hash, &list(&addresses[..2])).await;
    for (changes, count) in [(0, 2), (1, 5), (2, 3)] {
        if changes > 0 {
            write(&found, &list(&addresses[..count]));
            found.wait_metric(&answers("changed"), f64::from(changes)).await;
        }
        let listed = Proxy::start(&(plain(&addresses[..count]) + hash)).await;
        for room in 0..20 {
            let lines = format!("X-Room: {room}\r\n");
            assert_eq!(ask(&found, &lines).await.1, ask(&listed, &lines).await.1, "{room} of {count}");
        }
    }
}

/// Who comes to others starts slowly; those that are found first have nobody to wait for.
#[tokio::test]
async fn newcomers_start_slowly() {
    let (_backends, [one, two, three]) = echoes(["one", "two", "three"]).await;
    let slow = "balance = \"least-connections\"\nslow_start = \"1h\"";
    let proxy = start("", slow, &list(&[one, two])).await;
    let _first = one_each(&proxy, ["one", "two"]).await;
    write(&proxy, &list(&[one, two, three]));
    proxy.wait_metric(&backends("named"), 3.0).await;
    let mut tunnels = Vec::new();
    for _ in 0..6 {
        let (socket, name) = open(&proxy).await;
        assert_ne!(name, "three");
        tunnels.push(socket);
    }
    // Who comes back has nothing to learn again, but whoever nobody knows any more begins anew.
    write(&proxy, &list(&[one, three]));
    proxy.wait_metric(&backends("leaving"), 1.0).await;
    write(&proxy, &list(&[two, three]));
    proxy.wait_metric(&answers("changed"), 3.0).await;
    assert_eq!(proxy.metric(&load(two)).await, 4.0);
    assert_eq!(open(&proxy).await.1, "two");
}

/// What is kept for later requests is closed when its backend leaves; what is in use is closed behind its answer.
#[tokio::test]
async fn no_connection_is_kept_to_who_has_left() {
    const GET: &str = "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n";
    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let (backend, mut calls) = Backend::by_hand().await;
    let (_other, [other]) = echoes(["other"]).await;
    let proxy = start("", "keepalive = { timeout = \"1h\" }", &list(&[backend.address])).await;
    let (mut busy, mut client) = (proxy.connect("plain").await, proxy.connect("plain").await);
    busy.send(GET).await;
    let mut in_use = calls.next().await;
    client.send(GET).await;
    let mut kept = calls.next().await;
    kept.send(OK).await;
    assert_eq!(client.answer().await.1, "ok");
    let idle = format!("longhaul_backend_idle_connections{{pool=\"all\",backend=\"{}\"}}", backend.address);
    proxy.wait_metric(&idle, 1.0).await;

    write(&proxy, &list(&[other]));
    proxy.wait_metric(&backends("leaving"), 1.0).await;
    assert_eq!(kept.rest().await, b"");
    in_use.send(OK).await;
    assert_eq!(busy.answer().await.1, "ok");
    assert_eq!(in_use.rest().await, b"");
    proxy.wait_metric(&backends("leaving"), 0.0).await;

    // Whoever comes back is kept again.
    write(&proxy, &list(&[backend.address]));
    proxy.wait_metric(&answers("changed"), 2.0).await;
    client.send(GET).await;
    let mut call = calls.next().await;
    for _ in 0..2 {
        call.send(OK).await;
        assert_eq!(client.answer().await.1, "ok");
        client.send(GET).await;
        call.next().await;
    }
}
