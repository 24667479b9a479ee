//! `longhaul demo`: nothing given, everything shown.
//!
//! Its ports are the machine's, so all of it is one test, and the ports are those that it prints.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use rustix::process::{Pid, Signal, kill_process};

use crate::kit::{Client, DEADLINE, Resumption, within};

/// The demo as a process; killed with its value.
struct Demo {
    child: Child,
    lines: Receiver<String>,
}

/// Where it says that everything is.
#[derive(Debug)]
struct Addresses {
    secure_page: u16,
    page: u16,
    wss: u16,
    ws: u16,
    metrics: u16,
}

impl Demo {
    fn start() -> Demo {
        let mut command = Command::new(env!("CARGO_BIN_EXE_longhaul"));
        let mut child = command.arg("demo").stdout(Stdio::piped()).spawn().expect("longhaul starts");
        let stdout = child.stdout.take().expect("a pipe");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Demo { child, lines }
    }

    /// What it prints, up to the last line of its introduction.
    fn introduction(&self) -> String {
        let mut text = String::new();
        while !text.ends_with("Ctrl-C ends it.\n") {
            text += &self.lines.recv_timeout(DEADLINE).expect("a line of the introduction");
            text += "\n";
        }
        text
    }

    /// Sends SIGINT, as Ctrl-C does; the status.
    async fn interrupt(mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), Signal::INT).expect("the demo runs");
        within("the end of the demo", async {
            loop {
                if let Some(status) = self.child.try_wait().expect("a child") {
                    return status.code();
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn addresses(introduction: &str) -> Addresses {
    let port = |start: &str, end: &str| {
        let found =
            introduction.split_whitespace().find_map(|word| word.strip_prefix(start)?.strip_suffix(end));
        found.and_then(|port| port.parse().ok()).unwrap_or_else(|| panic!("no {start} in:\n{introduction}"))
    };
    Addresses {
        secure_page: port("https://localhost:", "/"),
        page: port("http://localhost:", "/"),
        wss: port("wss://localhost:", "/ws"),
        ws: port("ws://localhost:", "/ws"),
        metrics: port("http://127.0.0.1:", "/metrics"),
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

async fn connect(port: u16, secure: bool) -> Client {
    if !secure {
        return Client::connect(local(port)).await;
    }
    let anyone = Resumption::trusting_anyone();
    within("a TLS connection", anyone.connect(local(port), "localhost"))
        .await
        .expect("the handshake succeeds")
}

async fn metrics(ports: &Addresses) -> String {
    let request = "GET /metrics HTTP/1.1\r\nHost: metrics\r\nConnection: close\r\n\r\n";
    let (head, body) = Client::connect(local(ports.metrics)).await.request(request).await;
    assert_eq!(head.status(), 200);
    body
}

/// Whether both backends are known to be up.
async fn both_up(ports: &Addresses) -> bool {
    let text = metrics(ports).await;
    text.lines().filter(|line| line.starts_with("longhaul_backend_up{") && line.ends_with(" 1")).count() == 2
}

#[tokio::test]
async fn the_demo_shows_the_main_job_on_ports_that_are_free() {
    // Whether the test gets these ports or another process has them: the demo must not.
    let taken = [8443, 8080, 9901].map(|port| (port, TcpListener::bind(local(port))));
    let demo = Demo::start();
    let introduction = demo.introduction();
    let ports = addresses(&introduction);
    assert_eq!((ports.secure_page, ports.page), (ports.wss, ports.ws));
    for ((wanted, _), port) in taken.iter().zip([ports.wss, ports.ws, ports.metrics]) {
        assert!((wanted + 1..wanted + 100).contains(&port), "{port} instead of {wanted}");
    }
    assert!(
        introduction.contains(&format!("npx wscat --no-check --connect wss://localhost:{}/ws\n", ports.wss))
    );

    for (port, secure) in [(ports.wss, true), (ports.ws, false)] {
        for (path, kind, content) in [
            ("/", "text/html; charset=utf-8", "page.js"),
            ("/page.js", "text/javascript; charset=utf-8", "new WebSocket("),
            ("/page.css", "text/css; charset=utf-8", "{"),
        ] {
            let request =
                format!("GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n");
            let (head, body) = connect(port, secure).await.request(request).await;
            assert_eq!((head.status(), head.get("content-type")), (200, Some(kind)), "{path}");
            assert!(body.contains(content), "{path}");
        }
    }

    // Once both are known to be up, tunnels alternate between the backends, by whichever way they come. The page was
    // fetched before, so either may be the first one.
    within("two backends that are up", async {
        while !both_up(&ports).await {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
    let mut names = Vec::new();
    for (port, secure) in [(ports.wss, true), (ports.ws, false), (ports.wss, true), (ports.ws, false)] {
        let host = format!("localhost:{port}");
        let (mut socket, _) = connect(port, secure).await.open("/ws", &host, "").await;
        names.push(socket.receive_text().await);
        socket.round_trip("hello").await;
        socket.close(1000).await;
    }
    let [east, west] = ["east", "west"].map(|name| format!("{{\"backend\":\"{name}\"}}"));
    let alternating = [[&east, &west, &east, &west], [&west, &east, &west, &east]];
    assert!(alternating.iter().any(|order| names.iter().eq(order.iter().copied())), "{names:?}");

    let text = metrics(&ports).await;
    assert!(text.contains("longhaul_tunnels_opened_total{route=\"demo\",http=\"1.1\"} 4\n"), "{text}");

    // An open tunnel does not keep it, nor its status.
    let (mut open, _) = connect(ports.wss, true).await.open("/ws", "localhost", "").await;
    open.receive_text().await;
    assert_eq!(demo.interrupt().await, Some(0));
}
