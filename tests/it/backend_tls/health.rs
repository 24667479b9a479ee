//! Probes go the way that requests go: over TLS, with the same eyes on the certificate.

use std::net::SocketAddr;

use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::open;
use crate::health::{probes, up};
use crate::kit::{Backend, Pki, Proxy, Tls, plain, pool_tls, within};

fn config(backend: SocketAddr, health: &str) -> String {
    plain(&[backend])
        + &format!("health = {{ {health}, interval = \"10ms\", timeout = \"20s\", rise = 1, fall = 1 }}\n")
}

const TCP: &str = "kind = \"tcp\"";
const HTTP: &str = "kind = \"http\", path = \"/health\"";

#[tokio::test]
async fn a_backend_is_up_whose_handshake_succeeds() {
    let pki = Pki::new();
    for health in [TCP, HTTP] {
        let (backend, _) = Backend::tls_echo(&Tls::new(&pki.issue(&["127.0.0.1"])), "one").await;
        let proxy = Proxy::start(&(config(backend.address, health) + &pool_tls(&pki, ""))).await;
        proxy.wait_metric(&up(backend.address), 1.0).await;
        assert_eq!(open(&proxy).await.1, "one");
        proxy.wait_metric_in(&probes(backend.address, "passed"), 5.0..).await;
        assert_eq!(proxy.metric(&probes(backend.address, "failed")).await, 0.0);
    }
}

/// A probe that only connects says good-bye, and leaves no error in the backend's log.
#[tokio::test]
async fn the_end_of_a_probe_is_announced() {
    let pki = Pki::new();
    let (acceptor, (ends, mut ended)) =
        (Tls::new(&pki.issue(&["127.0.0.1"])).acceptor(), mpsc::unbounded_channel());
    let backend = Backend::raw(move |tcp| {
        let (acceptor, ends) = (acceptor.clone(), ends.clone());
        async move {
            let mut stream = acceptor.accept(tcp).await.expect("a handshake");
            let _ = ends.send(stream.read(&mut [0]).await.map_err(|error| error.to_string()));
        }
    })
    .await;
    let _proxy = Proxy::start(&(config(backend.address, TCP) + &pool_tls(&pki, ""))).await;
    for _ in 0..10 {
        assert_eq!(within("the end of a probe", ended.recv()).await, Some(Ok(0)));
    }
}

#[tokio::test]
async fn a_backend_is_down_that_is_not_believed_or_speaks_no_tls() {
    let (pki, other) = (Pki::new(), Pki::new());
    let (stranger, _) = Backend::tls_echo(&Tls::new(&other.issue(&["127.0.0.1"])), "one").await;
    let plain_text = Backend::plain_text().await;
    for health in [TCP, HTTP] {
        for (backend, reason, detail) in [
            (&stranger, "certificate", "invalid peer certificate: UnknownIssuer"),
            (&plain_text, "tls", "received corrupt message of type InvalidContentType"),
        ] {
            let proxy = Proxy::start(&(config(backend.address, health) + &pool_tls(&pki, ""))).await;
            let down = proxy.record("backend down").await;
            assert_eq!((&down["reason"], &down["detail"]), (&reason.into(), &detail.into()));
            proxy.wait_metric(&up(backend.address), 0.0).await;
        }
    }
}

#[tokio::test]
async fn a_backend_goes_down_and_comes_back() {
    let pki = Pki::new();
    let tls = Tls::new(&pki.issue(&["127.0.0.1"]));
    for health in [TCP, HTTP] {
        let (backend, _) = Backend::tls_echo(&tls, "one").await;
        let address = backend.address;
        let proxy = Proxy::start(&(config(address, health) + &pool_tls(&pki, ""))).await;
        proxy.wait_metric(&up(address), 1.0).await;
        drop(backend);
        proxy.wait_metric(&up(address), 0.0).await;
        let listener = TcpListener::bind(address).await.expect("the port is free again");
        let (_again, _) = Backend::tls_echo_on(listener, &tls, "again");
        proxy.wait_metric(&up(address), 1.0).await;
        assert_eq!(open(&proxy).await.1, "again");
    }
}

/// In TLS 1.3 only an answer shows that a backend has accepted longhaul's certificate.
#[tokio::test]
async fn a_backend_that_demands_a_certificate_is_down_without_one() {
    let (pki, clients) = (Pki::new(), Pki::new());
    let tls = Tls::with(&pki.issue(&["127.0.0.1"]), rustls::ALL_VERSIONS, Some(&clients));
    let (backend, _) = Backend::tls_echo(&tls, "one").await;
    let proxy = Proxy::start(&(config(backend.address, HTTP) + &pool_tls(&pki, ""))).await;
    let down = proxy.record("backend down").await;
    assert_eq!(
        (&down["reason"], &down["detail"]),
        (&"backend_tls_alert".into(), &"CertificateRequired".into())
    );
    let own = clients.issue(&["longhaul"]);
    let keys = format!("cert = \"{}\", key = \"{}\"", own.cert.display(), own.key.display());
    proxy.change_to(&(config(backend.address, HTTP) + &pool_tls(&pki, &keys))).await;
    proxy.wait_metric(&up(backend.address), 1.0).await;
}
