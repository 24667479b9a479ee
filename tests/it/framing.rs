//! Messages that two readers could understand differently: what the client got, and what the backend saw of it.
//!
//! Every request stands before a second one on the same connection. What is refused must take that one with it, and
//! what is understood must leave it as it is: else the two readers disagree about where a message ends.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Duration, Instant, sleep};

use crate::kit::{Backend, KEY, Proxy, plain, within};

/// The request behind each of the table.
const NEXT: &str = "GET /next HTTP/1.1\r\nHost: example.com\r\n\r\n";
/// That request as the backend gets it.
const NEXT_SEEN: &str = "GET /next HTTP/1.1|host: example.com||";

/// The complete requests that a backend got, as they came, without the lines that say who asks.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    /// Answers every complete request on `stream` with 200, and notes it.
    async fn serve(self, mut stream: TcpStream) {
        let mut bytes = Vec::new();
        loop {
            while let Some(end) = end_of_request(&bytes) {
                let request: Vec<u8> = bytes.drain(..end).collect();
                let text = String::from_utf8_lossy(&request).replace("\r\n", "|");
                let lines = text.split_inclusive('|');
                let told = ["forwarded:", "x-forwarded-for:", "x-forwarded-proto:", "x-forwarded-host:"];
                let kept = lines.filter(|line| !told.iter().any(|name| line.starts_with(name)));
                self.0.lock().unwrap().push(kept.collect());
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            }
            match stream.read_buf(&mut bytes).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// Where the first request in `bytes` ends, if it is complete.
fn end_of_request(bytes: &[u8]) -> Option<usize> {
    let find = |from: usize, what: &[u8]| {
        let rest = bytes.get(from..)?;
        Some(from + rest.windows(what.len()).position(|window| window == what)? + what.len())
    };
    let head = find(0, b"\r\n\r\n")?;
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    if text.contains("\r\ntransfer-encoding: chunked") {
        return find(head - 2, b"\r\n0\r\n\r\n");
    }
    let length = text.split("\r\ncontent-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    let length: usize = length.map_or(0, |length| length.parse().expect("a length"));
    (bytes.len() >= head + length).then_some(head + length)
}

/// The statuses in what a client received, in order.
fn statuses(received: &[u8]) -> String {
    let text = String::from_utf8_lossy(received);
    let statuses: Vec<_> = text.split("HTTP/1.1 ").skip(1).filter_map(|rest| rest.get(..3)).collect();
    statuses.join(" ")
}

/// Starts a proxy that ends idle connections at once.
async fn start(backend: &Backend) -> Proxy {
    let limits = "[limits]\nkeepalive_timeout = \"100ms\"\nhead_timeout = \"500ms\"\n";
    Proxy::start(&(limits.to_string() + &plain(&[backend.address]))).await
}

/// Rule, request, statuses, what the backend saw but for the second request.
type Row = (&'static str, String, &'static str, &'static str);

/// Sends each request with another behind it, and compares.
async fn check(table: Vec<Row>) {
    let seen = Seen::default();
    let recorder = seen.clone();
    let backend = Backend::raw(move |stream| recorder.clone().serve(stream)).await;
    let proxy = start(&backend).await;
    let mut wrong = Vec::new();
    for (rule, request, expected, saw) in table {
        let mut client = proxy.connect("plain").await;
        client.send(format!("{request}{NEXT}")).await;
        let (received, _) = client.rest().await;
        let mut should: Vec<&str> = saw.lines().collect();
        if expected.ends_with("200 200") || expected.ends_with("426 200") {
            should.push(NEXT_SEEN);
        }
        let (got, saw) = (statuses(&received), seen.take());
        if got != expected || saw != should {
            wrong.push(format!(
                "{rule}: {request:?}\n  got {got}, not {expected}\n  saw {saw:?}, not {should:?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    sleep(Duration::from_millis(50)).await;
    assert_eq!(seen.take(), [""; 0], "nothing arrives late");
}

/// A request with a body, with these lines in its head.
fn post(lines: &str, body: &str) -> String {
    format!("POST /x HTTP/1.1\r\nHost: example.com\r\n{lines}\r\n\r\n{body}")
}

fn chunked(body: &str) -> String {
    post("Transfer-Encoding: chunked", body)
}

fn get(target: &str, lines: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: example.com\r\n{lines}\r\n")
}

const LENGTH_SEEN: &str = "POST /x HTTP/1.1|host: example.com|content-length: 5||hello";
const CHUNKED_SEEN: &str = "POST /x HTTP/1.1|host: example.com|transfer-encoding: chunked||5|hello|0||";
const EMPTY_SEEN: &str = "POST /x HTTP/1.1|host: example.com|transfer-encoding: chunked||0||";

#[tokio::test]
async fn lengths_and_transfer_codings() {
    let both = "RFC 9112 6.3: a length beside a coding is dropped, and the connection closed";
    let length = "RFC 9110 8.6: one number";
    let coding = "RFC 9112 6.1: chunked alone";
    let chunk = "RFC 9112 7.1: chunks";
    let coded = |value: &str| post(&format!("Transfer-Encoding: {value}"), "5\r\nhello\r\n0\r\n\r\n");
    let sized = |value: &str| post(&format!("Content-Length: {value}"), "hello");
    check(vec![
        (length, sized("5"), "200 200", LENGTH_SEEN),
        (coding, coded("chunked"), "200 200", CHUNKED_SEEN),
        (both, post("Content-Length: 6\r\nTransfer-Encoding: chunked", "0\r\n\r\nG"), "200", EMPTY_SEEN),
        (both, post("Transfer-Encoding: chunked\r\nContent-Length: 6", "0\r\n\r\nG"), "200", EMPTY_SEEN),
        ("RFC 9110 8.6: equal ones are one", sized("5\r\nContent-Length: 5"), "200 200", LENGTH_SEEN),
        (length, sized("5\r\nContent-Length: 6"), "400", ""),
        (length, sized("5, 6"), "400", ""),
        (length, sized("5, 5"), "400", ""),
        ("CVE-2021-32715", sized("+5"), "400", ""),
        (length, sized("-5"), "400", ""),
        (length, sized("0x5"), "400", ""),
        ("CVE-2023-40225", sized(""), "400", ""),
        (length, sized("5 5"), "400", ""),
        ("CVE-2021-40346: 2^64+5", sized("18446744073709551621"), "400", ""),
        (coding, coded("gzip, chunked"), "501", ""),
        (coding, coded("gzip\r\nTransfer-Encoding: chunked"), "501", ""),
        (coding, coded("chunked, gzip"), "400", ""),
        (coding, coded("identity"), "400", ""),
        ("RUSTSEC-2021-0020", coded("chunked\r\nTransfer-Encoding: chunked"), "400", ""),
        (coding, coded("chunked, chunked"), "400", ""),
        ("CVE-2019-18277", coded("\u{b}chunked"), "400", ""),
        ("CVE-2019-16276", coded("chunked").replace("Encoding:", "Encoding :"), "400", ""),
        (
            "CVE-2026-2835: HTTP/1.0 has no codings",
            coded("chunked").replace("HTTP/1.1", "HTTP/1.0"),
            "400",
            "",
        ),
        ("RFC 9112 7.1.1: extensions go", chunked("5;a=b\r\nhello\r\n0\r\n\r\n"), "200 200", CHUNKED_SEEN),
        (chunk, chunked("0x5\r\nhello\r\n0\r\n\r\n"), "400", ""),
        (chunk, chunked("-5\r\nhello\r\n0\r\n\r\n"), "400", ""),
        ("CVE-2021-32714: 17 digits", chunked("10000000000000005\r\nhello\r\n0\r\n\r\n"), "400", ""),
        ("CVE-2025-22871", chunked("5\nhello\r\n0\r\n\r\n"), "400", ""),
        ("CVE-2025-55315", chunked("5;a\nhello\r\n0\r\n\r\n"), "400", ""),
        (chunk, chunked("5\r\nhelloX\r\n0\r\n\r\n"), "400", ""),
        (chunk, chunked("5\r\nhello\n0\r\n\r\n"), "400", ""),
        (chunk, chunked("\r\nhello\r\n0\r\n\r\n"), "400", ""),
    ])
    .await;
}

#[tokio::test]
async fn heads() {
    let field = "RFC 9112 5: name, colon, value";
    let host = "RFC 9112 3.2: one Host, and a valid one";
    let target = "RFC 9112 3.2: forms of the target";
    let with_host = |value: &str| format!("GET /x HTTP/1.1\r\nHost: {value}\r\n\r\n");
    const SEEN: &str = "GET /x HTTP/1.1|host: example.com||";
    check(vec![
        (field, get("/x", ""), "200 200", SEEN),
        (
            "RFC 9112 2.2: a bare LF may end a line; written anew",
            get("/x", "").replace("\r\n", "\n"),
            "200 200",
            SEEN,
        ),
        ("RFC 9112 2.2: empty lines before a request", format!("\r\n{}", get("/x", "")), "200 200", SEEN),
        ("RFC 9112 5.2: obs-fold", get("/x", "X-A: a\r\n b\r\n"), "400", ""),
        ("RFC 9112 2.2: bare CR", get("/x", "X-A: a\rb\r\n"), "400", ""),
        ("CVE-2019-9900: NUL", get("/x", "X-A: a\0b\r\n"), "400", ""),
        ("CVE-2023-25725: no name", get("/x", ": a\r\n"), "400", ""),
        ("RFC 9112 5.1: space in a name", get("/x", "X A: a\r\n"), "400", ""),
        ("RFC 9112 5.1: space before the colon", get("/x", "X-A : a\r\n"), "400", ""),
        (field, get("/x", "X-A\r\n"), "400", ""),
        ("RFC 9112 2.2: space before the first field", get("/x", "").replace("Host", " Host"), "400", ""),
        (host, "GET /x HTTP/1.1\r\n\r\n".into(), "400", ""),
        (host, get("/x", "Host: example.com\r\n"), "400", ""),
        (host, get("/x", "Host: other.example\r\n"), "400", ""),
        (host, with_host("example.com/a"), "400", ""),
        (host, with_host("a@example.com"), "400", ""),
        (host, with_host("example.com, other.example"), "400", ""),
        (host, with_host(""), "400", ""),
        (
            "RFC 9112 3.2.2: the authority of the target wins",
            get("http://example.com/x", "").replace("Host: example.com", "Host: other.example"),
            "200 200",
            SEEN,
        ),
        (target, get("nowhere", ""), "400", ""),
        (target, get("example.com:80", ""), "400", ""),
        (target, get("*", ""), "400", ""),
        (target, get("ftp://example.com/x", ""), "400", ""),
        (target, get("http://a@example.com/x", ""), "400", ""),
        (
            "CVE-2023-45539, CVE-2023-47106: a fragment goes before routes are asked",
            get("/x#/../y", ""),
            "200 200",
            SEEN,
        ),
        ("CVE-2013-4547: space in the target", get("/x y", ""), "400", ""),
        (target, get("/x\u{1}", ""), "400", ""),
        (target, get("/x\u{7f}", ""), "400", ""),
        ("RFC 9112 2.3: HTTP/0.9", "GET /x\r\n".into(), "400", ""),
        ("RFC 9112 2.3: HTTP/2.0", get("/x", "").replace("HTTP/1.1", "HTTP/2.0"), "400", ""),
        ("RFC 9112 3: no such version", get("/x", "").replace("HTTP/1.1", "HTTP/1.11"), "400", ""),
        (
            "RFC 9113 3.4: a preface in plain text is closed",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(),
            "",
            "",
        ),
    ])
    .await;
}

#[tokio::test]
async fn fields_that_are_not_for_the_backend() {
    let hop = "CVE-2022-31813, CVE-2024-45410: what Connection may name away";
    let alias = "CVE-2026-33433: underscores";
    check(vec![
        (hop, get("/x", "X-A: 1\r\nConnection: X-A\r\n"), "200 200", "GET /x HTTP/1.1|host: example.com||"),
        (
            hop,
            get("/x", "Cookie: a=1\r\nConnection: X-Forwarded-For, Host, Cookie\r\n"),
            "200 200",
            "GET /x HTTP/1.1|host: example.com|cookie: a=1||",
        ),
        (hop, post("Content-Length: 5\r\nConnection: Content-Length", "hello"), "200 200", LENGTH_SEEN),
        (
            hop,
            chunked("5\r\nhello\r\n0\r\n\r\n").replace("chunked", "chunked\r\nConnection: Transfer-Encoding"),
            "200 200",
            CHUNKED_SEEN,
        ),
        (
            alias,
            get("/x", "X_Forwarded_For: 192.0.2.1\r\nX-Real_IP: 192.0.2.1\r\n"),
            "200 200",
            "GET /x HTTP/1.1|host: example.com||",
        ),
        (
            alias,
            get("/x", "Content_Length: 5\r\nTransfer_Encoding: chunked\r\n"),
            "200 200",
            "GET /x HTTP/1.1|host: example.com||",
        ),
        (alias, get("/x", "My_Own: 1\r\n"), "200 200", "GET /x HTTP/1.1|host: example.com|my_own: 1||"),
    ])
    .await;
}

/// What the backend answers with 200, so that nothing of it can become a tunnel.
#[tokio::test]
async fn requests_that_would_be_tunnels() {
    let fake = "0ang3el 2019: nothing but a 101 opens a tunnel";
    let h2c = "Bishop Fox 2020: only websocket ever goes up";
    let upgrade = |name: &str, lines: &str| {
        let version = "Sec-WebSocket-Version: 13\r\n";
        get(
            "/x",
            &format!(
                "Connection: Upgrade\r\nUpgrade: {name}\r\n{version}Sec-WebSocket-Key: {KEY}\r\n{lines}"
            ),
        )
    };
    let asked = "GET /x HTTP/1.1|host: example.com|sec-websocket-version: 13|sec-websocket-key: \
                 dGhlIHNhbXBsZSBub25jZQ==|connection: Upgrade|upgrade: websocket||";
    let plain = "GET /x HTTP/1.1|host: example.com||";
    check(vec![
        (
            "CVE-2026-2833: bytes behind a handshake wait for its answer",
            upgrade("websocket", ""),
            "200 200",
            asked,
        ),
        (fake, upgrade("websocket", "").replace(": 13", ": 777"), "426 200", ""),
        ("reflected 101", upgrade("websocket", "").replace("GET", "POST"), "400", ""),
        (h2c, upgrade("h2c, websocket", ""), "200 200", asked),
        (
            h2c,
            get("/x", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n"),
            "200 200",
            plain,
        ),
        ("CVE-2026-58055", upgrade("websocket", "Content-Length: 5\r\n") + "hello", "400", ""),
        ("CVE-2026-58055", upgrade("websocket", "Transfer-Encoding: chunked\r\n") + "0\r\n\r\n", "400", ""),
        (
            "not a forward proxy",
            "CONNECT example.com:80 HTTP/1.1\r\nHost: example.com:80\r\n\r\n".into(),
            "405 200",
            NEXT_SEEN,
        ),
    ])
    .await;
}

/// Rule, answer, what the client gets: the status and the whole body, or `cut` for a body that does not look complete.
const ANSWERS: [(&str, &str, &str); 22] = [
    ("RFC 9112 6.2", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "200 hello"),
    (
        "RFC 9112 7.1",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "200 hello",
    ),
    (
        "RFC 9112 6.3: the coding wins",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "200 hello",
    ),
    ("RFC 9110 8.6", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", "502"),
    ("RFC 9110 8.6", "HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nhello!", "502"),
    ("RFC 9110 8.6", "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello", "502"),
    ("RFC 9110 8.6", "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello", "502"),
    ("RFC 9112 6.1", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "502"),
    ("RFC 9112 6.1", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello", "502"),
    ("RFC 9112 7.1", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0x0\r\n\r\n", "cut"),
    ("RFC 9112 7.1", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n", "cut"),
    ("RFC 9112 8", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "cut"),
    ("RFC 9112 8", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", "cut"),
    ("RFC 9112 8: the end of the connection ends it", "HTTP/1.1 200 OK\r\n\r\nhello", "200 hello"),
    ("RFC 9112 2.3: HTTP/0.9", "hello", "502"),
    ("RFC 9112 4", "HTTP/1.1 2000 OK\r\nContent-Length: 5\r\n\r\nhello", "502"),
    ("RFC 9112 5.2: obs-fold", "HTTP/1.1 200 OK\r\nX-A: a\r\n b\r\nContent-Length: 5\r\n\r\nhello", "502"),
    ("RFC 9112 5.1", "HTTP/1.1 200 OK\r\nX-A : a\r\nContent-Length: 5\r\n\r\nhello", "502"),
    ("RFC 9112 5", "HTTP/1.1 200 OK\r\nX-A\r\nContent-Length: 5\r\n\r\nhello", "502"),
    ("CVE-2019-9900", "HTTP/1.1 200 OK\r\nX-A: a\0b\r\nContent-Length: 5\r\n\r\nhello", "502"),
    (
        "response queue poisoning",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\n\r\n",
        "200 hello",
    ),
    (
        "RFC 9110 15.2: interim answers are consumed",
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "200 hello",
    ),
];

#[tokio::test]
async fn answers() {
    let (backend, mut calls) = Backend::by_hand().await;
    let proxy = start(&backend).await;
    for (rule, answer, expected) in ANSWERS {
        let mut client = proxy.connect("plain").await;
        client.send(get("/x", "")).await;
        calls.next().await.answer(answer).await;
        let begun = Instant::now();
        let (received, _) = client.rest().await;
        let text = String::from_utf8_lossy(&received);
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let status = head.get(9..12).expect("a status");
        let whole = match head.contains("transfer-encoding: chunked") {
            true => body.strip_suffix("0\r\n\r\n").map(|chunks| chunks.lines().skip(1).step_by(2).collect()),
            false if head.contains("content-length: 10") => None,
            false => Some(body.to_string()),
        };
        let got = match (status, whole) {
            ("200", Some(body)) => format!("200 {body}"),
            ("200", None) => "cut".into(),
            (status, _) => status.into(),
        };
        assert_eq!(got, expected, "{rule}: {answer:?} in {:?}: {text:?}", begun.elapsed());
    }
    // None of these connections is used for another request.
    let mut client = proxy.connect("plain").await;
    client.send(get("/last", "")).await;
    let call = within("a call", calls.next()).await;
    assert_eq!(call.head.target(), "/last");
}
