//! Retries: what goes on to another backend, what does not, and what the client gets in the end.

mod bounds;
mod legs;
mod plain_http;

use std::net::SocketAddr;

use crate::kit::{Backend, Call, Client, Head, Proxy, WebSocket, handshake, plain, refusing, within};

/// An answer that a retry may follow, with a field and a body of its own.
const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\nX-Told: by-backend\r\nContent-Length: 4\r\n\r\nbusy";

/// A pool of these backends in turn, whose retries have these keys and no wait.
fn config(backends: &[SocketAddr], keys: &str) -> String {
    let back_off = if keys.contains("back_off") { "" } else { "back_off = \"0s\", " };
    plain(backends) + &format!("balance = \"round-robin\"\nretry = {{ {back_off}{keys} }}\n")
}

/// How many retries had this reason.
fn retries(reason: &str) -> String {
    format!("longhaul_retries_total{{pool=\"all\",reason=\"{reason}\"}}")
}

const REFUSED: &str = "longhaul_retries_refused_total{pool=\"all\"}";

/// Asserts how many retries there were, by reason.
async fn expect_retries(proxy: &Proxy, expected: &[(&str, f64)]) {
    for reason in ["connect", "timeout", "reset", "status"] {
        let wanted = expected.iter().find(|(known, _)| *known == reason).map_or(0.0, |(_, count)| *count);
        assert_eq!(proxy.metric(&retries(reason)).await, wanted, "{reason}");
    }
}

/// A backend that closes every connection when it has read a head.
async fn closing() -> Backend {
    Backend::calls(|call: Call| async move { drop(call) }).await
}

/// A backend that never answers.
async fn hanging() -> Backend {
    Backend::calls(|call: Call| async move { drop(call.rest().await) }).await
}

/// Opens a tunnel; who serves it.
async fn who_serves(proxy: &Proxy) -> (WebSocket<Client>, String) {
    let (mut socket, _) = proxy.connect("plain").await.open("/ws", "example.com", "").await;
    let name = socket.receive_text().await;
    (socket, name)
}

/// The answer to a handshake that opens no tunnel.
async fn declined(proxy: &Proxy) -> (Head, String) {
    let mut client = proxy.connect("plain").await;
    client.send(handshake("/ws", "example.com", "")).await;
    client.answer().await
}

#[tokio::test]
async fn a_handshake_goes_on_for_each_reason() {
    let (_socket, refuses) = refusing();
    let (closes, hangs) = (closing().await, hanging().await);
    let (busy, well) = (Backend::answers(BUSY).await, Backend::echo("well").await);
    for (first, reason) in [
        (refuses, "connect"),
        (closes.address, "reset"),
        (hangs.address, "timeout"),
        (busy.address, "status"),
    ] {
        let keys = "try_timeout = \"20ms\", status = [503]";
        let proxy = Proxy::start(&config(&[first, well.address], keys)).await;
        let (mut socket, name) = who_serves(&proxy).await;
        assert_eq!(name, "well", "{reason}");
        socket.round_trip("hello").await;
        expect_retries(&proxy, &[(reason, 1.0)]).await;
        let handshakes = "longhaul_handshakes_total{route=\"all\",http=\"1.1\",result=\"opened\"}";
        assert_eq!(proxy.metric(handshakes).await, 1.0);
        // The lease on the first one is given back.
        let load = format!("longhaul_backend_tunnels{{pool=\"all\",backend=\"{first}\"}}");
        proxy.wait_metric(&load, 0.0).await;
    }
}

/// Only connections that did not come about lead to another backend then.
#[tokio::test]
async fn without_rules_nothing_that_a_backend_got_goes_on() {
    let (_socket, refuses) = refusing();
    let (closes, well) = (closing().await, Backend::echo("well").await);
    let text = plain(&[refuses, closes.address, well.address]) + "balance = \"round-robin\"\n";
    let proxy = Proxy::start(&text).await;
    assert_eq!(declined(&proxy).await.0.status(), 502);
    expect_retries(&proxy, &[("connect", 1.0)]).await;
    assert_eq!(well.called(), 0);
}

#[tokio::test]
async fn each_backend_gets_the_same_offer() {
    let (first, mut firsts) = Backend::by_hand().await;
    let (second, mut seconds) = Backend::by_hand().await;
    let proxy = Proxy::start(&config(&[first.address, second.address], "status = [503]")).await;
    let mut client = proxy.connect("plain").await;
    client.send(handshake("/ws?a=1", "example.com", "Sec-WebSocket-Protocol: chat\r\nX-Own: 1\r\n")).await;
    let one = firsts.next().await;
    let names =
        ["host", "sec-websocket-key", "sec-websocket-protocol", "sec-websocket-version", "x-own", "upgrade"];
    let offer = |call: &Call| names.map(|name| call.head.get(name).map(str::to_string));
    let (target, offered) = (one.head.target().to_string(), offer(&one));
    one.answer(BUSY).await;
    let other = seconds.next().await;
    assert_eq!((other.head.target(), offer(&other)), (&*target, offered));
    let mut backend = other.accept("Sec-WebSocket-Protocol: chat\r\n").await;
    let head = client.head().await;
    assert_eq!((head.status(), head.get("sec-websocket-protocol")), (101, Some("chat")));
    let mut front = WebSocket::client(client, head.rest);
    front.send(&crate::kit::Message::text("hello")).await;
    assert_eq!(backend.receive_text().await, "hello");
}

/// And not an error of longhaul's own, whatever became of later tries.
#[tokio::test]
async fn the_last_answer_of_a_backend_goes_to_the_client_whole() {
    let (_socket, refuses) = refusing();
    let (busy, closes) = (Backend::answers(BUSY).await, closing().await);
    let other = Backend::answers(BUSY.replace("busy", "full")).await;
    for (backends, body) in [
        (vec![busy.address], "busy"),
        (vec![busy.address, refuses], "busy"),
        (vec![busy.address, closes.address], "busy"),
        (vec![busy.address, closes.address, other.address, refuses], "full"),
    ] {
        let proxy = Proxy::start(&config(&backends, "status = [503]")).await;
        let (head, found) = declined(&proxy).await;
        assert_eq!(
            (head.status(), head.get("retry-after"), head.get("x-told")),
            (503, Some("7"), Some("by-backend"))
        );
        assert_eq!(found, body);
        let record = proxy.record("declined").await;
        let answered = if body == "full" { other.address } else { busy.address };
        assert_eq!((&record["status"], &record["backend"]), (&503.into(), &answered.to_string().into()));
    }
}

#[tokio::test]
async fn statuses_are_answers_unless_they_are_written() {
    for (keys, status) in [("", 503), ("status = [429, \"500-502\"]", 503), ("status = [\"500-599\"]", 101)] {
        let (busy, well) = (Backend::answers(BUSY).await, Backend::echo("well").await);
        let proxy = Proxy::start(&config(&[busy.address, well.address], keys)).await;
        let mut client = proxy.connect("plain").await;
        client.send(handshake("/ws", "example.com", "")).await;
        assert_eq!(client.head().await.status(), status, "{keys}");
    }
}

/// A byte of an answer is an answer: who began one has got the handshake.
#[tokio::test]
async fn nothing_goes_on_after_the_first_byte_of_an_answer() {
    let well = Backend::echo("well").await;
    for hangs in [false, true] {
        let begins = Backend::calls(move |mut call: Call| async move {
            call.send("HTTP/1.1 1").await;
            if hangs {
                call.rest().await;
            }
        })
        .await;
        let keys = "try_timeout = \"20ms\"";
        let text = config(&[begins.address, well.address], keys) + "handshake_timeout = \"200ms\"\n";
        let proxy = Proxy::start(&text).await;
        assert_eq!(declined(&proxy).await.0.status(), if hangs { 504 } else { 502 });
        expect_retries(&proxy, &[]).await;
        assert_eq!(well.called(), 0);
    }
}

/// Nor does a wrong 101: another backend may not be asked whether it is one, too.
#[tokio::test]
async fn a_wrong_101_does_not_go_on() {
    let wrong = Backend::answers(crate::kit::switching("").replace(crate::kit::ACCEPT, "wrong")).await;
    let well = Backend::echo("well").await;
    let proxy = Proxy::start(&config(&[wrong.address, well.address], "status = [\"400-599\"]")).await;
    assert_eq!(declined(&proxy).await.0.status(), 502);
    assert_eq!(well.called(), 0);
}

/// With nobody else to ask, a slow backend has all the time that it has without retries.
#[tokio::test]
async fn a_slow_backend_is_given_up_only_for_another() {
    let (slow, mut calls) = Backend::by_hand().await;
    let proxy = Proxy::start(&config(&[slow.address], "try_timeout = \"1ms\"")).await;
    let mut client = proxy.connect("plain").await;
    client.send(handshake("/ws", "example.com", "")).await;
    let call = calls.next().await;
    // Longer than the try may take.
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    let mut backend = call.accept("").await;
    let head = within("the 101", client.head()).await;
    assert_eq!(head.status(), 101);
    let mut front = WebSocket::client(client, head.rest);
    front.send(&crate::kit::Message::text("late")).await;
    assert_eq!(backend.receive_text().await, "late");
    expect_retries(&proxy, &[]).await;
}
