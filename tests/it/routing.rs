//! Which route and which backend a request gets; and what it is told when there is none.

mod conditions;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::kit::{Backend, Proxy, handshake, plain, refusing, within};

fn get(path: &str, host: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
}

/// A backend that tells its name, as an answer or as a tunnel's first message.
async fn telling(name: &'static str) -> Backend {
    Backend::calls(move |call| async move {
        if call.head.get("upgrade").is_some() {
            return call.accept("").await.send(&crate::kit::Message::text(name)).await;
        }
        let length = name.len();
        call.answer(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{name}")).await;
    })
    .await
}

#[tokio::test]
async fn the_most_specific_route_wins_for_websockets_and_plain_requests() {
    const ROUTES: [(&str, &str, &str); 8] = [
        ("any", "", "/any/*"),
        ("wildcard", "*.example.com", ""),
        ("deep", "*.eu.example.com", "/ws/*"),
        ("prefix", "chat.example.com", "/ws/*"),
        ("longer", "chat.example.com", "/ws/v2/*"),
        ("exact", "chat.example.com", "/ws/v2/one"),
        ("v4", "192.0.2.1", ""),
        ("v6", "[2001:db8::1]", ""),
    ];
    const TABLE: [(&str, &str, &str); 21] = [
        ("chat.example.com", "/ws/1", "prefix"),
        ("chat.example.com", "/ws", "prefix"),
        ("chat.example.com", "/ws?to=/ws/v2/one", "prefix"),
        ("chat.example.com", "/ws/v2/one", "exact"),
        ("chat.example.com", "/ws/v2/one?x", "exact"),
        ("chat.example.com", "/ws/v2/two", "longer"),
        ("chat.example.com", "/wsx", "wildcard"),
        ("chat.example.com", "/WS/1", "wildcard"),
        ("chat.example.com:8443", "/ws/1", "prefix"),
        ("CHAT.Example.COM", "/ws/1", "prefix"),
        ("chat.example.com.", "/ws/1", "prefix"),
        ("a.eu.example.com", "/ws/1", "deep"),
        ("a.b.eu.example.com", "/ws/1", "deep"),
        ("eu.example.com", "/ws/1", "wildcard"),
        ("a.eu.example.com", "/", "wildcard"),
        ("example.com", "/any/1", "any"),
        ("example.org", "/any", "any"),
        ("192.0.2.1:80", "/", "v4"),
        ("[2001:db8::1]", "/", "v6"),
        ("[2001:DB8:0::1]:8443", "/", "v6"),
        ("[::1]", "/any/", "any"),
    ];
    let mut config = "[[listeners]]\nname = \"plain\"\naddress = \"127.0.0.1:0\"\n".to_string();
    let mut backends = Vec::new();
    for (name, host, path) in ROUTES {
        let backend = telling(name).await;
        config += &format!("[[routes]]\nname = \"{name}\"\npool = \"{name}\"\n");
        config += &[("host", host), ("path", path)]
            .iter()
            .filter(|(_, text)| !text.is_empty())
            .map(|(key, text)| format!("{key} = \"{text}\"\n"))
            .collect::<String>();
        config += &format!("[pools.{name}]\nbackends = [\"{}\"]\n", backend.address);
        backends.push(backend);
    }
    let proxy = Proxy::start(&config).await;
    for (host, path, route) in TABLE {
        let (head, body) = proxy.connect("plain").await.request(get(path, host)).await;
        assert_eq!((head.status(), body.as_str()), (200, route), "{host}{path}");
        let (mut socket, _) = proxy.connect("plain").await.open(path, host, "").await;
        assert_eq!(socket.receive_text().await, route, "{host}{path}");
    }
    for (name, ..) in ROUTES {
        let expected = TABLE.iter().filter(|(_, _, route)| *route == name).count() as f64;
        let series = format!("longhaul_handshakes_total{{route=\"{name}\",result=\"opened\"}}");
        proxy.wait_metric(&series, expected).await;
    }
}

/// How a request that gets no backend is answered: its status and its text.
async fn refused(proxy: &Proxy, request: String) -> (u16, String, Option<String>) {
    let mut client = proxy.connect("plain").await;
    client.send(request).await;
    let (head, body) = client.answer().await;
    assert_eq!(head.get("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(head.get("cache-control"), Some("no-store"));
    (head.status(), body, head.get("retry-after").map(str::to_string))
}

/// Sends a handshake and a plain request; both are refused alike, and counted and logged with `reason`.
async fn expect(proxy: &Proxy, route: &str, status: u16, text: &str, reason: &str) {
    let retry = (status == 503).then(|| "2".to_string());
    let expected = (status, format!("{text}\n"), retry);
    assert_eq!(refused(proxy, handshake("/handshake", "example.com", "")).await, expected);
    assert_eq!(refused(proxy, get("/plain", "example.com")).await, expected);
    for (path, family) in [("/handshake", "handshakes"), ("/plain", "requests")] {
        assert_eq!(proxy.refusal(path).await, reason);
        let series = format!("longhaul_{family}_total{{route=\"{route}\",result=\"{reason}\"}}");
        proxy.wait_metric(&series, 1.0).await;
    }
}

#[tokio::test]
async fn without_a_route_it_is_404() {
    let backend = Backend::echo("one").await;
    let config = plain(&[backend.address])
        .replace("name = \"all\"\npool", "name = \"all\"\nhost = \"other.example.com\"\npool");
    let proxy = Proxy::start(&config).await;
    expect(&proxy, "", 404, "no route serves this request", "no_route").await;
    assert_eq!(backend.called(), 0);
}

#[tokio::test]
async fn without_a_healthy_backend_it_is_503_with_retry_after() {
    let (_socket, address) = refusing();
    let health = "[pools.all.health]\nkind = \"tcp\"\ninterval = \"50ms\"\nfall = 1\n";
    let proxy = Proxy::start(&(plain(&[address]) + health)).await;
    proxy.record("backend down").await;
    expect(&proxy, "all", 503, "no server is available; try again later", "no_backend").await;
}

#[tokio::test]
async fn a_backend_that_refuses_is_skipped_for_the_next() {
    let (_socket, refuses) = refusing();
    let good = Backend::echo("good").await;
    let config = plain(&[refuses, good.address]) + "balance = \"round-robin\"\n";
    let proxy = Proxy::start(&config).await;
    for _ in 0..4 {
        let (mut socket, _) = proxy.connect("plain").await.open("/", "example.com", "").await;
        assert_eq!(socket.receive_text().await, "good");
        socket.close(1000).await;
    }
    let errors = format!(
        "longhaul_backend_connect_errors_total{{pool=\"all\",backend=\"{refuses}\",reason=\"refused\"}}"
    );
    assert!(proxy.metric(&errors).await >= 1.0);
    assert_eq!(proxy.metric("longhaul_handshakes_total{route=\"all\",result=\"opened\"}").await, 4.0);
    assert!(proxy.log().iter().all(|line| line["message"] != "refused"));
}

#[tokio::test]
async fn when_every_backend_refuses_it_is_502() {
    let ((_one, first), (_two, second)) = (refusing(), refusing());
    let proxy = Proxy::start(&plain(&[first, second])).await;
    expect(&proxy, "all", 502, "the server could not be reached", "backend_refused").await;
    for backend in [first, second] {
        let errors = format!(
            "longhaul_backend_connect_errors_total{{pool=\"all\",backend=\"{backend}\",reason=\"refused\"}}"
        );
        assert_eq!(proxy.metric(&errors).await, 2.0, "each request tried both");
    }
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_502() {
    let config = plain(&[]).replace("backends = []", "backends = [\"nobody.invalid:80\"]");
    let proxy = Proxy::start(&config).await;
    expect(&proxy, "all", 502, "the server could not be reached", "backend_name").await;
}

#[tokio::test]
async fn a_backend_that_accepts_and_never_answers_is_504() {
    let (backend, mut calls) = Backend::by_hand().await;
    let deadlines = "handshake_timeout = \"100ms\"\nresponse_timeout = \"100ms\"\n";
    let proxy = Proxy::start(&(plain(&[backend.address]) + deadlines)).await;
    expect(&proxy, "all", 504, "the server did not answer in time", "backend_timeout").await;
    for _ in 0..2 {
        assert_eq!(calls.next().await.rest().await, b"", "the connection to the backend ends, too");
    }
    assert_eq!(backend.called(), 2, "a backend that may have acted is not tried twice, nor another");
}

/// An address whose connections are never accepted nor refused: its queue is full.
async fn unanswering() -> (impl Sized, SocketAddr) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let listener = socket.listen(0).expect("a listener");
    let address = listener.local_addr().expect("a bound socket");
    let mut queued = Vec::new();
    let filled = async {
        while let Ok(stream) = timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
            queued.push(stream);
        }
    };
    within("a full queue", filled).await;
    ((listener, queued), address)
}

#[tokio::test]
async fn a_backend_that_does_not_take_the_connection_is_504_or_skipped() {
    let (_full, silent) = unanswering().await;
    let timeouts = "connect_timeout = \"100ms\"\n";
    let proxy = Proxy::start(&(plain(&[silent]) + timeouts)).await;
    let text = "the server did not accept the connection in time";
    expect(&proxy, "all", 504, text, "backend_connect_timeout").await;

    let good = Backend::echo("good").await;
    let config = plain(&[silent, good.address]) + timeouts + "balance = \"round-robin\"\n";
    let proxy = Proxy::start(&config).await;
    for _ in 0..2 {
        let (mut socket, _) = proxy.connect("plain").await.open("/", "example.com", "").await;
        assert_eq!(socket.receive_text().await, "good");
    }
    let errors = format!(
        "longhaul_backend_connect_errors_total{{pool=\"all\",backend=\"{silent}\",reason=\"timeout\"}}"
    );
    assert_eq!(proxy.metric(&errors).await, 1.0);
}

#[tokio::test]
async fn a_refused_request_does_not_cost_the_connection() {
    let backend = Backend::answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let config =
        plain(&[backend.address]).replace("name = \"all\"\npool", "name = \"all\"\npath = \"/a\"\npool");
    let proxy = Proxy::start(&config).await;
    let mut client = proxy.connect("plain").await;
    for (path, status) in [("/b", 404), ("/a", 200), ("/b", 404)] {
        client.send(format!("GET {path} HTTP/1.1\r\nHost: example.com\r\n\r\n")).await;
        assert_eq!(client.answer().await.0.status(), status);
    }
}
