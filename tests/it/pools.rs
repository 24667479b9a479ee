//! Pools: who carries the next tunnel.

use std::net::SocketAddr;

use tokio::sync::watch;

use crate::kit::{Backend, Client, Proxy, WebSocket, handshake};

/// Two workers, and a pool of backends with weights.
fn config(balance: &str, backends: &[(SocketAddr, u32)]) -> String {
    let backends: Vec<String> = backends
        .iter()
        .map(|(address, weight)| format!("{{ address = \"{address}\", weight = {weight} }}"))
        .collect();
    format!(
        "[server]\nworkers = 2\n[[listeners]]\nname = \"plain\"\naddress = \"127.0.0.1:0\"\n\
         [[routes]]\nname = \"all\"\npool = \"all\"\n\
         [pools.all]\nbalance = \"{balance}\"\nbackends = [{}]\n",
        backends.join(", ")
    )
}

fn load(backend: &Backend) -> String {
    format!("longhaul_backend_tunnels{{pool=\"all\",backend=\"{}\"}}", backend.address)
}

/// Opens a tunnel; the name of the backend comes with it.
async fn open(proxy: &Proxy) -> (WebSocket<Client>, String) {
    let (mut socket, _) = proxy.connect("plain").await.open("/ws", "example.com", "").await;
    let name = socket.receive_text().await;
    (socket, name)
}

#[tokio::test]
async fn round_robin_follows_the_weights_in_order() {
    let [a, b, c] = [Backend::echo("a").await, Backend::echo("b").await, Backend::echo("c").await];
    for (weights, order) in [([1, 1, 1], "abcabcabc"), ([2, 1, 1], "abacabac"), ([3, 1, 2], "acabacacabac")] {
        let [of_a, of_b, of_c] = weights;
        let backends = [(a.address, of_a), (b.address, of_b), (c.address, of_c)];
        let proxy = Proxy::start(&config("round-robin", &backends)).await;
        let mut names = String::new();
        for _ in 0..order.len() {
            names += &open(&proxy).await.1;
        }
        assert_eq!(names, order, "weights {weights:?}");
    }
}

#[tokio::test]
async fn least_connections_levels_the_loads_over_both_workers() {
    let backends = [Backend::echo("a").await, Backend::echo("b").await, Backend::echo("c").await];
    for (weights, shares) in [([1, 1, 1], [10.0, 10.0, 10.0]), ([1, 3, 1], [6.0, 18.0, 6.0])] {
        let weighted: Vec<_> = backends.iter().map(|backend| backend.address).zip(weights).collect();
        let proxy = Proxy::start(&config("least-connections", &weighted)).await;
        let mut tunnels = Vec::new();
        for opened in 1..=30 {
            tunnels.push(open(&proxy).await);
            let carried = tunnels.iter().filter(|(_, name)| name == "a").count();
            assert!(
                carried.abs_diff(opened * weights[0] as usize / weights.iter().sum::<u32>() as usize) <= 1
            );
        }
        for (backend, share) in backends.iter().zip(shares) {
            assert_eq!(proxy.metric(&load(backend)).await, share, "weights {weights:?}");
        }
        for (socket, _) in tunnels {
            socket.close(1000).await;
        }
        for backend in &backends {
            proxy.wait_metric(&load(backend), 0.0).await;
        }
    }
}

#[tokio::test]
async fn what_ended_makes_room_for_what_comes() {
    let [a, b] = [Backend::echo("a").await, Backend::echo("b").await];
    let proxy = Proxy::start(&config("least-connections", &[(a.address, 1), (b.address, 1)])).await;
    let mut tunnels = Vec::new();
    for _ in 0..10 {
        tunnels.push(open(&proxy).await);
    }
    let (of_a, of_b): (Vec<_>, Vec<_>) = tunnels.into_iter().partition(|(_, name)| name == "a");
    assert_eq!((of_a.len(), of_b.len()), (5, 5));
    for (socket, _) in of_a {
        socket.close(1000).await;
    }
    proxy.wait_metric(&load(&a), 0.0).await;
    let mut refilled = Vec::new();
    for _ in 0..5 {
        let (socket, name) = open(&proxy).await;
        assert_eq!(name, "a");
        refilled.push(socket);
    }
}

#[tokio::test]
async fn a_handshake_in_flight_counts() {
    let (go, wait) = watch::channel(false);
    let hesitant = |name: &'static str| {
        let wait = wait.clone();
        Backend::calls(move |call| {
            let mut wait = wait.clone();
            async move {
                let _ = wait.wait_for(|go| *go).await;
                let mut socket = call.accept("").await;
                socket.send(&crate::kit::Message::text(name)).await;
                socket.echo().await;
            }
        })
    };
    let backends = [hesitant("a").await, hesitant("b").await];
    let weighted = [(backends[0].address, 1), (backends[1].address, 1)];
    let proxy = Proxy::start(&config("least-connections", &weighted)).await;
    let mut clients = Vec::new();
    for round in 1..=3 {
        for _ in &backends {
            let mut client = proxy.connect("plain").await;
            client.send(handshake("/ws", "example.com", "")).await;
            clients.push(client);
            // The next one comes when this one is on its way: two choices at the same instant may see the same loads.
            let wanted = clients.len();
            crate::kit::within("a call", async {
                while backends.iter().map(Backend::called).sum::<usize>() < wanted {
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                }
            })
            .await;
        }
        for backend in &backends {
            assert_eq!(proxy.metric(&load(backend)).await, f64::from(round));
        }
    }
    assert_eq!(proxy.metric("longhaul_tunnels_active{route=\"all\"}").await, 0.0);
    go.send_replace(true);
    for mut client in clients {
        assert_eq!(client.head().await.status(), 101);
    }
}
