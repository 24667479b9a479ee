//! HTTP/2 towards clients: where it is spoken, and what its requests become.

mod clocks;
mod ends;
mod floods;
mod limits;
mod rules;
mod tunnel;

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use socket2::SockRef;
use tokio::io::AsyncWriteExt;

use crate::kit::frames::{DATA, END_HEADERS, END_STREAM, Frames, GET, HEADERS, Outcome, block, frame};
use crate::kit::{Backend, Client, Http2, Pki, Proxy, Reply, Resumption, plain, read_until, secure, within};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A proxy with a listener `secure` that has these further keys in its TLS, before one backend.
async fn proxy(backend: &Backend, keys: &str) -> (Proxy, Pki) {
    proxy_with(&plain(&[backend.address]), keys).await
}

/// The same, and nothing is known of frames.
async fn pipe(backend: &Backend, keys: &str) -> (Proxy, Pki) {
    let route = "name = \"all\"\ninspect = \"off\"\npool";
    proxy_with(&plain(&[backend.address]).replace("name = \"all\"\npool", route), keys).await
}

async fn proxy_with(config: &str, keys: &str) -> (Proxy, Pki) {
    let pki = Pki::new();
    let certificate = pki.issue(&["chat.example.com"]);
    let config = config.to_string() + &secure(&[&certificate]) + keys;
    (Proxy::start(&config).await, pki)
}

async fn connect(proxy: &Proxy, pki: &Pki) -> Http2 {
    Http2::connect(proxy.address("secure"), pki).await
}

/// A connection on which the test writes the frames.
async fn raw(proxy: &Proxy, pki: &Pki) -> Frames {
    Frames::begin(Http2::secure(proxy.address("secure"), pki).await).await
}

fn faults(reason: &str) -> String {
    format!("longhaul_connection_errors_total{{listener=\"secure\",reason=\"{reason}\"}}")
}

#[tokio::test]
async fn requests_become_requests_of_http_1() {
    let (backend, mut calls) = Backend::by_hand().await;
    let (proxy, pki) = proxy(&backend, "").await;
    let mut client = connect(&proxy, &pki).await;
    let fields =
        [("cookie", "a=1"), ("x-kept", "1"), ("cookie", "b=2; c=3"), ("te", "trailers"), ("x-kept", "2")];
    let (reply, call) = tokio::join!(client.request("GET", "/page?q=1", &fields, ""), async {
        let call = calls.next().await;
        let head = call.head.clone();
        call.answer(OK.replacen("\r\n", "\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nX-Own: 1\r\n", 1)).await;
        head
    });
    assert_eq!((reply.status, &*reply.body, reply.get("x-own")), (200, "ok", Some("1")));
    assert_eq!((reply.get("content-length"), &reply.trailers), (Some("2"), &None));
    assert!(reply.get("connection").or(reply.get("x-hop")).is_none(), "{reply:?}");
    assert_eq!(call.line, "GET /page?q=1 HTTP/1.1");
    assert_eq!(call.get("host"), Some("chat.example.com"));
    assert_eq!(call.get("cookie"), Some("a=1; b=2; c=3"));
    assert_eq!(call.all("x-kept"), ["1", "2"]);
    assert_eq!(call.get("x-forwarded-proto"), Some("https"));
    for name in ["te", "connection", "transfer-encoding", "content-length"] {
        assert_eq!(call.get(name), None, "{name}");
    }
    let record = proxy.record("request").await;
    assert_eq!(
        (&record["http"], &record["status"], &record["host"]),
        (&"2".into(), &200.into(), &"chat.example.com".into())
    );
    proxy.wait_metric("longhaul_requests_total{route=\"all\",result=\"2xx\"}", 1.0).await;
}

#[tokio::test]
async fn alpn_decides_and_the_listener_may_say_no() {
    let backend = Backend::answers(OK).await;
    for (keys, agreed) in [("", &b"h2"[..]), ("http2 = false\n", b"http/1.1")] {
        let (proxy, pki) = proxy(&backend, keys).await;
        let browser = Resumption::offering(&pki, rustls::ALL_VERSIONS, &["http/1.1", "h2"]);
        let connected = within("TLS", browser.connect(proxy.address("secure"), "chat.example.com")).await;
        assert_eq!(connected.expect("TLS").tls().expect("TLS").2.as_deref(), Some(agreed), "{keys}");
        let mut older = Client::connect_tls(proxy.address("secure"), &pki, "chat.example.com").await;
        older.send("GET /old HTTP/1.1\r\nHost: chat.example.com\r\n\r\n").await;
        assert_eq!(older.answer().await.1, "ok");
        assert_eq!(proxy.record("request").await["http"], "1.1");
    }
}

#[tokio::test]
async fn http_2_without_tls_is_closed_and_counted() {
    let backend = Backend::answers(OK).await;
    let (proxy, _) = proxy(&backend, "").await;
    let mut client = proxy.connect("plain").await;
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    let (answer, _) = client.rest().await;
    assert!(!answer.starts_with(b"HTTP/1.1 2"), "{}", String::from_utf8_lossy(&answer));
    proxy
        .wait_metric("longhaul_connection_errors_total{listener=\"plain\",reason=\"http2_preface\"}", 1.0)
        .await;
    assert_eq!(backend.called(), 0);
}

#[tokio::test]
async fn who_leaves_between_streams_is_no_fault_however_it_goes() {
    let (backend, mut calls) = Backend::by_hand().await;
    let (proxy, pki) = proxy(&backend, "").await;
    let request = frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&GET));
    for reset in [false, true] {
        for asks in [false, true] {
            let mut client = Http2::secure(proxy.address("secure"), &pki).await;
            if asks {
                let mut frames = Frames::begin(client).await;
                frames.0.send(&request).await;
                calls.next().await.answer(OK).await;
                while frames
                    .receive()
                    .await
                    .is_some_and(|(kind, flags, ..)| (kind, flags) != (DATA, END_STREAM))
                {}
                client = frames.0;
            }
            if reset {
                SockRef::from(client.tcp()).set_linger(Some(Duration::ZERO)).expect("a live socket");
            }
            // Without close_notify, as curl does.
            drop(client);
        }
    }
    proxy.wait_metric("longhaul_connections_active{listener=\"secure\"}", 0.0).await;
    assert_eq!(proxy.metric(&faults("broken")).await, 0.0);
    let mut frames = Frames::begin(Http2::secure(proxy.address("secure"), &pki).await).await;
    frames.0.send(&request).await;
    let _held = calls.next().await;
    drop(frames);
    proxy.wait_metric(&faults("broken"), 1.0).await;
}

#[tokio::test]
async fn http_2_that_was_not_agreed_on_is_closed_and_counted() {
    let backend = Backend::answers(OK).await;
    // ALPN that names something else, none, and a listener that does not offer it.
    for (keys, names) in [("", &["http/1.1"][..]), ("", &[]), ("http2 = false\n", &["http/1.1", "h2"])] {
        let (proxy, pki) = proxy(&backend, keys).await;
        let offering = Resumption::offering(&pki, rustls::ALL_VERSIONS, names);
        let connected = within("TLS", offering.connect(proxy.address("secure"), "chat.example.com")).await;
        let mut client = connected.expect("TLS");
        client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
        let _ = client.rest().await;
        proxy.wait_metric(&faults("http2_preface"), 1.0).await;
        // h2c asks for it in HTTP/1.1, and is not heard (RFC 9110 7.8).
        let mut client = Client::connect_tls(proxy.address("secure"), &pki, "chat.example.com").await;
        let asks =
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
        client.send(format!("GET / HTTP/1.1\r\nHost: chat.example.com\r\n{asks}\r\n")).await;
        assert_eq!(client.answer().await.1, "ok");
    }
    assert_eq!(backend.called(), 3);
}

#[tokio::test]
async fn who_waits_for_leave_to_send_a_body_gets_it() {
    let (backend, mut calls) = Backend::by_hand().await;
    let (proxy, pki) = proxy(&backend, "").await;
    let mut client = connect(&proxy, &pki).await;
    let post = || {
        let request = http::Request::builder().method("POST").uri("https://chat.example.com/");
        request.header("expect", "100-continue").header("content-length", "4").body(()).unwrap()
    };
    let (mut answer, mut sender) = client.send(post(), false).await;
    let mut call = calls.next().await;
    assert_eq!(call.head.get("expect"), Some("100-continue"));
    let leave = std::future::poll_fn(|context| answer.poll_informational(context));
    let leave = within("leave", leave).await.expect("an interim answer").expect("no failure");
    assert_eq!((leave.status().as_u16(), leave.headers().len()), (100, 0));
    sender.send_data("body".into(), true).unwrap();
    let (body, _) = call.head.clone().body(&mut call.stream).await;
    assert_eq!(body, b"body");
    call.answer(OK).await;
    assert_eq!(Reply::read(answer).await.expect("an answer").body, "ok");
    // longhaul's own refusal comes without it.
    let mut refused = post();
    refused.headers_mut().insert("host", "other.example".parse().unwrap());
    let (mut answer, _sender) = client.send(refused, false).await;
    let leave = std::future::poll_fn(|context| answer.poll_informational(context));
    assert!(within("an answer", leave).await.is_none());
    assert_eq!(within("an answer", answer).await.expect("an answer").status(), 400);
}

#[tokio::test]
async fn metrics_tell_the_versions_of_http_apart() {
    let backend = Backend::calls(|call| async move {
        match call.head.get("sec-websocket-key") {
            Some(_) if !call.head.line.contains("/no") => call.accept("").await.echo().await,
            _ => call.answer(OK).await,
        }
    })
    .await;
    let (proxy, pki) = proxy(&backend, "extended_connect = true\n").await;
    let requests = ["HTTP/1.0", "HTTP/1.1", "HTTP/1.1"]
        .map(|version| format!("GET / {version}\r\nHost: chat.example.com\r\nConnection: close\r\n\r\n"));
    for request in requests {
        assert_eq!(proxy.connect("plain").await.request(request).await.1, "ok");
    }
    let mut client = connect(&proxy, &pki).await;
    assert_eq!(client.get("/").await.body, "ok");
    let (older, _) = proxy.connect("plain").await.open("/ws", "chat.example.com", "").await;
    let (newer, _) = client.open("/ws", &[]).await;
    let (second, _) = client.open("/ws", &[]).await;
    for websocket in [false, true] {
        let (answer, _sender) = match websocket {
            true => client.connect_websocket("/no", &[]).await,
            false => {
                let request = http::Request::builder().uri("https://chat.example.com/").header("host", "b");
                client.send(request.body(()).unwrap(), true).await
            }
        };
        assert_eq!(Reply::read(answer).await.expect("an answer").status, if websocket { 502 } else { 400 });
    }
    for (series, count) in [
        ("requests_total{route=\"all\",http=\"1.0\",result=\"2xx\"}", 1.0),
        ("requests_total{route=\"all\",http=\"1.1\",result=\"2xx\"}", 2.0),
        ("requests_total{route=\"all\",http=\"2\",result=\"2xx\"}", 1.0),
        ("requests_total{route=\"\",http=\"2\",result=\"host_malformed\"}", 1.0),
        ("handshakes_total{route=\"all\",http=\"1.1\",result=\"opened\"}", 1.0),
        ("handshakes_total{route=\"all\",http=\"2\",result=\"opened\"}", 2.0),
        ("handshakes_total{route=\"all\",http=\"2\",result=\"backend_bad_101\"}", 1.0),
        ("tunnels_opened_total{route=\"all\",http=\"1.1\"}", 1.0),
        ("tunnels_opened_total{route=\"all\",http=\"2\"}", 2.0),
        ("tunnels_active{route=\"all\",http=\"1.1\"}", 1.0),
        ("tunnels_active{route=\"all\",http=\"2\"}", 2.0),
    ] {
        proxy.wait_metric(&format!("longhaul_{series}"), count).await;
    }
    tokio::join!(older.close(1000), newer.close(1000), second.close(1000));
    for http in ["1.1", "2"] {
        proxy.wait_metric(&format!("longhaul_tunnels_active{{route=\"all\",http=\"{http}\"}}"), 0.0).await;
    }
}

#[tokio::test]
async fn a_host_may_stand_in_for_the_authority() {
    let (backend, mut calls) = Backend::by_hand().await;
    let (proxy, pki) = proxy(&backend, "").await;
    let mut client = raw(&proxy, &pki).await;
    let fields = [GET[0], GET[1], GET[3], ("host", b"chat.example.com:443")];
    client.send(HEADERS, END_STREAM | END_HEADERS, 1, &block(&fields)).await;
    let call = calls.next().await;
    assert_eq!(call.head.all("host"), ["chat.example.com:443"]);
    call.answer(OK).await;
    assert_eq!(client.outcome(1).await, Outcome::Answered(200));
}

#[tokio::test]
async fn answers_without_a_body_end_with_their_head() {
    let (backend, mut calls) = Backend::by_hand().await;
    let (proxy, pki) = proxy(&backend, "").await;
    let mut client = connect(&proxy, &pki).await;
    for (method, answer, status, length) in [
        ("HEAD", "200 OK\r\nContent-Length: 1234", 200, Some("1234")),
        ("GET", "204 No Content", 204, None),
        ("GET", "304 Not Modified\r\nETag: \"a\"", 304, None),
        ("DELETE", "200 OK\r\nContent-Length: 0", 200, Some("0")),
    ] {
        let (reply, ()) = tokio::join!(client.request(method, "/", &[], ""), async {
            let call = calls.next().await;
            assert_eq!(call.head.line, format!("{method} / HTTP/1.1"));
            call.answer(format!("HTTP/1.1 {answer}\r\n\r\n")).await;
        });
        assert_eq!(
            (reply.status, reply.get("content-length"), &*reply.body),
            (status, length, ""),
            "{method}"
        );
    }
    // longhaul's own answers keep the rule.
    let none = backend_without_route(&pki).await;
    let mut client = connect(&none, &pki).await;
    assert_eq!(client.get("/").await.body, "no route serves this request\n");
    let head = client.request("HEAD", "/", &[], "").await;
    assert_eq!((head.status, head.get("content-length"), &*head.body), (404, Some("29"), ""));
}

async fn backend_without_route(pki: &Pki) -> Proxy {
    let certificate = pki.issue(&["chat.example.com"]);
    let backend = Backend::answers(OK).await;
    let config = plain(&[backend.address])
        .replace("name = \"all\"\npool", "name = \"all\"\nhost = \"other.example\"\npool");
    Proxy::start(&(config + &secure(&[&certificate]))).await
}

#[tokio::test]
async fn bodies_stream_and_trailers_follow_both_ways() {
    let (backend, mut calls) = Backend::by_hand().await;
    let (proxy, pki) = proxy(&backend, "").await;
    let mut client = connect(&proxy, &pki).await;
    let request = http::Request::builder().method("POST").uri("https://chat.example.com/up");
    let names = "x-sum, x-client-certificate-subject, x_client_certificate_names, x-forwarded-for, cookie";
    let request = request.header("trailer", names).body(()).unwrap();
    let (answer, mut sender) = client.send(request, false).await;
    let mut call = calls.next().await;
    assert_eq!(call.head.get("transfer-encoding"), Some("chunked"));
    let mut seen = std::mem::take(&mut call.head.rest);
    for part in ["one", "two"] {
        sender.send_data(part.into(), false).unwrap();
        read_until(&mut call.stream, &mut seen, part).await;
    }
    let field = |name: &str| (name.trim().parse().unwrap(), "6".parse().unwrap());
    let trailers: HeaderMap = names.split(',').map(field).collect();
    sender.send_trailers(trailers).unwrap();
    read_until(&mut call.stream, &mut seen, "0\r\nx-sum: 6\r\n\r\n").await;
    call.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\none\r\n").await;
    let (_, mut stream) = within("an answer", answer).await.unwrap().into_parts();
    assert_eq!(within("a part", stream.data()).await.unwrap().unwrap(), "one");
    let forged = "X-Client-Certificate-Subject: CN=admin\r\nSet-Cookie: a=1\r\nConnection: close\r\n";
    call.answer(format!("3\r\ntwo\r\n0\r\nX-Sum: 6\r\n{forged}\r\n")).await;
    assert_eq!(within("a part", stream.data()).await.unwrap().unwrap(), "two");
    assert!(within("the end", stream.data()).await.is_none());
    let trailers = within("trailers", stream.trailers()).await.unwrap().expect("trailers");
    assert_eq!(trailers.get("x-sum").unwrap(), "6");
    assert_eq!(trailers.len(), 1);
}

#[tokio::test]
async fn a_get_with_a_body_keeps_it() {
    let (backend, mut calls) = Backend::by_hand().await;
    let (proxy, pki) = proxy(&backend, "").await;
    let mut client = connect(&proxy, &pki).await;
    for fields in [&[("content-length", "4")][..], &[]] {
        let (reply, body) = tokio::join!(client.request("GET", "/", fields, "body"), async {
            let mut call = calls.next().await;
            let (body, _) = call.head.clone().body(&mut call.stream).await;
            call.answer(OK).await;
            body
        });
        assert_eq!((reply.status, &*body), (200, &b"body"[..]), "{fields:?}");
    }
}

#[tokio::test]
async fn large_bodies_arrive_whole_both_ways() {
    let backend = Backend::calls(|mut call| async move {
        let (body, _) = call.head.body(&mut call.stream).await;
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        call.stream.write_all(&[head.into_bytes(), body].concat()).await.expect("the proxy reads");
        call.stream.shutdown().await.expect("the proxy reads");
    })
    .await;
    let (proxy, pki) = proxy(&backend, "").await;
    let mut client = connect(&proxy, &pki).await;
    let body: String = (0..4 << 20).map(|at: u32| char::from(b'a' + (at % 23) as u8)).collect();
    for fields in [&[][..], &[("content-length", "4194304")]] {
        let reply = client.request("POST", "/echo", fields, &body).await;
        assert!(reply.body == body, "{} bytes, {fields:?}", reply.body.len());
    }
}

#[tokio::test]
async fn an_answer_before_the_requests_end_is_whole() {
    let (backend, mut calls) = Backend::by_hand().await;
    let (proxy, pki) = proxy(&backend, "").await;
    let mut client = connect(&proxy, &pki).await;
    let request = http::Request::builder().method("POST").uri("https://chat.example.com/").body(()).unwrap();
    let (answer, mut sender) = client.send(request, false).await;
    sender.send_data("the beginning".into(), false).unwrap();
    let body = "x".repeat(300_000);
    let answered = format!("HTTP/1.1 403 Forbidden\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let (reply, ()) = tokio::join!(Reply::read(answer), async { calls.next().await.answer(answered).await });
    let reply = reply.expect("a whole answer");
    assert!(reply.status == 403 && reply.body == body, "{} {}", reply.status, reply.body.len());
    // RFC 9113 8.1: nobody wants the rest of the request.
    let reset = std::future::poll_fn(|context| sender.poll_reset(context));
    assert_eq!(within("a reset", reset).await.expect("a reset"), h2::Reason::NO_ERROR);
    assert!(!client.is_over());
}

#[tokio::test]
async fn a_reset_ends_the_request_at_the_backend_too() {
    let (backend, mut calls) = Backend::by_hand().await;
    let (proxy, pki) = proxy(&backend, "").await;
    let mut client = connect(&proxy, &pki).await;
    for (method, early) in [("GET", ""), ("POST", "early bytes")] {
        let uri = "https://chat.example.com/slow";
        let request = http::Request::builder().method(method).uri(uri).body(()).unwrap();
        let (answer, mut sender) = client.send(request, early.is_empty()).await;
        if !early.is_empty() {
            sender.send_data(Bytes::from_static(early.as_bytes()), false).unwrap();
        }
        let mut call = calls.next().await;
        let mut seen = std::mem::take(&mut call.head.rest);
        if !early.is_empty() {
            read_until(&mut call.stream, &mut seen, early).await;
        }
        sender.send_reset(h2::Reason::CANCEL);
        call.rest().await;
        drop(answer);
    }
    proxy.wait_metric("longhaul_requests_total{route=\"all\",result=\"client_gone\"}", 2.0).await;
    let carried = format!("longhaul_backend_tunnels{{pool=\"all\",backend=\"{}\"}}", backend.address);
    proxy.wait_metric(&carried, 0.0).await;
    assert!(!client.is_over());
}

#[tokio::test]
async fn what_breaks_off_does_not_look_complete() {
    let (backend, mut calls) = Backend::by_hand().await;
    let (proxy, pki) = proxy(&backend, "").await;
    let mut client = connect(&proxy, &pki).await;
    for framing in ["Content-Length: 10", "Transfer-Encoding: chunked"] {
        let (answer, _sender) = {
            let request = http::Request::builder().uri("https://chat.example.com/").body(()).unwrap();
            client.send(request, true).await
        };
        calls.next().await.answer(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n3\r\nabc")).await;
        let error = Reply::read(answer).await.expect_err("it broke off");
        assert_eq!(error.reason(), Some(h2::Reason::INTERNAL_ERROR), "{framing}: {error}");
    }
    let record = proxy.record("request").await;
    assert_eq!(record["reason"], "backend_broke_off");
    let (reply, ()) = tokio::join!(client.get("/next"), async { calls.next().await.answer(OK).await });
    assert_eq!(reply.body, "ok");
}
