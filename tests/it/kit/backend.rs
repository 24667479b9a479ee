//! What stands behind the proxy: a TCP listener whose connections the test handles as it likes. [`tls`](super::tls) adds
//! those that speak TLS.

use std::future::{Future, Ready, ready};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use longhaul::proto::handshake::accept_key;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::websocket::{Message, WebSocket};
use super::{ACCEPT, Client, Head, handshake, switching, within};

/// A backend; it ends with its value.
pub struct Backend {
    /// Where it listens.
    pub address: SocketAddr,
    calls: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

/// A connection to a backend, whose first request head has been read.
pub struct Call<S = TcpStream> {
    /// The connection.
    pub stream: S,
    /// Its first request.
    pub head: Head,
}

/// The connections of one backend, in the order in which their heads arrived.
pub struct Calls<S = TcpStream>(mpsc::UnboundedReceiver<Call<S>>);

impl<S: AsyncRead + AsyncWrite + Unpin> Calls<S> {
    /// The calls that the returned handler is given.
    pub fn handler() -> (impl Fn(Call<S>) -> Ready<()> + Clone + Send + Sync + 'static, Calls<S>)
    where
        S: Send + 'static,
    {
        let (calls, received) = mpsc::unbounded_channel();
        let handle = move |call| {
            let _ = calls.send(call);
            ready(())
        };
        (handle, Calls(received))
    }

    /// The next one.
    #[track_caller]
    pub fn next(&mut self) -> impl Future<Output = Call<S>> {
        let call = within("a call of the backend", self.0.recv());
        async move { call.await.expect("the backend lives") }
    }

    /// Makes `client` a tunnel, of which the test has both ends. `offered` and `agreed` are further lines of either
    /// head.
    pub async fn tunnel(
        &mut self,
        mut client: Client,
        offered: &str,
        agreed: &str,
    ) -> (WebSocket<Client>, WebSocket<S>) {
        client.send(handshake("/", "example.com", offered)).await;
        let backend = self.next().await.accept(agreed).await;
        let head = client.head().await;
        assert_eq!(head.status(), 101, "{head:?}");
        (WebSocket::client(client, head.rest), backend)
    }
}

/// An address that refuses connections, for as long as the socket lives.
pub fn refusing() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let address = socket.local_addr().expect("a bound socket");
    (socket, address)
}

impl Backend {
    /// A backend whose every connection the test handles itself, one after the other.
    pub async fn by_hand() -> (Backend, Calls) {
        let (handle, calls) = Calls::handler();
        (Backend::calls(handle).await, calls)
    }

    /// A backend that gives every connection to `handle`, nothing read yet.
    pub async fn raw<F>(handle: impl Fn(TcpStream) -> F + Send + 'static) -> Backend
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        Backend::on(listener, handle)
    }

    /// The same on a socket that the test has bound.
    pub fn on<F>(listener: TcpListener, handle: impl Fn(TcpStream) -> F + Send + 'static) -> Backend
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let address = listener.local_addr().expect("a bound socket");
        let calls = Arc::new(AtomicUsize::new(0));
        let counter = calls.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::Relaxed);
                let _ = stream.set_nodelay(true);
                tokio::spawn(handle(stream));
            }
        });
        Backend { address, calls, task }
    }

    /// A backend that reads each connection's first request head and gives it to `handle`.
    pub async fn calls<F>(handle: impl Fn(Call) -> F + Clone + Send + Sync + 'static) -> Backend
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Backend::raw(move |mut stream| {
            let handle = handle.clone();
            async move {
                if let Some(head) = Head::read(&mut stream).await {
                    handle(Call { stream, head }).await;
                }
            }
        })
        .await
    }

    /// A backend that answers every request with `answer`, a whole HTTP/1.1 response, and closes.
    pub async fn answers(answer: impl Into<String>) -> Backend {
        let answer: Arc<str> = answer.into().into();
        Backend::calls(move |mut call| {
            let answer = answer.clone();
            async move {
                let _ = call.stream.write_all(answer.as_bytes()).await;
                let _ = call.stream.shutdown().await;
            }
        })
        .await
    }

    /// A backend that accepts every handshake, sends its `name` as the first message, and echoes.
    pub async fn echo(name: &str) -> Backend {
        Backend::echo_on(TcpListener::bind("127.0.0.1:0").await.expect("a free port"), name)
    }

    /// The same on a socket that the test has bound.
    pub fn echo_on(listener: TcpListener, name: &str) -> Backend {
        let name: Arc<str> = name.into();
        Backend::on(listener, move |mut stream| {
            let name = name.clone();
            async move {
                if let Some(head) = Head::read(&mut stream).await {
                    let mut socket = Call { stream, head }.accept("").await;
                    socket.send(&Message::text(&name)).await;
                    socket.echo().await;
                }
            }
        })
    }

    /// How many connections it has accepted.
    pub fn called(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Call<S> {
    /// Sends bytes as they are.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sent = self.stream.write_all(bytes.as_ref());
        within("room to write", sent).await.expect("the proxy reads");
    }

    /// Answers with a whole HTTP/1.1 response and closes.
    pub async fn answer(mut self, response: impl AsRef<[u8]>) {
        self.send(response).await;
        self.stream.shutdown().await.expect("the proxy reads");
    }

    /// Waits for the end of the connection; what came until then, the head left out. A reset is an end, too.
    pub async fn rest(mut self) -> Vec<u8> {
        let mut bytes = self.head.rest;
        let _ = within("the end", self.stream.read_to_end(&mut bytes)).await;
        bytes
    }

    /// A 101 for this handshake. The tests' clients all send the same key, except over HTTP/2: there the proxy makes one.
    pub fn switching(&self, lines: &str) -> String {
        let key = self.head.get("sec-websocket-key").expect("a key").as_bytes();
        let accept = accept_key(key.try_into().expect("a key of 24 bytes"));
        switching(lines).replace(ACCEPT, std::str::from_utf8(&accept).expect("base64"))
    }

    /// Answers the handshake with a 101 that has these further lines.
    pub async fn accept(mut self, lines: &str) -> WebSocket<S> {
        let answer = self.switching(lines);
        self.stream.write_all(answer.as_bytes()).await.expect("the proxy reads the 101");
        self.stream.flush().await.expect("the proxy reads the 101");
        WebSocket::backend(self.stream, self.head.rest)
    }
}
