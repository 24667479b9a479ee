//! TLS: rustls with aws-lc-rs, versions 1.2 and 1.3. Here towards clients, with certificates by SNI, certificates of
//! theirs ([`clients`]) and resumption by [`tickets`]; towards backends in [`connect`].

pub mod authorities;
pub mod certificate;
pub mod clients;
pub mod connect;
mod kept;
mod names;
mod overheard;
mod resolver;
pub mod rolling;
pub mod secrets;
pub mod session;
pub mod stream;
mod suites;
pub mod tickets;
mod turns;

use std::collections::BTreeSet;
use std::io;
use std::pin::pin;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rustls::crypto::{SecureRandom, aws_lc_rs};
use rustls::server::Acceptor;
use rustls::{HandshakeKind, ProtocolVersion, ServerConfig, SupportedProtocolVersion};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;

use self::certificate::LoadedCertificate;
use self::clients::{ClientCertificate, Clients, Rules};
use self::overheard::Overheard;
use self::resolver::Resolver;
use self::secrets::Secrets;
use self::session::Session;
use self::stream::TlsStream;
use self::tickets::Tickets;
use crate::config::{Cipher, TlsVersion, UnknownName};

/// A fatal alert, `unrecognized_name` (RFC 6066 3), in a record of its own (RFC 8446 5.1 and 6).
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// The names of protocols in ALPN (RFC 7301 6, RFC 9113 3.2).
const HTTP1: &[u8] = b"http/1.1";
const HTTP2: &[u8] = b"h2";

/// What a listener needs to speak TLS. Cheap to clone.
#[derive(Clone)]
pub struct Terminator {
    settings: Arc<Settings>,
    resolver: Arc<Resolver>,
    config: Arc<ServerConfig>,
}

/// All that a terminator is made of, but for tickets. Of equal settings a second one would do the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Chosen by name; the first is the default.
    pub certificates: Vec<LoadedCertificate>,
    /// What becomes of a client that asks for another name.
    pub unknown_name: UnknownName,
    /// `None` asks clients for no certificate.
    pub clients: Option<Clients>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
    /// Whether HTTP/2 is offered beside HTTP/1.1 (ALPN).
    pub http2: bool,
    /// What is spoken; `None` is all that longhaul knows.
    pub ciphers: Option<BTreeSet<Cipher>>,
    /// What tickets are encrypted with; `None` is keys of this process.
    pub ticket_keys: Option<Secrets>,
}

impl Settings {
    /// What a client must show: sessions are resumed only under the same rules.
    pub fn rules(&self) -> Rules {
        self.clients.as_ref().map_or(Rules::NONE, Clients::rules)
    }
}

/// What a TLS handshake agreed on.
#[derive(Clone, Debug)]
pub struct Agreed {
    /// `1.2` or `1.3`.
    pub version: &'static str,
    /// Whether a ticket brought an older session back.
    pub resumed: bool,
    /// Whether HTTP/2 was chosen (ALPN, RFC 7301), else HTTP/1.1.
    pub http2: bool,
    /// The certificate that the client has shown, verified.
    pub client: Option<Arc<ClientCertificate>>,
}

/// Why there is no TLS session with a backend.
#[derive(Debug)]
pub enum TlsError {
    /// The deadline passed.
    Timeout,
    /// The peer went away, spoke something else, no common ground was found, or its certificate is not believed.
    Failed(io::Error),
}

/// Why there is no TLS session with a client.
#[derive(Debug)]
pub enum HandshakeError {
    /// The deadline passed.
    Timeout,
    /// The client asked for a name that no certificate is for.
    UnknownName,
    /// The client showed no certificate and had to, or one that is not believed.
    ClientCertificate(io::Error),
    /// The client went away, spoke something else, or no common ground was found.
    Failed(io::Error),
}

impl Terminator {
    /// TLS with these settings, and sessions in `tickets`, which no terminator of other [`Rules`] may share.
    ///
    /// # Errors
    /// When the cryptography provider supports no version at or above `min_version`.
    pub fn new(settings: Settings, tickets: Tickets) -> Result<Terminator, rustls::Error> {
        let provider = Arc::new(suites::provider(settings.ciphers.as_ref()));
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions(settings.min_version))?;
        let builder = match &settings.clients {
            Some(clients) => builder.with_client_cert_verifier(clients.verifier().clone()),
            None => builder.with_no_client_auth(),
        };
        let resolver = Arc::new(Resolver::new(&settings.certificates));
        let mut config = builder.with_cert_resolver(resolver.clone());
        config.ticketer = tickets.producer();
        // The server's order decides.
        let offered: &[&[u8]] = if settings.http2 { &[HTTP2, HTTP1] } else { &[HTTP1] };
        config.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
        Ok(Terminator { settings: Arc::new(settings), resolver, config: Arc::new(config) })
    }

    /// What it was made of.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Performs the handshake as the server, one of `at_once_max` that the thread computes in a row.
    ///
    /// # Errors
    /// [`HandshakeError::Timeout`] after `deadline`, else what went wrong.
    pub async fn accept(
        &self,
        tcp: TcpStream,
        deadline: Duration,
        at_once_max: usize,
    ) -> Result<(Box<TlsStream>, Agreed), HandshakeError> {
        let handshake = async {
            // The ClientHello is there, or its beginning.
            let _ = tcp.readable().await;
            let turn = turns::turn(at_once_max).await;
            turn.compute(pin!(self.handshake(tcp))).await
        };
        let stream = match timeout(deadline, handshake).await {
            Ok(result) => result?,
            Err(_) => return Err(HandshakeError::Timeout),
        };
        let session = stream.session();
        let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
        let client = match &self.settings.clients {
            Some(clients) => clients.admit(session.peer_certificates(), resumed)?,
            None => None,
        };
        let version = match session.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "1.3",
            _ => "1.2",
        };
        let http2 = session.alpn_protocol() == Some(HTTP2);
        let agreed = Agreed { version, resumed, http2, client: client.map(Arc::new) };
        Ok((stream, agreed))
    }

    async fn handshake(&self, tcp: TcpStream) -> Result<Box<TlsStream>, HandshakeError> {
        let (tcp, came) = match self.settings.unknown_name {
            UnknownName::Default => (tcp, Vec::new()),
            // In a box of its own: all connections would be larger by what few listeners need.
            UnknownName::Refuse => Box::pin(self.hello(tcp)).await?,
        };
        let session = Session::server(self.config.clone())
            .map_err(|error| HandshakeError::Failed(io::Error::other(error)))?;
        TlsStream::handshake(tcp, session, came).await.map_err(|error| match connect::rustls_error(&error) {
            Some(rustls::Error::NoCertificatesPresented | rustls::Error::InvalidCertificate(_)) => {
                HandshakeError::ClientCertificate(error)
            }
            _ => HandshakeError::Failed(error),
        })
    }

    /// Reads the ClientHello, and goes on unless it asks for a name that no certificate is for. What was read comes back.
    async fn hello(&self, tcp: TcpStream) -> Result<(TcpStream, Vec<u8>), HandshakeError> {
        let start = LazyConfigAcceptor::new(Acceptor::default(), Overheard::new(tcp))
            .await
            .map_err(HandshakeError::Failed)?;
        // No name at all is none that is unknown: a client that asks by address sends none.
        if start.client_hello().server_name().is_none_or(|name| self.resolver.knows(name)) {
            return Ok(start.io.into_parts());
        }
        let (mut tcp, _) = start.io.into_parts();
        // A client that has left needs no alert.
        let _ = tcp.write_all(&UNRECOGNIZED_NAME).await;
        let _ = tcp.shutdown().await;
        Err(HandshakeError::UnknownName)
    }
}

/// Bytes that nobody can guess; `None` when the cryptography provider has none.
pub fn random<const N: usize>() -> Option<[u8; N]> {
    static SOURCE: LazyLock<&dyn SecureRandom> =
        LazyLock::new(|| aws_lc_rs::default_provider().secure_random);
    let mut bytes = [0; N];
    SOURCE.fill(&mut bytes).ok()?;
    Some(bytes)
}

fn versions(min: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    const BOTH: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];
    const NEWER: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
    match min {
        TlsVersion::V1_2 => BOTH,
        TlsVersion::V1_3 => NEWER,
    }
}
