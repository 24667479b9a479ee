//! Plain requests: which of them go on.

use super::{BUSY, closing, config, expect_retries};
use crate::kit::{Backend, Call, Http2, Pki, Proxy, Reply, refusing, secure};

const ROUND_ROBIN: &str = "balance = \"round-robin\"\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nwell";

fn request(method: &str, body: &str) -> String {
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    format!("{method} / HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n{length}\r\n{body}")
}

/// What the client gets, and how many requests the second backend got.
async fn ask(first: std::net::SocketAddr, request: &str) -> (Proxy, u16, String, usize) {
    let well = Backend::answers(OK).await;
    let proxy = Proxy::start(&config(&[first, well.address], "status = [503]")).await;
    let (head, body) = proxy.connect("plain").await.request(request).await;
    (proxy, head.status(), body, well.called())
}

#[tokio::test]
async fn idempotent_requests_go_on() {
    let (_socket, refuses) = refusing();
    let (closes, busy) = (closing().await, Backend::answers(BUSY).await);
    for (first, reason) in [(refuses, "connect"), (closes.address, "reset"), (busy.address, "status")] {
        for method in ["GET", "PUT", "DELETE"] {
            let (proxy, status, body, _) = ask(first, &request(method, "")).await;
            assert_eq!((status, &*body), (200, "well"), "{method} {reason}");
            expect_retries(&proxy, &[(reason, 1.0)]).await;
        }
    }
}

#[tokio::test]
async fn others_do_not_unless_nobody_has_got_them() {
    let (_socket, refuses) = refusing();
    let (closes, busy) = (closing().await, Backend::answers(BUSY).await);
    for body in ["", "body"] {
        let (proxy, status, ..) = ask(refuses, &request("POST", body)).await;
        assert_eq!(status, 200);
        expect_retries(&proxy, &[("connect", 1.0)]).await;
        for (first, expected) in [(closes.address, 502), (busy.address, 503)] {
            let (proxy, status, _, called) = ask(first, &request("POST", body)).await;
            assert_eq!((status, called), (expected, 0));
            expect_retries(&proxy, &[]).await;
        }
    }
}

/// What has been taken from the client is gone.
#[tokio::test]
async fn a_body_that_went_out_goes_nowhere_else() {
    let reads = Backend::calls(|mut call: Call| async move {
        let mut body = std::mem::take(&mut call.head.rest);
        while body.len() < 4 {
            assert_ne!(
                tokio::io::AsyncReadExt::read_buf(&mut call.stream, &mut body).await.expect("a body"),
                0
            );
        }
        if body == b"busy" {
            call.answer(BUSY).await;
        }
    })
    .await;
    for (body, expected) in [("busy", 503), ("ends", 502)] {
        let (proxy, status, _, called) = ask(reads.address, &request("PUT", body)).await;
        assert_eq!((status, called), (expected, 0));
        expect_retries(&proxy, &[]).await;
    }
}

/// Its body is still the client's: it goes whole, and once, to who takes it.
#[tokio::test]
async fn a_post_whose_body_has_not_begun_goes_on() {
    for (length, body, part) in [
        ("Content-Length: 4", "body", "bo"),
        ("Transfer-Encoding: chunked", "4\r\nbody\r\n0\r\n\r\n", "4\r\nbo"),
    ] {
        let head = format!("POST / HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n{length}\r\n\r\n");
        let closes = closing().await;
        let (well, mut calls) = Backend::by_hand().await;
        let proxy = Proxy::start(&config(&[closes.address, well.address], "")).await;
        let mut client = proxy.connect("plain").await;
        client.send(&head).await;
        let mut call = calls.next().await;
        assert_eq!((call.head.line.as_str(), &*call.head.rest), ("POST / HTTP/1.1", &b""[..]));
        client.send(body).await;
        assert_eq!(call.head.clone().body(&mut call.stream).await.0, b"body");
        call.answer(OK).await;
        assert_eq!(client.answer().await.1, "well");
        expect_retries(&proxy, &[("reset", 1.0)]).await;
        assert_eq!((closes.called(), well.called()), (1, 1));

        // Without rules, and with a part of the body at the backend, it ends there.
        let (first, mut firsts) = Backend::by_hand().await;
        for (rules, sent) in [(false, ""), (true, part)] {
            let text = config(&[first.address, well.address], "");
            let proxy = match rules {
                true => Proxy::start(&text).await,
                false => {
                    Proxy::start(&(crate::kit::plain(&[first.address, well.address]) + ROUND_ROBIN)).await
                }
            };
            let mut client = proxy.connect("plain").await;
            client.send(&head).await;
            let mut call = firsts.next().await;
            if !sent.is_empty() {
                client.send(sent).await;
                let mut got = std::mem::take(&mut call.head.rest);
                crate::kit::read_until(&mut call.stream, &mut got, "bo").await;
            }
            drop(call);
            assert_eq!(client.head().await.status(), 502, "{sent:?}");
            expect_retries(&proxy, &[]).await;
        }
        assert_eq!(well.called(), 1);
    }
}

/// The same over HTTP/2, whose bodies have no end that their heads would tell.
#[tokio::test]
async fn the_same_over_http2() {
    let (pki, closes) = (Pki::new(), closing().await);
    let (well, mut calls) = Backend::by_hand().await;
    let text = config(&[closes.address, well.address], "");
    let proxy = Proxy::start(&(secure(&[&pki.issue(&["chat.example.com"])]) + &text)).await;
    let mut client = Http2::connect(proxy.address("secure"), &pki).await;
    let post = http::Request::post("https://chat.example.com/").version(http::Version::HTTP_2);
    let (answer, mut sender) = client.send(post.body(()).expect("a request"), false).await;
    let mut call = calls.next().await;
    sender.send_data("body".into(), true).expect("a live stream");
    assert_eq!(call.head.clone().body(&mut call.stream).await.0, b"body");
    call.answer(OK).await;
    assert_eq!(Reply::read(answer).await.expect("an answer").body, "well");
    expect_retries(&proxy, &[("reset", 1.0)]).await;
}

/// It is the client's 503, with all that belongs to it.
#[tokio::test]
async fn the_last_answer_is_the_clients() {
    let (busy, closes) = (Backend::answers(BUSY).await, closing().await);
    let proxy = Proxy::start(&config(&[busy.address, closes.address], "status = [503]")).await;
    let (head, body) = proxy.connect("plain").await.request(request("GET", "")).await;
    assert_eq!((head.status(), head.get("retry-after"), &*body), (503, Some("7"), "busy"));
    expect_retries(&proxy, &[("status", 1.0)]).await;
}

/// An answer that has begun is the client's, whatever becomes of it.
#[tokio::test]
async fn an_answer_that_breaks_off_does_not_go_on() {
    let breaks = Backend::answers("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").await;
    let well = Backend::answers(OK).await;
    let proxy = Proxy::start(&config(&[breaks.address, well.address], "status = [503]")).await;
    let mut client = proxy.connect("plain").await;
    client.send(request("GET", "")).await;
    assert_eq!(client.head().await.status(), 200);
    drop(client.rest().await);
    assert_eq!(well.called(), 0);
    expect_retries(&proxy, &[]).await;
}

/// Silence is what long polling is made of.
#[tokio::test]
async fn a_silent_backend_keeps_a_plain_request() {
    let (slow, mut calls) = Backend::by_hand().await;
    let well = Backend::answers(OK).await;
    let proxy = Proxy::start(&config(&[slow.address, well.address], "try_timeout = \"1ms\"")).await;
    let mut client = proxy.connect("plain").await;
    client.send(request("GET", "")).await;
    let call = calls.next().await;
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    call.answer("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow").await;
    assert_eq!(client.answer().await.1, "slow");
    assert_eq!(well.called(), 0);
}
