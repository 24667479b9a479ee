//! What happens when no port is left, in networks of the tests' own, which have few.

use std::future::Future;
use std::net::SocketAddr;

use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::{config, refused};
use crate::health::{probes, up};
use crate::kit::{Backend, Client, Proxy, connect_errors, handshake, namespace, within};

/// Ports that the kernel may choose from there, and none that is bound here is one of them.
const PORTS: usize = 16;
/// The reason, and the error.
const LACK: (&str, &str) = ("no_source_port", "source_port");

/// Runs the test of this name again, in a network namespace, where it does its `work`.
fn in_few_ports(name: &str, work: impl Future<Output = ()>) {
    let sysctl = "echo 0 > /proc/sys/net/ipv4/tcp_max_tw_buckets";
    let range = format!("echo 20000 {} > /proc/sys/net/ipv4/ip_local_port_range", 20_000 + PORTS - 1);
    namespace::inside(module_path!(), name, &format!("{sysctl} && {range}"), work);
}

/// Two backends, `one` and `two`.
async fn backends() -> ([Backend; 2], [SocketAddr; 2]) {
    let on = async |port: u16, name| {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("a port of this namespace");
        Backend::echo_on(listener, name)
    };
    let backends = [on(30_001, "one").await, on(30_002, "two").await];
    let addresses = [backends[0].address, backends[1].address];
    (backends, addresses)
}

/// A configuration with these sources, whose own sockets are of this namespace.
fn text(addresses: &[SocketAddr], sources: &[&str], keys: &str) -> String {
    let text = config(addresses, sources, keys).replace("127.0.0.1:0", "0.0.0.0:30003");
    format!("[metrics]\naddress = \"127.0.0.1:30004\"\n[admin]\naddress = \"127.0.0.1:30005\"\n{text}")
}

/// Connects to the proxy. Each client goes to another address of this machine, so that it has all ports to choose from.
async fn connect(client: &mut u16) -> Client {
    *client += 1;
    let [high, low] = client.to_be_bytes();
    Client::connect(SocketAddr::from(([127, 1, high, low], 30_003))).await
}

/// Opens tunnels; who serves them.
async fn opened(count: usize, clients: &mut u16) -> Vec<(crate::kit::WebSocket<Client>, String)> {
    let mut tunnels = Vec::new();
    for _ in 0..count {
        let (mut socket, _) = connect(clients).await.open("/", "example.com", "").await;
        let name = socket.receive_text().await;
        tunnels.push((socket, name));
    }
    tunnels
}

#[test]
fn it_has_a_name_and_further_addresses_have_as_many() {
    in_few_ports("it_has_a_name_and_further_addresses_have_as_many", async {
        let (_backends, addresses) = backends().await;
        let proxy = Proxy::start(&text(&addresses, &[], "")).await;
        let (mut clients, mut tunnels) = (0, Vec::new());
        let all = [&[][..], &["127.0.0.2"], &["127.0.0.2", "127.0.0.3"]];
        for (round, sources) in all.into_iter().enumerate() {
            if round > 0 {
                proxy.change_to(&text(&addresses, sources, "")).await;
            }
            // As many as there are ports, to each backend.
            tunnels.extend(opened(2 * PORTS, &mut clients).await);
            let (client, path) = (connect(&mut clients).await, format!("/{round}"));
            assert_eq!(refused(&proxy, client, &path).await, (503, Some(true), LACK.0.into()));
        }
        for name in ["one", "two"] {
            assert_eq!(tunnels.iter().filter(|(_, served)| served == name).count(), 3 * PORTS);
        }
        for address in addresses {
            assert_eq!(proxy.metric(&connect_errors(address, LACK.1)).await, 3.0);
        }
        let told = proxy.record("cannot connect").await;
        assert_eq!((&told["level"], &told["error"]), (&"WARN".into(), &LACK.1.into()));
        let remedy = told["remedy"].as_str().unwrap_or_default();
        assert!(remedy.contains("ip_local_port_range"), "{told}");
        for (socket, _) in &mut tunnels {
            socket.round_trip("still here").await;
        }
    });
}

/// Ports are as many again for each backend.
#[test]
fn the_next_backend_is_tried() {
    in_few_ports("the_next_backend_is_tried", async {
        let (_backends, addresses) = backends().await;
        let proxy = Proxy::start(&text(&addresses, &[], "balance = \"round-robin\"")).await;
        let mut taken = Vec::new();
        for _ in 0..PORTS {
            taken.push(TcpStream::connect(addresses[0]).await.expect("a port"));
        }
        let names = opened(4, &mut 0).await.into_iter().map(|(_, name)| name).collect::<Vec<_>>();
        assert_eq!(names, ["two"; 4]);
        let lacked = proxy.metric(&connect_errors(addresses[0], LACK.1)).await;
        assert!(lacked > 0.0);
        let retries = "longhaul_retries_total{pool=\"all\",reason=\"connect\"}";
        assert_eq!(proxy.metric(retries).await, lacked);
    });
}

#[test]
fn no_backend_is_blamed_by_requests_or_by_probes() {
    in_few_ports("no_backend_is_blamed_by_requests_or_by_probes", async {
        let (_backends, addresses) = backends().await;
        let health = "health = { kind = \"tcp\", interval = \"10ms\", fall = 1 }";
        let keys = format!("{health}\nejection = {{ connect_failures = 1, ejected_max = \"100%\" }}");
        let proxy = Proxy::start(&text(&addresses, &["127.0.0.2"], &keys)).await;
        for address in addresses {
            proxy.wait_metric(&up(address), 1.0).await;
        }
        // Until there is also none that a probe has had.
        let mut taken = Vec::new();
        let is_out = async |address| proxy.metric(&probes(address, "unsent")).await >= 3.0;
        within("a lack of ports", async {
            while !(is_out(addresses[0]).await && is_out(addresses[1]).await) {
                for address in addresses {
                    let socket = TcpSocket::new_v4().expect("a socket");
                    setsockopt(&socket, IpBindAddressNoPort, &true).expect("a kernel that shares ports");
                    socket.bind(SocketAddr::from(([127, 0, 0, 2], 0))).expect("an address of this machine");
                    taken.extend(socket.connect(address).await.ok());
                }
            }
        })
        .await;
        assert!(taken.len() <= 2 * PORTS);
        let (mut clients, reason) = (0, LACK.0.to_string());
        let client = connect(&mut clients).await;
        assert_eq!(refused(&proxy, client, "/x").await, (503, Some(true), reason));
        for address in addresses {
            assert_eq!(proxy.metric(&connect_errors(address, LACK.1)).await, 1.0);
            assert_eq!(proxy.metric(&up(address)).await, 1.0);
            assert_eq!(proxy.metric(&probes(address, "failed")).await, 0.0);
            let ejected = format!("longhaul_backend_ejected{{pool=\"all\",backend=\"{address}\"}}");
            assert_eq!(proxy.metric(&ejected).await, 0.0);
        }
        let told = proxy.record("cannot probe").await;
        assert_eq!((&told["level"], &told["error"]), (&"WARN".into(), &LACK.1.into()));
        assert!(told["remedy"].as_str().is_some_and(|remedy| remedy.contains("source_addresses")), "{told}");
        drop(taken);
        within("a tunnel", async {
            loop {
                let mut client = connect(&mut clients).await;
                client.send(handshake("/", "example.com", "")).await;
                if client.head().await.status() == 101 {
                    break;
                }
            }
        })
        .await;
    });
}
