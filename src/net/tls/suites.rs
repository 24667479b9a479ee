//! What a listener may agree on: the cipher suites of the configuration, and every key exchange that aws-lc-rs has, the
//! hybrid X25519MLKEM768 first.

use std::collections::BTreeSet;

use rustls::SupportedCipherSuite;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite as suite};

use crate::config::Cipher;

/// aws-lc-rs with these cipher suites; `None` is all.
pub fn provider(ciphers: Option<&BTreeSet<Cipher>>) -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    if let Some(ciphers) = ciphers {
        provider.cipher_suites = ciphers.iter().map(|cipher| of(*cipher)).collect();
    }
    provider
}

fn of(cipher: Cipher) -> SupportedCipherSuite {
    match cipher {
        Cipher::Tls13Aes256Gcm => suite::TLS13_AES_256_GCM_SHA384,
        Cipher::Tls13Aes128Gcm => suite::TLS13_AES_128_GCM_SHA256,
        Cipher::Tls13ChaCha20Poly1305 => suite::TLS13_CHACHA20_POLY1305_SHA256,
        Cipher::EcdsaAes256Gcm => suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        Cipher::EcdsaAes128Gcm => suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        Cipher::EcdsaChaCha20Poly1305 => suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        Cipher::RsaAes256Gcm => suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        Cipher::RsaAes128Gcm => suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        Cipher::RsaChaCha20Poly1305 => suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    }
}
