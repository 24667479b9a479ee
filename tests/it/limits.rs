//! Limits: what the process takes on, and how it refuses the rest.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, prlimit};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, interval, sleep};

use crate::kit::{Backend, Call, Client, Pki, Proxy, WebSocket, handshake, plain, within};

const GET: &str = "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n";

/// Starts longhaul with this soft and this hard limit of descriptors.
async fn start_limited(config: &str, soft: u32, hard: u32) -> Proxy {
    Proxy::start_with(config, |command| {
        let mut limited = Command::new("sh");
        limited.args(["-c", &format!("ulimit -Sn {soft} && ulimit -Hn {hard} && exec \"$0\" \"$@\"")]);
        limited.arg(command.get_program()).args(command.get_args());
        limited.stdout(Stdio::piped()).stderr(Stdio::piped());
        *command = limited;
        command
    })
    .await
}

async fn open(proxy: &Proxy) -> WebSocket<Client> {
    let (mut socket, _) = proxy.connect("plain").await.open("/ws", "example.com", "").await;
    assert_eq!(socket.receive_text().await, "one");
    socket
}

#[tokio::test]
async fn the_descriptor_limit_is_raised_and_the_bounds_follow_from_it() {
    let backend = Backend::echo("one").await;
    let proxy = start_limited(&plain(&[backend.address]), 256, 4096).await;
    assert_eq!(proxy.metric("process_max_fds").await, 4096.0);
    let (connections, tunnels) =
        (proxy.metric("longhaul_connections_max").await, proxy.metric("longhaul_tunnels_max").await);
    // Two descriptors for each tunnel, and room for others.
    assert!(2.0 * connections < 4096.0 && 2.0 * connections > 0.9 * 4096.0, "{connections}");
    assert!(tunnels < connections && tunnels > 0.9 * connections, "{tunnels}");
    // Twice what the old limit would have carried.
    let mut sockets = Vec::new();
    for _ in 0..256 {
        sockets.push(open(&proxy).await);
    }
    assert!(proxy.metric("process_open_fds").await > 512.0);
    for socket in &mut sockets {
        socket.round_trip("hello").await;
    }
}

#[tokio::test]
async fn over_the_tunnel_limit_is_503_until_a_tunnel_ends() {
    let backend = Backend::echo("one").await;
    let proxy = Proxy::start(&("[limits]\ntunnels_max = 3\n".to_string() + &plain(&[backend.address]))).await;
    assert_eq!(proxy.metric("longhaul_tunnels_max").await, 3.0);
    let mut sockets = vec![open(&proxy).await, open(&proxy).await, open(&proxy).await];
    for refused in 1..=2 {
        let mut client = proxy.connect("plain").await;
        client.send(handshake("/ws", "example.com", "")).await;
        let head = client.head().await;
        assert_eq!(head.status(), 503);
        assert!(head.get("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok()));
        let counter = "longhaul_handshakes_total{route=\"all\",result=\"tunnel_limit\"}";
        proxy.wait_metric(counter, f64::from(refused)).await;
    }
    assert_eq!(backend.called(), 3, "a refused handshake reaches no backend");
    sockets.pop().expect("a tunnel").close(1000).await;
    proxy.wait_metric("longhaul_tunnels_active{route=\"all\"}", 2.0).await;
    open(&proxy).await.round_trip("hello").await;
    for socket in &mut sockets {
        socket.round_trip("hello").await;
    }
}

#[tokio::test]
async fn over_the_connection_limit_clients_wait_in_the_kernels_queue() {
    let backend = Backend::echo("one").await;
    let config = "[limits]\nconnections_max = 2\ntunnels_max = 2\n".to_string() + &plain(&[backend.address]);
    let proxy = Proxy::start(&config).await;
    let (mut first, _second) = (open(&proxy).await, open(&proxy).await);
    let mut third = proxy.connect("plain").await;
    third.send(handshake("/ws", "example.com", "")).await;
    proxy.wait_metric("longhaul_accept_errors_total{listener=\"plain\",reason=\"limit\"}", 1.0).await;
    assert_eq!(proxy.metric("longhaul_connections_active{listener=\"plain\"}").await, 2.0);
    first.round_trip("hello").await;
    first.close(1000).await;
    assert_eq!(third.head().await.status(), 101);
}

#[tokio::test]
async fn an_idle_listener_keeps_no_connection_from_a_busy_one() {
    let backend = Backend::echo("one").await;
    let mut config =
        "[limits]\nconnections_max = 1\ntunnels_max = 1\n".to_string() + &plain(&[backend.address]);
    for name in ["idle", "other"] {
        config += &format!("[[listeners]]\nname = \"{name}\"\naddress = \"127.0.0.1:0\"\n");
    }
    let proxy = Proxy::start(&config).await;
    for listener in ["plain", "other", "plain"] {
        let (mut socket, _) = proxy.connect(listener).await.open("/ws", "example.com", "").await;
        assert_eq!(socket.receive_text().await, "one");
        socket.close(1000).await;
    }
}

const EXHAUSTED: &str = "cannot accept, descriptors or memory ran out: raise their limits";

/// Descriptors run out: what is open goes on, accepting rests instead of spinning, and all is well when they are back.
#[tokio::test]
async fn without_descriptors_tunnels_go_on_and_accepting_rests() {
    let backend = Backend::echo("one").await;
    let config =
        "[limits]\nconnections_max = 1000\nhead_timeout = \"1h\"\n".to_string() + &plain(&[backend.address]);
    let proxy = start_limited(&config, 256, 256).await;
    let warned = |line: &serde_json::Value| line["level"] == "WARN" && line["possible"] == 96;
    proxy.wait_for("a warning", warned).await;
    let mut tunnel = open(&proxy).await;
    // No more from now on.
    let open_now = proxy.metric("process_open_fds").await as u64;
    let limit = Rlimit { current: Some(open_now), maximum: Some(256) };
    prlimit(Some(proxy.pid()), Resource::Nofile, limit).expect("a child's limit");
    let begun = Instant::now();
    let mut waiting = Vec::new();
    for _ in 0..20 {
        let mut client = proxy.connect("plain").await;
        client.send(handshake("/ws", "example.com", "")).await;
        waiting.push(client);
    }
    proxy.record(EXHAUSTED).await;
    for _ in 0..50 {
        tunnel.round_trip("still here").await;
    }
    // Time in which an impatient loop would fail thousands of times.
    let mut ticks = interval(Duration::from_millis(50));
    while begun.elapsed() < Duration::from_millis(400) {
        ticks.tick().await;
        tunnel.round_trip("still here").await;
    }
    let limit = Rlimit { current: Some(256), maximum: Some(256) };
    prlimit(Some(proxy.pid()), Resource::Nofile, limit).expect("a child's limit");
    for client in &mut waiting {
        // Whoever got a descriptor but no backend was told so; nobody is left without an answer.
        assert!(matches!(client.head().await.status(), 101 | 502));
    }
    let rests = begun.elapsed().as_secs_f64() / 0.1;
    let failures =
        proxy.metric("longhaul_accept_errors_total{listener=\"plain\",reason=\"exhausted\"}").await;
    assert!((1.0..=rests + 1.0).contains(&failures), "{failures} failures in {rests} rests");
    let logged = proxy.log().iter().filter(|line| line["message"] == EXHAUSTED).count() as f64;
    assert!(logged <= begun.elapsed().as_secs_f64() + 1.0, "{logged} lines");
    open(&proxy).await.round_trip("as before").await;
    tunnel.round_trip("still here").await;
}

async fn faults(proxy: &Proxy, reason: &str, wanted: f64) {
    let series = format!("longhaul_connection_errors_total{{listener=\"plain\",reason=\"{reason}\"}}");
    proxy.wait_metric(&series, wanted).await;
}

#[tokio::test]
async fn heads_over_the_limits_are_431() {
    let backend = Backend::answers("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let limits = "[limits]\nhead_bytes_max = \"8KiB\"\nhead_fields_max = 10\n";
    let proxy = Proxy::start(&(limits.to_string() + &plain(&[backend.address]))).await;
    let large = format!("Large: {}\r\n\r\n", "x".repeat(9000));
    let fields = |count: usize| "X: y\r\n".repeat(count) + "\r\n";
    let mut refused = 0.0;
    for (name, rest, status) in [
        ("large", large.clone(), 431),
        ("almost too large", format!("Large: {}\r\n\r\n", "x".repeat(7000)), 200),
        ("many fields", fields(10), 431),
        ("almost too many fields", fields(9), 200),
        ("endless", "x".repeat(20_000), 431),
    ] {
        let mut client = proxy.connect("plain").await;
        // It may be answered before all of it has been sent.
        let request = GET.replace("\r\n\r\n", "\r\n") + &rest;
        let _ = within("room to write", client.write_all(request.as_bytes())).await;
        assert_eq!(client.head().await.status(), status, "{name}");
        refused += f64::from(u8::from(status == 431));
        faults(&proxy, "head_too_large", refused).await;
    }
}

#[tokio::test]
async fn slow_heads_and_silence_are_cut() {
    let (backend, pki) = (Backend::answers("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await, Pki::new());
    let tls = format!(
        "address = \"127.0.0.1:0\"\ntls = {{ certificates = [{}] }}",
        pki.issue(&["example.com"]).entry()
    );
    for (secure, asks_before, sends) in [
        (false, false, "GET"),
        (false, false, ""),
        (false, true, "GET"),
        (true, false, "GET"),
        (true, false, ""),
        (true, true, "GET"),
    ] {
        let mut config = "[limits]\nhead_timeout = \"150ms\"\n".to_string() + &plain(&[backend.address]);
        if secure {
            config = config.replacen("address = \"127.0.0.1:0\"", &tls, 1);
        }
        let proxy = Proxy::start(&config).await;
        let mut client = if secure {
            Client::connect_tls(proxy.address("plain"), &pki, "example.com").await
        } else {
            proxy.connect("plain").await
        };
        if asks_before {
            client.send(GET).await;
            assert_eq!(client.head().await.status(), 200);
        }
        within("the cut", drip(client, sends)).await;
        faults(&proxy, "head_timeout", 1.0).await;
        proxy.wait_metric("longhaul_connections_active{listener=\"plain\"}", 0.0).await;
    }
}

/// Sends a head that never ends, a byte at a time, until the connection does.
async fn drip(client: Client, start: &str) {
    let (mut reader, mut writer) = tokio::io::split(client);
    let send = async {
        if start.is_empty() {
            std::future::pending::<()>().await;
        }
        let mut ticks = interval(Duration::from_millis(10));
        for byte in start.bytes().chain(" / HTTP/1.1\r\nX: ".bytes()).chain(std::iter::repeat(b'x')) {
            ticks.tick().await;
            if writer.write_all(&[byte]).await.is_err() || writer.flush().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let end = async {
        let mut rest = Vec::new();
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut reader, &mut rest).await;
    };
    tokio::select! {
        () = send => {}
        () = end => {}
    }
}

#[tokio::test]
async fn a_tls_handshake_has_a_deadline() {
    let (backend, pki) = (Backend::echo("one").await, Pki::new());
    let tls = format!(
        "address = \"127.0.0.1:0\"\ntls = {{ certificates = [{}] }}",
        pki.issue(&["example.com"]).entry()
    );
    let config = "[limits]\ntls_handshake_timeout = \"50ms\"\n".to_string()
        + &plain(&[backend.address]).replacen("address = \"127.0.0.1:0\"", &tls, 1);
    let proxy = Proxy::start(&config).await;
    let mut silent = proxy.connect("plain").await;
    assert_eq!(silent.rest().await.0, b"");
    let series = "longhaul_tls_handshakes_total{listener=\"plain\",result=\"timeout\",version=\"\"}";
    proxy.wait_metric(series, 1.0).await;
    proxy.wait_metric("longhaul_connections_active{listener=\"plain\"}", 0.0).await;
}

/// A hundred backends of which each holds its probe until as many have come as may at once.
#[tokio::test]
async fn health_checks_take_turns_where_descriptors_are_few() {
    const AT_ONCE: usize = 16;
    let now = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let mut backends = Vec::new();
    for _ in 0..100 {
        let (now, most) = (now.clone(), most.clone());
        let handle = move |call: Call| {
            let (now, most) = (now.clone(), most.clone());
            async move {
                most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                while most.load(SeqCst) < AT_ONCE {
                    sleep(Duration::from_millis(5)).await;
                }
                // Before longhaul can know that another may come.
                now.fetch_sub(1, SeqCst);
                call.answer("HTTP/1.1 204 No Content\r\n\r\n").await;
            }
        };
        backends.push(Backend::calls(handle).await);
    }
    let addresses: Vec<_> = backends.iter().map(|backend| backend.address).collect();
    let health = "health = { kind = \"http\", path = \"/\", interval = \"1h\", timeout = \"1m\" }\n";
    let proxy = start_limited(&(plain(&addresses) + health), 256, 256).await;
    proxy.wait_metric("longhaul_backend_probes_total{pool=\"all\",result=\"passed\"}", 100.0).await;
    assert_eq!(most.load(SeqCst), AT_ONCE);
}
