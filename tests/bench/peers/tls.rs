//! TLS of the bench's own ends: version 1.3, one cipher suite, one key exchange at a time, so that all proxies do the same.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{Ticketer, cipher_suite, default_provider, kx_group};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig};

use crate::cases::Group;
use crate::kit::{Issued, Pki};

/// For clients. No session is resumed.
pub fn client(pki: &Pki, group: Group) -> Arc<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(provider(group).into())
        .with_protocol_versions(&[&TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(pki.roots())
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    Arc::new(config)
}

/// The same, for clients that speak HTTP/2.
pub fn client_of_http2(pki: &Pki) -> Arc<ClientConfig> {
    let mut config = Arc::unwrap_or_clone(client(pki, Group::X25519));
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

/// For a server, with session tickets.
pub fn server(issued: &Issued, provider: CryptoProvider) -> ServerConfig {
    let chain = CertificateDer::pem_file_iter(&issued.cert).expect("a chain").map(|cert| cert.expect("PEM"));
    let key = PrivateKeyDer::from_pem_file(&issued.key).expect("a key");
    let mut config = ServerConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[&TLS13])
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(chain.collect(), key)
        .expect("a certificate for its key");
    config.ticketer = Ticketer::new().expect("randomness");
    config
}

/// One cipher suite and one key exchange: who offers them, or accepts no others, decides for both sides.
pub fn provider(group: Group) -> CryptoProvider {
    let group = match group {
        Group::X25519 => kx_group::X25519,
        Group::X25519MLKEM768 => kx_group::X25519MLKEM768,
    };
    CryptoProvider {
        cipher_suites: vec![cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![group],
        ..default_provider()
    }
}
