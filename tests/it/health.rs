//! Health: what probes find out, what requests find out, and what becomes of a backend's tunnels.

mod active;
mod connect;
mod ejection;
mod http;
mod on_down;
mod reach;
mod websocket;

use std::fmt::Display;
use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::AsyncWriteExt;

use crate::kit::{Backend, Call, Message, Proxy, handshake, plain};

/// What a backend says to a probe.
pub const PASSES: &str = "HTTP/1.1 204 No Content\r\n\r\n";
/// The same when it is unwell.
pub const FAILS: &str = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n";

/// A pool of these backends with these checks.
pub fn config(backends: &[SocketAddr], health: &str) -> String {
    plain(backends) + &format!("balance = \"round-robin\"\nhealth = {{ {health} }}\n")
}

/// Whether a backend is up.
pub fn up(backend: impl Display) -> String {
    format!("longhaul_backend_up{{pool=\"all\",backend=\"{backend}\"}}")
}

/// How many probes had this result.
pub fn probes(backend: impl Display, result: &str) -> String {
    format!("longhaul_backend_probes_total{{pool=\"all\",backend=\"{backend}\",result=\"{result}\"}}")
}

/// A backend that answers its probes with what `probe` gives (nothing: it hangs), and tunnels with its name.
pub async fn probed(
    name: &'static str,
    probe: impl Fn() -> Option<&'static str> + Clone + Send + Sync + 'static,
) -> Backend {
    Backend::calls(move |mut call: Call| {
        let probe = probe.clone();
        async move {
            if call.head.target() != "/health" {
                let mut socket = call.accept("").await;
                socket.send(&Message::text(name)).await;
                return socket.echo().await;
            }
            assert_eq!(call.head.get("host"), Some(&*call.stream.local_addr().unwrap().to_string()));
            match probe() {
                Some(answer) => drop(call.stream.write_all(answer.as_bytes()).await),
                None => std::future::pending().await,
            }
        }
    })
    .await
}

/// Opens and closes a tunnel; who answered.
pub async fn who_answers(proxy: &Proxy) -> String {
    let (mut socket, _) = proxy.connect("plain").await.open("/ws", "example.com", "").await;
    let name = socket.receive_text().await;
    socket.close(1000).await;
    name
}

/// The status of a handshake that is refused.
pub async fn refused(proxy: &Proxy) -> (u16, Option<String>) {
    let mut client = proxy.connect("plain").await;
    client.send(handshake("/ws", "example.com", "")).await;
    let head = client.head().await;
    (head.status(), head.get("retry-after").map(str::to_string))
}

/// The next probe would come in an hour: what is known then was found out by the first.
pub const ONCE: &str = "kind = \"http\", path = \"/health\", interval = \"1h\", timeout = \"1h\"";

/// The first result of a backend's probes: if it failed, the reason and the detail.
pub type Verdict = Result<(), (String, String)>;

/// What the first probe of a backend finds.
pub async fn verdict(backend: SocketAddr, health: &str) -> Verdict {
    verdict_of(&Proxy::start(&config(&[backend], health)).await, &backend.to_string()).await
}

/// The same, of the only backend of a proxy that runs.
pub async fn verdict_of(proxy: &Proxy, backend: &str) -> Verdict {
    let told = |line: &Value| matches!(line["message"].as_str(), Some("backend up" | "backend down"));
    let line = proxy.wait_for("a verdict", told).await;
    let passed = line["message"] == "backend up";
    proxy.wait_metric(&up(backend), f64::from(u8::from(passed))).await;
    proxy.wait_metric(&probes(backend, if passed { "passed" } else { "failed" }), 1.0).await;
    let text = |key: &str| line[key].as_str().unwrap_or_default().to_string();
    if passed { Ok(()) } else { Err((text("reason"), text("detail"))) }
}

/// A verdict that is not well.
pub fn failed(reason: &str, detail: &str) -> Verdict {
    Err((reason.to_string(), detail.to_string()))
}
