//! A client of HTTP/2: requests, tunnels by extended CONNECT, and what each stream ended with.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::ext::Protocol;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response, Version};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::JoinHandle;

use super::websocket::WebSocket;
use super::{Client, Pki, Resumption, within};

/// A connection to the proxy over which HTTP/2 is spoken; it ends with its value.
pub struct Http2 {
    /// Opens streams.
    pub requests: SendRequest<Bytes>,
    driver: JoinHandle<Result<(), h2::Error>>,
}

/// A whole answer.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// Its fields.
    pub headers: HeaderMap,
    /// Its body.
    pub body: String,
    /// What came behind it.
    pub trailers: Option<HeaderMap>,
}

impl Http2 {
    /// Connects with TLS, asking for `chat.example.com`, which `pki` must vouch for.
    pub async fn connect(address: SocketAddr, pki: &Pki) -> Http2 {
        Http2::connect_with(address, pki, |builder| builder).await
    }

    /// The same with settings that the test changes.
    pub async fn connect_with(
        address: SocketAddr,
        pki: &Pki,
        change: impl FnOnce(&mut Builder) -> &mut Builder,
    ) -> Http2 {
        let client = Http2::secure(address, pki).await;
        let mut builder = Builder::new();
        let handshake = change(&mut builder).handshake(client);
        let (requests, mut connection) = within("a preface", handshake).await.expect("HTTP/2");
        let mut pong = connection.ping_pong().expect("it is taken once");
        let driver = tokio::spawn(connection);
        // The answer comes behind the proxy's settings.
        within("a PONG", pong.ping(h2::Ping::opaque())).await.expect("a PONG");
        Http2 { requests, driver }
    }

    /// A connection with ALPN for HTTP/2, on which nothing was said yet.
    pub async fn secure(address: SocketAddr, pki: &Pki) -> Client {
        let connector = Resumption::offering(pki, rustls::ALL_VERSIONS, &["h2"]);
        let connect = connector.connect(address, "chat.example.com");
        let client = within("a TLS connection", connect).await.expect("the handshake succeeds");
        assert_eq!(client.tls().expect("TLS").2, Some(b"h2".to_vec()));
        client
    }

    /// Sends a request's head.
    pub async fn send(&mut self, request: Request<()>, end: bool) -> (ResponseFuture, SendStream<Bytes>) {
        let ready = poll_fn(|context| self.requests.poll_ready(context));
        within("room for a stream", ready).await.expect("a live connection");
        self.requests.send_request(request, end).expect("a valid request")
    }

    /// Asks, and reads the whole answer.
    pub async fn request(&mut self, method: &str, path: &str, fields: &[(&str, &str)], body: &str) -> Reply {
        let request = request(method, path, fields);
        let (answer, mut sender) = self.send(request, body.is_empty()).await;
        if !body.is_empty() {
            sender.send_data(Bytes::copy_from_slice(body.as_bytes()), true).expect("a live stream");
        }
        Reply::read(answer).await.expect("an answer")
    }

    /// GET, and the whole answer.
    pub async fn get(&mut self, path: &str) -> Reply {
        self.request("GET", path, &[], "").await
    }

    /// Sends an extended CONNECT for a WebSocket with these further fields.
    pub async fn connect_websocket(
        &mut self,
        path: &str,
        fields: &[(&str, &str)],
    ) -> (ResponseFuture, SendStream<Bytes>) {
        let mut request = request("CONNECT", path, fields);
        request.extensions_mut().insert(Protocol::from_static("websocket"));
        request.headers_mut().entry("sec-websocket-version").or_insert("13".parse().expect("a value"));
        self.send(request, false).await
    }

    /// Opens a WebSocket; the 200's head comes with it.
    pub async fn open(&mut self, path: &str, fields: &[(&str, &str)]) -> (WebSocket<Carried>, Response<()>) {
        let (answer, sender) = self.connect_websocket(path, fields).await;
        let answer = within("an answer", answer).await.expect("an answer");
        assert_eq!(answer.status(), 200, "{answer:?}");
        let (head, receiver) = answer.into_parts();
        let stream = Carried::new(sender, receiver);
        (WebSocket::client(stream, Vec::new()), Response::from_parts(head, ()))
    }

    /// Waits for the end of the connection; what h2 says of it.
    pub async fn ended(self) -> Result<(), h2::Error> {
        let Http2 { requests, mut driver } = self;
        let ended = within("the end of the connection", &mut driver).await.expect("no panic");
        drop(requests);
        match ended {
            // It was closed while h2 was about to confirm its settings or a PING.
            Err(error) if error.get_io().is_some_and(|io| io.kind() == io::ErrorKind::BrokenPipe) => Ok(()),
            ended => ended,
        }
    }

    /// Whether the connection has ended.
    pub fn is_over(&self) -> bool {
        self.driver.is_finished()
    }
}

/// A request to `https://chat.example.com`.
fn request(method: &str, path: &str, fields: &[(&str, &str)]) -> Request<()> {
    let uri = format!("https://chat.example.com{path}");
    let mut request = Request::builder().version(Version::HTTP_2).method(method).uri(uri);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a valid request")
}

impl Reply {
    /// Reads a whole answer.
    pub async fn read(answer: ResponseFuture) -> Result<Reply, h2::Error> {
        within("the answer", async {
            let (head, mut stream) = answer.await?.into_parts();
            let mut body = Vec::new();
            while let Some(bytes) = stream.data().await {
                let bytes = bytes?;
                stream.flow_control().release_capacity(bytes.len())?;
                body.extend_from_slice(&bytes);
            }
            Ok(Reply {
                status: head.status.as_u16(),
                headers: head.headers,
                body: String::from_utf8(body).expect("text"),
                trailers: stream.trailers().await?,
            })
        })
        .await
    }

    /// A field's value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("text"))
    }
}

/// A tunnel's stream: END_STREAM is its end, RST_STREAM an error that is remembered.
pub struct Carried {
    /// Sends.
    pub sender: SendStream<Bytes>,
    /// Receives.
    pub receiver: RecvStream,
    unread: Bytes,
    /// With what the proxy reset it.
    pub reset: Option<Reason>,
}

impl Carried {
    /// Of a stream whose tunnel is open.
    pub fn new(sender: SendStream<Bytes>, receiver: RecvStream) -> Carried {
        Carried { sender, receiver, unread: Bytes::new(), reset: None }
    }

    /// Resets the stream.
    pub fn reset(mut self, reason: Reason) {
        self.sender.send_reset(reason);
    }
}

impl AsyncRead for Carried {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let carried = self.get_mut();
        while carried.unread.is_empty() {
            match ready!(carried.receiver.poll_data(context)) {
                None => return Poll::Ready(Ok(())),
                Some(Ok(bytes)) => {
                    carried.receiver.flow_control().release_capacity(bytes.len()).expect("it was received");
                    carried.unread = bytes;
                }
                Some(Err(error)) => {
                    carried.reset = error.reason();
                    return Poll::Ready(Err(io::Error::other(error)));
                }
            }
        }
        let count = carried.unread.len().min(buffer.remaining());
        buffer.put_slice(&carried.unread.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Carried {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let carried = self.get_mut();
        carried.sender.reserve_capacity(bytes.len());
        while carried.sender.capacity() == 0 {
            match ready!(carried.sender.poll_capacity(context)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        let count = carried.sender.capacity().min(bytes.len());
        let sent = carried.sender.send_data(Bytes::copy_from_slice(&bytes[..count]), false);
        Poll::Ready(sent.map(|()| count).map_err(io::Error::other))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.get_mut().sender.send_data(Bytes::new(), true).map_err(io::Error::other))
    }
}
