//! What bounds requests and cleans them over HTTP/1.1 does so over HTTP/2.

use std::future::poll_fn;

use h2::Reason;
use http::Request;

use super::{OK, connect, faults};
use crate::kit::{Backend, Http2, Pki, Proxy, Reply, plain, read_until, secure, within};

/// A proxy with these limits, these further keys of its route, and WebSockets over HTTP/2.
async fn limited(backend: &Backend, limits: &str, route: &str) -> (Proxy, Pki) {
    let pki = Pki::new();
    let certificate = pki.issue(&["chat.example.com"]);
    let plain =
        plain(&[backend.address]).replace("name = \"all\"\npool", &format!("name = \"all\"\n{route}pool"));
    let config =
        format!("[limits]\n{limits}{plain}") + &secure(&[&certificate]) + "extended_connect = true\n";
    (Proxy::start(&config).await, pki)
}

#[tokio::test]
async fn a_target_over_the_limit_is_414() {
    let backend = Backend::answers(OK).await;
    let (proxy, pki) = limited(&backend, "target_bytes_max = \"256B\"\n", "").await;
    let mut client = connect(&proxy, &pki).await;
    for (bytes, status) in [(256, 200), (257, 414)] {
        let target = format!("/{}", "x".repeat(bytes - 1));
        assert_eq!(client.get(&target).await.status, status);
    }
    proxy.wait_metric("longhaul_requests_total{route=\"\",result=\"target_too_long\"}", 1.0).await;
    assert_eq!(backend.called(), 1);
}

#[tokio::test]
async fn a_head_over_the_limit_is_431_and_one_far_over_it_ends_the_connection() {
    let backend = Backend::answers(OK).await;
    let (proxy, pki) = limited(&backend, "head_bytes_max = \"8KiB\"\n", "").await;
    let mut client = connect(&proxy, &pki).await;
    // `:method` GET, `:scheme` https, `:authority` chat.example.com, `:path` / and x, as RFC 9113 6.5.2 counts them.
    let others = [7 + 3, 7 + 5, 10 + 16, 5 + 1, 1].map(|bytes| bytes + 32).iter().sum::<usize>();
    for (bytes, status) in [(8192, 200), (8193, 431), (16_300, 431), (20_000, 431)] {
        let reply = client.request("GET", "/", &[("x", &"x".repeat(bytes - others))], "").await;
        assert_eq!(reply.status, status, "{bytes}");
    }
    // What is over twice the limit h2 answers itself.
    proxy.wait_metric(&faults("head_too_large"), 2.0).await;
    assert_eq!(client.get("/").await.status, 200);
    let request = Request::builder().uri("https://chat.example.com/");
    let large = request.header("x", "x".repeat(9 * 8192)).body(()).unwrap();
    let (answer, _sender) = client.send(large, true).await;
    assert!(Reply::read(answer).await.is_err());
    proxy.wait_metric(&faults("head_too_large"), 3.0).await;
    assert_eq!(backend.called(), 2);
}

#[tokio::test]
async fn the_crumbs_of_cookies_count_as_one_field() {
    let (backend, mut calls) = Backend::by_hand().await;
    let (proxy, pki) = limited(&backend, "head_fields_max = 3\n", "").await;
    let mut client = connect(&proxy, &pki).await;
    let crumbs: Vec<String> = (0..150).map(|index| format!("a{index}={index}")).collect();
    let mut fields: Vec<(&str, &str)> = crumbs.iter().map(|crumb| ("cookie", crumb.as_str())).collect();
    fields.extend([("x", "1"), ("y", "1")]);
    let (reply, ()) = tokio::join!(client.request("GET", "/", &fields, ""), async {
        let call = calls.next().await;
        assert_eq!(call.head.get("cookie"), Some(&*crumbs.join("; ")));
        call.answer(OK).await;
    });
    assert_eq!(reply.status, 200);
    fields.push(("z", "1"));
    assert_eq!(client.request("GET", "/", &fields, "").await.status, 431);
    proxy.wait_metric(&faults("head_too_large"), 1.0).await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_does_not_hold_a_backend_for_ever() {
    let (backend, mut calls) = Backend::by_hand().await;
    let (proxy, pki) = limited(&backend, "", "idle_timeout = \"300ms\"\n").await;
    let mut client =
        Http2::connect_with(proxy.address("secure"), &pki, |builder| builder.initial_window_size(0)).await;
    let request = Request::builder().uri("https://chat.example.com/").body(()).unwrap();
    let (answer, _sender) = client.send(request, true).await;
    let call = calls.next().await;
    call.answer(OK).await;
    let (head, mut stream) = within("an answer", answer).await.expect("an answer").into_parts();
    assert_eq!(head.status, 200);
    let error = within("a reset", stream.data()).await.expect("a failure").expect_err("a reset");
    assert!(error.is_reset(), "{error}");
    let carried = format!("longhaul_backend_tunnels{{pool=\"all\",backend=\"{}\"}}", backend.address);
    proxy.wait_metric(&carried, 0.0).await;
    assert!(!client.is_over());
}

#[tokio::test]
async fn a_body_that_its_backend_does_not_take_stops_none_of_its_sisters() {
    let (backend, mut calls) = Backend::by_hand().await;
    let (proxy, pki) = limited(&backend, "", "").await;
    let mut client = connect(&proxy, &pki).await;
    let request = Request::builder().method("POST").uri("https://chat.example.com/").body(()).unwrap();
    let (answer, mut sender) = client.send(request, false).await;
    let mut unread = calls.next().await;
    let before = proxy.metric("process_resident_memory_bytes").await;
    // More than the sockets between longhaul and its backend hold: what is left waits for the stream's window.
    for _ in 0..10_000 {
        sender.send_data("b".into(), false).unwrap();
    }
    sender.send_data(vec![b'c'; 16 << 20].into(), true).unwrap();
    for _ in 0..20 {
        let (reply, ()) = tokio::join!(client.get("/sister"), async { calls.next().await.answer(OK).await });
        assert_eq!(reply.body, "ok");
    }
    let grown = proxy.metric("process_resident_memory_bytes").await - before;
    assert!(grown < 8e6, "{grown}");
    let (body, _) = unread.head.clone().body(&mut unread.stream).await;
    assert_eq!(body.len(), 10_000 + (16 << 20));
    assert!(body.is_sorted());
    unread.answer(OK).await;
    assert_eq!(Reply::read(answer).await.expect("an answer").body, "ok");
}

#[tokio::test]
async fn handshakes_that_wait_for_an_answer_are_bounded() {
    let (backend, mut calls) = Backend::by_hand().await;
    let (proxy, pki) = limited(&backend, "handshakes_max = 1\n", "").await;
    let mut client = connect(&proxy, &pki).await;
    let (_first, mut sender) = client.connect_websocket("/", &[]).await;
    let first = calls.next().await;
    let (second, _sender) = client.connect_websocket("/", &[]).await;
    let reply = Reply::read(second).await.expect("an answer");
    let seconds = reply.get("retry-after").and_then(|seconds| seconds.parse().ok());
    assert!(reply.status == 503 && seconds.is_some_and(|seconds| (2..=5).contains(&seconds)), "{reply:?}");
    proxy.wait_metric("longhaul_handshakes_total{route=\"all\",result=\"handshake_limit\"}", 1.0).await;
    // One whose client left is none any more.
    sender.send_reset(Reason::CANCEL);
    assert_eq!(first.rest().await, b"");
    let (third, _sender) = client.connect_websocket("/", &[]).await;
    calls.next().await.answer("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(Reply::read(third).await.expect("an answer").status, 403);
}

#[tokio::test]
async fn a_body_over_the_routes_limit_is_413() {
    let (backend, mut calls) = Backend::by_hand().await;
    let (proxy, pki) = limited(&backend, "", "body_bytes_max = \"10B\"\n").await;
    let mut client = connect(&proxy, &pki).await;
    let post = |length: Option<&str>| {
        let request = Request::builder().method("POST").uri("https://chat.example.com/");
        let request =
            length.into_iter().fold(request, |request, length| request.header("content-length", length));
        request.body(()).unwrap()
    };
    // By its length: at once, and no backend hears of it.
    let (answer, _sender) = client.send(post(Some("11")), false).await;
    assert_eq!(Reply::read(answer).await.expect("an answer").status, 413);
    assert_eq!(backend.called(), 0);
    // As it crosses: the backend's request is cut, and never looks complete.
    let (answer, mut sender) = client.send(post(None), false).await;
    sender.send_data("123456789".into(), false).unwrap();
    let mut call = calls.next().await;
    let mut seen = std::mem::take(&mut call.head.rest);
    read_until(&mut call.stream, &mut seen, "123456789").await;
    sender.send_data("ab".into(), true).unwrap();
    assert_eq!(Reply::read(answer).await.expect("an answer").status, 413);
    let rest = String::from_utf8(call.rest().await).expect("text");
    assert!(!rest.contains("ab") && !rest.contains("0\r\n\r\n"), "{rest:?}");
    proxy.wait_metric("longhaul_requests_total{route=\"all\",result=\"body_too_large\"}", 2.0).await;
    // While more is on its way: the answer is whole, and only then the client is told to stop (RFC 9113 8.1).
    let (answer, mut sender) = client.send(post(None), false).await;
    sender.send_data("123456789".into(), false).unwrap();
    let call = calls.next().await;
    sender.send_data("ab".into(), false).unwrap();
    assert_eq!(Reply::read(answer).await.expect("an answer").status, 413);
    let reset = poll_fn(|context| sender.poll_reset(context));
    assert_eq!(within("a reset", reset).await.expect("a live connection"), Reason::NO_ERROR);
    drop(call);
    // Just as much as it may be; a length that is said twice is said on once.
    for fields in [&[("content-length", "10"), ("content-length", "10")][..], &[]] {
        let (reply, (body, lengths)) =
            tokio::join!(client.request("POST", "/", fields, "1234567890"), async {
                let mut call = calls.next().await;
                let (body, _) = call.head.clone().body(&mut call.stream).await;
                let lengths = call.head.all("content-length").len();
                call.answer(OK).await;
                (body, lengths)
            });
        assert_eq!((reply.status, &*body, lengths), (200, &b"1234567890"[..], fields.len() / 2));
    }
}

#[tokio::test]
async fn what_a_client_says_of_its_certificate_is_not_passed_on() {
    let (backend, mut calls) = Backend::by_hand().await;
    let (proxy, pki) = limited(&backend, "", "").await;
    let mut client = connect(&proxy, &pki).await;
    let fields = [
        ("x-client-certificate-subject", "CN=admin"),
        ("x_client_certificate_names", "admin"),
        ("x_forwarded_for", "192.0.2.1"),
        ("x-kept", "1"),
    ];
    let check = |call: &crate::kit::Head| {
        for (name, _) in &fields[..3] {
            assert_eq!(call.get(name), None, "{name}");
        }
        assert_eq!(call.get("x-kept"), Some("1"));
    };
    let (reply, ()) = tokio::join!(client.request("GET", "/", &fields, ""), async {
        let call = calls.next().await;
        check(&call.head);
        call.answer(OK).await;
    });
    assert_eq!(reply.status, 200);
    let (_tunnel, _backend) = tokio::join!(client.open("/ws", &fields), async {
        let call = calls.next().await;
        check(&call.head);
        call.accept("").await
    });
}
