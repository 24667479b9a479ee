//! Session tickets that several processes share by a file: who resumes whose sessions, and when no longer.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::version::{TLS12, TLS13};
use rustls::{ALL_VERSIONS, HandshakeKind};

use super::{ANSWER, GET, handshakes};
use crate::kit::{Backend, Pki, Proxy, Reloaded, Resumption, plain, secure, within};

/// A file of secrets, each all of one byte.
fn secrets(folder: &Path, bytes: &[u8]) -> PathBuf {
    let path = folder.join("tickets.keys");
    let lines: Vec<String> = bytes.iter().map(|byte| STANDARD.encode([*byte; 48])).collect();
    fs::write(&path, lines.join("\n")).expect("a writable folder");
    path
}

fn sharing(keys: &Path) -> String {
    format!("ticket_keys = \"{}\"\n", keys.display())
}

/// Visits a listener; how the session came about.
async fn kind(proxy: &Proxy, listener: &str, visitor: &Resumption) -> HandshakeKind {
    let connect = visitor.connect(proxy.address(listener), "chat.example.com");
    let mut client = within("a TLS connection", connect).await.expect("the handshake succeeds");
    client.send(GET).await;
    assert_eq!(client.answer().await.1, "ok");
    client.session().handshake_kind().expect("a handshake")
}

#[tokio::test]
async fn a_second_process_with_the_same_file_resumes_sessions() {
    let (backend, pki) = (Backend::answers(ANSWER).await, Pki::new());
    let server = pki.issue(&["chat.example.com"]);
    let keys = secrets(pki.path(), &[1, 2]);
    let base = plain(&[backend.address]) + &secure(&[&server]);
    let config = base.clone() + &sharing(&keys);
    let (one, other, alone) =
        (Proxy::start(&config).await, Proxy::start(&config).await, Proxy::start(&base).await);
    for (version, name) in [(&TLS12, "1.2"), (&TLS13, "1.3")] {
        let visitor = Resumption::new(&pki, &[version]);
        assert_eq!(kind(&one, "secure", &visitor).await, HandshakeKind::Full);
        assert_eq!(kind(&other, "secure", &visitor).await, HandshakeKind::Resumed);
        assert_eq!(kind(&one, "secure", &visitor).await, HandshakeKind::Resumed);
        other.wait_metric(&handshakes("resumed", name), 1.0).await;
        assert_eq!(kind(&alone, "secure", &visitor).await, HandshakeKind::Full);
    }
}

#[tokio::test]
async fn tickets_of_a_secret_are_good_until_it_leaves_the_file() {
    let (backend, pki) = (Backend::answers(ANSWER).await, Pki::new());
    let server = pki.issue(&["chat.example.com"]);
    let keys = secrets(pki.path(), &[1]);
    let config = plain(&[backend.address]) + &secure(&[&server]) + &sharing(&keys);
    let proxy = Proxy::start(&config).await;
    let visitors = [&TLS12, &TLS13].map(|version| Resumption::new(&pki, &[version]));
    for visitor in &visitors {
        assert_eq!(kind(&proxy, "secure", visitor).await, HandshakeKind::Full);
    }
    for (bytes, expected) in [
        (&[2, 1][..], HandshakeKind::Resumed),
        // The ticket that came last is of the secret that was first.
        (&[3, 2], HandshakeKind::Resumed),
        (&[4, 5], HandshakeKind::Full),
    ] {
        secrets(pki.path(), bytes);
        let Reloaded::Changed(_, change) = proxy.reload().await else { panic!("other secrets are a change") };
        assert_eq!(change, "certificates");
        for visitor in &visitors {
            // TLS 1.3 clients have two tickets of each visit and use the last one first; TLS 1.2 ones have one.
            assert_eq!(kind(&proxy, "secure", visitor).await, expected, "{bytes:?}");
        }
    }
    fs::write(&keys, "secret\n").expect("a writable folder");
    let Reloaded::Rejected(problem) = proxy.reload().await else { panic!("this is no secret") };
    assert!(problem.contains("line 1 of this file is no secret"), "{problem}");
    assert!(problem.contains("openssl rand -base64 48"), "{problem}");
}

/// A session that began where no certificate was asked for must not open a door where one is.
#[tokio::test]
async fn listeners_that_ask_for_other_certificates_resume_none_of_each_others_sessions() {
    let (backend, pki, others) = (Backend::answers(ANSWER).await, Pki::new(), Pki::new());
    let server = pki.issue(&["chat.example.com"]);
    let keys = sharing(&secrets(pki.path(), &[1]));
    let listener = |name: &str, more: &str| {
        secure(&[&server]).replace("name = \"secure\"", &format!("name = \"{name}\"")) + &keys + more
    };
    let asking = |pki: &Pki, mode: &str| {
        let ca = pki.authority_file();
        format!("client_certificates = {{ ca = \"{}\", mode = \"{mode}\" }}\n", ca.display())
    };
    let config = plain(&[backend.address])
        + &listener("open", "")
        + &listener("open-too", "")
        + &listener("optional", &asking(&pki, "optional"))
        + &listener("required", &asking(&pki, "required"))
        + &listener("of-others", &asking(&others, "optional"));
    let proxy = Proxy::start(&config).await;
    for version in [&TLS12, &TLS13] {
        let visitor = || Resumption::showing(&pki, &[version], &pki.issue_client("alice", 1));
        for (first, second, expected) in [
            ("open", "open-too", HandshakeKind::Resumed),
            ("open", "optional", HandshakeKind::Full),
            ("open", "required", HandshakeKind::Full),
            ("optional", "open", HandshakeKind::Full),
            ("optional", "required", HandshakeKind::Full),
            ("required", "optional", HandshakeKind::Full),
            ("required", "required", HandshakeKind::Resumed),
        ] {
            let visitor = visitor();
            assert_eq!(kind(&proxy, first, &visitor).await, HandshakeKind::Full);
            assert_eq!(kind(&proxy, second, &visitor).await, expected, "{version:?} {first} {second}");
        }
        // Who shows none is not let in by a session of elsewhere.
        let nobody = Resumption::new(&pki, &[version]);
        assert_eq!(kind(&proxy, "open", &nobody).await, HandshakeKind::Full);
        assert_eq!(kind(&proxy, "of-others", &nobody).await, HandshakeKind::Full);
        assert_eq!(kind(&proxy, "optional", &nobody).await, HandshakeKind::Full);
        let connect = nobody.connect(proxy.address("required"), "chat.example.com").await;
        match connect {
            Ok(mut client) => assert!(client.alert().await.contains("CertificateRequired")),
            Err(error) => assert!(error.to_string().contains("CertificateRequired"), "{error}"),
        }
    }
}

#[tokio::test]
async fn a_listener_that_begins_to_ask_forgets_the_sessions_of_before() {
    let (backend, pki) = (Backend::answers(ANSWER).await, Pki::new());
    let server = pki.issue(&["chat.example.com"]);
    let base = plain(&[backend.address]) + &secure(&[&server]);
    let proxy = Proxy::start(&base).await;
    let visitor = Resumption::showing(&pki, ALL_VERSIONS, &pki.issue_client("alice", 1));
    assert_eq!(kind(&proxy, "secure", &visitor).await, HandshakeKind::Full);
    assert_eq!(kind(&proxy, "secure", &visitor).await, HandshakeKind::Resumed);
    let ca = pki.authority_file();
    proxy.change_to(&format!("{base}client_certificates = {{ ca = \"{}\" }}\n", ca.display())).await;
    assert_eq!(kind(&proxy, "secure", &visitor).await, HandshakeKind::Full);
    assert_eq!(kind(&proxy, "secure", &visitor).await, HandshakeKind::Resumed);
    // Another certificate of its own costs no session.
    let renewed = pki.issue(&["chat.example.com"]);
    assert_ne!(renewed.der, server.der);
    let Reloaded::Changed(..) = proxy.reload().await else { panic!("a new certificate is a change") };
    assert_eq!(kind(&proxy, "secure", &visitor).await, HandshakeKind::Resumed);
}
