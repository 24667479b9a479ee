//! How the two sides of a WebSocket over HTTP/2 end, and what becomes of what came too early.

use std::future::poll_fn;
use std::time::Duration;

use h2::Reason;
use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{OK, connect, raw};
use crate::kit::frames::{
    CONNECT, DATA, END_HEADERS, END_STREAM, HEADERS, NO_ERROR, Outcome, SETTINGS, block,
};
use crate::kit::{Backend, Message, Pki, Proxy, WebSocket, plain, secure, within};

/// A proxy with WebSockets over HTTP/2 that gives a client so long to end its side.
async fn patient(backend: &Backend, patience: &str, inspect: &str) -> (Proxy, Pki) {
    let pki = Pki::new();
    let certificate = pki.issue(&["chat.example.com"]);
    let route = format!("name = \"all\"\nhalf_close_timeout = \"{patience}\"\ninspect = \"{inspect}\"\npool");
    let config = plain(&[backend.address]).replace("name = \"all\"\npool", &route);
    let proxy = Proxy::start(&(config + &secure(&[&certificate]) + "extended_connect = true\n")).await;
    (proxy, pki)
}

/// Ends the backend's connection by a reset.
fn reset(backend: WebSocket<TcpStream>) {
    SockRef::from(&backend.stream).set_linger(Some(Duration::ZERO)).unwrap();
}

#[tokio::test]
async fn after_the_close_frames_the_clients_end_is_awaited_and_only_so_long() {
    let (backend, mut calls) = Backend::by_hand().await;
    for (patience, client_ends) in [("20s", true), ("300ms", false)] {
        let (proxy, pki) = patient(&backend, patience, "observe").await;
        let mut client = connect(&proxy, &pki).await;
        let ((mut ours, _), mut theirs) =
            tokio::join!(client.open("/ws", &[]), async { calls.next().await.accept("").await });
        ours.send(&Message::close(1000, "")).await;
        assert_eq!(theirs.receive().await, Message::close(1000, ""));
        theirs.send(&Message::close(1000, "")).await;
        assert_eq!(ours.receive().await, Message::close(1000, ""));
        reset(theirs);
        // The tunnel is over, and for the client it ends as such a tunnel should.
        let closed = "longhaul_tunnels_closed_total{route=\"all\",reason=\"closed\",initiator=\"client\"}";
        proxy.wait_metric(closed, 1.0).await;
        assert_eq!(within("END_STREAM", ours.try_receive()).await, None);
        assert_eq!(ours.stream.reset, None);
        let reset = poll_fn(|context| ours.stream.sender.poll_reset(context));
        if client_ends {
            assert!(timeout(Duration::from_millis(300), reset).await.is_err(), "it was not awaited");
            ours.stream.shutdown().await.expect("the stream still takes an end");
        } else {
            // RFC 9113 8.1: what was said is complete; nobody listens any more.
            assert_eq!(within("a reset", reset).await.expect("a reset"), Reason::NO_ERROR);
        }
        let (reply, ()) = tokio::join!(client.get("/"), async { calls.next().await.answer(OK).await });
        assert_eq!(reply.body, "ok");
    }
}

#[tokio::test]
async fn a_side_that_does_not_follow_the_others_end_is_cut() {
    let (backend, mut calls) = Backend::by_hand().await;
    let (proxy, pki) = patient(&backend, "300ms", "off").await;
    let mut client = connect(&proxy, &pki).await;
    let ((mut ours, _), mut theirs) =
        tokio::join!(client.open("/ws", &[]), async { calls.next().await.accept("").await });
    theirs.stream.shutdown().await.unwrap();
    assert_eq!(within("END_STREAM", ours.try_receive()).await, None);
    assert_eq!(ours.stream.reset, None);
    let reset = poll_fn(|context| ours.stream.sender.poll_reset(context));
    assert_eq!(within("a reset", reset).await.expect("a reset"), Reason::NO_ERROR);
    let closed =
        "longhaul_tunnels_closed_total{route=\"all\",reason=\"half_close_timeout\",initiator=\"proxy\"}";
    proxy.wait_metric(closed, 1.0).await;
    assert!(!client.is_over());
}

#[tokio::test]
async fn an_end_that_comes_with_the_handshake_is_an_end() {
    let (backend, mut calls) = Backend::by_hand().await;
    let (proxy, pki) = patient(&backend, "20s", "off").await;
    let mut client = raw(&proxy, &pki).await;
    client.send(HEADERS, END_STREAM | END_HEADERS, 1, &block(&CONNECT)).await;
    let mut theirs = calls.next().await.accept("").await;
    assert_eq!(client.outcome(1).await, Outcome::Answered(200));
    assert_eq!(within("the end", theirs.try_receive()).await, None);
    theirs.send(&Message::text("late")).await;
    theirs.stream.shutdown().await.unwrap();
    let mut seen = Vec::new();
    loop {
        match client.receive().await.expect("END_STREAM") {
            (DATA, flags, 1, payload) => {
                seen.extend(payload);
                if flags & END_STREAM != 0 {
                    break;
                }
            }
            (kind, _, stream, _) => assert!(stream != 1, "{kind}"),
        }
    }
    assert_eq!(seen, Message::text("late").frame(false));
}

#[tokio::test]
async fn what_comes_before_the_200_waits_for_it() {
    let (backend, mut calls) = Backend::by_hand().await;
    let (proxy, pki) = patient(&backend, "20s", "off").await;
    let mut client = raw(&proxy, &pki).await;
    let early = Message::text("early").frame(true);
    for (stream, accepts) in [(1, true), (3, false)] {
        client.send(HEADERS, END_HEADERS, stream, &block(&CONNECT)).await;
        client.send(DATA, 0, stream, &early).await;
        let call = calls.next().await;
        if accepts {
            let mut theirs = call.accept("").await;
            assert_eq!(theirs.receive_text().await, "early");
            assert_eq!(client.outcome(stream).await, Outcome::Answered(200));
        } else {
            // What was meant for a tunnel is no request.
            let mut call = call;
            call.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").await;
            assert_eq!(client.outcome(stream).await, Outcome::Answered(403));
            assert_eq!(client.outcome(stream).await, Outcome::Reset(NO_ERROR));
            assert_eq!(call.rest().await, b"");
        }
    }
}

#[tokio::test]
async fn the_first_settings_say_whether_it_is_offered() {
    let backend = Backend::answers(OK).await;
    for offered in [true, false] {
        let pki = Pki::new();
        let certificate = pki.issue(&["chat.example.com"]);
        let key = format!("extended_connect = {offered}\n");
        let proxy = Proxy::start(&(plain(&[backend.address]) + &secure(&[&certificate]) + &key)).await;
        let mut client = raw(&proxy, &pki).await;
        let (kind, flags, stream, settings) = client.receive().await.expect("SETTINGS");
        assert_eq!((kind, flags, stream), (SETTINGS, 0, 0));
        // RFC 8441 3: SETTINGS_ENABLE_CONNECT_PROTOCOL is 8.
        let connect = settings.chunks(6).find(|setting| setting[..2] == [0, 8]);
        assert_eq!(connect, offered.then_some(&[0, 8, 0, 0, 0, 1][..]));
    }
}
