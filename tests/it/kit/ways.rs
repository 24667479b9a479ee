//! Every way by which a tunnel may come to be, for what must be the same on all of them.

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use serde_json::Value;

use super::{Backend, Call, Calls, Client, Http2, Pki, Proxy, WebSocket, plain, secure, within};

/// How a client comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// HTTP/1.1 in plain text.
    Plain,
    /// HTTP/1.1 over TLS.
    Tls,
    /// A stream of HTTP/2, over TLS (RFC 8441).
    Http2,
}

impl Way {
    /// All of them.
    pub const ALL: [Way; 3] = [Way::Plain, Way::Tls, Way::Http2];
}

/// What carries a client's end, whatever the way.
pub trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// Both ends of a tunnel: the client's and the backend's.
pub type Ends = (WebSocket<Box<dyn Wire>>, WebSocket<TcpStream>);

/// A proxy with a listener for each way, in front of a backend that the test plays.
pub struct Stage {
    /// The proxy.
    pub proxy: Proxy,
    calls: Calls,
    pki: Pki,
    /// Connections whose streams are tunnels.
    connections: Vec<Http2>,
    /// The backend.
    pub backend: Backend,
}

impl Stage {
    /// The route `all` has these further lines.
    pub async fn set(route: &str) -> Stage {
        Stage::with(route, "").await
    }

    /// And the file begins with these.
    pub async fn with(route: &str, first: &str) -> Stage {
        let ((backend, calls), pki) = (Backend::by_hand().await, Pki::new());
        let certificate = pki.issue(&["chat.example.com"]);
        // Who reads bytes by hand sees no Pings but those that a test asks for.
        let quiet = if route.contains("pings") { "" } else { "pings.client = \"off\"\n" };
        let route = format!("name = \"all\"\n{route}{quiet}pool");
        let config = plain(&[backend.address]).replace("name = \"all\"\npool", &route);
        let config = format!("{first}{config}{}extended_connect = true\n", secure(&[&certificate]));
        let proxy = Proxy::start(&config).await;
        Stage { proxy, calls, pki, connections: Vec::new(), backend }
    }

    /// Opens a tunnel; either end agrees on these further lines of its head.
    pub async fn tunnel(&mut self, way: Way, extension: Option<&str>) -> Ends {
        let lines = extension.map(|name| format!("Sec-WebSocket-Extensions: {name}\r\n")).unwrap_or_default();
        if way == Way::Http2 {
            let mut connection = Http2::connect(self.proxy.address("secure"), &self.pki).await;
            let fields = extension.map(|name| ("sec-websocket-extensions", name));
            let call = async { self.calls.next().await.accept(&lines).await };
            let ((client, _), backend) = tokio::join!(connection.open("/", fields.as_slice()), call);
            self.connections.push(connection);
            let client = WebSocket::client(Box::new(client.stream) as Box<dyn Wire>, Vec::new());
            return (client, backend);
        }
        let client = match way {
            Way::Plain => self.proxy.connect("plain").await,
            _ => Client::connect_tls(self.proxy.address("secure"), &self.pki, "chat.example.com").await,
        };
        let (client, backend) = self.calls.tunnel(client, &lines, &lines).await;
        (client.boxed(), backend)
    }

    /// The next request at the backend.
    pub async fn call(&mut self) -> Call {
        self.calls.next().await
    }

    /// Waits for the record of the end number `count`.
    pub async fn ended(&self, count: usize) -> Value {
        self.ended_behind(0, count).await
    }

    /// The same, where the first lines of the log, so many of them, do not count.
    pub async fn ended_behind(&self, lines: usize, count: usize) -> Value {
        let closed = || {
            let lines = self.proxy.log_behind(lines);
            lines.into_iter().filter(|line| line["message"] == "close").nth(count - 1)
        };
        let ended = async {
            loop {
                if let Some(record) = closed() {
                    return record;
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        within("the record of an end", ended).await
    }
}
