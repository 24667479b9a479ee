//! Metrics and health: what `/metrics`, `/healthz` and `/readyz` say, and when.

mod exposition;

use std::fs;

use longhaul::telemetry::metrics::FAMILIES;
use longhaul::telemetry::registry::Kind;
use rcgen::{CertificateParams, KeyPair};
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio::time::{Duration, Instant, sleep};

use self::exposition::{Scrape, parse};
use crate::kit::{Backend, Client, Message, Pki, Proxy, WebSocket, handshake, plain, within};

async fn scrape(proxy: &Proxy) -> Scrape {
    let (status, text) = proxy.scrape("/metrics").await;
    assert_eq!(status, 200);
    parse(&text)
}

async fn open(proxy: &Proxy) -> WebSocket<Client> {
    let (mut socket, _) = proxy.connect("plain").await.open("/ws", "example.com", "").await;
    assert_eq!(socket.receive_text().await, "one");
    socket
}

/// Everything that can be counted happens once; then every family of the table is there, as the table declares it.
#[tokio::test]
async fn every_family_of_the_table_appears_as_declared() {
    let (backend, pki) = (Backend::echo("one").await, Pki::new());
    let list = tempfile::NamedTempFile::new().expect("a file");
    fs::write(list.path(), "backends = [\"127.0.0.1:1\"]\n").expect("a writable file");
    let config = format!(
        "[server]\nworkers = 2\n[limits]\nconnections_max = 2\ntunnels_max = 2\n{}\
         health = {{ kind = \"tcp\" }}\n\
         [[listeners]]\nname = \"tls\"\naddress = \"127.0.0.1:0\"\ntls = {{ certificates = [{}] }}\n\
         [[routes]]\nname = \"dead\"\nhost = \"dead\"\nsplit = [{{ pool = \"dead\" }}]\n\
         handshake_rate = {{ per_second = 9 }}\ndeadline_header = \"X-Expires\"\n\
         frames.to_client = {{ messages = {{ per_second = 9 }} }}\n[pools.dead]\n\
         backends = [\"127.0.0.1:1\", \"127.0.0.1:2\"]\nejection = {{ connect_failures = 1 }}\nmax_tunnels = 1\n\
         rebalance = {{}}\n\
         [pools.listed]\ndiscovery = {{ kind = \"file\", path = {:?} }}\n",
        plain(&[backend.address]),
        pki.issue(&["example.com"]).entry(),
        list.path()
    );
    let proxy = Proxy::start(&config).await;
    let client = Client::connect_tls(proxy.address("tls"), &pki, "example.com").await;
    let (mut secure, _) = client.open("/ws", "example.com", "").await;
    assert_eq!(secure.receive_text().await, "one");
    for (request, status) in [("nonsense\r\n\r\n", 400), ("GET / HTTP/1.1\r\nHost: dead\r\n\r\n", 502)] {
        let mut client = proxy.connect("plain").await;
        client.send(request).await;
        assert_eq!(client.head().await.status(), status);
    }
    secure.close(1000).await;
    // Nobody's frame: it has a reserved opcode.
    let client = Client::connect_tls(proxy.address("tls"), &pki, "example.com").await;
    let (mut wrong, _) = client.open("/ws", "example.com", "").await;
    assert_eq!(wrong.receive_text().await, "one");
    wrong.send_raw(&[0x83, 0x80, 0, 0, 0, 0]).await;
    let _ = wrong.stream.shutdown().await;
    drop(wrong);
    // What the backend says behind a goodbye is thrown away.
    let client = Client::connect_tls(proxy.address("tls"), &pki, "example.com").await;
    let (mut parting, _) = client.open("/ws", "example.com", "").await;
    assert_eq!(parting.receive_text().await, "one");
    let (_, table) = proxy.admin("GET", "/api/v1/tunnels").await;
    let newest =
        table["tunnels"].as_array().and_then(|tunnels| tunnels.last()).expect("a tunnel")["id"].clone();
    let order = format!("/api/v1/tunnels/close?id={}", newest.as_str().expect("an id"));
    assert_eq!(proxy.admin("POST", &order).await.0, 200);
    assert_eq!(parting.receive().await, Message::close(1001, ""));
    parting.send(&Message::text("thrown away")).await;
    parting.send(&Message::close(1001, "")).await;
    assert_eq!(within("the end", parting.try_receive()).await, None);
    drop(parting);
    for listener in ["plain", "tls"] {
        proxy.wait_metric(&format!("longhaul_connections_active{{listener=\"{listener}\"}}"), 0.0).await;
    }
    let _both = (open(&proxy).await, open(&proxy).await);
    let _waits = proxy.connect("plain").await;
    proxy.wait_metric_in("longhaul_accept_errors_total{listener=\"plain\",reason=\"limit\"}", 1.0..).await;
    let listed = "longhaul_discovery_answers_total{pool=\"listed\",result=\"unchanged\"}";
    proxy.wait_metric(listed, 1.0).await;
    let found = scrape(&proxy).await;
    for family in FAMILIES {
        let shown = found.get(family.name).unwrap_or_else(|| panic!("{} is missing", family.name));
        assert_eq!(shown.help, family.help);
        let (kind, extra): (&str, &[&str]) = match family.kind {
            Kind::Counter => ("counter", &[]),
            Kind::Gauge => ("gauge", &[]),
            Kind::Histogram(_) => ("histogram", &["le"]),
        };
        assert_eq!(shown.kind, kind, "{}", family.name);
        for sample in &shown.samples {
            let labels: Vec<&str> = sample.labels.iter().map(|(label, _)| label.as_str()).collect();
            let full = [family.labels, extra].concat();
            assert!(labels == full || labels == family.labels, "{} {labels:?}", sample.name);
        }
    }
    let unknown: Vec<_> =
        found.keys().filter(|name| FAMILIES.iter().all(|family| family.name != *name)).collect();
    assert!(unknown.is_empty(), "not in the table: {unknown:?}");
}

/// A day-long tunnel reports while it lives, not when it ends.
#[tokio::test]
async fn counters_move_while_a_tunnel_lives_and_gauges_return() {
    let backend = Backend::echo("one").await;
    let proxy = Proxy::start(&plain(&[backend.address])).await;
    let label = format!("{{pool=\"all\",backend=\"{}\"}}", backend.address);
    let gauges = [
        "longhaul_tunnels_active{route=\"all\"}",
        "longhaul_connections_active{listener=\"plain\"}",
        &format!("longhaul_backend_tunnels{label}"),
    ];
    let bytes = |direction| format!("longhaul_tunnel_bytes_total{{route=\"all\",direction=\"{direction}\"}}");
    let messages =
        |direction| format!("longhaul_tunnel_messages_total{{route=\"all\",direction=\"{direction}\"}}");
    for gauge in gauges {
        assert_eq!(proxy.metric(gauge).await, 0.0, "{gauge}");
    }
    let mut sockets = [open(&proxy).await, open(&proxy).await];
    for gauge in gauges {
        proxy.wait_metric(gauge, 2.0).await;
    }
    // Each backend's greeting: a header of 2 and "one".
    let mut sent = 0.0;
    for round in 1..=5 {
        for socket in &mut sockets {
            socket.round_trip(&"x".repeat(100)).await;
            sent += 100.0;
        }
        let count = f64::from(2 * round);
        proxy.wait_metric(&bytes("to_backend"), sent + 6.0 * count).await;
        proxy.wait_metric(&bytes("to_client"), sent + 2.0 * count + 2.0 * 5.0).await;
        assert_eq!(proxy.metric(&messages("to_backend")).await, count);
        assert_eq!(proxy.metric(&messages("to_client")).await, count + 2.0);
    }
    let closed =
        |by| format!("longhaul_tunnels_closed_total{{route=\"all\",reason=\"closed\",initiator=\"{by}\"}}");
    assert_eq!(proxy.metric(&closed("client")).await, 0.0);
    for socket in sockets {
        socket.close(1000).await;
    }
    proxy.wait_metric(&closed("client"), 2.0).await;
    for gauge in gauges {
        proxy.wait_metric(gauge, 0.0).await;
    }
    for (series, value) in [
        ("longhaul_connections_total{listener=\"plain\"}", 2.0),
        ("longhaul_handshakes_total{route=\"all\",result=\"opened\"}", 2.0),
        ("longhaul_tunnels_opened_total{route=\"all\"}", 2.0),
        ("longhaul_handshake_duration_seconds_count{route=\"all\"}", 2.0),
        ("longhaul_tunnel_duration_seconds_count{route=\"all\"}", 2.0),
    ] {
        assert_eq!(proxy.metric(series).await, value, "{series}");
    }
}

#[tokio::test]
async fn limits_stand_beside_usage_and_the_build_is_named() {
    let backend = Backend::echo("one").await;
    let config =
        "[limits]\nconnections_max = 30\ntunnels_max = 20\n".to_string() + &plain(&[backend.address]);
    let proxy = Proxy::start(&config).await;
    let _socket = open(&proxy).await;
    proxy.wait_metric("longhaul_tunnels_active{route=\"all\"}", 1.0).await;
    for (series, value) in [
        ("longhaul_connections_max", 30.0),
        ("longhaul_connections_active{listener=\"plain\"}", 1.0),
        ("longhaul_tunnels_max", 20.0),
        ("longhaul_config_generation", 1.0),
        (concat!("longhaul_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}"), 1.0),
    ] {
        assert_eq!(proxy.metric(series).await, value, "{series}");
    }
    let now = std::time::UNIX_EPOCH.elapsed().expect("a clock after 1970").as_secs_f64();
    let age = now - proxy.metric("process_start_time_seconds").await;
    assert!((-2.0..60.0).contains(&age), "{age}");
    let (open_now, max) = (proxy.metric("process_open_fds").await, proxy.metric("process_max_fds").await);
    assert!(open_now > 10.0 && open_now < max, "{open_now} of {max}");
}

/// Labels from the configuration may hold anything that a file's name can.
#[tokio::test]
async fn certificates_expire_when_they_say_and_labels_are_escaped() {
    let folder = tempfile::tempdir().expect("a folder");
    let (cert, key) = (folder.path().join("we\"ird\\na\nme.pem"), folder.path().join("key.pem"));
    let mut params = CertificateParams::new(vec!["example.com".to_string()]).expect("valid names");
    params.not_after = rcgen::date_time_ymd(2031, 2, 3);
    let pair = KeyPair::generate().expect("a key");
    fs::write(&cert, params.self_signed(&pair).expect("a certificate").pem()).expect("a writable folder");
    fs::write(&key, pair.serialize_pem()).expect("a writable folder");
    let tls = format!(
        "address = \"127.0.0.1:0\"\ntls = {{ certificates = [{{ cert = {:?}, key = {:?} }}] }}",
        cert.display().to_string(),
        key.display().to_string()
    );
    let config = plain(&["127.0.0.1:1".parse().unwrap()]).replacen("address = \"127.0.0.1:0\"", &tls, 1);
    let proxy = Proxy::start(&config).await;
    let found = scrape(&proxy).await;
    let [sample] = &found["longhaul_certificate_expiry_timestamp_seconds"].samples[..] else {
        panic!("{found:?}")
    };
    assert_eq!(sample.value, 1_927_843_200.0, "2031-02-03");
    assert_eq!(
        (sample.label("listener"), sample.label("certificate")),
        ("plain", &*cert.display().to_string())
    );
}

/// `p` and `11.0.0.1:80` are not `p1` and `1.0.0.1:80`.
#[tokio::test]
async fn label_sets_that_differ_only_in_their_borders_stay_apart() {
    let backend = Backend::echo("one").await;
    let address = backend.address.to_string();
    let (first, rest) = address.split_at(1);
    let config = plain(&[backend.address]).replace("all", "p")
        + &format!(
            "[[routes]]\nname = \"r\"\nhost = \"other\"\npool = \"p{first}\"\n[pools.p{first}]\nbackends = [\"{rest}\"]\n"
        );
    let proxy = Proxy::start(&config).await;
    let _socket = open(&proxy).await;
    proxy.wait_metric(&format!("longhaul_backend_tunnels{{pool=\"p\",backend=\"{address}\"}}"), 1.0).await;
    let found = scrape(&proxy).await;
    let samples = &found["longhaul_backend_tunnels"].samples;
    let other =
        samples.iter().find(|sample| sample.label("pool") == format!("p{first}")).expect("the other one");
    assert_eq!((samples.len(), other.label("backend"), other.value), (2, rest, 0.0));
}

#[tokio::test]
async fn a_scrape_answers_while_many_tunnels_are_busy() {
    const TUNNELS: usize = 200;
    let backend = Backend::echo("one").await;
    let proxy = Proxy::start(&plain(&[backend.address])).await;
    let mut busy = Vec::new();
    let (stop, stopped) = watch::channel(false);
    for _ in 0..TUNNELS {
        let mut socket = open(&proxy).await;
        let stopped = stopped.clone();
        busy.push(tokio::spawn(async move {
            while !*stopped.borrow() {
                socket.send(&Message::binary(vec![0; 10_000])).await;
                socket.receive().await;
            }
            socket.close(1000).await;
        }));
    }
    proxy.wait_metric("longhaul_tunnels_active{route=\"all\"}", TUNNELS as f64).await;
    let mut before = 0.0;
    for _ in 0..5 {
        let messages =
            proxy.metric("longhaul_tunnel_messages_total{route=\"all\",direction=\"to_backend\"}").await;
        assert!(messages >= before);
        before = messages;
        scrape(&proxy).await;
    }
    stop.send_replace(true);
    for tunnel in busy {
        within("the end of a tunnel", tunnel).await.expect("no tunnel fails");
    }
    proxy.wait_metric("longhaul_tunnels_active{route=\"all\"}", 0.0).await;
}

#[tokio::test]
async fn the_metrics_address_serves_three_paths_and_nothing_else() {
    let proxy = Proxy::start(&plain(&["127.0.0.1:1".parse().unwrap()])).await;
    proxy.wait_metric("longhaul_ready", 1.0).await;
    for (path, status, body) in [
        ("/healthz", 200, "ok\n"),
        ("/readyz", 200, "ready\n"),
        ("/", 404, "here are /metrics, /healthz and /readyz\n"),
        ("/healthz/x", 404, "here are /metrics, /healthz and /readyz\n"),
    ] {
        assert_eq!(proxy.scrape(path).await, (status, body.to_string()), "{path}");
    }
    let line = proxy.record("metrics").await;
    let address = line["address"].as_str().and_then(|address| address.parse().ok()).expect("an address");
    let mut client = Client::connect(address).await;
    client.send("POST /metrics HTTP/1.1\r\nHost: metrics\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(client.head().await.status(), 405);
    let mut client = Client::connect(address).await;
    client.send("GET /metrics HTTP/1.1\r\nHost: metrics\r\n\r\n").await;
    assert_eq!(client.head().await.get("content-type"), Some("text/plain; version=0.0.4"));
}

/// A backend whose probes hang until the test says how they end.
async fn hesitant() -> (Backend, watch::Sender<Option<&'static str>>) {
    let (say, wait) = watch::channel(None::<&'static str>);
    let backend = Backend::calls(move |mut call| {
        let mut wait = wait.clone();
        async move {
            let answer = wait.wait_for(Option::is_some).await.ok().and_then(|answer| *answer);
            let _ = call.stream.write_all(answer.unwrap_or_default().as_bytes()).await;
        }
    });
    (backend.await, say)
}

async fn ready(proxy: &Proxy) -> bool {
    let (status, body) = proxy.scrape("/readyz").await;
    let expected = if status == 200 { "ready\n" } else { "not ready: starting or stopping\n" };
    assert_eq!(body, expected);
    let metric = proxy.metric("longhaul_ready").await == 1.0;
    assert!(metric || status == 503);
    status == 200
}

async fn wait_until_ready(proxy: &Proxy) {
    within("readiness", async {
        while !ready(proxy).await {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

const PROBE: &str = "health = { kind = \"http\", path = \"/\", interval = \"1h\", timeout = \"1h\" }\n";

#[tokio::test]
async fn ready_is_after_the_first_round_of_probes_whatever_it_finds() {
    for (answer, up) in
        [("HTTP/1.1 204 No Content\r\n\r\n", 1.0), ("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", 0.0)]
    {
        let (quick, slow) = (Backend::answers(answer).await, hesitant().await);
        let begun = Instant::now();
        let proxy = Proxy::start(&(plain(&[quick.address, slow.0.address]) + PROBE)).await;
        proxy.record(if up == 1.0 { "backend up" } else { "backend down" }).await;
        assert!(!ready(&proxy).await, "one backend has not been probed");
        slow.1.send_replace(Some(answer));
        wait_until_ready(&proxy).await;
        // After five seconds it would have been ready anyway, which says nothing.
        assert!(begun.elapsed() < Duration::from_secs(5));
        let series = format!("longhaul_backend_up{{pool=\"all\",backend=\"{}\"}}", slow.0.address);
        assert_eq!(proxy.metric(&series).await, up);
        let mut client = proxy.connect("plain").await;
        client.send(handshake("/ws", "example.com", "")).await;
        assert_eq!(client.head().await.status() == 503, up == 0.0);
    }
}

#[tokio::test]
async fn ready_does_not_wait_for_a_probe_that_hangs() {
    let (backend, _say) = hesitant().await;
    let begun = Instant::now();
    let proxy = Proxy::start(&(plain(&[backend.address]) + PROBE)).await;
    assert!(!ready(&proxy).await);
    wait_until_ready(&proxy).await;
    assert!(begun.elapsed() >= Duration::from_secs(5));
}
