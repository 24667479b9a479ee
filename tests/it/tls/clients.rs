//! Certificates of clients: who is let in, what the log and a backend learn of it, and what nobody can pretend.

use std::fs;

use rustls::version::{TLS12, TLS13};
use rustls::{ALL_VERSIONS, HandshakeKind};

use super::{ANSWER, GET, handshakes, visit};
use crate::kit::{
    Backend, Calls, Client, Issued, Pki, Proxy, Reloaded, Resumption, handshake, plain, secure, within,
};

const SUBJECT: &str = "x-client-certificate-subject";
const NAMES: &str = "x-client-certificate-names";
const FORGED: &str = "X-Client-Certificate-Subject: CN=admin\r\nX_Client_Certificate_Subject: CN=admin\r\n\
                      X-Client_Certificate_Names: DNS:admin\r\nx-client-certificate-names: DNS:admin\r\n";

/// The key for certificates of `authority`.
fn asking(authority: &Pki, more: &str) -> String {
    format!("client_certificates = {{ ca = \"{}\"{more} }}\n", authority.authority_file().display())
}

/// Comes with a certificate, or with none, and wants a page; what becomes of it when that is an alert.
async fn alert(proxy: &Proxy, visitor: &Resumption) -> String {
    match within("a TLS connection", visitor.connect(proxy.address("secure"), "chat.example.com")).await {
        // TLS 1.3: the client is done before the proxy has seen its certificate.
        Ok(mut client) => client.alert().await,
        Err(error) => error.to_string(),
    }
}

/// The fields about the certificate that the backend gets with a request, or a handshake.
async fn told(calls: &mut Calls, mut client: Client, websocket: bool) -> (Vec<String>, Vec<String>) {
    let request = match websocket {
        true => handshake("/ws", "chat.example.com", FORGED),
        false => GET.replace("\r\n\r\n", &format!("\r\n{FORGED}\r\n")),
    };
    client.send(request).await;
    let call = calls.next().await;
    for alias in ["x_client_certificate_subject", "x-client_certificate_names"] {
        assert_eq!(call.head.get(alias), None);
    }
    let [subject, names] =
        [SUBJECT, NAMES].map(|name| call.head.all(name).iter().map(|value| value.to_string()).collect());
    call.answer(ANSWER).await;
    assert_eq!(client.answer().await.1, "ok");
    (subject, names)
}

#[tokio::test]
async fn without_a_believed_certificate_there_is_no_connection() {
    let (backend, pki, clients, others) =
        (Backend::answers(ANSWER).await, Pki::new(), Pki::new(), Pki::new());
    let server = pki.issue(&["chat.example.com"]);
    let crl = format!(", crl = \"{}\"", clients.revoke(&[13]).display());
    let config = plain(&[backend.address]) + &secure(&[&server]) + &asking(&clients, &crl);
    let proxy = Proxy::start(&config).await;
    let alice = clients.issue_client("alice", 12);
    let revoked = clients.issue_client("mallory", 13);
    let expired = clients.issue_with(&["old"], |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
    let stranger = others.issue_client("alice", 12);
    let mut refused = 0.0;
    for version in [&TLS12, &TLS13] {
        for (certificate, expected) in [
            (None, "CertificateRequired"),
            (Some(&stranger), "UnknownCA"),
            (Some(&expired), "CertificateExpired"),
            (Some(&revoked), "CertificateRevoked"),
        ] {
            let visitor = match certificate {
                Some(certificate) => Resumption::showing(&pki, &[version], certificate),
                None => Resumption::new(&pki, &[version]),
            };
            let said = alert(&proxy, &visitor).await;
            assert!(said.contains(expected), "{version:?}: {said}, not {expected}");
            refused += 1.0;
            proxy.wait_metric(&handshakes("client_certificate", ""), refused).await;
        }
        visit(&proxy, &Resumption::showing(&pki, &[version], &alice)).await;
    }
    assert_eq!(backend.called(), 2);
    assert_eq!(proxy.record("request").await["client_subject"], "CN=alice");
}

#[tokio::test]
async fn log_and_backend_learn_who_comes_and_nobody_can_pretend() {
    let ((backend, mut calls), pki) = (Backend::by_hand().await, Pki::new());
    let server = pki.issue(&["chat.example.com"]);
    let tls = secure(&[&server]) + &asking(&pki, ", mode = \"optional\"");
    let proxy = Proxy::start(&(plain(&[backend.address]) + &tls)).await;
    let alice = pki.issue_with(&["alice.example", "192.0.2.1"], |params| {
        params.distinguished_name.push(rcgen::DnType::CommonName, "alice, or not\r\nX-Admin: yes");
    });
    for version in [&TLS12, &TLS13] {
        let visitor = Resumption::showing(&pki, &[version], &alice);
        for (kind, websocket) in [(HandshakeKind::Full, false), (HandshakeKind::Resumed, true)] {
            let connect = visitor.connect(proxy.address("secure"), "chat.example.com");
            let client = within("a TLS connection", connect).await.expect("a handshake");
            assert_eq!(client.session().handshake_kind(), Some(kind));
            let (subject, names) = told(&mut calls, client, websocket).await;
            assert_eq!(subject, [r"CN=alice\, or not\0d\0aX-Admin: yes"]);
            assert_eq!(names, ["DNS:alice.example, IP:192.0.2.1"]);
        }
    }
    for message in ["request", "declined"] {
        let record = proxy.record(message).await;
        assert_eq!(record["client_subject"], r"CN=alice\, or not\0d\0aX-Admin: yes");
        assert_eq!(record["client_names"], "DNS:alice.example, IP:192.0.2.1");
    }
    // Nobody who shows none can say that he did: not here, and not on the listener that asks for none.
    for websocket in [false, true] {
        let client = Client::connect_tls(proxy.address("secure"), &pki, "chat.example.com").await;
        assert_eq!(told(&mut calls, client, websocket).await, (vec![], vec![]));
        assert_eq!(told(&mut calls, proxy.connect("plain").await, websocket).await, (vec![], vec![]));
    }
}

#[tokio::test]
async fn a_trusted_network_cannot_pretend_either() {
    let (backend, mut calls) = Backend::by_hand().await;
    let name = "name = \"plain\"\n";
    let config =
        plain(&[backend.address]).replace(name, &format!("{name}trusted_networks = [\"127.0.0.1\"]\n"));
    let proxy = Proxy::start(&config).await;
    for websocket in [false, true] {
        assert_eq!(told(&mut calls, proxy.connect("plain").await, websocket).await, (vec![], vec![]));
    }
}

/// The subject that the backend was told of last is in the log; a tunnel's, too.
#[tokio::test]
async fn a_tunnel_is_opened_in_its_owners_name() {
    let (backend, pki) = (Backend::echo("one").await, Pki::new());
    let config =
        plain(&[backend.address]) + &secure(&[&pki.issue(&["chat.example.com"])]) + &asking(&pki, "");
    let proxy = Proxy::start(&config).await;
    let visitor = Resumption::showing(&pki, ALL_VERSIONS, &pki.issue_client("alice", 1));
    let client = within("TLS", visitor.connect(proxy.address("secure"), "chat.example.com")).await;
    let (mut socket, _) = client.expect("a handshake").open("/ws", "chat.example.com", "").await;
    assert_eq!(socket.receive_text().await, "one");
    socket.round_trip("hello").await;
    let record = proxy.record("open").await;
    assert_eq!(
        (&record["client_subject"], &record["client_names"]),
        (&"CN=alice".into(), &"DNS:alice".into())
    );
    socket.close(1000).await;
}

/// Whether the client's next connection is served, and how its session came about.
async fn next_visit(proxy: &Proxy, visitor: &Resumption) -> Result<HandshakeKind, String> {
    let connect = visitor.connect(proxy.address("secure"), "chat.example.com");
    let mut client = within("TLS", connect).await.map_err(|error| error.to_string())?;
    let kind = client.session().handshake_kind().expect("a handshake");
    client.send(GET.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")).await;
    let (answer, ended) = client.rest().await;
    match answer.ends_with(b"ok") {
        true => Ok(kind),
        false => Err(format!("{ended:?}")),
    }
}

#[tokio::test]
async fn other_authorities_or_lists_end_the_sessions_of_before() {
    let (backend, pki, old, new) = (Backend::answers(ANSWER).await, Pki::new(), Pki::new(), Pki::new());
    let folder = tempfile::tempdir().expect("a folder");
    let (ca, crl) = (folder.path().join("ca.pem"), folder.path().join("crl.pem"));
    fs::copy(old.authority_file(), &ca).expect("a writable folder");
    fs::copy(old.revoke(&[]), &crl).expect("a writable folder");
    let config = plain(&[backend.address]) + &secure(&[&pki.issue(&["chat.example.com"])]);
    let keys = format!(
        "client_certificates = {{ ca = \"{}\", crl = \"{}\", mode = \"optional\" }}\n",
        ca.display(),
        crl.display()
    );
    let proxy = Proxy::start(&(config + &keys)).await;
    let get = |own: &Issued| Resumption::showing(&pki, ALL_VERSIONS, own);
    let (alice, mallory) = (get(&old.issue_client("alice", 1)), get(&old.issue_client("mallory", 2)));
    for visitor in [&alice, &mallory] {
        assert_eq!(next_visit(&proxy, visitor).await, Ok(HandshakeKind::Full));
        assert_eq!(next_visit(&proxy, visitor).await, Ok(HandshakeKind::Resumed));
    }
    fs::copy(old.revoke(&[2]), &crl).expect("a writable folder");
    let Reloaded::Changed(_, change) = proxy.reload().await else { panic!("a new list is a change") };
    assert_eq!(change, "certificates");
    assert_eq!(next_visit(&proxy, &alice).await, Ok(HandshakeKind::Full));
    assert_eq!(next_visit(&proxy, &alice).await, Ok(HandshakeKind::Resumed));
    next_visit(&proxy, &mallory).await.expect_err("a certificate that is revoked");

    fs::copy(new.authority_file(), &ca).expect("a writable folder");
    fs::copy(new.revoke(&[]), &crl).expect("a writable folder");
    let Reloaded::Changed(..) = proxy.reload().await else { panic!("another authority is a change") };
    next_visit(&proxy, &alice).await.expect_err("an authority that is gone");
    let bob = get(&new.issue_client("bob", 1));
    assert_eq!(next_visit(&proxy, &bob).await, Ok(HandshakeKind::Full));

    for (file, wrong, message) in [
        (&ca, "nothing", "no certificate in this file"),
        (&crl, "nothing", "no revocation list in this file"),
        (
            &crl,
            "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
            "the revocation list cannot be used",
        ),
    ] {
        let before = fs::read(file).expect("a file");
        fs::write(file, wrong).expect("a writable folder");
        let Reloaded::Rejected(problem) = proxy.reload().await else { panic!("{message}") };
        assert!(problem.contains(message), "{problem}");
        fs::write(file, before).expect("a writable folder");
    }
    assert_eq!(next_visit(&proxy, &bob).await, Ok(HandshakeKind::Resumed));
}
