//! What is decided about TLS, towards clients and towards backends.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::At;

/// `listeners.tls`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Chosen by SNI; the first is the default. Never empty.
    pub certificates: Vec<Certificate>,
    /// What becomes of a client that asks for a name that no certificate is for.
    pub unknown_name: UnknownName,
    /// `None` asks clients for no certificate.
    pub client_certificates: Option<ClientCertificates>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
    /// Whether HTTP/2 is offered by ALPN.
    pub http2: bool,
    /// Whether WebSockets may be opened over HTTP/2 (RFC 8441); only with `http2`.
    pub extended_connect: bool,
    /// The cipher suites that are spoken, in no order; `None` is all of them.
    pub ciphers: Option<BTreeSet<Cipher>>,
    /// The file of secrets that session tickets are encrypted with; `None` is keys of this process alone.
    pub ticket_keys: Option<At<PathBuf>>,
}

/// What becomes of a client that asks for a name that no certificate is for (SNI, RFC 6066 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownName {
    /// It gets the default certificate, and says itself what it thinks of it.
    Default,
    /// It gets the alert `unrecognized_name`.
    Refuse,
}

/// `listeners.tls.client_certificates`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificates {
    /// The authorities whose certificates are believed.
    pub ca: At<Pem>,
    /// Whether a client may come without one.
    pub mode: ClientCertificateMode,
    /// What the authorities have revoked; `None` is nothing.
    pub crl: Option<At<Pem>>,
}

/// Whether a client may come without a certificate. One that is shown must be right in either case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificateMode {
    /// It may.
    Optional,
    /// It may not.
    Required,
}

/// The cipher suites that longhaul speaks: those of TLS 1.3 (RFC 8446 B.4), then those of TLS 1.2 by what their
/// certificate signs with (RFC 5289, RFC 7905).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Cipher {
    Tls13Aes256Gcm,
    Tls13Aes128Gcm,
    Tls13ChaCha20Poly1305,
    EcdsaAes256Gcm,
    EcdsaAes128Gcm,
    EcdsaChaCha20Poly1305,
    RsaAes256Gcm,
    RsaAes128Gcm,
    RsaChaCha20Poly1305,
}

impl Cipher {
    /// Whether it is of TLS 1.3; the others are of TLS 1.2.
    pub fn is_of_tls13(self) -> bool {
        self <= Self::Tls13ChaCha20Poly1305
    }
}

/// The TLS versions that longhaul speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// RFC 5246.
    V1_2,
    /// RFC 8446.
    V1_3,
}

/// A certificate chain and its key: PEM, from files or, in the demo, from memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The chain, leaf first.
    pub cert: At<Pem>,
    /// The key: PKCS#8, SEC1 or PKCS#1.
    pub key: At<Pem>,
}

/// Where PEM comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pem {
    /// A file, its path made absolute against the configuration file's directory.
    File(PathBuf),
    /// The text itself (the demo's certificate).
    Inline(String),
}

/// `pools.NAME.tls`: TLS towards backends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolTls {
    /// Whose certificates are believed.
    pub trust: Trust,
    /// The name that is asked for and verified, in lower case, or an IP address; `None` is each backend's host.
    pub server_name: Option<String>,
    /// What is shown to a backend that asks for it.
    pub certificate: Option<Certificate>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
}

/// Whose certificates are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Those of the authorities that the system trusts.
    System,
    /// Those of the authorities in this PEM.
    Authorities(At<Pem>),
    /// Anybody's.
    Anyone,
}
