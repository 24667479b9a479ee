//! A new process takes over: it gets the sockets, tunnels live on where they are, and nothing is refused.

mod failures;
mod known;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::time::{Duration, sleep};

use crate::kit::{Backend, Client, Proxy, plain, within};

const GET: &str = "GET / HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n";
const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";

/// A folder of sockets, and the beginning of a file that names one there. Nothing ends by itself: a process that drains asks
/// nobody to go for days, and one that is told to stop waits for an hour.
struct Sockets(TempDir);

impl Sockets {
    fn new() -> Sockets {
        Sockets(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn handover(&self) -> PathBuf {
        self.path("handover.sock")
    }

    fn config(&self, rest: &str) -> String {
        let path = self.handover();
        format!(
            "[server]\nhandover = \"{}\"\ndrain = {{ delay = \"1h\", window = \"7d\", deadline = \"7d\" }}\n{rest}",
            path.display()
        )
    }
}

async fn take_over(config: &str) -> Proxy {
    Proxy::start_with(config, |command| command.arg("--takeover")).await
}

async fn open(proxy: &Proxy) -> crate::kit::WebSocket<Client> {
    let (mut socket, _) = proxy.connect("plain").await.open("/ws", "example.com", "").await;
    assert_eq!(socket.receive_text().await, "one");
    socket
}

#[tokio::test]
async fn tunnels_live_on_in_the_old_process_while_the_new_one_gets_all_that_is_new() {
    let backend = Backend::echo("one").await;
    let sockets = Sockets::new();
    let config = sockets.config(&plain(&[backend.address]));
    let mut old = Proxy::start(&config).await;
    let mut before = open(&old).await;
    let new = take_over(&config).await;
    assert_eq!(new.address("plain"), old.address("plain"));
    let handed = old.record("handed over").await;
    assert_eq!((&handed["sockets"], &handed["pid"]), (&4.into(), &new.pid().as_raw_nonzero().get().into()));
    // The address of metrics is the new one's, too.
    assert_eq!(old.record("metrics").await["address"], new.record("metrics").await["address"]);
    assert_eq!(new.scrape("/readyz").await.0, 200);
    new.wait_metric("longhaul_predecessor_tunnels", 1.0).await;
    let after = open(&new).await;
    new.wait_metric("longhaul_tunnels_active{route=\"all\"}", 1.0).await;
    before.round_trip("still here").await;
    assert_eq!(new.metric("longhaul_predecessor_tunnels").await, 1.0);
    before.close(1000).await;
    assert_eq!(old.ended().await.code(), Some(0));
    new.wait_metric("longhaul_predecessor_tunnels", 0.0).await;
    after.close(1000).await;
    open(&new).await.close(1000).await;
}

/// Clients that come all the time are all served, whoever runs: twenty times in a row.
#[tokio::test]
async fn nobody_is_refused_while_one_process_after_the_other_takes_over() {
    let backend = Backend::answers(ANSWER).await;
    let sockets = Sockets::new();
    let config = sockets.config(&plain(&[backend.address]));
    let mut proxy = Proxy::start(&config).await;
    let address = proxy.address("plain");
    let (over, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (over, served) = (over.clone(), served.clone());
            tokio::spawn(async move {
                while !over.load(Relaxed) {
                    let (head, body) = Client::connect(address).await.request(GET).await;
                    assert_eq!((head.status(), body.as_str()), (200, "ok"));
                    served.fetch_add(1, Relaxed);
                }
            })
        })
        .collect();
    for _ in 0..20 {
        let before = served.load(Relaxed);
        let new = take_over(&config).await;
        assert_eq!(proxy.ended().await.code(), Some(0));
        proxy = new;
        within("clients that are served", async {
            while served.load(Relaxed) < before + 8 {
                sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
    }
    over.store(true, Relaxed);
    for client in clients {
        within("the last answer", client).await.expect("every client was served");
    }
    assert_eq!(proxy.metric("longhaul_handovers_failed_total").await, 0.0);
}

/// What is in the queue when the old process is stopped is the new one's.
#[tokio::test]
async fn connections_that_nobody_has_taken_yet_are_the_new_process_s() {
    let backend = Backend::answers(ANSWER).await;
    let sockets = Sockets::new();
    let limits = "[limits]\nconnections_max = 1\n";
    let config = sockets.config(&(plain(&[backend.address]) + limits));
    let mut old = Proxy::start(&config).await;
    // It has the only permit of the old process, and keeps it.
    let holder = old.connect("plain").await;
    old.wait_metric("longhaul_connections_active{listener=\"plain\"}", 1.0).await;
    let mut waiting = Vec::new();
    for _ in 0..20 {
        let mut client = old.connect("plain").await;
        client.send(GET).await;
        waiting.push(client);
    }
    let new = take_over(&config).await;
    old.record("handed over").await;
    for mut client in waiting {
        assert_eq!(client.answer().await.0.status(), 200);
    }
    drop(holder);
    assert_eq!(old.ended().await.code(), Some(0));
    drop(new);
}

#[tokio::test]
async fn files_of_unix_sockets_stay_with_who_serves_them() {
    let backend = Backend::answers(ANSWER).await;
    let sockets = Sockets::new();
    let (chat, admin) = (sockets.path("chat.sock"), sockets.path("admin.sock"));
    let config = sockets.config(&format!(
        "{}[[listeners]]\nname = \"unix\"\naddress = \"unix:{}\"\n[admin]\naddress = \"unix:{}\"\n",
        plain(&[backend.address]),
        chat.display(),
        admin.display()
    ));
    let config = config.replace("delay = \"1h\"", "delay = \"0s\"");
    let ask =
        async |path: &Path, request: &str| Client::connect_unix(path).await.request(request).await.0.status();
    let mut old = Proxy::start(&config).await;
    for _ in 0..2 {
        let new = take_over(&config).await;
        assert_eq!(old.ended().await.code(), Some(0));
        assert_eq!(ask(&chat, GET).await, 200);
        let backends = "GET /api/v1/backends HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        assert_eq!(ask(&admin, backends).await, 200);
        old = new;
    }
    let mode = std::os::unix::fs::PermissionsExt::mode(&sockets.handover().metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    old.signal(Signal::TERM);
    assert_eq!(old.ended().await.code(), Some(0));
    assert!(!chat.exists() && !sockets.handover().exists());
}

#[tokio::test]
async fn the_new_process_has_the_sockets_of_its_own_configuration() {
    let backend = Backend::answers(ANSWER).await;
    let sockets = Sockets::new();
    let listener = |name: &str| format!("[[listeners]]\nname = \"{name}\"\naddress = \"127.0.0.1:0\"\n");
    let base = plain(&[backend.address]);
    let mut old = Proxy::start(&sockets.config(&(base.clone() + &listener("gone")))).await;
    let gone = old.address("gone");
    let new = take_over(&sockets.config(&(base + &listener("added")))).await;
    assert_eq!(new.connect("added").await.request(GET).await.0.status(), 200);
    assert_eq!(new.connect("plain").await.request(GET).await.0.status(), 200);
    assert_eq!(old.ended().await.code(), Some(0));
    let refused = tokio::net::TcpStream::connect(gone).await;
    assert_eq!(refused.map_err(|error| error.kind()).err(), Some(std::io::ErrorKind::ConnectionRefused));
}

/// One message brings 200 descriptors at most.
#[tokio::test]
async fn many_sockets_are_handed_over() {
    let backend = Backend::answers(ANSWER).await;
    let sockets = Sockets::new();
    let mut listeners = String::new();
    for number in 0..210 {
        write!(listeners, "[[listeners]]\nname = \"l{number}\"\naddress = \"127.0.0.1:0\"\n").unwrap();
    }
    let config = sockets.config(&(plain(&[backend.address]) + &listeners));
    let mut old = Proxy::start(&config).await;
    let new = take_over(&config).await;
    assert_eq!(old.record("handed over").await["sockets"], 214);
    assert_eq!(old.ended().await.code(), Some(0));
    for number in [0, 100, 209] {
        let name = format!("l{number}");
        assert_eq!(new.address(&name), old.address(&name));
        assert_eq!(new.connect(&name).await.request(GET).await.0.status(), 200);
    }
}

/// The second one takes over from the first, whose predecessors it sees, too.
#[tokio::test]
async fn two_that_take_over_at_once_do_so_one_after_the_other() {
    let backend = Backend::echo("one").await;
    let sockets = Sockets::new();
    let config = sockets.config(&plain(&[backend.address]));
    let old = Proxy::start(&config).await;
    let tunnel = open(&old).await;
    let both = tokio::join!(take_over(&config), take_over(&config));
    let mut both: [Proxy; 2] = both.into();
    let is_replaced = |proxy: &Proxy| proxy.log().iter().any(|line| line["message"] == "handed over");
    within("the end of one of them", async {
        while !both.iter().any(is_replaced) {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    if is_replaced(&both[1]) {
        both.swap(0, 1);
    }
    let [mut first, last] = both;
    assert_eq!(first.ended().await.code(), Some(0));
    last.wait_metric("longhaul_predecessor_tunnels", 1.0).await;
    open(&last).await.close(1000).await;
    tunnel.close(1000).await;
    last.wait_metric("longhaul_predecessor_tunnels", 0.0).await;
}

/// Once another one serves, a signal is no second chance but the end.
#[tokio::test]
async fn a_signal_cuts_what_a_replaced_process_has_left() {
    let backend = Backend::echo("one").await;
    let sockets = Sockets::new();
    let config = sockets.config(&plain(&[backend.address]));
    let mut old = Proxy::start(&config).await;
    let _tunnel = open(&old).await;
    let new = take_over(&config).await;
    old.record("stopping").await;
    old.signal(Signal::TERM);
    assert_eq!(old.ended().await.code(), Some(3));
    new.wait_metric("longhaul_predecessor_tunnels", 0.0).await;
    open(&new).await.close(1000).await;
}
