//! Where connections to backends come from: addresses in turn, and what is said when no port is left at any of them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;

use tokio::net::TcpListener;

use crate::health::up;
use crate::kit::{Backend, Calls, Client, Proxy, WebSocket, connect_errors, handshake, plain};

/// A pool of these backends whose connections come from these addresses.
fn config(backends: &[SocketAddr], addresses: &[&str], keys: &str) -> String {
    let keys = format!("source_addresses = {addresses:?}\n{keys}\n");
    plain(backends) + if addresses.is_empty() { "" } else { &keys }
}

/// Opens a tunnel; where the backend sees it come from.
async fn seen(proxy: &Proxy, calls: &mut Calls) -> (WebSocket<Client>, String) {
    let (client, backend) = calls.tunnel(proxy.connect("plain").await, "", "").await;
    (client, backend.stream.peer_addr().expect("a connection").ip().to_string())
}

#[tokio::test]
async fn connections_come_from_each_address_in_turn() {
    let (backend, mut calls) = Backend::by_hand().await;
    let proxy = Proxy::start(&config(&[backend.address], &["127.0.0.2", "::1", "127.0.0.3"], "")).await;
    let mut came = BTreeMap::<_, usize>::new();
    for _ in 0..8 {
        *came.entry(seen(&proxy, &mut calls).await.1).or_default() += 1;
    }
    assert_eq!(came, BTreeMap::from([("127.0.0.2".into(), 4), ("127.0.0.3".into(), 4)]));
    // A reload changes them for new connections.
    proxy.change_to(&config(&[backend.address], &["127.0.0.4"], "")).await;
    assert_eq!(seen(&proxy, &mut calls).await.1, "127.0.0.4");
    proxy.change_to(&config(&[backend.address], &[], "")).await;
    assert_eq!(seen(&proxy, &mut calls).await.1, "127.0.0.1");
}

#[tokio::test]
async fn each_family_has_its_own_and_one_without_any_is_left_to_the_kernel() {
    let (handle, mut calls) = Calls::handler();
    let listener = TcpListener::bind("[::1]:0").await.expect("a free port");
    let backend = Backend::on(listener, move |mut stream| {
        let handle = handle.clone();
        async move {
            if let Some(head) = crate::kit::Head::read(&mut stream).await {
                handle(crate::kit::Call { stream, head }).await;
            }
        }
    });
    for addresses in [&["127.0.0.2"], &["::1"]] {
        let proxy = Proxy::start(&config(&[backend.address], addresses, "")).await;
        assert_eq!(seen(&proxy, &mut calls).await.1, "::1");
    }
}

/// Only the probes of who comes from the right address pass.
#[tokio::test]
async fn probes_come_from_them_too() {
    let backend = Backend::raw(|mut stream| async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let source = stream.peer_addr().expect("a connection").ip().to_string();
        let status = if source == "127.0.0.2" { "204 No Content" } else { "403 Forbidden" };
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream.write_all(format!("HTTP/1.1 {status}\r\nConnection: close\r\n\r\n").as_bytes()).await;
    })
    .await;
    let health = "health = { kind = \"http\", path = \"/\", interval = \"1h\", rise = 1 }";
    let proxy = Proxy::start(&config(&[backend.address], &["127.0.0.3"], health)).await;
    proxy.record("backend down").await;
    proxy.change_to(&config(&[backend.address], &["127.0.0.2"], health)).await;
    proxy.wait_metric(&up(backend.address), 1.0).await;
}

/// The status of a handshake that gets no tunnel, when one may ask again, and the reason in its record.
async fn refused(proxy: &Proxy, mut client: Client, path: &str) -> (u16, Option<String>, String) {
    client.send(handshake(path, "example.com", "")).await;
    let head = client.head().await;
    (head.status(), head.get("retry-after").map(str::to_string), proxy.refusal(path).await)
}

#[tokio::test]
async fn an_address_of_another_machine_is_passed_over_and_alone_it_is_told() {
    let (backend, mut calls) = Backend::by_hand().await;
    let proxy = Proxy::start(&config(&[backend.address], &["192.0.2.1", "127.0.0.2"], "")).await;
    for _ in 0..4 {
        assert_eq!(seen(&proxy, &mut calls).await.1, "127.0.0.2");
    }
    proxy.change_to(&config(&[backend.address], &["192.0.2.1"], "")).await;
    let client = proxy.connect("plain").await;
    assert_eq!(refused(&proxy, client, "/x").await, (502, None, "no_source_address".to_string()));
    assert_eq!(proxy.metric(&connect_errors(backend.address, "source_address")).await, 1.0);
    let warning = proxy.record("cannot connect").await;
    assert_eq!((&warning["level"], &warning["error"]), (&"WARN".into(), &"source_address".into()));
    assert!(
        warning["remedy"].as_str().is_some_and(|remedy| remedy.contains("source_addresses")),
        "{warning}"
    );
}

/// Set in the namespace that the test makes for itself.
const INSIDE: &str = "LONGHAUL_TEST_INSIDE_NAMESPACE";
/// Ports that the kernel may choose from there.
const PORTS: usize = 16;

/// In a network of its own, which has few ports.
#[test]
fn when_no_port_is_left_it_has_a_name_and_further_addresses_have_as_many() {
    if std::env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        return runtime.block_on(few_ports());
    }
    let namespace = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--net", "sh", "-c", script]);
        command
    };
    let range = "/proc/sys/net/ipv4/ip_local_port_range";
    let narrow = format!("ip link set lo up && echo 20000 {} > {range}", 20_000 + PORTS - 1);
    let made = namespace(&narrow).output().expect("unshare(1)");
    let why = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "this test must be allowed to make a namespace, with ip(8): {why}");
    let this = std::env::current_exe().expect("a test");
    // As the harness calls it, which leaves out the name of the crate.
    let (_, module) = module_path!().split_once("::").expect("a module of a crate");
    let name = format!("{module}::when_no_port_is_left_it_has_a_name_and_further_addresses_have_as_many");
    let inside = namespace(&format!("{narrow} && exec \"$0\" \"$@\""))
        .arg(this)
        .args(["--exact", &name, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare");
    let said =
        String::from_utf8_lossy(&inside.stdout).into_owned() + &String::from_utf8_lossy(&inside.stderr);
    assert!(inside.status.success() && said.contains("1 passed"), "{said}");
}

async fn few_ports() {
    // None of these ports is one that the kernel may choose.
    let mut backends = Vec::new();
    for port in [30_001, 30_002] {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("a port of this namespace");
        backends.push(Backend::echo_on(listener, "one"));
    }
    let addresses = [backends[0].address, backends[1].address];
    let config = |sources: &[&str]| {
        let text = config(&addresses, sources, "").replace("127.0.0.1:0", "0.0.0.0:30003");
        format!("[metrics]\naddress = \"127.0.0.1:30004\"\n[admin]\naddress = \"127.0.0.1:30005\"\n{text}")
    };
    let proxy = Proxy::start(&config(&[])).await;
    // Each client goes to another address of this machine, so that it has all ports to choose from.
    let mut clients = 0;
    let mut connect = || {
        clients += 1;
        Client::connect(SocketAddr::from(([127, 0, 1, clients], 30_003)))
    };
    let mut tunnels = Vec::new();
    for (round, sources) in [&[][..], &["127.0.0.2"], &["127.0.0.2", "127.0.0.3"]].into_iter().enumerate() {
        if round > 0 {
            proxy.change_to(&config(sources)).await;
        }
        // As many as there are ports, to each backend.
        for _ in 0..2 * PORTS {
            let (mut socket, _) = connect().await.open("/", "example.com", "").await;
            assert_eq!(socket.receive_text().await, "one");
            tunnels.push(socket);
        }
        let path = format!("/{round}");
        let reason = "no_source_port".to_string();
        assert_eq!(refused(&proxy, connect().await, &path).await, (503, Some("5".into()), reason));
    }
    for address in addresses {
        assert_eq!(proxy.metric(&connect_errors(address, "source_port")).await, 3.0);
    }
    let told = proxy.record("cannot connect").await;
    assert_eq!((&told["level"], &told["error"]), (&"WARN".into(), &"source_port".into()));
    assert!(told["remedy"].as_str().is_some_and(|remedy| remedy.contains("ip_local_port_range")), "{told}");
    for socket in &mut tunnels {
        socket.round_trip("still here").await;
    }
}
