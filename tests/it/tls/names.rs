//! Certificates for one name with keys of two kinds, and names that no certificate is for.

use rustls::SignatureScheme;
use rustls::version::{TLS12, TLS13};

use super::{ANSWER, handshakes, visit};
use crate::kit::{Backend, Client, Pki, Proxy, Resumption, plain, secure, within};

#[tokio::test]
async fn of_two_certificates_a_client_gets_the_one_that_it_can_verify() {
    let (backend, pki) = (Backend::answers(ANSWER).await, Pki::new());
    let ecdsa = pki.issue(&["chat.example.com"]);
    let rsa = pki.issue_rsa(&["chat.example.com"]);
    let wildcard = pki.issue(&["*.example.com"]);
    let wildcard_rsa = pki.issue_rsa(&["*.example.com"]);
    let config = plain(&[backend.address]) + &secure(&[&ecdsa, &rsa, &wildcard, &wildcard_rsa]);
    let proxy = Proxy::start(&config).await;
    const OLD: &[SignatureScheme] = &[SignatureScheme::RSA_PSS_SHA256, SignatureScheme::RSA_PKCS1_SHA256];
    const BOTH: &[SignatureScheme] = &[
        SignatureScheme::RSA_PSS_SHA256,
        SignatureScheme::RSA_PKCS1_SHA256,
        SignatureScheme::ECDSA_NISTP256_SHA256,
    ];
    for version in [&TLS12, &TLS13] {
        for (name, schemes, expected) in [
            ("chat.example.com", BOTH, &ecdsa),
            ("chat.example.com", OLD, &rsa),
            ("other.example.com", BOTH, &wildcard),
            ("other.example.com", OLD, &wildcard_rsa),
            // Asked for by address: no name is sent, and the default is served in both kinds.
            ("127.0.0.1", BOTH, &ecdsa),
            ("127.0.0.1", OLD, &rsa),
        ] {
            let visitor = Resumption::knowing(&[version], schemes);
            let client = visitor.connect(proxy.address("secure"), name).await.expect("a handshake");
            assert!(client.certificate().as_ref() == Some(&expected.der), "{version:?} {name} {schemes:?}");
        }
        let visitor = Resumption::knowing(&[version], &[SignatureScheme::ED25519]);
        assert!(visitor.connect(proxy.address("secure"), "chat.example.com").await.is_err());
    }
    proxy.wait_metric(&handshakes("failed", ""), 2.0).await;
}

#[tokio::test]
async fn names_that_no_certificate_is_for_can_be_refused() {
    let (backend, pki) = (Backend::answers(ANSWER).await, Pki::new());
    let default = pki.issue(&["chat.example.com", "127.0.0.1"]);
    let wildcard = pki.issue(&["*.feed.example.com"]);
    let config = plain(&[backend.address]) + &secure(&[&default, &wildcard]);
    let proxy = Proxy::start(&(config + "unknown_name = \"refuse\"\n")).await;
    let mut refused = 0.0;
    for version in [&TLS12, &TLS13] {
        for name in ["example.com", "a.b.feed.example.com", "feed.example.com", "chat.example.co"] {
            let visitor = Resumption::new(&pki, &[version]);
            let error = visitor.connect(proxy.address("secure"), name).await.err().expect("a refusal");
            assert!(error.to_string().contains("UnrecognisedName"), "{version:?} {name}: {error}");
            refused += 1.0;
            proxy.wait_metric(&handshakes("unknown_name", ""), refused).await;
        }
        for name in ["chat.example.com", "CHAT.example.com", "a.feed.example.com", "127.0.0.1"] {
            let visitor = Resumption::new(&pki, &[version]);
            let connect = visitor.connect(proxy.address("secure"), name);
            within("a TLS connection", connect).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        let visitor = Resumption::new(&pki, &[version]);
        for _ in 0..2 {
            visit(&proxy, &visitor).await;
        }
    }
    proxy.wait_metric(&handshakes("resumed", "1.2"), 1.0).await;
    proxy.wait_metric(&handshakes("resumed", "1.3"), 1.0).await;
    // What is no ClientHello, or none that ends, is what it always was.
    for bytes in ["GET / HTTP/1.1\r\n\r\n".as_bytes(), &[0xff; 4096]] {
        let mut client = Client::connect(proxy.address("secure")).await;
        client.send(bytes).await;
        let (answer, _) = client.rest().await;
        assert!(!answer.starts_with(b"HTTP"), "an alert at most: {answer:?}");
    }
    proxy.wait_metric(&handshakes("failed", ""), 2.0).await;
}
