//! The sticky cookie: who comes back to whom, and what becomes of cookies that name nobody.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::net::TcpListener;

use crate::kit::{Backend, Call, Client, Head, Http2, Message, Pki, Proxy, Reloaded, WebSocket, secure};

/// A backend that says its name, over WebSocket and plain HTTP.
async fn named(name: &'static str) -> Backend {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    named_on(listener, name)
}

fn named_on(listener: TcpListener, name: &'static str) -> Backend {
    Backend::on(listener, move |mut stream| async move {
        let Some(head) = Head::read(&mut stream).await else { return };
        let call = Call { stream, head };
        if call.head.get("sec-websocket-key").is_some() {
            let mut socket = call.accept("").await;
            socket.send(&Message::text(name)).await;
            socket.echo().await;
        } else {
            call.answer(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len())).await;
        }
    })
}

async fn three() -> (Vec<Backend>, Vec<SocketAddr>) {
    let backends = vec![named("a").await, named("b").await, named("c").await];
    let addresses = backends.iter().map(|backend| backend.address).collect();
    (backends, addresses)
}

/// In turn, so that only the cookie can bring a client back.
fn config(sticky: &str, backends: &[SocketAddr]) -> String {
    let backends: Vec<String> = backends.iter().map(|address| format!("\"{address}\"")).collect();
    format!(
        "[[listeners]]\nname = \"plain\"\naddress = \"127.0.0.1:0\"\n[[routes]]\nname = \"all\"\npool = \"all\"\n\
         [pools.all]\nbalance = \"round-robin\"\nsticky = {{ {sticky} }}\nbackends = [{}]\n",
        backends.join(", ")
    )
}

/// Who answers a plain request with this cookie, and what that sets.
async fn ask(proxy: &Proxy, cookie: &str) -> (String, Option<String>) {
    let lines = if cookie.is_empty() { String::new() } else { format!("Cookie: {cookie}\r\n") };
    let request = format!("GET / HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n{lines}\r\n");
    let (head, name) = proxy.connect("plain").await.request(request).await;
    assert_eq!(head.status(), 200, "{head:?}");
    (name, head.get("set-cookie").map(str::to_owned))
}

/// The same of a WebSocket.
async fn open(proxy: &Proxy, cookie: &str) -> (WebSocket<Client>, String, Option<String>) {
    let lines = if cookie.is_empty() { String::new() } else { format!("Cookie: {cookie}\r\n") };
    let (mut socket, head) = proxy.connect("plain").await.open("/", "example.com", &lines).await;
    let name = socket.receive_text().await;
    (socket, name, head.get("set-cookie").map(str::to_owned))
}

/// What a client sends back that was told this.
fn pair(set: Option<String>) -> String {
    set.expect("a cookie").split(';').next().expect("a pair").to_owned()
}

/// Asks until each backend has answered; each one's name and cookie.
async fn everybody(proxy: &Proxy) -> Vec<(String, String)> {
    let mut known = Vec::new();
    for _ in 0..3 {
        let (name, set) = ask(proxy, "").await;
        known.push((name, pair(set)));
    }
    known.sort();
    let names: Vec<_> = known.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    known
}

/// A file of these secrets.
fn secrets(pki: &Pki, bytes: &[u8]) -> String {
    let path = pki.path().join("cookies.keys");
    let lines: Vec<String> = bytes.iter().map(|byte| STANDARD.encode([*byte; 48])).collect();
    std::fs::write(&path, lines.join("\n")).expect("a writable folder");
    format!("keys = \"{}\"", path.display())
}

#[tokio::test]
async fn who_has_the_cookie_comes_back_by_polling_and_by_websocket() {
    let (_backends, addresses) = three().await;
    let proxy = Proxy::start(&config("", &addresses)).await;
    let known = everybody(&proxy).await;
    assert_eq!(known.iter().map(|(_, cookie)| cookie).collect::<BTreeSet<_>>().len(), 3);
    for (name, cookie) in &known {
        for _ in 0..3 {
            assert_eq!(ask(&proxy, &format!("x=1; {cookie}")).await, (name.clone(), None));
            let (_socket, of_tunnel, set) = open(&proxy, cookie).await;
            assert_eq!((&of_tunnel, set), (name, None));
        }
    }
    let (_socket, name, set) = open(&proxy, "").await;
    let set = set.expect("the 101 sets it, too");
    assert!(set.ends_with("; Path=/; HttpOnly; SameSite=Lax"), "{set}");
    assert!(known.contains(&(name, pair(Some(set)))));
    for address in &addresses {
        let text = format!("{known:?}");
        assert!(!text.contains(&address.port().to_string()), "{text} shows an address");
    }
}

#[tokio::test]
async fn attributes_are_as_configured() {
    let (_backends, addresses) = three().await;
    let words = "cookie = \"lh\", path = \"/ws\", domain = \".Example.com\", max_age = \"1h\", secure = true, \
                 http_only = false, same_site = \"none\"";
    let proxy = Proxy::start(&config(words, &addresses)).await;
    let (name, set) = ask(&proxy, "").await;
    let set = set.expect("a cookie");
    let attributes = "; Path=/ws; Domain=example.com; Max-Age=3600; Secure; SameSite=None";
    assert!(set.starts_with("lh=") && set.ends_with(attributes), "{set}");
    // With an age it is set with every answer, so that it ends that long after the last one.
    assert_eq!(ask(&proxy, &pair(Some(set.clone()))).await, (name, Some(set)));
}

#[tokio::test]
async fn over_tls_it_is_secure_and_over_http_2_all_is_the_same() {
    let (_backends, addresses) = three().await;
    let pki = Pki::new();
    let text =
        config("", &addresses) + &secure(&[&pki.issue(&["chat.example.com"])]) + "extended_connect = true\n";
    let proxy = Proxy::start(&text).await;
    let mut client = Http2::connect(proxy.address("secure"), &pki).await;
    let reply = client.get("/").await;
    let set = reply.get("set-cookie").expect("a cookie").to_owned();
    assert!(set.ends_with("; Path=/; Secure; HttpOnly; SameSite=Lax"), "{set}");
    let cookie = pair(Some(set));
    let fields = [("cookie", "x=1"), ("cookie", cookie.as_str())];
    let (mut socket, head) = client.open("/ws", &fields).await;
    assert_eq!(socket.receive_text().await, reply.body);
    assert_eq!(head.headers().get("set-cookie"), None);
    let (mut socket, head) = client.open("/ws", &[]).await;
    assert_ne!(socket.receive_text().await, reply.body);
    assert!(head.headers().get("set-cookie").is_some());
}

#[tokio::test]
async fn a_cookie_that_names_nobody_is_replaced() {
    let (_backends, addresses) = three().await;
    let [proxy, stranger] = [
        Proxy::start(&config("", &addresses)).await,
        // Another process without a secret has a key of its own.
        Proxy::start(&config("", &addresses)).await,
    ];
    let known = everybody(&proxy).await;
    let (_, foreign) = everybody(&stranger).await.swap_remove(0);
    let forged = known[0].1[..known[0].1.len() - 2].to_owned() + "xx";
    for wrong in ["longhaul=", "longhaul=127.0.0.1:80", &forged, &foreign, "longhaul=\"\"; longhaul"] {
        let mut names = BTreeSet::new();
        for _ in 0..3 {
            let (name, set) = ask(&proxy, wrong).await;
            assert!(known.contains(&(name.clone(), pair(set))), "{wrong}");
            names.insert(name);
        }
        assert_eq!(names.len(), 3, "{wrong} names somebody");
    }
}

#[tokio::test]
async fn a_backend_that_is_gone_loses_its_clients_for_good() {
    let (mut backends, addresses) = three().await;
    let proxy = Proxy::start(&config("", &addresses)).await;
    let known = everybody(&proxy).await;
    let (_, of_c) = &known[2];
    drop(backends.pop());
    let (_socket, now, set) = open(&proxy, of_c).await;
    assert!(known[..2].contains(&(now.clone(), pair(set.clone()))), "{now}");
    let _again = named_on(TcpListener::bind(addresses[2]).await.expect("its port is free"), "c");
    assert_eq!(ask(&proxy, &pair(set)).await, (now, None));
    // No longer in the configuration, it is stale.
    assert_eq!(proxy.change_to(&config("", &addresses[..2])).await, "pools ~1 (all), backends -1");
    let (now, set) = ask(&proxy, of_c).await;
    assert!(known[..2].contains(&(now, pair(set))));
    // The key of the process outlives its configurations.
    for (name, cookie) in &known[..2] {
        assert_eq!(ask(&proxy, cookie).await, (name.clone(), None));
    }
}

#[tokio::test]
async fn replicas_with_the_same_secrets_know_each_others_cookies() {
    let (_backends, mut addresses) = three().await;
    let pki = Pki::new();
    let keys = secrets(&pki, &[1]);
    let one = Proxy::start(&config(&keys, &addresses)).await;
    addresses.reverse();
    let other = Proxy::start(&config(&keys, &addresses)).await;
    let known = everybody(&one).await;
    for (name, cookie) in &known {
        assert_eq!(ask(&other, cookie).await, (name.clone(), None));
    }
    // A new secret signs, the old one is still believed; then it is gone.
    secrets(&pki, &[2, 1]);
    let Reloaded::Changed(_, change) = other.reload().await else { panic!("other secrets are a change") };
    assert_eq!(change, "certificates");
    for (name, cookie) in &known {
        assert_eq!(ask(&other, cookie).await, (name.clone(), None));
    }
    let newer = everybody(&other).await;
    assert!(known.iter().all(|old| !newer.contains(old)));
    secrets(&pki, &[2]);
    assert!(matches!(other.reload().await, Reloaded::Changed(..)));
    for (name, cookie) in &newer {
        assert_eq!(ask(&other, cookie).await, (name.clone(), None));
    }
    assert!(ask(&other, &known[0].1).await.1.is_some());
    std::fs::write(pki.path().join("cookies.keys"), "secret\n").expect("a writable folder");
    let Reloaded::Rejected(problem) = other.reload().await else { panic!("this is no secret") };
    assert!(problem.contains("line 1 of this file is no secret"), "{problem}");
}

#[tokio::test]
async fn the_backend_sees_all_cookies_and_what_it_sets_passes() {
    let (backend, mut calls) = Backend::by_hand().await;
    let proxy = Proxy::start(&config("", &[backend.address])).await;
    let mut client = proxy.connect("plain").await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\nCookie: a=1; longhaul=x; b=2\r\n\r\n").await;
    let call = calls.next().await;
    assert_eq!(call.head.all("cookie"), ["a=1; longhaul=x; b=2"]);
    call.answer("HTTP/1.1 401 Unauthorized\r\nSet-Cookie: sid=1\r\nContent-Length: 0\r\n\r\n").await;
    let head = client.head().await;
    let [of_backend, own] = head.all("set-cookie")[..] else { panic!("two cookies: {head:?}") };
    assert_eq!(of_backend, "sid=1");
    assert!(own.starts_with("longhaul="), "{own}");
}
