//! Crowds that come back at once: rates of handshakes, of a route and of each backend, and TLS handshakes that are computed
//! in turn.
//!
//! How many were let through is compared with the time that has passed, never with a time that something should take.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::kit::{Backend, Client, Head, Http2, Pki, Proxy, Resumption, handshake, secure, within};

/// A route and a pool with these further keys.
fn config(route: &str, pool: &str) -> String {
    format!(
        "[server]\nworkers = 2\n[[listeners]]\nname = \"plain\"\naddress = \"127.0.0.1:0\"\n\
         [[routes]]\nname = \"all\"\npool = \"all\"\n{route}\n[pools.all]\n{pool}\n"
    )
}

fn backends(backends: &[&Backend]) -> String {
    let addresses: Vec<String> = backends.iter().map(|backend| format!("\"{}\"", backend.address)).collect();
    format!("backends = [{}]", addresses.join(", "))
}

/// The answers to `count` handshakes at once, whose clients stay.
async fn crowd(proxy: &Proxy, count: usize) -> Vec<(Client, Head)> {
    let address = proxy.address("plain");
    let mut clients = JoinSet::new();
    for _ in 0..count {
        clients.spawn(async move {
            let mut client = Client::connect(address).await;
            client.send(handshake("/", "example.com", "")).await;
            let head = client.head().await;
            (client, head)
        });
    }
    let mut answers = Vec::new();
    while let Some(answer) = within("all answers", clients.join_next()).await {
        answers.push(answer.expect("an answer"));
    }
    answers
}

/// How many of them are tunnels. All others were told when to come back.
fn opened(answers: &[(Client, Head)]) -> usize {
    let refused: Vec<_> = answers.iter().filter(|(_, head)| head.status() != 101).collect();
    for (_, head) in &refused {
        let seconds = head.get("retry-after").and_then(|seconds| seconds.parse().ok());
        assert!(
            head.status() == 503 && seconds.is_some_and(|seconds| (1..=4).contains(&seconds)),
            "{head:?}"
        );
    }
    answers.len() - refused.len()
}

/// How many may have been let through since `begun`, at one a second.
fn may_be(burst: usize, begun: Instant) -> usize {
    burst + begun.elapsed().as_secs() as usize + 1
}

fn refused(reason: &str) -> String {
    format!("longhaul_handshakes_total{{route=\"all\",result=\"{reason}\"}}")
}

#[tokio::test]
async fn a_route_lets_so_many_in_and_tells_the_others_when_to_come_back() {
    let backend = Backend::calls(|call| async move {
        if call.head.get("upgrade").is_some() {
            call.accept("").await.echo().await;
        } else {
            call.answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        }
    });
    let backend = backend.await;
    let rate = "handshake_rate = { per_second = 1, burst = 5, wait = \"0s\" }";
    let pool = backends(&[&backend]);
    let proxy = Proxy::start(&config(rate, &pool)).await;
    let begun = Instant::now();
    let answers = crowd(&proxy, 40).await;
    let count = opened(&answers);
    assert!(count >= 5 && count <= may_be(5, begun), "{count}");
    assert_eq!(backend.called(), count);
    proxy.wait_metric(&refused("route_rate"), (40 - count) as f64).await;

    // Those that were refused together do not come back together.
    let seconds: std::collections::BTreeSet<_> =
        answers.iter().filter_map(|(_, head)| head.get("retry-after")).collect();
    assert!(seconds.len() > 1, "{seconds:?}");

    // What is no handshake is not paced.
    for _ in 0..10 {
        let request = "GET / HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n";
        assert_eq!(proxy.connect("plain").await.request(request).await.0.status(), 200);
    }

    // A new generation begins no new burst.
    proxy.rewrite(&config(&format!("{rate}\nidle_timeout = \"20m\""), &pool));
    proxy.reload().await;
    let more = opened(&crowd(&proxy, 40).await);
    assert!(count + more <= may_be(5, begun), "{count} {more}");
}

#[tokio::test]
async fn who_comes_too_early_waits_for_its_turn() {
    let backend = Backend::echo("a").await;
    let rate = "handshake_rate = { per_second = 20, burst = 1, wait = \"1h\" }";
    let proxy = Proxy::start(&config(rate, &backends(&[&backend]))).await;
    let begun = Instant::now();
    assert_eq!(opened(&crowd(&proxy, 11).await), 11);
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(500), "{took:?}");
    let waited = proxy.metric("longhaul_handshakes_delayed_total{route=\"all\"}").await;
    assert!(waited >= 10.0 - took.as_secs_f64() * 20.0 && waited <= 10.0, "{waited}");
}

#[tokio::test]
async fn each_backend_gets_so_many_and_others_are_asked_first() {
    let [a, b] = [Backend::echo("a").await, Backend::echo("b").await];
    let rate = "handshake_rate = { per_second = 1, burst = 3, wait = \"0s\" }";
    // All have the same first choice.
    let pool = format!("{rate}\nbalance = {{ hash = \"path\" }}\n{}", backends(&[&a, &b]));
    let proxy = Proxy::start(&config("", &pool)).await;
    let begun = Instant::now();
    let count = opened(&crowd(&proxy, 40).await);
    assert!(a.called() >= 3 && b.called() >= 3, "{} {}", a.called(), b.called());
    assert!(a.called() <= may_be(3, begun) && b.called() <= may_be(3, begun));
    assert_eq!(a.called() + b.called(), count);
    proxy.wait_metric(&refused("backend_rate"), (40 - count) as f64).await;
    // It is nobody's failure.
    assert_eq!(proxy.metric("longhaul_retries_total").await, 0.0);
}

#[tokio::test]
async fn a_handshake_waits_for_the_turn_of_its_backend() {
    let backend = Backend::echo("a").await;
    let rate = "handshake_rate = { per_second = 20, burst = 1, wait = \"1h\" }";
    let proxy = Proxy::start(&config("", &format!("{rate}\n{}", backends(&[&backend])))).await;
    let begun = Instant::now();
    assert_eq!(opened(&crowd(&proxy, 11).await), 11);
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(500), "{took:?}");
    let waited = proxy.metric("longhaul_pool_delays_total{pool=\"all\"}").await;
    assert!(waited >= 10.0 - took.as_secs_f64() * 20.0 && waited <= 10.0, "{waited}");
}

/// When all that fill it have left, there is room in it.
#[tokio::test]
async fn who_leaves_the_line_costs_nobody_anything() {
    let backend = Backend::echo("a").await;
    let rate = "handshake_rate = { per_second = 1, burst = 1, wait = \"10s\" }";
    let backends = backends(&[&backend]);
    let both = [(rate, backends.clone(), "route_rate"), ("", format!("{rate}\n{backends}"), "backend_rate")];
    for (route, pool, result) in both {
        let proxy = Proxy::start(&config(route, &pool)).await;
        let _first = crowd(&proxy, 1).await;
        let mut line = Vec::new();
        while proxy.metric(&refused(result)).await == 0.0 {
            let mut client = Client::connect(proxy.address("plain")).await;
            client.send(handshake("/", "example.com", "")).await;
            line.push(client);
        }
        let ended = 1.0 + line.len() as f64;
        drop(line);
        proxy.wait_metric("longhaul_handshakes_total", ended).await;
        assert!(proxy.metric(&refused("client_gone")).await >= 5.0, "{result}");
        // Of those that left each would have had a turn before it.
        assert_eq!(opened(&crowd(&proxy, 1).await), 1, "{result}");
    }
}

#[tokio::test]
async fn tls_handshakes_are_computed_in_turn_and_nobody_waits_for_who_is_silent() {
    let backend = Backend::echo("a").await;
    let pki = Pki::new();
    let limits = "[limits]\ntls_handshakes_max = 1\ntls_handshake_timeout = \"1h\"\n";
    let config = config("", &backends(&[&backend]));
    let proxy = Proxy::start(&format!("{limits}{config}{}", secure(&[&pki.issue(&["example.com"])]))).await;
    let address = proxy.address("secure");
    let _silent = Client::connect(address).await;
    let mut half = Client::connect(address).await;
    // The beginning of a ClientHello.
    half.send([0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]).await;
    let mut clients = JoinSet::new();
    for _ in 0..40 {
        let resumption = Resumption::new(&pki, &[&rustls::version::TLS13]);
        clients.spawn(async move {
            let client = resumption.connect(address, "example.com").await.expect("a session");
            client.open("/", "example.com", "").await
        });
    }
    let mut sockets = Vec::new();
    while let Some(socket) = within("all clients", clients.join_next()).await {
        sockets.push(socket.expect("a tunnel"));
    }
    for (socket, _) in &mut sockets {
        assert_eq!(socket.receive_text().await, "a");
        socket.round_trip("served").await;
    }
}

#[tokio::test]
async fn over_http2_a_handshake_is_paced_as_well() {
    let backend = Backend::echo("a").await;
    let pki = Pki::new();
    let rate = "handshake_rate = { per_second = 1, burst = 1, wait = \"0s\" }";
    let listener = secure(&[&pki.issue(&["chat.example.com"])]) + "extended_connect = true\n";
    let proxy = Proxy::start(&(config(rate, &backends(&[&backend])) + &listener)).await;
    let mut http2 = Http2::connect(proxy.address("secure"), &pki).await;
    let begun = Instant::now();
    let (mut refused, mut open) = (0, Vec::new());
    for _ in 0..10 {
        let (answer, stream) = http2.connect_websocket("/", &[]).await;
        let answer = within("an answer", answer).await.expect("an answer");
        match answer.status().as_u16() {
            200 => open.push((answer, stream)),
            503 => refused += 1,
            other => panic!("{other}"),
        }
    }
    assert!(open.len() <= may_be(1, begun) && open.len() + refused == 10, "{}", open.len());
}

/// What may get none any more when the wait is over gets none: others are asked, if there are any.
#[tokio::test]
async fn who_waits_does_not_go_to_a_backend_that_was_disabled_meanwhile() {
    let backend = Backend::echo("a").await;
    let rate = "handshake_rate = { per_second = 1, burst = 1, wait = \"1h\" }";
    let proxy = Proxy::start(&config("", &format!("{rate}\n{}", backends(&[&backend])))).await;
    let begun = Instant::now();
    let crowd = crowd(&proxy, 4);
    let disable = async {
        proxy.wait_metric("longhaul_pool_delays_total{pool=\"all\"}", 3.0).await;
        let address = backend.address;
        let order = format!("/api/v1/backends/state?pool=all&backend={address}&state=disabled");
        assert_eq!(proxy.admin("POST", &order).await.0, 200);
        may_be(1, begun)
    };
    let (answers, may_be) = tokio::join!(crowd, disable);
    let opened = answers.iter().filter(|(_, head)| head.status() == 101).count();
    assert!(opened <= may_be, "{opened} of {may_be}");
    assert_eq!(backend.called(), opened);
    let others = proxy.metric(&refused("no_backend")).await;
    assert_eq!(others, (4 - opened) as f64);
}
