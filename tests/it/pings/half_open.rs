//! Clients that vanish without a word, in a network of the test's own that loses what is sent to them.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use serde_json::Value;
use tokio::net::{TcpListener, TcpSocket};

use crate::kit::{Backend, Client, Proxy, namespace, plain, within};

const CLIENTS: usize = 200;
const HOME: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const PROXY: Ipv4Addr = Ipv4Addr::new(10, 9, 1, 1);

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().expect("ip(8)");
    assert!(status.success(), "ip {arguments}");
}

/// From now on nothing arrives at the clients, and nobody says so.
fn unplug() {
    ip(&format!("address delete {HOME}/32 dev lo"));
    ip(&format!("route add blackhole {HOME}/32"));
}

#[test]
fn two_hundred_are_found_and_ended() {
    let setting = format!("ip address add {HOME}/32 dev lo && ip address add {PROXY}/32 dev lo");
    namespace::inside(module_path!(), "two_hundred_are_found_and_ended", &setting, async {
        let listener = TcpListener::bind("127.0.0.1:30001").await.expect("a port of this namespace");
        let backend = Backend::echo_on(listener, "one");
        let keys =
            "name = \"all\"\npings = { client = \"1s\", timeout = \"1s\" }\nidle_timeout = \"1h\"\npool";
        let config = plain(&[backend.address])
            .replace("name = \"all\"\npool", keys)
            .replace("127.0.0.1:0", "0.0.0.0:30003");
        let text = format!(
            "[metrics]\naddress = \"127.0.0.1:30004\"\n[admin]\naddress = \"127.0.0.1:30005\"\n{config}"
        );
        let proxy = Proxy::start(&text).await;
        let mut clients = Vec::new();
        for index in 0..=CLIENTS {
            let socket = TcpSocket::new_v4().expect("a socket");
            // The last one stays.
            let from = if index == CLIENTS { PROXY } else { HOME };
            socket.bind(SocketAddr::from((from, 0))).expect("an address of this namespace");
            let stream = within("a connection", socket.connect(SocketAddr::from((PROXY, 30_003)))).await;
            let client = Client::Plain(stream.expect("a listener"));
            let (mut socket, _) = client.open("/", "example.com", "").await;
            assert_eq!(socket.receive_text().await, "one");
            clients.push(socket);
        }
        let mut last = clients.pop().expect("one more");
        unplug();
        let gone =
            "longhaul_tunnels_closed_total{route=\"all\",reason=\"ping_timeout\",initiator=\"client\"}";
        // Which answers.
        tokio::select! {
            message = last.try_receive() => panic!("{message:?} instead of Pings"),
            () = proxy.wait_metric(gone, CLIENTS as f64) => {}
        }
        assert_eq!(proxy.metric("longhaul_tunnels_active{route=\"all\"}").await, 1.0);
        // All backends were told, and answered.
        let told =
            "longhaul_tunnel_closes_total{route=\"all\",code=\"1011\",initiator=\"proxy\",clean=\"false\"}";
        assert_eq!(proxy.metric(told).await, CLIENTS as f64);
        drop(clients);
    });
}

/// What is sent to it is not acknowledged: the system says so before an answer to a Ping is missed.
#[test]
fn who_acknowledges_nothing_has_vanished() {
    let setting = format!("ip address add {HOME}/32 dev lo && ip address add {PROXY}/32 dev lo");
    namespace::inside(module_path!(), "who_acknowledges_nothing_has_vanished", &setting, async {
        let listener = TcpListener::bind("127.0.0.1:30001").await.expect("a port of this namespace");
        let backend = Backend::echo_on(listener, "one");
        let keys = "name = \"all\"\npings = { client = \"100ms\", timeout = \"1h\" }\npool";
        let config = plain(&[backend.address])
            .replace("name = \"all\"\npool", keys)
            .replace("127.0.0.1:0", "0.0.0.0:30003");
        let text = format!(
            "[tcp]\nuser_timeout = \"1s\"\n[metrics]\naddress = \"127.0.0.1:30004\"\n\
             [admin]\naddress = \"127.0.0.1:30005\"\n{config}"
        );
        let proxy = Proxy::start(&text).await;
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from((HOME, 0))).expect("an address of this namespace");
        let stream = within("a connection", socket.connect(SocketAddr::from((PROXY, 30_003)))).await;
        let (mut client, _) = Client::Plain(stream.expect("a listener")).open("/", "example.com", "").await;
        assert_eq!(client.receive_text().await, "one");
        unplug();
        let record = proxy.record("close").await;
        let told = ["reason", "initiator", "farewell"].map(|key| &record[key]);
        assert_eq!(told, ["vanished", "client", "sent"].map(Value::from).each_ref(), "{record}");
        drop(client);
    });
}
