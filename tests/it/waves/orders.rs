//! A backend is drained, down or removed, or a route is removed.

use std::fs;
use std::path::Path;

use serde_json::json;
use tokio::net::TcpStream;

use super::{ended, left, open, order, part};
use crate::kit::{AT_ONCE, Backend, Calls, Client, Message, Proxy, SOME_DAY, WebSocket, handshake, plain};

/// A further route of this name, at a path of this name, and a pool.
fn further(name: &str, backends: &str) -> String {
    format!(
        "[[routes]]\nname = \"{name}\"\npath = \"/{name}\"\npool = \"{name}\"\n[pools.{name}]\n{backends}\n"
    )
}

fn listed(backend: &Backend) -> String {
    format!("backends = [\"{}\"]", backend.address)
}

fn named(folder: &Path) -> String {
    let path = folder.join("list.toml");
    format!("discovery = {{ kind = \"file\", path = \"{}\", removal_grace = \"0s\" }}", path.display())
}

fn name(folder: &Path, backend: &Backend) {
    fs::write(folder.join("new"), listed(backend)).expect("a writable folder");
    fs::rename(folder.join("new"), folder.join("list.toml")).expect("a writable folder");
}

async fn open_more(proxy: &Proxy, calls: &mut Calls) -> (WebSocket<Client>, WebSocket<TcpStream>) {
    let mut client = proxy.connect("plain").await;
    client.send(handshake("/more", "example.com", "")).await;
    let backend = calls.next().await.accept("").await;
    let head = client.head().await;
    assert_eq!(head.status(), 101);
    (WebSocket::client(client, head.rest), backend)
}

/// The tunnel of whatever is taken away is asked to go, that of another route, pool and backend stays. Further ways to take
/// something away are in `discovery` and `health`.
#[tokio::test]
async fn tunnels_of_what_is_taken_away_are_asked_to_go_and_no_others() {
    for (way, reason) in [
        ("draining by order", "backend_draining"),
        ("draining by the file", "backend_draining"),
        ("backend", "backend_removed"),
        ("list", "backend_removed"),
        ("route", "route_removed"),
        ("route and pool", "backend_removed"),
    ] {
        let ((one, mut calls), (two, mut others)) = (Backend::by_hand().await, Backend::by_hand().await);
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        name(folder, &one);
        let first = AT_ONCE.replace("delay", "reason = \"elsewhere\", delay");
        let first = first + "[[listeners]]\nname = \"plain\"\naddress = \"127.0.0.1:0\"\n";
        let more = further("more", &listed(&two));
        let all = |backends: &str| further("all", backends).replace("path = \"/all\"\n", "");
        let of_all = if way == "list" { named(folder) } else { listed(&one) };
        let proxy = Proxy::start(&[&*first, &more, &all(&of_all)].concat()).await;
        let goes = open(&proxy, &mut calls).await;
        let (mut stays, mut behind) = open_more(&proxy, &mut others).await;
        let draining = format!("backends = [{{ address = \"{}\", state = \"draining\" }}]", one.address);
        let next = match way {
            "draining by order" => None,
            "draining by the file" => Some(all(&draining)),
            // The address is there twice from now on, in two pools.
            "backend" => Some(all(&listed(&two))),
            "list" => None,
            "route" => Some(all(&listed(&one)).replace("name = \"all\"", "name = \"other\"")),
            _ => Some(String::new()),
        };
        match next {
            Some(all) => drop(proxy.change_to(&[&*first, &more, &all].concat()).await),
            None if way == "list" => name(folder, &two),
            None => order(&proxy, one.address, "draining").await,
        }
        part(goes, 1012, "elsewhere").await;
        assert_eq!(ended(&proxy).await, [json!(reason), json!("proxy"), json!(true)], "{way}");
        proxy.wait_metric(&left(reason), 0.0).await;
        stays.send(&Message::text("still here")).await;
        assert_eq!(behind.receive_text().await, "still here");
    }
}

/// A wave that is called off leaves those alone whose slots have not come; one that begins later has them again, in the words
/// of then.
#[tokio::test]
async fn who_comes_back_keeps_the_rest_of_its_tunnels() {
    let (backend, mut calls) = Backend::by_hand().await;
    let proxy = Proxy::start(&(SOME_DAY.to_owned() + &plain(&[backend.address]))).await;
    let ends = open(&proxy, &mut calls).await;
    order(&proxy, backend.address, "draining").await;
    proxy.wait_metric(&left("backend_draining"), 1.0).await;
    order(&proxy, backend.address, "active").await;
    proxy.wait_metric(&left("backend_draining"), 0.0).await;
    let quick = AT_ONCE.replace("delay", "reason = \"now\", delay") + &plain(&[backend.address]);
    assert_eq!(proxy.change_to(&quick).await, "drain");
    let (mut client, mut behind) = open(&proxy, &mut calls).await;
    client.send(&Message::text("served")).await;
    assert_eq!(behind.receive_text().await, "served");
    order(&proxy, backend.address, "draining").await;
    part(ends, 1012, "now").await;
    part((client, behind), 1012, "now").await;
    proxy.wait_metric(&left("backend_draining"), 0.0).await;
}

/// So does a backend that is named again, and a route.
#[tokio::test]
async fn what_is_there_again_keeps_the_rest_of_its_tunnels() {
    let ((one, mut calls), (two, _)) = (Backend::by_hand().await, Backend::by_hand().await);
    let base = SOME_DAY.to_owned() + &plain(&[one.address]);
    let proxy = Proxy::start(&base).await;
    let (mut client, mut behind) = open(&proxy, &mut calls).await;
    let replaced = SOME_DAY.to_owned() + &plain(&[two.address]);
    let renamed = base.replace("name = \"all\"", "name = \"other\"");
    for (config, reason) in [(&replaced, "backend_removed"), (&renamed, "route_removed")] {
        proxy.change_to(config).await;
        proxy.wait_metric(&left(reason), 1.0).await;
        proxy.change_to(&base).await;
        proxy.wait_metric(&left(reason), 0.0).await;
    }
    client.send(&Message::text("still here")).await;
    assert_eq!(behind.receive_text().await, "still here");
}

/// Unless they are kept, a draining backend's clients do not come back to it by their cookie.
#[tokio::test]
async fn cookies_lead_to_who_drains_only_where_tunnels_are_kept() {
    let [one, two] = [Backend::echo("one").await, Backend::echo("two").await];
    for (kept, expected) in [("", "two"), ("on_draining = \"keep\"\n", "one")] {
        let keys = format!("balance = \"round-robin\"\nsticky = {{}}\n{kept}");
        let config = AT_ONCE.to_owned() + &plain(&[one.address, two.address]) + &keys;
        let proxy = Proxy::start(&config).await;
        let (mut tunnel, head) = proxy.connect("plain").await.open("/", "example.com", "").await;
        assert_eq!(tunnel.receive_text().await, "one");
        let cookie = head.get("set-cookie").expect("a cookie").split(';').next().expect("a pair").to_owned();
        order(&proxy, one.address, "draining").await;
        match kept {
            "" => tunnel.parts(1012).await,
            _ => tunnel.round_trip("still here").await,
        }
        for _ in 0..3 {
            let lines = format!("Cookie: {cookie}\r\n");
            let (mut again, _) = proxy.connect("plain").await.open("/", "example.com", &lines).await;
            assert_eq!(again.receive_text().await, expected);
        }
    }
}
