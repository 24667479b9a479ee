//! Clients with wishes of their own in TLS, and what TLS agreed on with them.

use std::sync::Arc;

use rustls::client::Resumption as Tickets;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, SignatureScheme, SupportedProtocolVersion};
use tokio::io::AsyncReadExt;

use super::client::Anyone;
use super::{Client, Issued, Pki, Resumption, within};

impl Resumption {
    /// A client that trusts `pki`, and shows a certificate to who asks for one.
    pub fn showing(pki: &Pki, versions: &[&'static SupportedProtocolVersion], own: &Issued) -> Resumption {
        Resumption::made(pki, versions, Some(own), aws_lc_rs::default_provider())
    }

    /// A client that trusts `pki`, and can do what `provider` can.
    pub fn able(
        pki: &Pki,
        versions: &[&'static SupportedProtocolVersion],
        provider: CryptoProvider,
    ) -> Resumption {
        Resumption::made(pki, versions, None, provider)
    }

    fn made(
        pki: &Pki,
        versions: &[&'static SupportedProtocolVersion],
        own: Option<&Issued>,
        provider: CryptoProvider,
    ) -> Resumption {
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)
            .expect("supported versions")
            .with_root_certificates(pki.roots());
        let mut config = match own {
            Some(own) => {
                let chain = CertificateDer::pem_file_iter(&own.cert).expect("a file");
                let chain = chain.map(|one| one.expect("PEM")).collect();
                let key = PrivateKeyDer::from_pem_file(&own.key).expect("a key");
                builder.with_client_auth_cert(chain, key).expect("a pair")
            }
            None => builder.with_no_client_auth(),
        };
        config.resumption = Tickets::in_memory_sessions(8);
        Resumption(Arc::new(config))
    }

    /// A client that takes any certificate whose signatures are among `schemes`.
    pub fn knowing(
        versions: &[&'static SupportedProtocolVersion],
        schemes: &[SignatureScheme],
    ) -> Resumption {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)
            .expect("supported versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone(provider, Some(schemes.to_vec()))))
            .with_no_client_auth();
        Resumption(Arc::new(config))
    }
}

impl Client {
    /// The client's end of TLS.
    pub fn session(&self) -> &ClientConnection {
        match self {
            Client::Tls(tls) => tls.get_ref().1,
            Client::Plain(_) => panic!("plain text"),
        }
    }

    /// What the proxy says instead of serving the connection: TLS 1.3 clients hear it after their handshake.
    pub async fn alert(&mut self) -> String {
        match within("an alert", self.read_u8()).await {
            Ok(byte) => panic!("an answer that begins with {byte}"),
            Err(error) => error.to_string(),
        }
    }
}
