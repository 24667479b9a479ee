//! Tunnels are asked to go, many at a time: when the process stops, and when their backend or route is taken from them.

mod again;
mod http2;
mod many;
mod orders;
mod rebalance;
mod stop;

use std::net::SocketAddr;

use serde_json::Value;
use tokio::net::TcpStream;

use crate::kit::{Calls, Client, Message, Proxy, WebSocket, within};

/// Tunnels that are left of those that are to go for this reason.
fn left(reason: &str) -> String {
    format!("longhaul_drain_tunnels{{reason=\"{reason}\"}}")
}

/// A tunnel, of which the test has both ends.
async fn open(proxy: &Proxy, calls: &mut Calls) -> (WebSocket<Client>, WebSocket<TcpStream>) {
    calls.tunnel(proxy.connect("plain").await, "", "").await
}

/// The client is told this, its words still reach the backend, and both sides close.
async fn part(ends: (WebSocket<Client>, WebSocket<TcpStream>), code: u16, reason: &str) {
    let (mut client, mut backend) = ends;
    assert_eq!(client.receive().await, Message::close(code, reason));
    backend.send(&Message::text("thrown away")).await;
    client.send(&Message::text("still here")).await;
    assert_eq!(backend.receive_text().await, "still here");
    client.send(&Message::close(code, "")).await;
    assert_eq!(backend.receive().await, Message::close(code, ""));
    backend.send(&Message::close(code, "")).await;
    assert_eq!(within("the end", client.try_receive()).await, None);
}

/// Waits for the record of an end; its reason, its initiator, and whether it was clean.
async fn ended(proxy: &Proxy) -> [Value; 3] {
    let record = proxy.record("close").await;
    ["reason", "initiator", "clean"].map(|key| record[key].clone())
}

async fn order(proxy: &Proxy, backend: SocketAddr, state: &str) {
    let path = format!("/api/v1/backends/state?pool=all&backend={backend}&state={state}");
    assert_eq!(proxy.admin("POST", &path).await.0, 200);
}
