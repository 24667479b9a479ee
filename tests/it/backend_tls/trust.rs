//! Who is believed, and who longhaul itself is to its backends.

use rcgen::{BasicConstraints, IsCa, date_time_ymd};
use rustls::version::{TLS12, TLS13};

use super::{PAGE, open, refused, warning};
use crate::kit::{Backend, Issued, Pki, Proxy, Tls, connect_errors, plain, pool_tls};

#[tokio::test]
async fn a_certificate_that_is_not_right_is_refused_and_the_reason_told() {
    let (pki, other) = (Pki::new(), Pki::new());
    let expired = pki.issue_with(&["127.0.0.1"], |params| {
        (params.not_before, params.not_after) = (date_time_ymd(2019, 1, 1), date_time_ymd(2020, 1, 1));
    });
    let expired = Tls::new(&expired);
    let to_come = pki.issue_with(&["127.0.0.1"], |params| params.not_before = date_time_ymd(4000, 1, 1));
    for (tls, detail, alert) in [
        (Tls::new(&other.issue(&["127.0.0.1"])), "UnknownIssuer", "UnknownCA"),
        (Tls::new(&pki.issue(&["chat.internal"])), "not valid for name \"127.0.0.1\"", "BadCertificate"),
        (expired, "certificate expired", "CertificateExpired"),
        (Tls::new(&to_come), "not valid yet", "CertificateExpired"),
    ] {
        let (backend, mut failures) = Backend::tls_echo(&tls, "one").await;
        let proxy = Proxy::start(&(plain(&[backend.address]) + &pool_tls(&pki, ""))).await;
        assert_eq!(refused(&proxy, "/ws").await, (502, "backend_certificate".into()), "{detail}");
        let (error, told) = warning(&proxy).await;
        assert_eq!(error, "certificate");
        assert!(told.starts_with("invalid peer certificate: ") && told.contains(detail), "{told}");
        assert_eq!(proxy.metric(&connect_errors(backend.address, "certificate")).await, 1.0);
        let failure = failures.next().await;
        assert!(failure.ends_with(alert), "{failure}");
        // A plain request fares no better.
        let (head, body) = proxy.connect("plain").await.request(PAGE).await;
        assert_eq!((head.status(), &*body), (502, "the server could not be reached securely\n"));
    }
}

#[tokio::test]
async fn without_verification_anybody_is_believed_and_longhaul_warns_of_it() {
    let (pki, other) = (Pki::new(), Pki::new());
    let certificate = other.issue_with(&["somebody.else"], |params| {
        params.not_after = date_time_ymd(2020, 1, 1);
    });
    for versions in [&[&TLS12], &[&TLS13]] {
        let (backend, _) = Backend::tls_echo(&Tls::with(&certificate, versions, None), "one").await;
        let unverified = plain(&[backend.address]) + "tls = { verify = \"none\" }\n";
        let proxy = Proxy::start(&unverified).await;
        assert_eq!(open(&proxy).await.1, "one");
        let warned = |line: &serde_json::Value| {
            let message = line["message"].as_str().unwrap_or_default();
            line["level"] == "WARN" && message.starts_with("configuration accepted, but the certificates")
        };
        let warning = proxy.wait_for("a warning", warned).await;
        let place = warning["place"].as_str().expect("a place");
        assert!(place.ends_with("longhaul.toml:9:18"), "{place}");
        // A reload that accepts it warns again, one that makes it right does not.
        let length = proxy.log_length();
        proxy.change_to(&(unverified.clone() + "response_timeout = \"1s\"\n")).await;
        proxy.wait_after(length, "a warning", warned).await;
        let length = proxy.log_length();
        proxy.change_to(&(plain(&[backend.address]) + &pool_tls(&pki, ""))).await;
        assert_eq!(proxy.log().iter().skip(length).filter(|line| warned(line)).count(), 0);
        assert_eq!(refused(&proxy, "/now").await, (502, "backend_certificate".into()));
    }
}

#[tokio::test]
async fn server_name_takes_the_place_of_the_host() {
    let pki = Pki::new();
    let (backend, _) = Backend::tls_echo(&Tls::new(&pki.issue(&["chat.internal"])), "one").await;
    for (keys, believed) in [
        ("server_name = \"chat.internal\"", true),
        ("server_name = \"CHAT.internal.\"", true),
        ("server_name = \"other.internal\"", false),
        ("server_name = \"127.0.0.1\"", false),
    ] {
        let proxy = Proxy::start(&(plain(&[backend.address]) + &pool_tls(&pki, keys))).await;
        if believed {
            assert_eq!(open(&proxy).await.1, "one", "{keys}");
        } else {
            assert_eq!(refused(&proxy, "/ws").await.0, 502, "{keys}");
            assert!(warning(&proxy).await.1.contains("is only valid for"), "{keys}");
        }
    }
}

#[tokio::test]
async fn older_versions_are_refused_where_the_pool_says_so() {
    let pki = Pki::new();
    let older = Tls::with(&pki.issue(&["127.0.0.1"]), &[&TLS12], None);
    let (backend, _) = Backend::tls_echo(&older, "one").await;
    for (keys, spoken) in [("min_version = \"1.2\"", true), ("min_version = \"1.3\"", false)] {
        let proxy = Proxy::start(&(plain(&[backend.address]) + &pool_tls(&pki, keys))).await;
        match spoken {
            true => assert_eq!(open(&proxy).await.1, "one"),
            false => assert_eq!(refused(&proxy, "/ws").await, (502, "backend_tls".into())),
        }
    }
}

#[tokio::test]
async fn a_certificate_is_shown_to_a_backend_that_asks_for_one() {
    let (pki, clients) = (Pki::new(), Pki::new());
    let own = clients.issue(&["longhaul"]);
    let keys = format!("cert = \"{}\", key = \"{}\"", own.cert.display(), own.key.display());
    for versions in [&[&TLS12], &[&TLS13]] {
        let tls = Tls::with(&pki.issue(&["127.0.0.1"]), versions, Some(&clients));
        let (backend, mut calls) = Backend::tls_by_hand(&tls).await;
        let proxy = Proxy::start(&(plain(&[backend.address]) + &pool_tls(&pki, &keys))).await;
        let mut client = proxy.connect("plain").await;
        client.send(PAGE).await;
        let call = calls.next().await;
        assert!(call.certificate().as_ref() == Some(&own.der));
        call.answer("HTTP/1.1 204 No Content\r\n\r\n").await;
        assert_eq!(client.head().await.status(), 204);
    }
    // One that does not ask does not get it.
    let (backend, mut calls) = Backend::tls_by_hand(&Tls::new(&pki.issue(&["127.0.0.1"]))).await;
    let proxy = Proxy::start(&(plain(&[backend.address]) + &pool_tls(&pki, &keys))).await;
    let mut client = proxy.connect("plain").await;
    client.send(PAGE).await;
    assert_eq!(calls.next().await.certificate(), None);
}

/// In TLS 1.3 a client learns that its certificate is not accepted only after the handshake (RFC 8446 4.4.2.4).
#[tokio::test]
async fn without_the_certificate_that_a_backend_demands_it_is_not_reached() {
    let (pki, clients, strangers) = (Pki::new(), Pki::new(), Pki::new());
    let stranger = strangers.issue(&["longhaul"]);
    let stranger = format!("cert = \"{}\", key = \"{}\"", stranger.cert.display(), stranger.key.display());
    for (versions, refusal) in [(&[&TLS12], "backend_tls"), (&[&TLS13], "backend_tls_alert")] {
        for (keys, said, alert) in [
            ("", "peer sent no certificates", "CertificateRequired"),
            (&stranger, "UnknownIssuer", "UnknownCA"),
        ] {
            let tls = Tls::with(&pki.issue(&["127.0.0.1"]), versions, Some(&clients));
            let (backend, mut failures) = Backend::tls_echo(&tls, "one").await;
            let proxy = Proxy::start(&(plain(&[backend.address]) + &pool_tls(&pki, keys))).await;
            assert_eq!(refused(&proxy, "/ws").await, (502, refusal.into()), "{keys}");
            let failure = failures.next().await;
            assert!(failure.contains(said), "{failure}");
            if refusal == "backend_tls_alert" {
                let record = proxy.record("refused").await;
                assert_eq!(record["detail"], alert);
                assert_eq!(record["backend"], backend.address.to_string());
            }
            let (head, _) = proxy.connect("plain").await.request(PAGE).await;
            assert_eq!(head.status(), 502);
        }
    }
}

/// As `openssl req -x509` makes them, with and without `basicConstraints=CA:FALSE`.
#[tokio::test]
async fn a_certificate_that_signed_itself_may_vouch_for_itself_unless_it_is_an_authority() {
    let folder = tempfile::tempdir().expect("a folder");
    let [cert, key] = ["self.pem", "self.key"].map(|name| folder.path().join(name));
    for (is_authority, believed) in [(false, true), (true, false)] {
        let pair = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::new(["127.0.0.1".to_string()]).expect("a name");
        params.is_ca = match is_authority {
            true => IsCa::Ca(BasicConstraints::Unconstrained),
            false => IsCa::ExplicitNoCa,
        };
        let signed = params.self_signed(&pair).expect("a certificate");
        std::fs::write(&cert, signed.pem()).expect("a writable folder");
        std::fs::write(&key, pair.serialize_pem()).expect("a writable folder");
        let issued = Issued { cert: cert.clone(), key: key.clone(), der: signed.der().to_vec() };
        let (backend, _) = Backend::tls_echo(&Tls::new(&issued), "one").await;
        let config = plain(&[backend.address]) + &format!("tls = {{ ca = \"{}\" }}\n", cert.display());
        let proxy = Proxy::start(&config).await;
        if believed {
            assert_eq!(open(&proxy).await.1, "one");
        } else {
            assert_eq!(refused(&proxy, "/ws").await, (502, "backend_certificate".into()));
            let told = warning(&proxy).await.1;
            assert!(told.contains("CaUsedAsEndEntity"), "{told}");
        }
    }
}

#[tokio::test]
async fn without_authorities_of_its_own_a_pool_believes_those_of_the_system() {
    let (pki, other) = (Pki::new(), Pki::new());
    let (backend, _) = Backend::tls_echo(&Tls::new(&pki.issue(&["127.0.0.1"])), "one").await;
    let config = plain(&[backend.address]) + "tls = {}\n";
    for (authorities, believed) in [(&pki, true), (&other, false)] {
        let proxy =
            Proxy::start_with(&config, |command| command.env("SSL_CERT_FILE", authorities.authority_file()))
                .await;
        match believed {
            true => assert_eq!(open(&proxy).await.1, "one"),
            false => assert_eq!(refused(&proxy, "/ws").await, (502, "backend_certificate".into())),
        }
    }
}
