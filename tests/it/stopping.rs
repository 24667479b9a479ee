//! Stopping: readiness fails first, listeners close, tunnels may end by themselves, the deadline cuts.

use std::io::ErrorKind;

use rustix::process::Signal;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Duration, sleep};

use crate::kit::{Backend, Client, Proxy, plain, within};

/// Tunnels are asked to go some day.
fn config(backend: &Backend, delay: &str, deadline: &str) -> String {
    format!("[server]\ndrain = {{ delay = \"{delay}\", window = \"7d\", deadline = \"{deadline}\" }}\n")
        + &plain(&[backend.address])
}

const GET: &str = "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n";
const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone";

/// A backend that answers plain requests as soon as the test says so.
async fn hesitant() -> (Backend, watch::Sender<bool>) {
    use tokio::io::AsyncWriteExt;
    let (go, wait) = watch::channel(false);
    let backend = Backend::calls(move |mut call| {
        let mut wait = wait.clone();
        async move {
            let _ = wait.wait_for(|go| *go).await;
            let _ = call.stream.write_all(ANSWER.as_bytes()).await;
        }
    });
    (backend.await, go)
}

async fn wait_until_closed(proxy: &Proxy) {
    let address = proxy.address("plain");
    within("the listener's end", async {
        while TcpStream::connect(address).await.map_or_else(|error| error.kind(), |_| ErrorKind::Other)
            != ErrorKind::ConnectionRefused
        {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

async fn wait_until_unready(proxy: &Proxy) {
    within("a failing readiness", async {
        while proxy.scrape("/readyz").await.0 != 503 {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn tunnels_outlive_the_listeners_and_the_process_outlives_the_tunnels() {
    let backend = Backend::echo("one").await;
    let mut proxy = Proxy::start(&config(&backend, "1ms", "1h")).await;
    let (mut socket, _) = proxy.connect("plain").await.open("/ws", "example.com", "").await;
    assert_eq!(socket.receive_text().await, "one");
    proxy.signal(Signal::TERM);
    wait_until_closed(&proxy).await;
    assert_eq!(proxy.scrape("/readyz").await.0, 503);
    assert_eq!(proxy.metric("longhaul_ready").await, 0.0);
    assert_eq!(proxy.scrape("/healthz").await.0, 200);
    for text in ["still", "here"] {
        socket.round_trip(text).await;
    }
    assert_eq!(proxy.metric("longhaul_tunnels_active{route=\"all\"}").await, 1.0);
    socket.close(1000).await;
    assert_eq!(proxy.ended().await.code(), Some(0));
    assert_eq!(proxy.record("close").await["reason"], "closed");
}

#[tokio::test]
async fn while_it_leaves_it_serves_and_a_second_signal_cuts_at_once() {
    let backend = Backend::echo("one").await;
    let mut proxy = Proxy::start(&config(&backend, "1h", "1h")).await;
    proxy.wait_metric("longhaul_ready", 1.0).await;
    assert_eq!(proxy.scrape("/readyz").await.0, 200);
    proxy.signal(Signal::TERM);
    wait_until_unready(&proxy).await;
    let (mut socket, _) = proxy.connect("plain").await.open("/ws", "example.com", "").await;
    assert_eq!(socket.receive_text().await, "one");
    proxy.wait_metric("longhaul_tunnels_active{route=\"all\"}", 1.0).await;
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.ended().await.code(), Some(3));
    let close = proxy.record("close").await;
    assert_eq!((&close["reason"], &close["initiator"]), (&"drain_deadline".into(), &"proxy".into()));
    assert_eq!(within("the end", socket.try_receive()).await, None);
}

#[tokio::test]
async fn the_deadline_cuts_what_is_left() {
    let backend = Backend::echo("one").await;
    let mut proxy = Proxy::start(&config(&backend, "0s", "50ms")).await;
    let (mut socket, _) = proxy.connect("plain").await.open("/ws", "example.com", "").await;
    assert_eq!(socket.receive_text().await, "one");
    proxy.wait_metric("longhaul_tunnels_active{route=\"all\"}", 1.0).await;
    proxy.signal(Signal::INT);
    assert_eq!(proxy.ended().await.code(), Some(3));
    let close = proxy.record("close").await;
    assert_eq!((&close["reason"], &close["initiator"]), (&"drain_deadline".into(), &"proxy".into()));
    assert_eq!(within("the end", socket.try_receive()).await, None);
}

#[tokio::test]
async fn a_second_signal_with_nothing_open_has_cut_nothing() {
    let backend = Backend::echo("one").await;
    let mut proxy = Proxy::start(&config(&backend, "1h", "1h")).await;
    proxy.signal(Signal::TERM);
    proxy.record("stopping").await;
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.ended().await.code(), Some(0));
}

#[tokio::test]
async fn idle_connections_are_closed_and_a_request_in_flight_is_answered() {
    let (backend, go) = hesitant().await;
    let mut proxy = Proxy::start(&config(&backend, "0s", "1h")).await;
    let mut idle = proxy.connect("plain").await;
    go.send_replace(true);
    idle.send(GET).await;
    assert_eq!(idle.head().await.status(), 200);
    go.send_replace(false);
    let mut busy = proxy.connect("plain").await;
    busy.send(GET).await;
    proxy
        .wait_metric(
            &format!("longhaul_backend_tunnels{{pool=\"all\",backend=\"{}\"}}", backend.address),
            1.0,
        )
        .await;
    proxy.signal(Signal::TERM);
    wait_until_closed(&proxy).await;
    let (rest, ended) = idle.rest().await;
    assert!(ended.is_ok() && rest.len() <= 4, "{rest:?}");
    go.send_replace(true);
    let head = busy.head().await;
    assert_eq!((head.status(), head.get("connection")), (200, Some("close")));
    let (body, ended) = busy.rest().await;
    assert!(ended.is_ok());
    assert_eq!([head.rest, body].concat(), b"done");
    assert_eq!(proxy.ended().await.code(), Some(0));
}

/// Clients that the kernel has accepted believe that they are connected, whether longhaul has taken them or not.
#[tokio::test]
async fn connections_in_the_kernels_queue_are_served() {
    let backend = Backend::answers(ANSWER).await;
    let mut proxy = Proxy::start(&config(&backend, "0s", "1h")).await;
    proxy.signal(Signal::STOP);
    let mut clients = Vec::new();
    for _ in 0..100 {
        let mut client = proxy.connect("plain").await;
        client.send(GET).await;
        clients.push(client);
    }
    proxy.signal(Signal::TERM);
    proxy.signal(Signal::CONT);
    for client in clients {
        let (head, body) = answer(client).await;
        assert_eq!((head, body.as_str()), (200, "done"));
    }
    assert_eq!(proxy.ended().await.code(), Some(0));
}

/// Connected before the signal, asked after it: the first request is served, the second one is not.
#[tokio::test]
async fn a_connection_that_has_not_asked_yet_may_ask_once() {
    let backend = Backend::answers(ANSWER).await;
    let mut proxy = Proxy::start(&config(&backend, "0s", "1h")).await;
    let client = proxy.connect("plain").await;
    proxy.wait_metric("longhaul_connections_active{listener=\"plain\"}", 1.0).await;
    proxy.signal(Signal::TERM);
    wait_until_closed(&proxy).await;
    let mut client = client;
    client.send(GET).await;
    let (status, body) = answer(client).await;
    assert_eq!((status, body.as_str()), (200, "done"));
    assert_eq!(proxy.ended().await.code(), Some(0));
}

async fn answer(mut client: Client) -> (u16, String) {
    let head = client.head().await;
    let (rest, ended) = client.rest().await;
    assert!(ended.is_ok());
    (head.status(), String::from_utf8([head.rest.clone(), rest].concat()).expect("text"))
}
