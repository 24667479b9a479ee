//! Tunnels over HTTP/2 (RFC 8441), so many to a connection.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use h2::ext::Protocol;
use http::{Method, Request, StatusCode, Version};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;

use crate::kit::KEY;
use crate::kit::http2::Carried;
use crate::proxies::SERVER_NAME;

/// A connection that is being filled, and for how many tunnels it has room.
type Filling = Option<(SendRequest<Bytes>, usize)>;

/// A way in whose connections carry `per_connection` tunnels each.
#[derive(Clone)]
pub struct Shared {
    address: SocketAddr,
    connector: TlsConnector,
    per_connection: usize,
    /// Whoever makes a new one lets the others wait.
    filling: Rc<Mutex<Filling>>,
    /// Connections end with their handles.
    full: Rc<RefCell<Vec<SendRequest<Bytes>>>>,
}

impl Shared {
    /// No connection yet. `connector` asks for HTTP/2 by ALPN.
    pub fn new(address: SocketAddr, connector: TlsConnector, per_connection: usize) -> Shared {
        Shared { address, connector, per_connection, filling: Rc::default(), full: Rc::default() }
    }

    /// A tunnel on the connection that has room, or on a new one.
    ///
    /// # Errors
    /// What the proxy did not like.
    pub async fn open(&self) -> io::Result<Carried> {
        let mut requests = self.place().await?;
        poll_fn(|context| requests.poll_ready(context)).await.map_err(io::Error::other)?;
        // RFC 8441 has no use for a key, but Envoy makes none for the backend.
        let request = Request::builder().version(Version::HTTP_2).header("sec-websocket-key", KEY);
        let request = request.method(Method::CONNECT);
        let request = request.uri(format!("https://{SERVER_NAME}/ws")).header("sec-websocket-version", "13");
        let request =
            request.extension(Protocol::from_static("websocket")).body(()).map_err(io::Error::other)?;
        let (answer, sender) = requests.send_request(request, false).map_err(io::Error::other)?;
        let answer = answer.await.map_err(io::Error::other)?;
        match answer.status() {
            StatusCode::OK => Ok(Carried::new(sender, answer.into_body())),
            status => Err(io::Error::other(format!("the handshake was answered with {status}"))),
        }
    }

    async fn place(&self) -> io::Result<SendRequest<Bytes>> {
        let mut filling = self.filling.lock().await;
        let (requests, room) = match filling.take() {
            Some(place) => place,
            None => (self.connect().await?, self.per_connection),
        };
        let own = requests.clone();
        if room > 1 {
            *filling = Some((requests, room - 1));
        } else {
            self.full.borrow_mut().push(requests);
        }
        Ok(own)
    }

    async fn connect(&self) -> io::Result<SendRequest<Bytes>> {
        let tcp = TcpStream::connect(self.address).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from(SERVER_NAME).expect("a name");
        let tls = self.connector.connect(name, tcp).await?;
        if tls.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(io::Error::other("HTTP/2 is not spoken"));
        }
        let (requests, mut connection) = Builder::new().handshake(tls).await.map_err(io::Error::other)?;
        let mut pings = connection.ping_pong().expect("it is taken once");
        tokio::task::spawn_local(connection);
        // The answer comes behind the proxy's settings.
        pings.ping(h2::Ping::opaque()).await.map_err(io::Error::other)?;
        match requests.is_extended_connect_protocol_enabled() {
            true => Ok(requests),
            false => Err(io::Error::other("extended CONNECT is not offered")),
        }
    }
}
