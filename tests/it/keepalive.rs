//! Connections to backends that are kept: which requests share one, which never do, and what becomes of one that died.

mod answers;
mod bounds;
mod died;
mod reload;

use tokio::io::AsyncReadExt;

use crate::kit::{
    Backend, Call, Calls, Client, Head, Http2, Message, Pki, Proxy, Tls, WebSocket, handshake, plain,
    pool_tls, secure, within,
};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const GET: &str = "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n";
/// For longer than a test takes.
const KEPT: &str = "keepalive = { timeout = \"1h\" }";
const RESENDS: &str = "longhaul_backend_resends_total{pool=\"all\"}";

/// One worker, which keeps all connections, and a pool with these further keys. Unless they say otherwise, with
/// [`KEPT`].
fn config(backend: &Backend, pool: &str) -> String {
    let says = pool.contains("keepalive") || pool.contains("proxy_protocol");
    let pool = if says { pool.to_string() } else { format!("{KEPT}\n{pool}") };
    format!("[server]\nworkers = 1\ndrain = {{ delay = \"1ms\" }}\n{}{pool}\n", plain(&[backend.address]))
}

fn request(method: &str, target: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: example.com\r\n\r\n")
}

fn post(target: &str, body: &str) -> String {
    format!("POST {target} HTTP/1.1\r\nHost: example.com\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn idle(backend: &Backend) -> String {
    format!("longhaul_backend_idle_connections{{pool=\"all\",backend=\"{}\"}}", backend.address)
}

fn connections(result: &str) -> String {
    format!("longhaul_backend_connections_total{{pool=\"all\",result=\"{result}\"}}")
}

/// Starts a proxy before a backend that the test handles, and has a request of `client` answered: the connection is kept.
async fn kept(pool: &str) -> (Proxy, Backend, Calls, Client, Call) {
    let (backend, mut calls) = Backend::by_hand().await;
    let proxy = Proxy::start(&config(&backend, pool)).await;
    let mut client = proxy.connect("plain").await;
    client.send(GET).await;
    let mut call = calls.next().await;
    call.send(OK).await;
    assert_eq!(client.answer().await.1, "ok");
    (proxy, backend, calls, client, call)
}

/// Waits until the kernel of the proxy has confirmed all that was sent on a connection, its end included.
async fn arrived(call: &Call) {
    const FIN_WAIT1: &str = "04";
    let [near, far] = [call.stream.local_addr(), call.stream.peer_addr()];
    // A connection that is over has no other end.
    let (Ok(near), Ok(far)) = (near, far) else { return };
    let [near, far] = [near, far].map(|address| format!(":{:04X}", address.port()));
    let is_underway = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, from, to, state, queues, ..] = words[..] else { return false };
        let is_it = from.ends_with(&near) && to.ends_with(&far);
        is_it && (state == FIN_WAIT1 || !queues.starts_with("00000000:"))
    };
    let sockets = || std::fs::read_to_string("/proc/net/tcp").expect("Linux");
    within("the proxy's kernel", async {
        while sockets().lines().any(is_underway) {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn requests_of_all_clients_follow_each_other_on_one_connection() {
    let (proxy, backend, _calls, mut client, mut call) = kept("").await;
    for number in 1..=3 {
        let target = format!("/{number}");
        let mut other = proxy.connect("plain").await;
        for client in [&mut client, &mut other] {
            client.send(request("GET", &target)).await;
            assert_eq!(call.next().await.target(), target);
            call.send(OK).await;
            assert_eq!(client.answer().await.1, "ok");
        }
    }
    assert_eq!(backend.called(), 1);
    proxy.wait_metric(&idle(&backend), 1.0).await;
    let load = format!("longhaul_backend_tunnels{{pool=\"all\",backend=\"{}\"}}", backend.address);
    assert_eq!(proxy.metric(&load).await, 0.0);
    assert_eq!(proxy.metric(&connections("opened")).await, 1.0);
    assert_eq!(proxy.metric(&connections("reused")).await, 6.0);
}

#[tokio::test]
async fn requests_at_once_have_a_connection_each() {
    let (proxy, backend, mut calls, mut client, mut call) = kept("").await;
    client.send(GET).await;
    call.next().await;
    let mut other = proxy.connect("plain").await;
    other.send(GET).await;
    let mut second = calls.next().await;
    assert_eq!(proxy.metric(&idle(&backend)).await, 0.0);
    for (call, client) in [(&mut call, &mut client), (&mut second, &mut other)] {
        call.send(OK).await;
        assert_eq!(client.answer().await.1, "ok");
    }
    proxy.wait_metric(&idle(&backend), 2.0).await;
}

#[tokio::test]
async fn clients_of_both_versions_of_http_share_connections_also_over_tls() {
    let pki = Pki::new();
    let certificate = pki.issue(&["chat.example.com"]);
    let (backend, mut calls) = Backend::tls_by_hand(&Tls::new(&pki.issue(&["127.0.0.1"]))).await;
    let proxy = Proxy::start(&(config(&backend, &pool_tls(&pki, "")) + &secure(&[&certificate]))).await;
    let mut one = proxy.connect("plain").await;
    one.send(GET).await;
    let mut call = calls.next().await;
    call.send(OK).await;
    assert_eq!(one.answer().await.1, "ok");
    let mut two = Http2::connect(proxy.address("secure"), &pki).await;
    for target in ["/a", "/b"] {
        let (reply, ()) = tokio::join!(two.get(target), async {
            assert_eq!(call.next().await.target(), target);
            call.send(OK).await;
        });
        assert_eq!(reply.body, "ok");
        one.send(GET).await;
        call.next().await;
        call.send(OK).await;
        assert_eq!(one.answer().await.1, "ok");
    }
    assert_eq!(backend.called(), 1);
}

/// A backend that the test handles by hand, behind the line of text that each of its connections begins with.
async fn behind_a_line() -> (Backend, Calls) {
    let (handle, calls) = Calls::handler();
    let backend = Backend::raw(move |mut stream| {
        let handle = handle.clone();
        async move {
            while stream.read_u8().await.expect("a line") != b'\n' {}
            if let Some(head) = Head::read(&mut stream).await {
                handle(Call { stream, head }).await;
            }
        }
    });
    (backend.await, calls)
}

#[tokio::test]
async fn nothing_is_kept_where_a_pool_says_so_or_each_connection_names_its_client() {
    let off = ("keepalive = \"off\"", Backend::by_hand().await);
    let introduced = ("proxy_protocol = \"v1\"", behind_a_line().await);
    for (pool, (backend, mut calls)) in [off, introduced] {
        let proxy = Proxy::start(&config(&backend, pool)).await;
        let mut client = proxy.connect("plain").await;
        for _ in 0..2 {
            client.send(GET).await;
            let mut call = calls.next().await;
            call.send(OK).await;
            assert_eq!(client.answer().await.1, "ok");
            assert_eq!(call.rest().await, b"", "{pool}");
        }
        assert_eq!(proxy.metric(&connections("reused")).await, 0.0);
        assert_eq!(proxy.metric(&idle(&backend)).await, 0.0);
    }
}

#[tokio::test]
async fn a_handshake_gets_a_new_connection_which_is_not_kept() {
    let (proxy, backend, mut calls, mut client, mut call) = kept("").await;
    let mut declined = proxy.connect("plain").await;
    declined.send(handshake("/", "example.com", "")).await;
    let mut second = calls.next().await;
    second.send(OK).await;
    assert_eq!(declined.answer().await.1, "ok");
    assert_eq!(second.rest().await, b"");
    let (mut near, mut far): (WebSocket<Client>, _) =
        calls.tunnel(proxy.connect("plain").await, "", "").await;
    near.send(&Message::text("hello")).await;
    assert_eq!(far.receive_text().await, "hello");
    // The one that was kept is still there.
    client.send(GET).await;
    call.next().await;
    call.send(OK).await;
    assert_eq!(client.answer().await.1, "ok");
    assert_eq!(backend.called(), 3);
}
