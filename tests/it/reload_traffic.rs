//! Many changes under many tunnels: nothing is lost, nothing is closed, and the newest generation holds at once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};

use crate::kit::{
    Backend, Client, Head, Issued, Message, Pki, Proxy, Reloaded, Resumption, WebSocket, handshake, plain,
    secure, within,
};
use crate::reload::listeners::own_address;

const TUNNELS: usize = 200;
const CHANGES: usize = 50;
/// Messages that a tunnel has under way at once.
const BURST: usize = 3;

/// Sends numbered messages of all sizes and checks what comes back, until `stop`; then closes politely. How many there
/// were.
async fn talk(mut socket: WebSocket<Client>, tunnel: usize, stop: watch::Receiver<bool>) -> usize {
    let message = |number: usize| {
        let text = format!("tunnel {tunnel}, message {number} ");
        let filler = ".".repeat(number * 97 % 700);
        Message::text(&(text + &filler))
    };
    let mut ticks = interval(Duration::from_millis(40));
    let mut sent = 0;
    while !*stop.borrow() {
        ticks.tick().await;
        for _ in 0..BURST {
            socket.send(&message(sent)).await;
            sent += 1;
        }
        for number in sent - BURST..sent {
            assert_eq!(socket.receive().await, message(number), "tunnel {tunnel}");
        }
    }
    socket.close(1000).await;
    sent
}

/// The configuration of a generation: it has a route of its own, and everything else differs from one to the next.
fn config(generation: usize, backends: &[Backend; 3], certificates: &[&Issued]) -> String {
    let [first, second, third] = backends;
    let other = if generation.is_multiple_of(2) { second } else { third };
    let base = plain(&[first.address, other.address]);
    let idle = format!("name = \"all\"\nhost = \"all.example.com\"\nidle_timeout = \"{generation}h\"\n");
    let balance = if generation.is_multiple_of(3) { "round-robin" } else { "least-connections" };
    base.replacen("name = \"all\"\n", &idle, 1)
        + &format!("balance = \"{balance}\"\n")
        + &format!("[[routes]]\nname = \"newest\"\npath = \"/gen-{generation}\"\npool = \"all\"\n")
        + &secure(certificates)
}

async fn status(client: Client, path: &str) -> u16 {
    let mut client = client;
    client.send(handshake(path, "chat.example.com", "")).await;
    client.head().await.status()
}

#[tokio::test]
async fn tunnels_never_notice() {
    let backends = [Backend::echo("a").await, Backend::echo("b").await, Backend::echo("c").await];
    let pki = Pki::new();
    let mut issued = pki.issue(&["chat.example.com"]);
    let server = "[server]\nworkers = 2\ndrain = { window = \"7d\", deadline = \"7d\" }\n[log]\nformat = \"json\"\naccess = false\n";
    let config = |generation, issued: &Issued| server.to_string() + &config(generation, &backends, &[issued]);
    let proxy = Proxy::start(&config(1, &issued)).await;
    let (trust, (stop, stopped)) = (Resumption::new(&pki, rustls::ALL_VERSIONS), watch::channel(false));
    let mut talks = JoinSet::new();
    for tunnel in 0..TUNNELS {
        let client = match tunnel % 4 {
            0 => trust.connect(proxy.address("secure"), "chat.example.com").await.expect("a TLS session"),
            _ => proxy.connect("plain").await,
        };
        let (mut socket, _) = client.open("/", "all.example.com", "").await;
        socket.receive_text().await;
        talks.spawn(talk(socket, tunnel, stopped.clone()));
    }

    let mut last = 1;
    for change in 2..=CHANGES + 1 {
        if change % 5 == 0 {
            let bad = config(change, &issued).replace("pool = \"all\"", "pool = \"none\"");
            proxy.rewrite(if change % 10 == 0 { &bad } else { "[[listeners" });
            assert!(matches!(proxy.reload().await, Reloaded::Rejected(_)));
            let path = format!("/gen-{}", change - 1);
            assert_eq!(status(proxy.connect("plain").await, &path).await, 101, "the old one holds");
            issued = pki.issue(&["chat.example.com"]);
        }
        proxy.rewrite(&config(change, &issued));
        let Reloaded::Changed(generation, _) = proxy.reload().await else { panic!("not a change") };
        assert!(generation > last, "{generation} after {last}");
        last = generation;
        let secure = Client::connect_tls(proxy.address("secure"), &pki, "chat.example.com").await;
        assert!(secure.certificate().as_ref() == Some(&issued.der), "an old certificate in {generation}");
        let [newest, previous] = [change, change - 1].map(|number| format!("/gen-{number}"));
        assert_eq!(status(secure, &newest).await, 101);
        assert_eq!(status(proxy.connect("plain").await, &newest).await, 101);
        assert_eq!(status(proxy.connect("plain").await, &previous).await, 404);
    }

    assert_eq!(proxy.metric("longhaul_tunnels_active{route=\"all\"}").await, TUNNELS as f64);
    let (_, text) = proxy.scrape("/metrics").await;
    let closed = text.lines().find(|line| line.starts_with("longhaul_tunnels_closed_total{route=\"all\""));
    assert_eq!(closed, None);
    stop.send_replace(true);
    let mut messages = 0;
    while let Some(sent) = within("the end of a tunnel", talks.join_next()).await {
        messages += sent.expect("every message came back, in order");
    }
    assert!(messages >= TUNNELS * BURST, "{messages} messages");
    proxy.wait_metric("longhaul_tunnels_active{route=\"all\"}", 0.0).await;
    let closed = "longhaul_tunnels_closed_total{route=\"all\",reason=\"closed\",initiator=\"client\"}";
    assert_eq!(proxy.metric(closed).await, TUNNELS as f64);
}

/// What became of connections.
#[derive(Default)]
struct Fates {
    answered: AtomicUsize,
    refused: AtomicUsize,
    lost: AtomicUsize,
}

/// Connects again and again, asks, and reads the answer to its end.
async fn visit(address: SocketAddr, fates: Arc<Fates>, stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        let Ok(mut client) = TcpStream::connect(address).await else {
            fates.refused.fetch_add(1, Relaxed);
            // The kernel refuses at once: without a pause this would be all that the machine does.
            sleep(Duration::from_millis(1)).await;
            continue;
        };
        let request = b"GET / HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n";
        let answer = within("an answer", async {
            client.write_all(request).await.ok()?;
            Head::read(&mut client).await
        });
        match answer.await {
            Some(head) => {
                assert_eq!(head.status(), 200);
                fates.answered.fetch_add(1, Relaxed);
            }
            None => {
                fates.lost.fetch_add(1, Relaxed);
            }
        }
    }
}

#[tokio::test]
async fn a_listener_that_goes_answers_everyone_whom_it_let_in() {
    let backend = Backend::answers("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let (here, there) = (own_address(10), own_address(11));
    let base = "[server]\nworkers = 2\n".to_string() + &plain(&[backend.address]);
    let listener = |address: SocketAddr| {
        base.clone() + &format!("[[listeners]]\nname = \"moving\"\naddress = \"{address}\"\n")
    };
    let proxy = Proxy::start(&listener(here)).await;
    let (fates, (stop, stopped)) = (Arc::new(Fates::default()), watch::channel(false));
    let mut visits = JoinSet::new();
    for address in [here, there, here, there, here, there] {
        visits.spawn(visit(address, fates.clone(), stopped.clone()));
    }
    for round in 0..8 {
        for (name, config) in
            [("moved", listener(there)), ("removed", base.clone()), ("added", listener(here))]
        {
            proxy.change_to(&config).await;
            // Whichever address is served, somebody gets through before the next change.
            let before = fates.answered.load(Relaxed);
            within("visits", async {
                while name != "removed" && fates.answered.load(Relaxed) < before + 5 {
                    sleep(Duration::from_millis(1)).await;
                }
            })
            .await;
            assert_eq!(fates.lost.load(Relaxed), 0, "{name} in round {round}");
        }
    }
    stop.send_replace(true);
    while let Some(visit) = within("the end of the visits", visits.join_next()).await {
        visit.expect("every answer was whole");
    }
    assert!(fates.refused.load(Relaxed) > 0);
    assert_eq!(fates.lost.load(Relaxed), 0);
}
