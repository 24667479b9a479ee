//! OpenSSL's own client and server as peers: tunnels under both versions, keys that change on either side, renegotiation,
//! and ends with and without a word.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::kit::{
    Backend, Client, Message, Pki, Proxy, handshake, plain, pool_tls, secure, switching, within,
};

/// A run of `openssl`, whose input is what it sends, but for lines that are commands.
struct OpenSsl {
    child: Child,
    input: ChildStdin,
    /// What came, between what it says itself.
    output: Arc<Mutex<Vec<u8>>>,
    errors: Arc<Mutex<Vec<u8>>>,
}

impl OpenSsl {
    fn run(arguments: &[&str]) -> OpenSsl {
        let mut command = Command::new("openssl");
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("openssl is installed");
        let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (output, errors) = (collect(output.expect("a pipe")), collect(errors.expect("a pipe")));
        OpenSsl { child, input: input.expect("a pipe"), output, errors }
    }

    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.input.write_all(bytes.as_ref()).and_then(|()| self.input.flush()).expect("openssl reads");
    }

    async fn receive(&self, wanted: &str) {
        within(wanted, wait(&self.output, wanted, 1)).await;
    }

    async fn says(&self, wanted: &str, count: usize) {
        within(wanted, wait(&self.errors, wanted, count)).await;
    }

    async fn ended(&mut self) {
        let ended = async {
            while self.child.try_wait().expect("a child").is_none() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        within("openssl's end", ended).await;
    }
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(mut pipe: impl Read + Send + 'static) -> Arc<Mutex<Vec<u8>>> {
    let all = Arc::new(Mutex::new(Vec::new()));
    let target = all.clone();
    thread::spawn(move || {
        let mut part = [0; 16_384];
        while let Ok(count @ 1..) = pipe.read(&mut part) {
            target.lock().expect("no panic").extend_from_slice(&part[..count]);
        }
    });
    all
}

fn text(of: &Mutex<Vec<u8>>) -> String {
    String::from_utf8_lossy(&of.lock().expect("no panic")).into_owned()
}

async fn wait(all: &Mutex<Vec<u8>>, wanted: &str, count: usize) {
    while text(all).matches(wanted).count() < count {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn its_client_talks_through_a_tunnel_and_every_end_is_told_apart() {
    let ((backend, mut calls), pki) = (Backend::by_hand().await, Pki::new());
    let certificate = pki.issue(&["chat.example.com"]);
    let route = "name = \"all\"\nclose_timeout = \"100ms\"\npool";
    let config = plain(&[backend.address]).replace("name = \"all\"\npool", route) + &secure(&[&certificate]);
    let proxy = Proxy::start(&config).await;
    let (address, ca) = (proxy.address("secure").to_string(), pki.authority_file());
    for (version, end) in [
        ("-tls1_2", "a word"),
        ("-tls1_3", "a word"),
        ("-tls1_2", "silence"),
        ("-tls1_3", "silence"),
        ("-tls1_2", "renegotiation"),
        ("-tls1_3", "the backend's"),
    ] {
        let lines = proxy.log_length();
        let ca = ca.to_str().expect("a path");
        let name = ["-servername", "chat.example.com", "-verify_hostname", "chat.example.com"];
        let mut client = OpenSsl::run(
            &[
                &["s_client", "-connect", &address, version, "-brief", "-CAfile", ca, "-verify_return_error"],
                &name[..],
            ]
            .concat(),
        );
        client.says("CONNECTION ESTABLISHED", 1).await;
        client.send(handshake("/ws", "chat.example.com", ""));
        let mut backend = calls.next().await.accept("").await;
        client.receive("101 Switching Protocols").await;
        for round in 1..4 {
            if version == "-tls1_3" {
                client.send("K\n");
                client.says("KEYUPDATE", round).await;
            }
            client.send(Message::text(&format!("up {round}")).frame(true));
            assert_eq!(backend.receive().await, Message::text(&format!("up {round}")));
            backend.send(&Message::text(&format!("down {round}"))).await;
            client.receive(&format!("down {round}")).await;
        }
        let long = "0123456789".repeat(30_000);
        backend.send(&Message::text(&(long.clone() + "end of it"))).await;
        client.receive("end of it").await;
        assert!(text(&client.output).contains(&long), "{version}");
        let reason = match end {
            "a word" => {
                client.send("Q\n");
                "ended"
            }
            "silence" => {
                client.child.kill().expect("it lives");
                "truncated"
            }
            "renegotiation" => {
                client.send("R\n");
                client.says("no renegotiation", 1).await;
                // It gives up, with an alert.
                "broken"
            }
            _ => {
                backend.send(&Message::close(1001, "")).await;
                drop(backend);
                client.ended().await;
                assert!(!text(&client.errors).contains("unexpected eof"), "{}", text(&client.errors));
                continue;
            }
        };
        client.ended().await;
        let _ = within("the end", backend.try_receive()).await;
        drop(backend);
        let record = proxy.wait_after(lines, "the end", |line| line["message"] == "close").await;
        assert_eq!(
            (&record["reason"], &record["initiator"]),
            (&reason.into(), &"client".into()),
            "{version}, {end}"
        );
    }
}

#[tokio::test]
async fn its_server_is_a_backend_like_any_other() {
    let pki = Pki::new();
    let issued = pki.issue(&["127.0.0.1"]);
    let (cert, key) = (issued.cert.to_str().expect("a path"), issued.key.to_str().expect("a path"));
    for (version, leaves) in [("-tls1_2", true), ("-tls1_3", true), ("-tls1_2", false), ("-tls1_3", false)] {
        let mut server = OpenSsl::run(&[
            "s_server",
            "-accept",
            "127.0.0.1:0",
            "-cert",
            cert,
            "-key",
            key,
            version,
            "-naccept",
            "1",
        ]);
        within("a socket", async { wait(&server.output, "ACCEPT ", 1).await }).await;
        within("its address", wait(&server.output, "\n", 2)).await;
        let said = text(&server.output);
        let address = said.lines().find_map(|line| line.strip_prefix("ACCEPT ")).expect("an address");
        let config = plain(&[address.parse().expect("an address")]) + &pool_tls(&pki, "");
        let proxy = Proxy::start(&config).await;
        let client = Client::connect(proxy.address("plain")).await;
        let opening = tokio::spawn(client.open("/ws", "chat.example.com", ""));
        server.receive("sec-websocket-key").await;
        server.send(switching(""));
        let (mut client, _) = within("a tunnel", opening).await.expect("no panic");
        for round in 1..4 {
            // A command, done before what comes next.
            if version == "-tls1_3" {
                server.send("K\n");
            }
            client.send(&Message::text(&format!("up {round}"))).await;
            let frame = Message::text(&format!("up {round}")).frame(true);
            let frame = String::from_utf8_lossy(&frame).into_owned();
            server.receive(&frame).await;
            server.send(Message::text(&format!("down {round}")).frame(false));
            assert_eq!(client.receive().await, Message::text(&format!("down {round}")));
        }
        let reason = if leaves {
            // It closes its socket, and does not say so before.
            server.send("Q\n");
            server.ended().await;
            let _ = within("the end", client.try_receive()).await;
            "truncated"
        } else {
            client.send(&Message::close(1000, "")).await;
            "ended"
        };
        drop(client);
        let record = proxy.record("close").await;
        assert_eq!(record["reason"], reason, "{version}");
        if !leaves {
            server.ended().await;
            assert!(!text(&server.errors).contains("unexpected eof"), "{}", text(&server.errors));
        }
    }
}
