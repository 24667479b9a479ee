//! How long a tunnel lives: until it is idle, too old, or as its backend says. Each has its name, and its Close.

use std::time::{Duration, Instant};

use longhaul::proto::frame::Opcode;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::kit::{Backend, Client, Proxy, plain};
use crate::kit::{Ends, Http2, Message, Pki, Stage, Way, WebSocket, secure, within};

fn told(record: &Value) -> [&Value; 6] {
    ["reason", "initiator", "close_code", "close_initiator", "clean", "farewell"].map(|key| &record[key])
}

/// Both sides are asked to go, and do.
async fn goes((mut client, backend): Ends, code: u16, reason: &str) {
    assert_eq!(client.receive().await, Message::close(code, reason));
    answer((client, backend), code).await;
}

/// The client has been asked.
async fn answer((mut client, mut backend): Ends, code: u16) {
    client.send(&Message::close(code, "")).await;
    assert_eq!(backend.receive().await, Message::close(code, ""));
    backend.send(&Message::close(code, "")).await;
    assert_eq!(within("the end", client.try_receive()).await, None);
    assert_eq!(within("the end", backend.try_receive()).await, None);
}

#[tokio::test]
async fn each_end_has_its_name_and_its_close() {
    for (keys, name, code, reason) in [
        ("idle_timeout = \"300ms\"\n", "idle_timeout", 1001, "idle"),
        ("max_age = \"300ms\"\n", "max_age", 1012, "too old"),
    ] {
        let mut stage = Stage::set(keys).await;
        for (count, way) in Way::ALL.into_iter().enumerate() {
            let (mut client, backend) = stage.tunnel(way, None).await;
            assert_eq!(client.receive().await, Message::close(code, reason));
            let (_, table) = stage.proxy.admin("GET", "/api/v1/tunnels").await;
            let row = &table["tunnels"][0];
            assert_eq!(
                (&row["asked_to_go"], &row["close_initiator"]),
                (&json!(name), &json!("proxy")),
                "{way:?}"
            );
            answer((client, backend), code).await;
            let record = stage.ended(count + 1).await;
            let expected =
                [&json!(name), &json!("proxy"), &json!(code), &json!("proxy"), &json!(true), &json!("sent")];
            assert_eq!(told(&record), expected, "{way:?} {record}");
        }
    }
}

/// Traffic keeps a tunnel from being idle, not from becoming old; and each becomes another age.
#[tokio::test]
async fn age_comes_whatever_happens() {
    let mut stage = Stage::set("max_age = \"3s\"\nmax_age_jitter = \"90%\"\n").await;
    let mut crowd = JoinSet::new();
    for _ in 0..10 {
        let (mut client, mut backend) = stage.tunnel(Way::Plain, None).await;
        let begun = Instant::now();
        crowd.spawn(async move {
            loop {
                backend.send(&Message::text("news")).await;
                match client.receive().await {
                    message if message.opcode == Opcode::Close => {
                        assert_eq!(message, Message::close(1012, "too old"));
                        return begun.elapsed();
                    }
                    message => assert_eq!(message, Message::text("news")),
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
    }
    let mut ages = crowd.join_all().await;
    ages.sort();
    assert!(ages[0] >= Duration::from_millis(250), "{ages:?}");
    assert!(ages[9] - ages[0] >= Duration::from_millis(300), "{ages:?}");
}

/// A proxy that believes `x-tunnel-expires`; the client's 101 as it got it, and both ends.
struct Told {
    proxy: Proxy,
    calls: crate::kit::Calls,
    pki: Pki,
    _backend: Backend,
}

impl Told {
    async fn start() -> Told {
        let ((backend, calls), pki) = (Backend::by_hand().await, Pki::new());
        let keys = "name = \"all\"\ndeadline_header = \"X-Tunnel-Expires\"\npool";
        let certificate = pki.issue(&["chat.example.com"]);
        let config = plain(&[backend.address]).replace("name = \"all\"\npool", keys);
        let proxy =
            Proxy::start(&format!("{config}{}extended_connect = true\n", secure(&[&certificate]))).await;
        Told { proxy, calls, pki, _backend: backend }
    }

    async fn open(&mut self, lines: &str) -> (WebSocket<Client>, WebSocket<tokio::net::TcpStream>) {
        let client = self.proxy.connect("plain").await;
        let call = async { self.calls.next().await.accept(lines).await };
        let ((client, head), backend) = tokio::join!(client.open("/", "example.com", ""), call);
        assert_eq!(head.get("x-tunnel-expires"), None);
        (client, backend)
    }
}

#[tokio::test]
async fn a_backend_says_how_long() {
    let mut told = Told::start().await;
    let soon = humantime::format_rfc3339(std::time::SystemTime::now() + Duration::from_secs(2));
    for value in ["1".to_string(), soon.to_string(), "2020-01-01T00:00:00Z".to_string()] {
        let (client, backend) = told.open(&format!("X-Tunnel-Expires: {value}\r\n")).await;
        goes((client.boxed(), backend), 1008, "expired").await;
    }
    let ended = "longhaul_tunnels_closed_total{route=\"all\",reason=\"deadline\",initiator=\"proxy\"}";
    told.proxy.wait_metric(ended, 3.0).await;
    // Over HTTP/2 as well.
    let mut connection = Http2::connect(told.proxy.address("secure"), &told.pki).await;
    let call = async { told.calls.next().await.accept("X-Tunnel-Expires: 1\r\n").await };
    let ((client, head), backend) = tokio::join!(connection.open("/", &[]), call);
    assert!(head.headers().get("x-tunnel-expires").is_none());
    let client = WebSocket::client(Box::new(client.stream) as Box<dyn crate::kit::Wire>, Vec::new());
    goes((client, backend), 1008, "expired").await;
}

#[tokio::test]
async fn what_is_no_deadline_is_told_and_does_not_hold() {
    let mut told = Told::start().await;
    let wrong = ["tomorrow", "-1", "Sun, 09 Sep 2001 01:46:41 GMT", "1\r\nX-Tunnel-Expires: 2"];
    for (count, value) in wrong.into_iter().enumerate() {
        let (mut client, mut backend) = told.open(&format!("X-Tunnel-Expires: {value}\r\n")).await;
        backend.send(&Message::text("alive")).await;
        assert_eq!(client.receive_text().await, "alive");
        let refused = told.proxy.metric("longhaul_deadlines_refused_total{route=\"all\"}").await;
        assert_eq!(refused, (count + 1) as f64, "{value}");
    }
    let warning = told.proxy.wait_for("a warning", |line| line["level"] == "WARN").await;
    assert_eq!(
        (&warning["route"], &warning["name"]),
        (&json!("all"), &json!("x-tunnel-expires")),
        "{warning}"
    );
}
