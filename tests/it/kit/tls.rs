//! Backends that speak TLS, and what a test can learn of it there.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{Backend, Call, Calls, Head, Issued, Message, Pki, within};

/// A backend's side of a connection.
pub type Secure = TlsStream<TcpStream>;

/// How a backend speaks TLS. Clones share their sessions.
#[derive(Clone)]
pub struct Tls(Arc<ServerConfig>);

/// What a backend says of the handshakes that failed, in their order.
pub struct Failures(mpsc::UnboundedReceiver<String>);

impl Failures {
    /// The next one.
    pub async fn next(&mut self) -> String {
        within("a failed handshake", self.0.recv()).await.expect("the backend lives")
    }
}

impl Tls {
    /// With this certificate, and HTTP/1.1 by ALPN.
    pub fn new(issued: &Issued) -> Tls {
        Tls::with(issued, rustls::ALL_VERSIONS, None)
    }

    /// The same in these versions alone, and with a certificate of `clients` demanded of who comes.
    pub fn with(
        issued: &Issued,
        versions: &[&'static SupportedProtocolVersion],
        clients: Option<&Pki>,
    ) -> Tls {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)
            .expect("supported versions");
        let builder = match clients {
            Some(clients) => {
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(clients.roots()), provider).build();
                builder.with_client_cert_verifier(verifier.expect("an authority"))
            }
            None => builder.with_no_client_auth(),
        };
        let chain = CertificateDer::pem_file_iter(&issued.cert).expect("a file").map(|one| one.expect("PEM"));
        let key = PrivateKeyDer::from_pem_file(&issued.key).expect("a key");
        let mut config = builder.with_single_cert(chain.collect(), key).expect("a pair");
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Tls(Arc::new(config))
    }

    /// For who performs the handshake by itself.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.0.clone())
    }
}

impl Backend {
    /// A backend that speaks TLS, reads each connection's first request head and gives it to `handle`.
    pub async fn tls<F>(
        tls: &Tls,
        handle: impl Fn(Call<Secure>) -> F + Clone + Send + Sync + 'static,
    ) -> (Backend, Failures)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Backend::tls_on(free_port().await, tls, handle)
    }

    /// A backend that speaks TLS and whose every connection the test handles itself, one after the other.
    pub async fn tls_by_hand(tls: &Tls) -> (Backend, Calls<Secure>) {
        let (handle, calls) = Calls::handler();
        (Backend::tls(tls, handle).await.0, calls)
    }

    /// A backend that speaks TLS, accepts every handshake, sends its `name` as the first message, and echoes; `/health`
    /// and `/page` it answers with 200 and its name.
    pub async fn tls_echo(tls: &Tls, name: &str) -> (Backend, Failures) {
        Backend::tls_echo_on(free_port().await, tls, name)
    }

    /// The same on a socket that the test has bound.
    pub fn tls_echo_on(listener: TcpListener, tls: &Tls, name: &str) -> (Backend, Failures) {
        let name: Arc<str> = name.into();
        Backend::tls_on(listener, tls, move |call| {
            let name = name.clone();
            async move {
                if matches!(call.head.target(), "/health" | "/page") {
                    let length = name.len();
                    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{name}");
                    return call.answer(answer).await;
                }
                let mut socket = call.accept("").await;
                socket.send(&Message::text(&name)).await;
                socket.echo().await;
            }
        })
    }

    /// A backend that takes whatever comes for a bad request, and says so in plain text.
    pub async fn plain_text() -> Backend {
        Backend::raw(|mut tcp| async move {
            let _ = tcp.read(&mut [0; 4096]).await;
            let _ = tcp.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
            let _ = tcp.read_to_end(&mut Vec::new()).await;
        })
        .await
    }

    fn tls_on<F>(
        listener: TcpListener,
        tls: &Tls,
        handle: impl Fn(Call<Secure>) -> F + Clone + Send + Sync + 'static,
    ) -> (Backend, Failures)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let acceptor = tls.acceptor();
        let (failures, failed) = mpsc::unbounded_channel();
        let backend = Backend::on(listener, move |tcp| {
            let (acceptor, handle, failures) = (acceptor.clone(), handle.clone(), failures.clone());
            async move {
                match acceptor.accept(tcp).into_fallible().await {
                    Ok(mut stream) => {
                        if let Some(head) = Head::read(&mut stream).await {
                            handle(Call { stream, head }).await;
                        }
                    }
                    Err((error, mut tcp)) => {
                        let _ = failures.send(error.to_string());
                        // To close with something unread would be a reset, which could overtake the alert.
                        let _ = tcp.shutdown().await;
                        let _ = tcp.read_to_end(&mut Vec::new()).await;
                    }
                }
            }
        });
        (backend, Failures(failed))
    }
}

async fn free_port() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a free port")
}

impl Call<Secure> {
    /// The name that was asked for (SNI, RFC 6066 3).
    pub fn server_name(&self) -> Option<&str> {
        self.stream.get_ref().1.server_name()
    }

    /// The protocol that was agreed on (ALPN, RFC 7301).
    pub fn protocol(&self) -> Option<&str> {
        self.stream.get_ref().1.alpn_protocol().map(|protocol| std::str::from_utf8(protocol).expect("ASCII"))
    }

    /// Whether a session of an earlier connection was resumed.
    pub fn is_resumed(&self) -> bool {
        self.stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The leaf certificate that longhaul showed.
    pub fn certificate(&self) -> Option<Vec<u8>> {
        Some(self.stream.get_ref().1.peer_certificates()?.first()?.to_vec())
    }
}

/// A `tls` table for the pool at the end of a configuration, with this authority and these further keys, and the time
/// that a handshake may take on a busy machine.
pub fn pool_tls(pki: &Pki, keys: &str) -> String {
    let (ca, comma) = (pki.authority_file(), if keys.is_empty() { "" } else { ", " });
    format!("tls = {{ ca = \"{}\"{comma}{keys} }}\nconnect_timeout = \"20s\"\n", ca.display())
}

/// The series of connections to a backend of the pool `all` that did not come about.
pub fn connect_errors(backend: SocketAddr, reason: &str) -> String {
    format!("longhaul_backend_connect_errors_total{{pool=\"all\",backend=\"{backend}\",reason=\"{reason}\"}}")
}
