//! Cipher suites by choice, and the key exchange that is agreed on.

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::version::{TLS12, TLS13};
use rustls::{ALL_VERSIONS, CipherSuite, NamedGroup};

use super::{ANSWER, handshakes, visit};
use crate::kit::{Backend, Pki, Proxy, Resumption, plain, secure};

#[tokio::test]
async fn only_the_chosen_cipher_suites_are_spoken() {
    let (backend, pki) = (Backend::answers(ANSWER).await, Pki::new());
    let certificate = pki.issue(&["chat.example.com"]);
    let base = plain(&[backend.address]) + &secure(&[&certificate]);
    for (ciphers, in_12, in_13) in [
        (
            "\"TLS13_CHACHA20_POLY1305_SHA256\", \"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256\"",
            Some(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
            Some(CipherSuite::TLS13_CHACHA20_POLY1305_SHA256),
        ),
        ("\"TLS13_AES_128_GCM_SHA256\"", None, Some(CipherSuite::TLS13_AES_128_GCM_SHA256)),
        (
            "\"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256\"",
            Some(CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
            None,
        ),
        // The certificate's key is for ECDSA.
        ("\"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\"", None, None),
    ] {
        let proxy = Proxy::start(&format!("{base}ciphers = [{ciphers}]\n")).await;
        for (version, expected) in [(&TLS12, in_12), (&TLS13, in_13)] {
            let visitor = Resumption::new(&pki, &[version]);
            match expected {
                Some(suite) => {
                    let client = visit(&proxy, &visitor).await;
                    let agreed = client.session().negotiated_cipher_suite().expect("a session").suite();
                    assert_eq!(agreed, suite, "{ciphers}");
                }
                None => {
                    let refused = visitor.connect(proxy.address("secure"), "chat.example.com").await;
                    assert!(refused.is_err(), "{ciphers} {version:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_client_that_offers_a_hybrid_key_exchange_gets_it() {
    let (backend, pki) = (Backend::answers(ANSWER).await, Pki::new());
    let certificate = pki.issue(&["chat.example.com"]);
    let proxy = Proxy::start(&(plain(&[backend.address]) + &secure(&[&certificate]))).await;
    for (groups, expected) in [
        (vec![kx_group::X25519MLKEM768, kx_group::X25519], NamedGroup::X25519MLKEM768),
        (vec![kx_group::X25519MLKEM768], NamedGroup::X25519MLKEM768),
        (vec![kx_group::X25519, kx_group::SECP256R1], NamedGroup::X25519),
        (vec![kx_group::SECP384R1], NamedGroup::secp384r1),
    ] {
        let provider = CryptoProvider { kx_groups: groups, ..aws_lc_rs::default_provider() };
        let client = visit(&proxy, &Resumption::able(&pki, ALL_VERSIONS, provider)).await;
        let agreed = client.session().negotiated_key_exchange_group().expect("a full handshake");
        assert_eq!(agreed.name(), expected);
    }
    proxy.wait_metric(&handshakes("full", "1.3"), 4.0).await;
}
