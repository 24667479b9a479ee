//! What the cases have in common: a proxy with one worker, a plain and a TLS listener, an echo behind it, and what
//! clients do with it.

use std::process::Command;

use longhaul::proto::frame::{Header, Opcode, unmask};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::kit::http2::Carried;
use crate::kit::{
    Backend, Call, Client, Http2, Message, Pki, Proxy, Resumption, WebSocket, handshake, plain, secure,
};

/// A proxy to be counted, and what stands around it.
pub struct Stage {
    /// The process that is counted.
    pub proxy: Proxy,
    pki: Pki,
    returning: Resumption,
    open: usize,
    _backend: Backend,
}

/// How a client reaches the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Plain text.
    Plain,
    /// TLS 1.3, which a client that has no ticket begins.
    Tls,
    /// The same with a ticket of an earlier connection.
    Resumed,
    /// Plain text, by a route that pings its clients.
    Pinged,
}

/// Messages of one size that go back and forth together.
#[derive(Clone, Copy)]
pub struct Batch {
    /// How many are in flight in a tunnel.
    pub messages: usize,
    /// Bytes of payload of each.
    pub bytes: usize,
}

/// What tunnels carry: the case's name, how many tunnels by which access, what goes back and forth in each, and how often.
pub const MESSAGES: &[(&str, Access, usize, Batch, usize)] = &[
    ("125 bytes", Access::Plain, 1, Batch { messages: 1, bytes: 125 }, 200),
    ("125 bytes, TLS", Access::Tls, 1, Batch { messages: 1, bytes: 125 }, 200),
    ("125 bytes, 16 in flight", Access::Plain, 1, Batch { messages: 16, bytes: 125 }, 50),
    ("125 bytes, 16 in flight, TLS", Access::Tls, 1, Batch { messages: 16, bytes: 125 }, 50),
    ("125 bytes, 64 tunnels", Access::Plain, 64, Batch { messages: 1, bytes: 125 }, 10),
    ("125 bytes, 64 tunnels, TLS", Access::Tls, 64, Batch { messages: 1, bytes: 125 }, 10),
    ("16 KiB", Access::Plain, 1, Batch { messages: 1, bytes: 16 << 10 }, 100),
    ("16 KiB, TLS", Access::Tls, 1, Batch { messages: 1, bytes: 16 << 10 }, 100),
    ("1 MiB", Access::Plain, 1, Batch { messages: 1, bytes: 1 << 20 }, 8),
    ("1 MiB, TLS", Access::Tls, 1, Batch { messages: 1, bytes: 1 << 20 }, 8),
];

/// What begins and ends: the case's name, the access, and how often.
pub const HANDSHAKES: &[(&str, Access, usize)] = &[
    ("open and close", Access::Plain, 30),
    ("open and close, TLS", Access::Tls, 30),
    ("open and close, TLS resumed", Access::Resumed, 30),
];

/// A route whose first Pings come after 4 to 8 seconds, and the second ones 8 seconds later.
const PINGED: &str =
    "[[routes]]\nname = \"pinged\"\npath = \"/pinged\"\npool = \"all\"\npings = { client = \"8s\" }\n";

impl Stage {
    /// Starts the proxy by a command line that `change` may replace.
    pub async fn start(change: impl FnOnce(&mut Command) -> &mut Command) -> Stage {
        let (backend, pki) = (Backend::calls(echo).await, Pki::new());
        let certificate = pki.issue(&["localhost", "chat.example.com"]);
        let quiet = "[server]\nworkers = 1\n[log]\nformat = \"json\"\naccess = false\n";
        let config = quiet.to_string()
            + &plain(&[backend.address])
            + &secure(&[&certificate])
            + "extended_connect = true\n"
            + PINGED;
        let proxy = Proxy::start_with(&config, change).await;
        let returning = Resumption::new(&pki, rustls::ALL_VERSIONS);
        Stage { proxy, pki, returning, open: 0, _backend: backend }
    }

    /// Opens a tunnel, which stays open.
    pub async fn open(&mut self, access: Access) -> WebSocket<Client> {
        let socket = self.upgrade(access).await;
        self.open += 1;
        self.settle().await;
        socket
    }

    /// Opens tunnels, each of which has echoed a message.
    pub async fn open_many(&mut self, access: Access, count: usize) -> Vec<WebSocket<Client>> {
        let mut sockets = Vec::new();
        for _ in 0..count {
            let mut socket = self.upgrade(access).await;
            round(std::slice::from_mut(&mut socket), Batch { messages: 1, bytes: 125 }).await;
            sockets.push(socket);
        }
        self.open += count;
        self.settle().await;
        sockets
    }

    /// The same over HTTP/2, so many on each of `connections`.
    pub async fn open_shared(
        &mut self,
        connections: usize,
        tunnels: usize,
    ) -> Vec<(Http2, Vec<WebSocket<Carried>>)> {
        let mut opened = Vec::new();
        for _ in 0..connections {
            let mut client = Http2::connect(self.proxy.address("secure"), &self.pki).await;
            let mut sockets = Vec::new();
            for _ in 0..tunnels {
                let (mut socket, _) = client.open("/", &[]).await;
                round(std::slice::from_mut(&mut socket), Batch { messages: 1, bytes: 125 }).await;
                sockets.push(socket);
            }
            opened.push((client, sockets));
        }
        self.open += connections * tunnels;
        self.settle().await;
        opened
    }

    /// Drops them, and waits until nothing is left of them.
    pub async fn drop_shared(&mut self, opened: Vec<(Http2, Vec<WebSocket<Carried>>)>) {
        self.open -= opened.iter().map(|(_, sockets)| sockets.len()).sum::<usize>();
        drop(opened);
        self.settle().await;
    }

    /// Closes tunnels one after the other, and waits until nothing is left of them.
    pub async fn close(&mut self, sockets: Vec<WebSocket<Client>>) {
        self.open -= sockets.len();
        for socket in sockets {
            socket.close(1000).await;
        }
        self.settle().await;
    }

    /// Opens and closes `count` tunnels, one after the other.
    pub async fn open_and_close(&mut self, access: Access, count: usize) {
        for _ in 0..count {
            self.upgrade(access).await.close(1000).await;
            // The next one must not come while the worker is still busy with this one.
            self.settle().await;
        }
    }

    async fn upgrade(&self, access: Access) -> WebSocket<Client> {
        let client = match access {
            Access::Plain | Access::Pinged => self.proxy.connect("plain").await,
            Access::Tls => Client::connect_tls(self.proxy.address("secure"), &self.pki, "localhost").await,
            Access::Resumed => {
                let address = self.proxy.address("secure");
                self.returning.connect(address, "localhost").await.expect("a TLS session")
            }
        };
        client.tcp().set_nodelay(true).expect("a live socket");
        let path = if access == Access::Pinged { "/pinged" } else { "/" };
        client.open_with(handshake(path, "localhost", "")).await.0.by_hand()
    }

    /// Waits until so many Pings have been answered.
    pub async fn answered(&self, count: usize) {
        let answers = "longhaul_ping_round_trip_seconds_count{route=\"pinged\",side=\"client\"}";
        self.proxy.wait_metric(answers, count as f64).await;
    }

    async fn settle(&self) {
        self.proxy.wait_metric("longhaul_tunnels_active", self.open as f64).await;
    }
}

/// Answers the first Ping of each tunnel.
pub async fn answer_pings(sockets: &mut [WebSocket<Client>]) {
    for socket in sockets {
        let ping = socket.receive().await;
        assert_eq!(ping.opcode, Opcode::Ping);
        socket.send(&Message { opcode: Opcode::Pong, ..ping }).await;
    }
}

/// Sends a batch into each tunnel, in one write, and waits until all of it has come back.
pub async fn round<S: AsyncRead + AsyncWrite + Unpin>(sockets: &mut [WebSocket<S>], batch: Batch) {
    let message = Message::binary(vec![7; batch.bytes]);
    let frames = message.frame(true).repeat(batch.messages);
    for socket in sockets.iter_mut() {
        socket.send_raw(&frames).await;
    }
    for socket in sockets {
        for _ in 0..batch.messages {
            assert_eq!(socket.receive().await.payload.len(), batch.bytes);
        }
    }
}

/// A backend's end: what comes together goes back together, in one write, so that the number of writes is the proxy's
/// doing.
async fn echo(mut call: Call) {
    let answer = call.switching("");
    if call.stream.write_all(answer.as_bytes()).await.is_err() {
        return;
    }
    // Room for all that comes at once: a small buffer would cut a batch in pieces.
    let mut incoming = Vec::with_capacity(2 << 20);
    incoming.extend_from_slice(&call.head.rest);
    let mut outgoing = Vec::new();
    loop {
        let mut begin = 0;
        let mut closed = false;
        while let Some((header, start)) = Header::read(&incoming[begin..]).expect("valid framing") {
            let start = begin + start;
            let end = start + usize::try_from(header.length).expect("a message of a case");
            let Some(payload) = incoming.get_mut(start..end) else { break };
            unmask(payload, header.mask.expect("a client's frame"), 0);
            Header { mask: None, ..header }.write(&mut outgoing);
            outgoing.extend_from_slice(payload);
            closed |= header.opcode == Opcode::Close;
            begin = end;
        }
        incoming.drain(..begin);
        if call.stream.write_all(&outgoing).await.is_err() || closed {
            break;
        }
        outgoing.clear();
        if !matches!(call.stream.read_buf(&mut incoming).await, Ok(1..)) {
            break;
        }
    }
    let _ = call.stream.shutdown().await;
}
