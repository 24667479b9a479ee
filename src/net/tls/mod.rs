//! TLS: rustls with aws-lc-rs, versions 1.2 and 1.3. Here towards clients, with certificates by SNI and resumption by
//! tickets; towards backends in [`connect`].

pub mod authorities;
pub mod certificate;
pub mod connect;
mod resolver;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::server::ProducesTickets;
use rustls::{HandshakeKind, ProtocolVersion, ServerConfig, SupportedProtocolVersion};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsStream};

use self::certificate::LoadedCertificate;
use self::resolver::Resolver;
use crate::config::TlsVersion;

/// What may wait inside rustls for the socket, per connection: a tunnel's whole scratch buffer, encrypted, goes to the
/// socket in one write.
const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// What a listener needs to speak TLS.
#[derive(Clone)]
pub struct Terminator {
    config: Arc<ServerConfig>,
}

/// What session tickets are encrypted with (RFC 5077, RFC 8446 4.6.1): a key of this process, rolled every six hours.
/// Never to be shared by listeners that ask clients for different proofs of who they are.
#[derive(Clone)]
pub struct Tickets(Arc<dyn ProducesTickets>);

impl Tickets {
    /// Fresh keys.
    ///
    /// # Errors
    /// When the cryptography provider has no randomness.
    pub fn new() -> Result<Tickets, rustls::Error> {
        Ok(Tickets(aws_lc_rs::Ticketer::new()?))
    }
}

/// What a TLS handshake agreed on.
#[derive(Clone, Copy, Debug)]
pub struct Agreed {
    /// `1.2` or `1.3`.
    pub version: &'static str,
    /// Whether a ticket brought an older session back.
    pub resumed: bool,
}

/// Why there is no TLS session.
#[derive(Debug)]
pub enum TlsError {
    /// The deadline passed.
    Timeout,
    /// The peer went away, spoke something else, no common ground was found, or its certificate is not believed.
    Failed(io::Error),
}

impl Terminator {
    /// TLS with the given certificates, of which the first is the default.
    ///
    /// # Errors
    /// When the cryptography provider supports no version at or above `min_version`.
    pub fn new(
        certificates: &[LoadedCertificate],
        min_version: TlsVersion,
        tickets: Tickets,
    ) -> Result<Terminator, rustls::Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions(min_version))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Resolver::new(certificates)));
        config.ticketer = tickets.0;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Terminator { config: Arc::new(config) })
    }

    /// Performs the handshake as the server.
    ///
    /// # Errors
    /// [`TlsError::Timeout`] after `deadline`, else [`TlsError::Failed`].
    pub async fn accept(
        &self,
        tcp: TcpStream,
        deadline: Duration,
    ) -> Result<(Box<TlsStream<TcpStream>>, Agreed), TlsError> {
        let acceptor = TlsAcceptor::from(self.config.clone());
        let handshake = acceptor.accept_with(tcp, |session| session.set_buffer_limit(Some(BUFFER_BYTES_MAX)));
        let stream = match timeout(deadline, handshake).await {
            Ok(result) => result.map_err(TlsError::Failed)?,
            Err(_) => return Err(TlsError::Timeout),
        };
        let session = stream.get_ref().1;
        let agreed = Agreed {
            version: match session.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "1.3",
                _ => "1.2",
            },
            resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
        };
        Ok((Box::new(TlsStream::Server(stream)), agreed))
    }
}

fn versions(min: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    const BOTH: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];
    const NEWER: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
    match min {
        TlsVersion::V1_2 => BOTH,
        TlsVersion::V1_3 => NEWER,
    }
}
