//! TLS towards backends: rustls as the client, with SNI, HTTP/1.1 by ALPN, and sessions that are resumed.

use std::io;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::authorities::Authorities;
use super::certificate::LoadedCertificate;
use super::session::Session;
use super::stream::TlsStream;
use super::{TlsError, versions};
use crate::config::TlsVersion;

/// Sessions that are kept for each name (rustls: one of TLS 1.2, eight of TLS 1.3).
const SESSIONS_PER_NAME: usize = 8;
/// Names that sessions are kept for, per pool. Beyond it the name that was added first is forgotten.
const NAMES_MAX: usize = 256;

/// What a pool needs to speak TLS to its backends. Cheap to clone; clones share the sessions.
#[derive(Clone, Debug)]
pub struct Connector {
    settings: Arc<Settings>,
    config: Arc<ClientConfig>,
}

/// All that a connector is made of. Of equal settings a second one would do the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Whose certificates are believed; `None` believes anybody.
    pub authorities: Option<Authorities>,
    /// What is shown to a backend that asks for it.
    pub certificate: Option<LoadedCertificate>,
    /// What is asked for and verified; `None` is the host that is dialled.
    pub server_name: Option<ServerName<'static>>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
    /// How many names sessions are kept for.
    pub session_names_max: usize,
}

impl Settings {
    /// Room for the sessions of a pool of this many backends. It grows in steps, so that a backend more or less does
    /// not cost the others their sessions.
    pub fn session_names_max(server_name: Option<&ServerName<'_>>, backends: usize) -> usize {
        match server_name {
            Some(_) => 1,
            None => backends.min(NAMES_MAX).next_power_of_two(),
        }
    }
}

impl Connector {
    /// TLS with these settings, and no sessions yet.
    ///
    /// # Errors
    /// When the cryptography provider supports no version at or above `min_version`.
    pub fn new(settings: Settings) -> Result<Connector, rustls::Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions(settings.min_version))?;
        let builder = match &settings.authorities {
            Some(authorities) => builder.with_root_certificates(authorities.roots().clone()),
            None => builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider))),
        };
        let mut config = match &settings.certificate {
            Some(own) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own.key.clone()))),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::in_memory_sessions(settings.session_names_max * SESSIONS_PER_NAME);
        Ok(Connector { settings: Arc::new(settings), config: Arc::new(config) })
    }

    /// What it was made of.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether both are one, with one set of sessions.
    pub fn is(&self, other: &Connector) -> bool {
        Arc::ptr_eq(&self.config, &other.config)
    }

    /// Performs the handshake as the client of `host`: a name in lower case, or an IP address, which is verified and not
    /// asked for (RFC 6066 3).
    ///
    /// # Errors
    /// [`TlsError::Timeout`] at `deadline`, else [`TlsError::Failed`], where [`rustls_error`] tells more.
    pub async fn connect(
        &self,
        tcp: TcpStream,
        host: &str,
        deadline: Instant,
    ) -> Result<Box<TlsStream>, TlsError> {
        let name = match &self.settings.server_name {
            Some(name) => name.clone(),
            None => server_name(host)
                .map_err(|error| TlsError::Failed(io::Error::new(io::ErrorKind::InvalidInput, error)))?,
        };
        let session = Session::client(self.config.clone(), name)
            .map_err(|error| TlsError::Failed(io::Error::other(error)))?;
        match timeout_at(deadline, TlsStream::handshake(tcp, session, Vec::new())).await {
            Ok(result) => result.map_err(TlsError::Failed),
            Err(_) => Err(TlsError::Timeout),
        }
    }
}

/// A host as TLS knows it.
///
/// # Errors
/// When it is neither a host name nor an IP address. Whatever the configuration takes for a host is one of them.
pub fn server_name(host: &str) -> Result<ServerName<'static>, InvalidDnsNameError> {
    ServerName::try_from(host.to_owned())
}

/// What rustls found wrong, if an error of a stream over TLS comes from it and not from the socket.
pub fn rustls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// Looks at signatures, not at who made the certificate: for `verify = "none"`.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

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
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{BackendAddress, Config};

    #[test]
    fn every_host_of_a_backend_is_a_name_for_tls() {
        for host in [
            "a",
            "localhost",
            "chat.internal",
            "under_score.a-b.example",
            "_a",
            "xn--bcher-kva.example",
            "1a.2b",
            "7.a",
            "127.0.0.1",
            "[fd00::12]",
            "A.Example.",
        ] {
            let text = format!(
                "[[listeners]]\nname = \"l\"\naddress = \"127.0.0.1:1\"\n[[routes]]\nname = \"r\"\npool = \"p\"\n\
                 [pools.p]\nbackends = [\"{host}:1\"]\ntls = {{ server_name = \"{host}\" }}\n"
            );
            let config = Config::parse("a.toml", &text, Path::new("/")).unwrap_or_else(|all| panic!("{all}"));
            let pool = &config.pools["p"];
            let tls = pool.tls.as_ref().unwrap();
            let BackendAddress::Tcp { host: dialled, .. } = &pool.backends[0].address.value else {
                panic!("no host")
            };
            for host in [dialled, tls.value.server_name.as_ref().unwrap()] {
                assert!(server_name(host).is_ok(), "{host}");
            }
        }
    }

    #[test]
    fn room_for_sessions_grows_in_steps_and_has_a_bound() {
        let room = |backends| Settings::session_names_max(None, backends);
        assert_eq!([1, 2, 3, 4, 5, 256, 257, 100_000].map(room), [1, 2, 4, 4, 8, 256, 256, 256]);
        let name = server_name("a.example").unwrap();
        assert_eq!(Settings::session_names_max(Some(&name), 100), 1);
    }
}
