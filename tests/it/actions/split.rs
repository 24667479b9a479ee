//! Routes with several pools: how many requests each gets, what stays together, and how that is counted.

use std::collections::BTreeSet;

use tokio::net::TcpListener;

use super::{get, named};
use crate::kit::{Backend, Client, Http2, Pki, Proxy, WebSocket, refusing, secure};

/// A route that splits among `chat` and `canary`, each with one backend; `sticky` and the like is for both.
fn config(route: &str, pool: &str, chat: &Backend, canary: &Backend) -> String {
    let (chat, canary) = (chat.address, canary.address);
    format!(
        "[[listeners]]\nname = \"plain\"\naddress = \"127.0.0.1:0\"\n[[routes]]\nname = \"all\"\n{route}\n\
         [pools.chat]\nbackends = [\"{chat}\"]\n{pool}\n[pools.canary]\nbackends = [\"{canary}\"]\n{pool}\n"
    )
}

fn weights(chat: u32, canary: u32) -> String {
    format!("split = [{{ pool = \"chat\", weight = {chat} }}, {{ pool = \"canary\", weight = {canary} }}]")
}

/// Who answers a plain request with these lines, and what cookie that sets.
async fn ask(proxy: &Proxy, target: &str, lines: &str) -> (String, Option<String>) {
    let (head, name) = proxy.connect("plain").await.request(get(target, lines)).await;
    assert_eq!(head.status(), 200, "{head:?}");
    let pair = |line: &str| line.split(';').next().expect("a pair").to_owned();
    (name, head.get("set-cookie").map(pair))
}

/// The same of a WebSocket.
async fn open(proxy: &Proxy, target: &str, lines: &str) -> (WebSocket<Client>, String) {
    let (mut socket, _) = proxy.connect("plain").await.open(target, "chat.example.com", lines).await;
    let name = socket.receive_text().await;
    (socket, name)
}

fn results(pool: &str, result: &str) -> String {
    format!("longhaul_split_results_total{{route=\"all\",pool=\"{pool}\",result=\"{result}\"}}")
}

#[tokio::test]
async fn each_request_and_each_handshake_is_drawn_by_itself_and_counted_by_pool() {
    let (chat, canary) = (named("chat").await, named("canary").await);
    let proxy = Proxy::start(&config(&weights(1, 1), "", &chat, &canary)).await;
    let mut client = proxy.connect("plain").await;
    let (mut answers, mut tunnels, mut sockets) = ([0.0; 2], [0.0; 2], Vec::new());
    // That one of two is never drawn in forty times is not seen in the life of a machine.
    for _ in 0..40 {
        client.send("GET / HTTP/1.1\r\nHost: chat.example.com\r\n\r\n").await;
        answers[usize::from(client.answer().await.1 == "canary")] += 1.0;
        let (socket, name) = open(&proxy, "/", "").await;
        tunnels[usize::from(name == "canary")] += 1.0;
        sockets.push(socket);
    }
    for (index, (pool, backend)) in [("chat", &chat), ("canary", &canary)].into_iter().enumerate() {
        assert!(answers[index] > 0.0 && tunnels[index] > 0.0, "{answers:?} {tunnels:?}");
        proxy.wait_metric(&results(pool, "2xx"), answers[index]).await;
        proxy.wait_metric(&results(pool, "opened"), tunnels[index]).await;
        let load = format!("longhaul_backend_tunnels{{pool=\"{pool}\",backend=\"{}\"}}", backend.address);
        proxy.wait_metric(&load, tunnels[index]).await;
    }
    assert_eq!(proxy.metric("longhaul_requests_total{route=\"all\",result=\"2xx\"}").await, 40.0);
    assert_eq!(proxy.metric("longhaul_handshakes_total{route=\"all\",result=\"opened\"}").await, 40.0);
    assert_eq!(proxy.metric("longhaul_tunnels_active{route=\"all\"}").await, 40.0);
    let record = proxy.wait_for("the record of a tunnel", |line| line["message"] == "open").await;
    assert!(record["pool"] == "chat" || record["pool"] == "canary", "{record}");
}

#[tokio::test]
async fn a_weight_of_0_is_nothing_and_weights_change_while_tunnels_live() {
    let (chat, canary) = (named("chat").await, named("canary").await);
    let text = |chat_weight, canary_weight, pool: &str| {
        config(&weights(chat_weight, canary_weight), pool, &chat, &canary)
    };
    let proxy = Proxy::start(&text(0, 1, "sticky = {}")).await;
    let (mut socket, name) = open(&proxy, "/", "").await;
    assert_eq!(name, "canary");
    let (_, cookie) = ask(&proxy, "/", "").await;
    let cookie = format!("Cookie: {}\r\n", cookie.expect("a cookie"));
    // A canary that is called back gets nobody back, whatever cookies say.
    assert_eq!(proxy.change_to(&text(1, 0, "sticky = {}")).await, "routes ~1 (all)");
    for _ in 0..10 {
        assert_eq!(ask(&proxy, "/", &cookie).await.0, "chat");
        assert_eq!(open(&proxy, "/", &cookie).await.1, "chat");
    }
    socket.round_trip("still here").await;
    // The pools change apart from the route.
    let change = proxy.change_to(&text(1, 0, "sticky = {}\nbalance = \"random\"")).await;
    assert_eq!(change, "pools ~2 (canary, chat)");
    assert_eq!(ask(&proxy, "/", "").await.0, "chat");
    assert_eq!(proxy.change_to(&text(0, 1, "sticky = {}\nbalance = \"random\"")).await, "routes ~1 (all)");
    assert_eq!(ask(&proxy, "/", "").await.0, "canary");
    // Back in business, it has its clients again.
    assert_eq!(
        proxy.change_to(&text(1_000_000, 1, "sticky = {}\nbalance = \"random\"")).await,
        "routes ~1 (all)"
    );
    assert_eq!(ask(&proxy, "/", &cookie).await.0, "canary");
    socket.round_trip("and here").await;
}

#[tokio::test]
async fn who_has_a_cookie_of_one_of_the_pools_goes_back_there() {
    let (chat, canary) = (named("chat").await, named("canary").await);
    let pki = Pki::new();
    let text = config(&weights(1, 1), "sticky = {}", &chat, &canary)
        + &secure(&[&pki.issue(&["chat.example.com"])])
        + "extended_connect = true\n";
    let proxy = Proxy::start(&text).await;
    let mut seen = BTreeSet::new();
    while seen.len() < 2 {
        let (name, cookie) = ask(&proxy, "/", "").await;
        let cookie = cookie.expect("a cookie");
        let line = format!("Cookie: a=b; {cookie}\r\n");
        let mut client = Http2::connect(proxy.address("secure"), &pki).await;
        for _ in 0..8 {
            assert_eq!(ask(&proxy, "/", &line).await, (name.clone(), None));
            assert_eq!(open(&proxy, "/", &line).await.1, name);
            let (mut socket, _) = client.open("/", &[("cookie", &cookie)]).await;
            assert_eq!(socket.receive_text().await, name);
        }
        seen.insert(name);
    }
}

#[tokio::test]
async fn what_has_the_same_key_gets_the_same_pool_everywhere() {
    let (chat, canary) = (named("chat").await, named("canary").await);
    let by = |weights: String| format!("{weights}\nsplit_by = \"query:room\"");
    let one = Proxy::start(&config(&by(weights(1, 1)), "", &chat, &canary)).await;
    // The order in the file makes no difference.
    let turned = "split = [{ pool = \"canary\" }, { pool = \"chat\" }]".to_owned();
    let other = Proxy::start(&config(&by(turned), "", &chat, &canary)).await;
    let mut seen = BTreeSet::new();
    for room in 0..20 {
        let target = format!("/poll?room={room}");
        let (name, _) = ask(&one, &target, "").await;
        for proxy in [&one, &other] {
            assert_eq!(ask(proxy, &target, "").await.0, name);
            assert_eq!(open(proxy, &format!("/other?x=1&room={room}"), "").await.1, name);
        }
        seen.insert(name);
    }
    assert_eq!(seen.len(), 2);
    let mut drawn = BTreeSet::new();
    for _ in 0..40 {
        drawn.insert(ask(&one, "/poll?room=", "").await.0);
    }
    assert_eq!(drawn.len(), 2, "without a key it is chance");
}

#[tokio::test]
async fn a_pool_that_is_down_costs_its_part() {
    let chat = named("chat").await;
    let (_socket, address) = refusing();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let canary = Backend::echo_on(listener, "canary");
    let text =
        config(&weights(0, 1), "", &chat, &canary).replace(&canary.address.to_string(), &address.to_string());
    let proxy = Proxy::start(&text).await;
    let (head, _) = proxy.connect("plain").await.request(get("/", "")).await;
    assert_eq!(head.status(), 502);
    proxy.wait_metric(&results("canary", "backend_refused"), 1.0).await;
    assert_eq!(proxy.metric(&results("chat", "2xx")).await, 0.0);
}
