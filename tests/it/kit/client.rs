//! What comes to the proxy: bytes over TCP or TLS, as the test writes them.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::client::Resumption as Tickets;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, HandshakeKind, ProtocolVersion, SignatureScheme};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::websocket::WebSocket;
use super::{Head, Pki, handshake, within};

/// A connection to the proxy.
pub enum Client {
    /// Plain text.
    Plain(TcpStream),
    /// TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

/// Tickets that one client keeps between connections.
#[derive(Clone)]
pub struct Resumption(pub(super) Arc<ClientConfig>);

impl Resumption {
    /// A client that trusts `pki`, speaks `versions` and has no tickets yet.
    pub fn new(pki: &Pki, versions: &[&'static rustls::SupportedProtocolVersion]) -> Resumption {
        Resumption::offering(pki, versions, &["http/1.1"])
    }

    /// The same, with these protocols to choose from (ALPN, RFC 7301).
    pub fn offering(
        pki: &Pki,
        versions: &[&'static rustls::SupportedProtocolVersion],
        protocols: &[&str],
    ) -> Resumption {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("supported versions")
            .with_root_certificates(pki.roots())
            .with_no_client_auth();
        config.resumption = Tickets::in_memory_sessions(8);
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Resumption(Arc::new(config))
    }

    /// A client that takes any certificate: the demo's is made anew for each start.
    pub fn trusting_anyone() -> Resumption {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("supported versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone(provider, None)))
            .with_no_client_auth();
        Resumption(Arc::new(config))
    }

    /// Connects with TLS, asking for `name`.
    pub async fn connect(&self, address: SocketAddr, name: &str) -> io::Result<Client> {
        let tcp = TcpStream::connect(address).await?;
        let name = ServerName::try_from(name.to_string()).expect("a server name");
        let tls = TlsConnector::from(self.0.clone()).connect(name, tcp).await?;
        Ok(Client::Tls(Box::new(tls)))
    }
}

/// Looks at signatures, not at who made the certificate; `None` knows all kinds of them.
#[derive(Debug)]
pub(super) struct Anyone(pub(super) Arc<CryptoProvider>, pub(super) Option<Vec<SignatureScheme>>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let all = || self.0.signature_verification_algorithms.supported_schemes();
        self.1.clone().unwrap_or_else(all)
    }
}

impl Client {
    /// Connects in plain text.
    pub async fn connect(address: SocketAddr) -> Client {
        let tcp = within("a connection", TcpStream::connect(address)).await.expect("the proxy listens");
        tcp.set_nodelay(true).expect("a live socket");
        Client::Plain(tcp)
    }

    /// Connects with TLS, asking for `name`, which `pki` must vouch for.
    pub async fn connect_tls(address: SocketAddr, pki: &Pki, name: &str) -> Client {
        let connect = Resumption::new(pki, rustls::ALL_VERSIONS);
        within("a TLS connection", connect.connect(address, name)).await.expect("the handshake succeeds")
    }

    /// Sends bytes.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        within("room to write", async {
            self.write_all(bytes.as_ref()).await.expect("the proxy reads");
            self.flush().await.expect("the proxy reads");
        })
        .await;
    }

    /// Reads the head of a response.
    pub async fn head(&mut self) -> Head {
        within("a response", Head::read(self)).await.expect("a response")
    }

    /// Reads the answer to one request of several; the connection lives on.
    pub async fn answer(&mut self) -> (Head, String) {
        let head = self.head().await;
        let (body, after) = head.clone().body(self).await;
        assert!(after.is_empty(), "more than an answer: {:?}", String::from_utf8_lossy(&after));
        (head, String::from_utf8(body).expect("text"))
    }

    /// Sends a request that asks for the connection to be closed, and reads the whole answer.
    pub async fn request(mut self, request: impl AsRef<[u8]>) -> (Head, String) {
        self.send(request).await;
        let head = self.head().await;
        let mut body = head.rest.clone();
        within("the body", self.read_to_end(&mut body)).await.expect("the answer is whole");
        (head, String::from_utf8_lossy(&body).into_owned())
    }

    /// Opens a WebSocket; the 101's head comes with it.
    pub async fn open(self, path: &str, host: &str, lines: &str) -> (WebSocket<Client>, Head) {
        let head = handshake(path, host, lines);
        self.open_with(head).await
    }

    /// Opens a WebSocket with a head that the test wrote.
    pub async fn open_with(mut self, request: impl AsRef<[u8]>) -> (WebSocket<Client>, Head) {
        self.send(request).await;
        let head = self.head().await;
        assert_eq!(head.status(), 101, "{head:?}");
        (WebSocket::client(self, head.rest.clone()), head)
    }

    /// Reads until the connection ends; what came before, and how it ended.
    pub async fn rest(&mut self) -> (Vec<u8>, io::Result<()>) {
        let mut bytes = Vec::new();
        let ended = within("the end", self.read_to_end(&mut bytes)).await;
        (bytes, ended.map(drop))
    }

    /// What TLS agreed on.
    pub fn tls(&self) -> Option<(ProtocolVersion, HandshakeKind, Option<Vec<u8>>)> {
        let Client::Tls(tls) = self else { return None };
        let session = tls.get_ref().1;
        let alpn = session.alpn_protocol().map(<[u8]>::to_vec);
        Some((session.protocol_version()?, session.handshake_kind()?, alpn))
    }

    /// The leaf certificate that the proxy showed.
    pub fn certificate(&self) -> Option<Vec<u8>> {
        let Client::Tls(tls) = self else { return None };
        Some(tls.get_ref().1.peer_certificates()?.first()?.to_vec())
    }

    /// The socket, for what only a socket can do.
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Client::Plain(tcp) => tcp,
            Client::Tls(tls) => tls.get_ref().0,
        }
    }
}

impl AsyncRead for Client {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Client::Plain(tcp) => Pin::new(tcp).poll_read(context, buffer),
            Client::Tls(tls) => Pin::new(tls).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Client {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Client::Plain(tcp) => Pin::new(tcp).poll_write(context, bytes),
            Client::Tls(tls) => Pin::new(tls).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Client::Plain(tcp) => Pin::new(tcp).poll_flush(context),
            Client::Tls(tls) => Pin::new(tls).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Client::Plain(tcp) => Pin::new(tcp).poll_shutdown(context),
            Client::Tls(tls) => Pin::new(tls).poll_shutdown(context),
        }
    }
}
