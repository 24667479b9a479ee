//! The deadlines of an HTTP/2 connection, and its drain.

use rustix::process::Signal;
use tokio::io::AsyncReadExt;

use super::{OK, connect, faults};
use crate::kit::{AT_ONCE, Backend, Http2, Message, Pki, Proxy, plain, secure, within};

/// A proxy with these limits.
async fn limited(backend: &Backend, limits: &str) -> (Proxy, Pki) {
    let pki = Pki::new();
    let certificate = pki.issue(&["chat.example.com"]);
    let config = format!("[limits]\n{limits}\n") + &plain(&[backend.address]) + &secure(&[&certificate]);
    (Proxy::start(&(config + "extended_connect = true\n")).await, pki)
}

#[tokio::test]
async fn who_does_not_begin_or_does_not_ask_is_cut() {
    let backend = Backend::answers(OK).await;
    let (proxy, pki) = limited(&backend, "head_timeout = \"300ms\"").await;
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let settings = "\0\0\0\x04\0\0\0\0\0";
    // A frame's header that is not whole, and a block of fields that does not end.
    let (part, unended) = ("\0\0\x01\x01", "\0\0\x01\x01\x01\0\0\0\x01\x02");
    for (count, beginning) in [
        (1.0, String::new()),
        (2.0, preface[..10].into()),
        (3.0, format!("{preface}{settings}")),
        (4.0, format!("{preface}{settings}{part}")),
        (5.0, format!("{preface}{settings}{unended}")),
    ] {
        let mut client = Http2::secure(proxy.address("secure"), &pki).await;
        client.send(beginning).await;
        let _ = client.rest().await;
        proxy.wait_metric(&faults("head_timeout"), count).await;
    }
    proxy.wait_metric("longhaul_connections_active{listener=\"secure\"}", 0.0).await;
}

#[tokio::test]
async fn a_connection_without_streams_is_closed_and_one_with_a_tunnel_is_not() {
    let (backend, mut calls) = Backend::by_hand().await;
    let (proxy, pki) = limited(&backend, "http2_idle_timeout = \"300ms\"").await;
    let mut busy = connect(&proxy, &pki).await;
    let ((mut ours, _), mut theirs) =
        tokio::join!(busy.open("/ws", &[]), async { calls.next().await.accept("").await });
    let mut idle = connect(&proxy, &pki).await;
    let (reply, ()) = tokio::join!(idle.get("/"), async { calls.next().await.answer(OK).await });
    assert_eq!(reply.body, "ok");
    idle.ended().await.expect("a graceful end");
    ours.send(&Message::text("here")).await;
    assert_eq!(theirs.receive_text().await, "here");
    drop((ours, theirs));
    busy.ended().await.expect("a graceful end");
    assert_eq!(proxy.metric(&faults("head_timeout")).await, 0.0);
}

#[tokio::test]
async fn who_does_not_answer_a_ping_is_cut() {
    let (backend, mut calls) = Backend::by_hand().await;
    let limits = "http2_ping_interval = \"200ms\"\nhttp2_ping_timeout = \"300ms\"";
    let (proxy, pki) = limited(&backend, limits).await;
    let mut alive = connect(&proxy, &pki).await;
    let ((mut ours, _), mut theirs) =
        tokio::join!(alive.open("/ws", &[]), async { calls.next().await.accept("").await });
    let mut silent = Http2::secure(proxy.address("secure"), &pki).await;
    silent.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    let _ = silent.rest().await;
    proxy.wait_metric(&faults("ping_timeout"), 1.0).await;
    ours.send(&Message::text("here")).await;
    assert_eq!(theirs.receive_text().await, "here");
}

#[tokio::test]
async fn at_the_drain_tunnels_are_asked_to_go_and_no_new_streams_come() {
    let (backend, mut calls) = Backend::by_hand().await;
    let pki = Pki::new();
    let certificate = pki.issue(&["chat.example.com"]);
    let config = AT_ONCE.to_string() + &plain(&[backend.address]) + &secure(&[&certificate]);
    let mut proxy = Proxy::start(&(config + "extended_connect = true\n")).await;
    let mut client = connect(&proxy, &pki).await;
    let ((mut ours, _), mut theirs) =
        tokio::join!(client.open("/ws", &[]), async { calls.next().await.accept("").await });
    let idle = connect(&proxy, &pki).await;
    proxy.signal(Signal::TERM);
    idle.ended().await.expect("a graceful end");
    let refused = within("GOAWAY", async {
        loop {
            match std::future::poll_fn(|context| client.requests.poll_ready(context)).await {
                Ok(()) => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
                Err(error) => break error,
            }
        }
    });
    assert_eq!(refused.await.reason(), Some(h2::Reason::NO_ERROR));
    assert_eq!(ours.receive().await, Message::close(1001, ""));
    ours.send(&Message::text("still here")).await;
    assert_eq!(theirs.receive_text().await, "still here");
    drop(ours);
    let _ = within("the end", theirs.stream.read_to_end(&mut Vec::new())).await;
    drop(theirs);
    client.ended().await.expect("a graceful end");
    assert!(proxy.ended().await.success());
}
