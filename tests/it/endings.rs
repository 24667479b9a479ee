//! How tunnels end: who ended them, in what way, and that through a pipe each end reaches the other side as what it is.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use serde_json::Value;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::kit::{Backend, Calls, Client, Message, Pki, Proxy, WebSocket, plain, secure, within};

type Ends = (WebSocket<Client>, WebSocket<TcpStream>);

/// Nothing is known of frames, so nothing is told by a Close.
const PIPE: &str = "inspect = \"off\"\n";

struct Stage {
    proxy: Proxy,
    calls: Calls,
    pki: Pki,
    _backend: Backend,
}

impl Stage {
    /// A proxy whose route has these further lines, in front of a backend that the test plays.
    async fn set(route: &str) -> Stage {
        let ((backend, calls), pki) = (Backend::by_hand().await, Pki::new());
        let certificate = pki.issue(&["example.com"]);
        let route = format!("name = \"all\"\n{route}pool");
        let config = plain(&[backend.address]).replace("name = \"all\"\npool", &route);
        let proxy = Proxy::start(&(config + &secure(&[&certificate]))).await;
        Stage { proxy, calls, pki, _backend: backend }
    }

    async fn tunnel(&mut self, tls: bool) -> Ends {
        let client = match tls {
            true => Client::connect_tls(self.proxy.address("secure"), &self.pki, "example.com").await,
            false => self.proxy.connect("plain").await,
        };
        self.calls.tunnel(client, "", "").await
    }

    /// Waits for the records of `count` tunnels' ends: reason and initiator are those of the last, and are counted.
    async fn ended(&self, count: usize, reason: &str, initiator: &str) -> Value {
        let closed = || {
            let lines = self.proxy.log();
            lines.into_iter().filter(|line| line["message"] == "close").collect::<Vec<_>>()
        };
        let ended = async {
            while closed().len() < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        within("the record of an end", ended).await;
        let record = closed().remove(count - 1);
        let ending = (record["reason"].as_str(), record["initiator"].as_str());
        assert_eq!(ending, (Some(reason), Some(initiator)), "{record}");
        let series = format!(
            "longhaul_tunnels_closed_total{{route=\"all\",reason=\"{reason}\",initiator=\"{initiator}\"}}"
        );
        assert!(self.proxy.metric(&series).await >= 1.0);
        record
    }
}

#[tokio::test]
async fn a_closing_handshake_is_a_clean_end_by_whoever_began_it() {
    let mut stage = Stage::set("").await;
    for (count, (tls, code)) in [(false, 1000), (true, 4001)].into_iter().enumerate() {
        let (client, backend) = stage.tunnel(tls).await;
        let (closing, echoing) = (client.close(code), backend.echo());
        tokio::join!(closing, echoing);
        let record = stage.ended(2 * count + 1, "closed", "client").await;
        assert_eq!(record["close_code"], code);

        let (client, backend) = stage.tunnel(tls).await;
        tokio::join!(backend.close(code), client.echo());
        let record = stage.ended(2 * count + 2, "closed", "backend").await;
        assert_eq!(record["close_code"], code);
    }
}

#[tokio::test]
async fn an_end_without_a_close_frame_is_told_from_a_clean_one() {
    let mut stage = Stage::set(PIPE).await;
    for (count, tls) in [(1, false), (3, true)] {
        let (mut client, mut backend) = stage.tunnel(tls).await;
        client.stream.shutdown().await.expect("a live stream");
        assert_eq!(within("the end", backend.try_receive()).await, None);
        drop(backend);
        assert!(client.stream.rest().await.1.is_ok());
        stage.ended(count, "ended", "client").await;

        let (mut client, mut backend) = stage.tunnel(tls).await;
        backend.stream.shutdown().await.expect("a live stream");
        assert_eq!(within("the end", client.try_receive()).await, None);
        client.stream.shutdown().await.expect("a live stream");
        assert_eq!(within("the end", backend.try_receive()).await, None);
        let record = stage.ended(count + 1, "ended", "backend").await;
        assert_eq!(record["close_code"], Value::Null);
    }
}

/// TLS tells an end from a cut (RFC 8446 6.1).
#[tokio::test]
async fn a_tls_client_that_goes_without_a_word_is_truncated() {
    let mut stage = Stage::set(PIPE).await;
    let (client, mut backend) = stage.tunnel(true).await;
    rustix::net::shutdown(client.stream.tcp(), rustix::net::Shutdown::Write).expect("a live socket");
    assert_eq!(within("the end", backend.try_receive()).await, None);
    drop(backend);
    stage.ended(1, "truncated", "client").await;
}

#[tokio::test]
async fn after_one_side_has_ended_the_other_may_go_on() {
    let mut stage = Stage::set(PIPE).await;
    for tls in [false, true] {
        let (mut client, mut backend) = stage.tunnel(tls).await;
        client.send(&Message::text("my last")).await;
        client.stream.shutdown().await.expect("a live stream");
        assert_eq!(backend.receive_text().await, "my last");
        assert_eq!(within("the end", backend.try_receive()).await, None);
        for number in 0..100 {
            let text = number.to_string();
            backend.send(&Message::text(&text)).await;
            assert_eq!(client.receive_text().await, text);
        }
        backend.stream.shutdown().await.expect("a live stream");
        assert_eq!(within("the end", client.try_receive()).await, None);

        let (mut client, mut backend) = stage.tunnel(tls).await;
        backend.stream.shutdown().await.expect("a live stream");
        assert_eq!(within("the end", client.try_receive()).await, None);
        for number in 0..100 {
            let text = number.to_string();
            client.send(&Message::text(&text)).await;
            assert_eq!(backend.receive_text().await, text);
        }
    }
}

#[tokio::test]
async fn but_not_for_longer_than_half_close_timeout() {
    let mut stage = Stage::set(&format!("{PIPE}half_close_timeout = \"300ms\"\n")).await;
    for (count, (tls, client_first)) in
        [(false, true), (false, false), (true, true), (true, false)].into_iter().enumerate()
    {
        let (mut client, mut backend) = stage.tunnel(tls).await;
        let frame = Message::text("still here").frame(!client_first);
        // The other side never stops by itself: its bytes keep no half-closed tunnel alive.
        let going_on = async {
            if client_first {
                client.stream.shutdown().await.expect("a live stream");
                while backend.stream.write_all(&frame).await.is_ok() {
                    let _ = client.stream.read(&mut [0; 100]).await;
                }
            } else {
                backend.stream.shutdown().await.expect("a live stream");
                while client.stream.write_all(&frame).await.is_ok() {
                    let _ = backend.stream.read(&mut [0; 100]).await;
                }
            }
        };
        within("the end", going_on).await;
        let record = stage.ended(count + 1, "half_close_timeout", "proxy").await;
        assert!(record["lived_ms"].as_f64().expect("a number") >= 200.0, "{record}");
    }
}

/// After both Close frames there is nothing to wait for, be it that nobody ends its connection, or the backend alone.
#[tokio::test]
async fn who_has_closed_is_not_waited_for() {
    let mut stage = Stage::set("close_timeout = \"300ms\"\nhalf_close_timeout = \"1h\"\n").await;
    let cases = [(false, false), (false, true), (true, false), (true, true)];
    for (count, (tls, backend_ends)) in cases.into_iter().enumerate() {
        let (mut client, mut backend) = stage.tunnel(tls).await;
        client.send(&Message::close(1000, "")).await;
        assert_eq!(backend.receive().await, Message::close(1000, ""));
        backend.send(&Message::close(1000, "")).await;
        assert_eq!(client.receive().await, Message::close(1000, ""));
        if backend_ends {
            backend.stream.shutdown().await.expect("a live stream");
        }
        let record = stage.ended(count + 1, "closed", "client").await;
        assert_eq!((&record["clean"], &record["close_code"]), (&true.into(), &1000.into()), "{record}");
        // An end, over TLS with close_notify before it.
        for read in [client.stream.read(&mut [0]).await, backend.stream.read(&mut [0]).await] {
            assert_eq!(read.expect("an end that is no cut"), 0);
        }
    }
}

/// A Close that is not answered is answered by longhaul, when the other side has had its time.
#[tokio::test]
async fn a_close_is_not_awaited_for_ever() {
    let mut stage = Stage::set("close_timeout = \"300ms\"\nhalf_close_timeout = \"300ms\"\n").await;
    for (count, (tls, by_client)) in
        [(false, false), (false, true), (true, false), (true, true)].into_iter().enumerate()
    {
        let (mut client, mut backend) = stage.tunnel(tls).await;
        let close = Message::close(1000, "");
        if by_client {
            client.send(&close).await;
            assert_eq!(backend.receive().await, close);
            assert_eq!(client.receive().await, close);
        } else {
            backend.send(&close).await;
            assert_eq!(client.receive().await, close);
            assert_eq!(backend.receive().await, close);
        }
        stage.ended(count + 1, "half_close_timeout", "proxy").await;
    }
}

/// A backend that ends speaks no TLS: what its client does afterwards is no cut of it.
#[tokio::test]
async fn only_who_ended_first_may_have_been_cut() {
    let mut stage = Stage::set("").await;
    let (mut client, backend) = stage.tunnel(true).await;
    drop(backend);
    assert_eq!(client.receive().await, Message::close(1011, ""));
    drop(client);
    stage.ended(1, "ended", "backend").await;
}

/// Closes the connection by a reset.
fn reset(socket: impl std::os::fd::AsFd) {
    SockRef::from(&socket).set_linger(Some(Duration::ZERO)).expect("a live socket");
}

#[tokio::test]
async fn a_reset_arrives_as_a_reset() {
    let mut stage = Stage::set(PIPE).await;
    for (count, tls) in [(1, false), (3, true)] {
        let (client, mut backend) = stage.tunnel(tls).await;
        reset(client.stream.tcp());
        drop(client);
        let error = within("a reset", backend.stream.read(&mut [0])).await.expect_err("a reset is an error");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "tls: {tls}");
        stage.ended(count, "reset", "client").await;

        let (mut client, backend) = stage.tunnel(tls).await;
        reset(&backend.stream);
        drop(backend);
        let (_, ended) = client.stream.rest().await;
        assert_eq!(ended.expect_err("a reset is an error").kind(), ErrorKind::ConnectionReset, "tls: {tls}");
        stage.ended(count + 1, "reset", "backend").await;
    }
}

#[tokio::test]
async fn a_reset_after_both_close_frames_is_a_clean_end() {
    let mut stage = Stage::set("").await;
    // Whoever closed first has ended it, not who resets.
    for (count, by) in [(1, "client"), (2, "backend")] {
        let (mut client, mut backend) = stage.tunnel(false).await;
        let close = Message::close(1000, "");
        if by == "client" {
            client.send(&close).await;
            assert_eq!(backend.receive().await, close);
            backend.send(&close).await;
            assert_eq!(client.receive().await, close);
        } else {
            backend.send(&close).await;
            assert_eq!(client.receive().await, close);
            client.send(&close).await;
            assert_eq!(backend.receive().await, close);
        }
        reset(client.stream.tcp());
        drop(client);
        let _ = within("the end", backend.try_receive()).await;
        stage.ended(count, "closed", by).await;
    }
}

#[tokio::test]
async fn a_tunnel_without_traffic_ends_at_idle_timeout() {
    let mut stage = Stage::set("idle_timeout = \"300ms\"\nclose_timeout = \"300ms\"\n").await;
    for (count, tls) in [(1, false), (2, true)] {
        let (mut client, mut backend) = stage.tunnel(tls).await;
        // Neither answers.
        assert_eq!(client.receive().await, Message::close(1001, "idle"));
        assert_eq!(backend.receive().await, Message::close(1001, "idle"));
        assert_eq!(within("the end", client.try_receive()).await, None);
        assert_eq!(within("the end", backend.try_receive()).await, None);
        let record = stage.ended(count, "idle_timeout", "proxy").await;
        assert!(record["lived_ms"].as_f64().expect("a number") >= 300.0, "{record}");
    }
}

#[tokio::test]
async fn traffic_in_either_direction_moves_the_idle_deadline() {
    let mut stage = Stage::set("idle_timeout = \"1s\"\nclose_timeout = \"100ms\"\n").await;
    let (mut sending_client, mut receiving_backend) = stage.tunnel(false).await;
    let (mut receiving_client, mut sending_backend) = stage.tunnel(false).await;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(2500) {
        sending_client.send(&Message::text("here")).await;
        assert_eq!(receiving_backend.receive_text().await, "here");
        sending_backend.send(&Message::text("here")).await;
        assert_eq!(receiving_client.receive_text().await, "here");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(sending_client.receive().await, Message::close(1001, "idle"));
    assert_eq!(receiving_client.receive().await, Message::close(1001, "idle"));
    for count in [1, 2] {
        let record = stage.ended(count, "idle_timeout", "proxy").await;
        // The tunnels' clock may be a tenth of a second behind.
        assert!(record["lived_ms"].as_f64().expect("a number") >= 2500.0 + 1000.0 - 200.0, "{record}");
    }
}
