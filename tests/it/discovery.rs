//! Discovery: backends that somebody else names, who come, go and come back while tunnels live.

mod dns;
mod file;
mod many;
mod members;
mod srv;

use std::net::SocketAddr;

use crate::kit::{AT_ONCE, Backend, Client, Proxy, WebSocket};

/// Tunnels of who is removed are asked to go at once. A listener `plain`, a route `all`, and a pool `all` whose backends this discovery names, with these further keys. Unless
/// they say how it chooses, the least loaded gets the next, who has just come, too.
fn config(discovery: &str, keys: &str) -> String {
    let balance = if keys.contains("balance") { "" } else { "slow_start = \"off\"" };
    format!(
        "{AT_ONCE}[[listeners]]\nname = \"plain\"\naddress = \"127.0.0.1:0\"\n[[routes]]\nname = \"all\"\npool = \"all\"\n\
         [pools.all]\ndiscovery = {{ {discovery} }}\n{balance}\n{keys}\n"
    )
}

/// How many looks had this result.
fn answers(result: &str) -> String {
    format!("longhaul_discovery_answers_total{{pool=\"all\",result=\"{result}\"}}")
}

/// Backends that are `named`, or `leaving`.
fn backends(state: &str) -> String {
    format!("longhaul_discovery_backends{{pool=\"all\",state=\"{state}\"}}")
}

/// What a backend carries.
fn load(backend: SocketAddr) -> String {
    format!("longhaul_backend_tunnels{{pool=\"all\",backend=\"{backend}\"}}")
}

/// Tunnels that ended because their backend was removed.
const REMOVED: &str =
    "longhaul_tunnels_closed_total{route=\"all\",reason=\"backend_removed\",initiator=\"proxy\"}";

/// Opens a tunnel; the name of the backend comes with it.
async fn open(proxy: &Proxy) -> (WebSocket<Client>, String) {
    let (mut socket, _) = proxy.connect("plain").await.open("/", "example.com", "").await;
    let name = socket.receive_text().await;
    (socket, name)
}

/// Opens a tunnel to each of these backends, which have not any yet: the least loaded gets the next.
async fn one_each<const N: usize>(proxy: &Proxy, backends: [&str; N]) -> [WebSocket<Client>; N] {
    let mut tunnels = std::collections::BTreeMap::new();
    for _ in backends {
        let (socket, name) = open(proxy).await;
        assert!(tunnels.insert(name, socket).is_none());
    }
    backends.map(|name| tunnels.remove(name).unwrap_or_else(|| panic!("no tunnel to {name}")))
}

/// Backends of these names, and their addresses.
async fn echoes<const N: usize>(names: [&str; N]) -> ([Backend; N], [SocketAddr; N]) {
    let mut backends = Vec::new();
    for name in names {
        backends.push(Backend::echo(name).await);
    }
    let backends: [Backend; N] = backends.try_into().unwrap_or_else(|_| unreachable!());
    let addresses = std::array::from_fn(|index| backends[index].address);
    (backends, addresses)
}
