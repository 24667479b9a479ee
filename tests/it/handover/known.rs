//! The new process knows what the old one knew: keys that no file has, and how backends stand.

use rustls::HandshakeKind;
use rustls::version::{TLS12, TLS13};

use super::{ANSWER, GET, Sockets, take_over};
use crate::kit::{Backend, Client, Pki, Proxy, Resumption, plain, refusing, secure, within};

#[tokio::test]
async fn tls_sessions_are_resumed() {
    let (backend, pki) = (Backend::answers(ANSWER).await, Pki::new());
    let sockets = Sockets::new();
    let server = pki.issue(&["chat.example.com"]);
    let config = sockets.config(&(plain(&[backend.address]) + &secure(&[&server])));
    let kind = async |proxy: &Proxy, visitor: &Resumption| {
        let connect = visitor.connect(proxy.address("secure"), "chat.example.com");
        let mut client = within("a TLS connection", connect).await.expect("the handshake succeeds");
        client.send(GET).await;
        assert_eq!(client.answer().await.1, "ok");
        client.session().handshake_kind().expect("a handshake")
    };
    let mut proxy = Proxy::start(&config).await;
    let visitors = [&TLS12, &TLS13].map(|version| Resumption::new(&pki, &[version]));
    for visitor in &visitors {
        assert_eq!(kind(&proxy, visitor).await, HandshakeKind::Full);
    }
    for _ in 0..2 {
        let new = take_over(&config).await;
        assert_eq!(proxy.ended().await.code(), Some(0));
        for visitor in &visitors {
            assert_eq!(kind(&new, visitor).await, HandshakeKind::Resumed);
        }
        proxy = new;
    }
}

/// The key that cookies are signed with is a process's own, where there is no file of secrets.
#[tokio::test]
async fn sticky_cookies_stay_good() {
    let backends = [Backend::answers(ANSWER).await, Backend::answers(ANSWER).await];
    let sockets = Sockets::new();
    let addresses = backends.each_ref().map(|backend| backend.address);
    let config = sockets.config(&(plain(&addresses) + "sticky = {}\n"));
    let mut old = Proxy::start(&config).await;
    let (head, _) = old.connect("plain").await.request(GET).await;
    let cookie =
        head.get("set-cookie").and_then(|cookie| cookie.split(';').next()).expect("a cookie").to_owned();
    let new = take_over(&config).await;
    assert_eq!(old.ended().await.code(), Some(0));
    let request = GET.replace("\r\n\r\n", &format!("\r\nCookie: {cookie}\r\n\r\n"));
    for _ in 0..4 {
        // Who shows a cookie that is good gets no other.
        let (head, _) = new.connect("plain").await.request(&request).await;
        assert_eq!((head.status(), head.get("set-cookie")), (200, None));
    }
}

#[tokio::test]
async fn backends_stand_as_they_did() {
    let (one, other) = (Backend::answers(ANSWER).await, Backend::answers(ANSWER).await);
    let (_closed, refusing) = refusing();
    let sockets = Sockets::new();
    let keys = "balance = \"round-robin\"\nejection = { connect_failures = 1, time = \"1h\", time_max = \"1h\", ejected_max = \"90%\" }\n";
    let config = sockets.config(&(plain(&[one.address, other.address, refusing]) + keys));
    let mut old = Proxy::start(&config).await;
    for _ in 0..3 {
        old.connect("plain").await.request(GET).await;
    }
    let ejected = format!("longhaul_backend_ejected{{pool=\"all\",backend=\"{refusing}\"}}");
    old.wait_metric(&ejected, 1.0).await;
    let order = format!("/api/v1/backends/state?pool=all&backend={}&state=draining", one.address);
    assert_eq!(old.admin("POST", &order).await.0, 200);
    let new = take_over(&config).await;
    assert_eq!(old.ended().await.code(), Some(0));
    assert_eq!(new.metric(&ejected).await, 1.0);
    let (_, backends) = new.admin("GET", "/api/v1/backends").await;
    let of = |address: std::net::SocketAddr| {
        let all = backends["backends"].as_array().expect("backends");
        all.iter().find(|backend| backend["backend"] == address.to_string()).expect("the backend").clone()
    };
    assert_eq!(
        (&of(one.address)["state"], &of(one.address)["ordered"]),
        (&"draining".into(), &"draining".into())
    );
    assert_eq!(of(other.address)["ordered"], serde_json::Value::Null);
    assert_eq!(of(refusing)["ejection"]["reason"], "connect_failures");

    // Where the file gives a backend another state than before, the order is over.
    let disabled = config.replace(
        &format!("\"{}\"", one.address),
        &format!("{{ address = \"{}\", state = \"disabled\" }}", one.address),
    );
    let newest = take_over(&disabled).await;
    let (_, backends) = newest.admin("GET", "/api/v1/backends").await;
    assert_eq!(
        (&backends["backends"][0]["state"], &backends["backends"][0]["ordered"]),
        (&"disabled".into(), &serde_json::Value::Null)
    );
}

/// A probe that fails once takes no backend down that was up; in a process that knows nothing the first one decides.
#[tokio::test]
async fn health_goes_on_from_where_it_was() {
    let backend = Backend::answers(ANSWER).await;
    let sockets = Sockets::new();
    let health = |path: &str, status: u16| {
        format!(
            "health = {{ kind = \"http\", path = \"{path}\", status = [{status}], interval = \"1h\", interval_down = \"1h\", fall = 2 }}\n"
        )
    };
    let with = |keys: &str| sockets.config(&(plain(&[backend.address]) + keys));
    let up = |health: &str| {
        format!("longhaul_backend_health{{pool=\"all\",backend=\"{}\",health=\"{health}\"}}", backend.address)
    };
    let old = Proxy::start(&with(&health("/", 200))).await;
    old.wait_metric(&up("up"), 1.0).await;
    // The same backend fails what the new process asks of it.
    let new = take_over(&with(&health("/", 204))).await;
    new.wait_metric_in("longhaul_backend_probes_total{result=\"failed\"}", 1.0..).await;
    assert_eq!(new.metric(&up("up")).await, 1.0);
    let client: Client = new.connect("plain").await;
    assert_eq!(client.request(GET).await.0.status(), 200);
}
