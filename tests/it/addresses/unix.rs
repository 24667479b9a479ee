//! Unix sockets, to listen on and to connect to.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;

use longhaul::proto::proxy_header::{Header, Version};
use rustix::process::Signal;
use tempfile::TempDir;

use super::{GET, OK, config, proxied, read_header, told};
use crate::kit::{
    Backend, Calls, Client, DEADLINE, Head, Message, Pki, Proxy, Tls, UnixBackend, handshake, plain,
    pool_tls, within,
};

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

/// A listener `local` at `path`, with these further keys.
fn local(path: &Path, keys: &str) -> String {
    format!("[[listeners]]\nname = \"local\"\naddress = \"unix:{}\"\n{keys}\n", path.display())
}

fn is_socket(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|file| file.file_type().is_socket())
}

#[tokio::test]
async fn a_listener_may_be_a_unix_socket() {
    let folder = folder();
    let path = folder.path().join("in.sock");
    // What a process that was killed leaves behind is replaced.
    drop(UnixListener::bind(&path).expect("a free path"));
    let (backend, mut calls) = Backend::by_hand().await;
    let mut proxy = Proxy::start(&(local(&path, "") + &plain(&[backend.address]))).await;
    assert_eq!(path.metadata().expect("a socket").permissions().mode() & 0o777, 0o660);
    let announced = |line: &serde_json::Value| line["listener"] == "local" && line["message"] == "listening";
    let line = proxy.wait_for("an announcement", announced).await;
    assert_eq!(line["address"], format!("unix:{}", path.display()));

    let mut client = Client::connect_unix(&path).await;
    client.send(GET).await;
    let mut call = calls.next().await;
    assert_eq!(told(&call.head), (None, Some("for=unknown;host=example.com;proto=http")));
    call.send(OK).await;
    assert_eq!(client.head().await.status(), 200);
    let record = proxy.record("request").await;
    assert_eq!((&record["client"], &record["peer"]), (&"unix".into(), &serde_json::Value::Null), "{record}");

    let (mut client, mut behind) = calls.tunnel(Client::connect_unix(&path).await, "", "").await;
    client.send(&Message::text("hello")).await;
    assert_eq!(behind.receive_text().await, "hello");
    let (_, table) = proxy.admin("GET", "/api/v1/tunnels").await;
    assert_eq!(table["tunnels"][0]["client"], "unix", "{table}");
    proxy.wait_metric("longhaul_connections_active{listener=\"local\"}", 1.0).await;
    client.send(&Message::close(1000, "")).await;
    assert_eq!(behind.receive().await, Message::close(1000, ""));
    behind.send(&Message::close(1000, "")).await;
    assert_eq!(client.receive().await, Message::close(1000, ""));
    drop((client, behind));
    let record = proxy.record("close").await;
    assert_eq!((&record["client"], &record["reason"]), (&"unix".into(), &"closed".into()), "{record}");

    proxy.signal(Signal::TERM);
    assert!(proxy.ended().await.success());
    assert!(!path.exists(), "the socket's file goes with the listener");
}

/// Whoever may open the socket is trusted: what they say of the client is passed on, and believed.
#[tokio::test]
async fn who_comes_by_a_unix_socket_is_believed() {
    let folder = folder();
    let path = folder.path().join("in.sock");
    let (backend, mut calls) = Backend::by_hand().await;
    let proxy = Proxy::start(&(local(&path, "") + &plain(&[backend.address]))).await;
    for (index, (fields, client, told_backend)) in [
        ("X-Forwarded-For: 6.6.6.6, 203.0.113.7\r\n", "203.0.113.7", (Some("6.6.6.6, 203.0.113.7"), None)),
        (
            "Forwarded: for=203.0.113.8\r\n",
            "203.0.113.8",
            (None, Some("for=203.0.113.8, for=unknown;host=example.com;proto=http")),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let target = format!("/{index}");
        let mut socket = Client::connect_unix(&path).await;
        socket.send(handshake(&target, "example.com", fields)).await;
        let call = calls.next().await;
        assert_eq!(told(&call.head), told_backend);
        call.answer("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").await;
        let record = proxy.wait_for("a record", |line| line["path"] == *target).await;
        assert_eq!((&record["client"], &record["peer"]), (&client.into(), &"unix".into()), "{record}");
    }
}

#[tokio::test]
async fn a_unix_listener_may_expect_a_proxy_header() {
    let folder = folder();
    let path = folder.path().join("in.sock");
    let (backend, mut calls) = Backend::by_hand().await;
    let proxy = Proxy::start(&(local(&path, "proxy_protocol = {}") + &plain(&[backend.address]))).await;
    let mut client = Client::connect_unix(&path).await;
    client.send([&proxied("203.0.113.7:4711", Version::V2)[..], GET.as_bytes()].concat()).await;
    let mut call = calls.next().await;
    assert_eq!(call.head.get("x-forwarded-for"), Some("203.0.113.7"));
    call.send(OK).await;
    let mut client = Client::connect_unix(&path).await;
    client.send(GET).await;
    assert_eq!(client.rest().await.0, b"");
    let missing = "longhaul_connection_errors_total{listener=\"local\",reason=\"proxy_header_missing\"}";
    proxy.wait_metric(missing, 1.0).await;
}

#[tokio::test]
async fn a_reload_opens_and_closes_unix_listeners() {
    let folder = folder();
    let [one, two] = ["one.sock", "two.sock"].map(|name| folder.path().join(name));
    let (backend, mut calls) = Backend::by_hand().await;
    let plain = plain(&[backend.address]);
    let proxy = Proxy::start(&(local(&one, "") + &plain)).await;
    let (mut client, mut behind) = calls.tunnel(Client::connect_unix(&one).await, "", "").await;
    assert_eq!(proxy.change_to(&(local(&two, "") + &plain)).await, "listeners ~1 (local)");
    assert!(is_socket(&two));
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while one.exists() {
        assert!(tokio::time::Instant::now() < deadline, "the file of a listener that is gone stays");
        tokio::task::yield_now().await;
    }
    client.send(&Message::text("still here")).await;
    assert_eq!(behind.receive_text().await, "still here");
    calls.tunnel(Client::connect_unix(&two).await, "", "").await;
    // Somebody else's socket is neither taken nor removed.
    let foreign = UnixListener::bind(&one).expect("a free path");
    proxy.rewrite(&(local(&one, "") + &plain));
    let crate::kit::Reloaded::Rejected(problem) = proxy.reload().await else { panic!("it is taken") };
    assert!(problem.starts_with(&format!("cannot listen on unix:{}", one.display())), "{problem}");
    assert!(is_socket(&one) && is_socket(&two));
    drop(foreign);
}

async fn behind(folder: &Path) -> (UnixBackend, Calls) {
    UnixBackend::by_hand(folder.join("app.sock")).await
}

#[tokio::test]
async fn a_backend_may_be_a_unix_socket() {
    let folder = folder();
    let (backend, mut calls) = behind(folder.path()).await;
    let health = "health = { kind = \"http\", path = \"/health\", interval = \"50ms\", fall = 1 }";
    let proxy = Proxy::start(&config("", &backend.address(), health)).await;
    let up = format!("longhaul_backend_up{{pool=\"all\",backend=\"{}\"}}", backend.address());
    proxy.wait_metric(&up, 1.0).await;

    let mut client = proxy.connect("plain").await;
    client.send(GET).await;
    let mut call = calls.next().await;
    assert_eq!(told(&call.head), (Some("127.0.0.1"), Some("for=127.0.0.1;host=example.com;proto=http")));
    call.send(OK).await;
    assert_eq!(client.head().await.status(), 200);
    let record = proxy.record("request").await;
    assert_eq!(record["backend"], backend.address());

    let (mut client, mut behind) = calls.tunnel(proxy.connect("plain").await, "", "").await;
    client.send(&Message::text("hello")).await;
    assert_eq!(behind.receive_text().await, "hello");
    behind.send(&Message::text("well")).await;
    assert_eq!(client.receive_text().await, "well");
    let tunnels = format!("longhaul_backend_tunnels{{pool=\"all\",backend=\"{}\"}}", backend.address());
    proxy.wait_metric(&tunnels, 1.0).await;

    let path = backend.path.clone();
    drop(backend);
    std::fs::remove_file(path).expect("a socket");
    proxy.wait_metric(&up, 0.0).await;
}

#[tokio::test]
async fn a_unix_backend_that_is_not_there_is_502() {
    let folder = folder();
    let (missing, dead) = (folder.path().join("missing.sock"), folder.path().join("dead.sock"));
    drop(UnixListener::bind(&dead).expect("a free path"));
    for path in [missing, dead] {
        let address = format!("unix:{}", path.display());
        let proxy = Proxy::start(&config("", &address, "")).await;
        let (head, _) = proxy.connect("plain").await.request(GET).await;
        assert_eq!((head.status(), proxy.refusal("/page").await), (502, "backend_refused".into()));
        let errors = format!(
            "longhaul_backend_connect_errors_total{{pool=\"all\",backend=\"{address}\",reason=\"refused\"}}"
        );
        proxy.wait_metric(&errors, 1.0).await;
    }
}

#[tokio::test]
async fn tls_and_proxy_headers_pass_through_unix_sockets() {
    let folder = folder();
    let (front, back) = (folder.path().join("in.sock"), folder.path().join("app.sock"));
    let pki = Pki::new();
    let issued = pki.issue(&["app.internal"]);
    let acceptor = Tls::new(&issued).acceptor();
    let (told, mut received) = tokio::sync::mpsc::unbounded_channel();
    let backend = UnixBackend::raw(back, move |mut stream| {
        let (acceptor, told) = (acceptor.clone(), told.clone());
        async move {
            let header = read_header(&mut stream).await;
            let mut stream = acceptor.accept(stream).await.expect("TLS");
            let head = Head::read(&mut stream).await.expect("a request");
            let _ = told.send((
                header,
                stream.get_ref().1.server_name().map(str::to_owned),
                head.target().to_owned(),
            ));
            tokio::io::AsyncWriteExt::write_all(&mut stream, OK.as_bytes()).await.expect("the proxy reads");
        }
    });
    let pool = format!("proxy_protocol = \"v2\"\n{}", pool_tls(&pki, "server_name = \"app.internal\""));
    let proxy = Proxy::start(&(local(&front, "") + &config("", &backend.address(), &pool))).await;
    let (head, _) = Client::connect_unix(&front).await.request(GET).await;
    assert_eq!(head.status(), 200);
    let told = within("a call", received.recv()).await.expect("the backend lives");
    assert_eq!(told, (Header::Unknown, Some("app.internal".into()), "/page".into()));
    drop(proxy);
}
