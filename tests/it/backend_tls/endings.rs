//! How tunnels over TLS to a backend end: each end reaches the other side as what it is, and is announced.

use std::io::ErrorKind;
use std::time::Duration;

use serde_json::Value;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::kit::{
    Backend, Calls, Client, Message, Pki, Proxy, Secure, Tls, WebSocket, plain, pool_tls, secure, within,
};

/// Nothing is known of frames, so nothing is told by a Close.
const PIPE: &str = "inspect = \"off\"\n";

struct Stage {
    proxy: Proxy,
    calls: Calls<Secure>,
    pki: Pki,
    _backend: Backend,
}

impl Stage {
    /// A proxy whose route has these further lines, in front of a backend over TLS that the test plays.
    async fn set(route: &str) -> Stage {
        let pki = Pki::new();
        let (backend, calls) = Backend::tls_by_hand(&Tls::new(&pki.issue(&["127.0.0.1"]))).await;
        let route = format!("name = \"all\"\n{route}pool");
        let pool = plain(&[backend.address]).replace("name = \"all\"\npool", &route) + &pool_tls(&pki, "");
        let proxy = Proxy::start(&(secure(&[&pki.issue(&["example.com"])]) + &pool)).await;
        Stage { proxy, calls, pki, _backend: backend }
    }

    async fn tunnel(&mut self, tls: bool) -> (WebSocket<Client>, WebSocket<Secure>) {
        let client = match tls {
            true => Client::connect_tls(self.proxy.address("secure"), &self.pki, "example.com").await,
            false => self.proxy.connect("plain").await,
        };
        self.calls.tunnel(client, "", "").await
    }

    /// Waits until `count` tunnels have ended like this.
    async fn ended(&self, reason: &str, initiator: &str, count: f64) {
        let series = format!(
            "longhaul_tunnels_closed_total{{route=\"all\",reason=\"{reason}\",initiator=\"{initiator}\"}}"
        );
        self.proxy.wait_metric(&series, count).await;
    }
}

#[tokio::test]
async fn a_closing_handshake_is_a_clean_end_by_whoever_began_it() {
    let mut stage = Stage::set("").await;
    for (tls, count) in [(false, 1.0), (true, 2.0)] {
        let (client, backend) = stage.tunnel(tls).await;
        tokio::join!(client.close(1000), backend.echo());
        stage.ended("closed", "client", count).await;
        let (client, backend) = stage.tunnel(tls).await;
        tokio::join!(backend.close(4001), client.echo());
        stage.ended("closed", "backend", count).await;
    }
}

/// The end of one direction is announced by close_notify (RFC 8446 6.1), and the other goes on.
#[tokio::test]
async fn after_one_side_has_ended_the_other_may_go_on() {
    let mut stage = Stage::set(PIPE).await;
    for (tls, count) in [(false, 1.0), (true, 2.0)] {
        let (mut client, mut backend) = stage.tunnel(tls).await;
        client.send(&Message::text("my last")).await;
        client.stream.shutdown().await.expect("a live stream");
        assert_eq!(backend.receive_text().await, "my last");
        let mut nothing = Vec::new();
        let end = within("the end", backend.stream.read_to_end(&mut nothing)).await;
        assert_eq!(end.expect("close_notify comes before the end"), 0);
        for number in 0..100 {
            let text = number.to_string();
            backend.send(&Message::text(&text)).await;
            assert_eq!(client.receive_text().await, text);
        }
        backend.stream.shutdown().await.expect("a live stream");
        assert_eq!(within("the end", client.try_receive()).await, None);
        stage.ended("ended", "client", count).await;

        let (mut client, mut backend) = stage.tunnel(tls).await;
        backend.stream.shutdown().await.expect("a live stream");
        assert_eq!(within("the end", client.try_receive()).await, None);
        for number in 0..100 {
            let text = number.to_string();
            client.send(&Message::text(&text)).await;
            assert_eq!(backend.receive_text().await, text);
        }
        drop(client);
        let _ = within("the end", backend.try_receive()).await;
    }
}

#[tokio::test]
async fn a_backend_that_goes_without_a_word_is_truncated() {
    let mut stage = Stage::set(PIPE).await;
    let (mut client, backend) = stage.tunnel(false).await;
    let socket = backend.stream.get_ref().0;
    rustix::net::shutdown(socket, rustix::net::Shutdown::Write).expect("a live socket");
    assert_eq!(within("the end", client.try_receive()).await, None);
    drop(client);
    stage.ended("truncated", "backend", 1.0).await;
}

#[tokio::test]
async fn a_reset_arrives_as_a_reset() {
    let mut stage = Stage::set(PIPE).await;
    for (tls, count) in [(false, 1.0), (true, 2.0)] {
        let (client, mut backend) = stage.tunnel(tls).await;
        SockRef::from(client.stream.tcp()).set_linger(Some(Duration::ZERO)).expect("a live socket");
        drop(client);
        let error = within("a reset", backend.stream.read(&mut [0])).await.expect_err("a reset is an error");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        stage.ended("reset", "client", count).await;

        let (mut client, backend) = stage.tunnel(tls).await;
        let socket = backend.stream.get_ref().0;
        SockRef::from(socket).set_linger(Some(Duration::ZERO)).expect("a live socket");
        drop(backend);
        let (_, ended) = client.stream.rest().await;
        assert_eq!(ended.expect_err("a reset is an error").kind(), ErrorKind::ConnectionReset);
        stage.ended("reset", "backend", count).await;
    }
}

#[tokio::test]
async fn a_deadline_is_announced_to_the_backend() {
    let mut stage = Stage::set("idle_timeout = \"300ms\"\nclose_timeout = \"100ms\"\n").await;
    let (mut client, mut backend) = stage.tunnel(false).await;
    assert_eq!(client.receive().await, Message::close(1001, "idle"));
    assert_eq!(backend.receive().await, Message::close(1001, "idle"));
    let mut nothing = Vec::new();
    let end = within("the end", backend.stream.read_to_end(&mut nothing)).await;
    assert_eq!(end.expect("close_notify comes before the end"), 0);
    assert_eq!(within("the end", client.try_receive()).await, None);
    stage.ended("idle_timeout", "proxy", 1.0).await;
}

/// What comes with the 101, and what stands before the first read, is not lost between hyper and the tunnel.
#[tokio::test]
async fn what_comes_with_the_answer_is_passed_on() {
    let mut stage = Stage::set("").await;
    let mut client = stage.proxy.connect("plain").await;
    let early = Message::text("early").frame(true);
    let head = crate::kit::handshake("/", "example.com", "");
    client.send([head.as_bytes(), &early].concat()).await;
    let mut call = stage.calls.next().await;
    let answer = crate::kit::switching("");
    let frames: Vec<u8> = (0..50).flat_map(|n: u32| Message::text(&n.to_string()).frame(false)).collect();
    call.send([answer.as_bytes(), &frames].concat()).await;
    call.stream.flush().await.expect("a live stream");
    let head = client.head().await;
    let mut client = WebSocket::client(client, head.rest);
    let mut backend = WebSocket::backend(call.stream, call.head.rest);
    assert_eq!(backend.receive_text().await, "early");
    for number in 0..50 {
        assert_eq!(client.receive_text().await, number.to_string());
    }
    let record = stage.proxy.record("open").await;
    assert_eq!(record["route"], Value::from("all"));
}
