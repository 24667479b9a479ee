//! Which ends of young tunnels count against the backend.

use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{config, ejected, ejections};
use crate::kit::{Backend, Call, Client, Message, Proxy, WebSocket, within};

type Front = WebSocket<Client>;
type Back = WebSocket<TcpStream>;

const KEYS: &str = "early_deaths = 3, early_death_within = \"1h\"";

/// Opens eight tunnels, every second one of them to a backend that does `back` when the client does `front`, the others to
/// one on which all goes well. Whether the former was ejected.
async fn ejects<B, F>(
    keys: &str,
    back: impl Fn(Back) -> B + Clone + Send + Sync + 'static,
    front: impl Fn(Front) -> F,
) -> bool
where
    B: Future<Output = ()> + Send + 'static,
    F: Future<Output = ()>,
{
    let tested = Backend::calls(move |call: Call| {
        let back = back.clone();
        async move {
            let mut socket = call.accept("").await;
            socket.send(&Message::text("tested")).await;
            back(socket).await;
        }
    })
    .await;
    let well = Backend::echo("well").await;
    let proxy = Proxy::start(&config(&[tested.address, well.address], keys)).await;
    let mut opened = 0;
    for _ in 0..8 {
        let (mut socket, _) = proxy.connect("plain").await.open("/ws", "example.com", "").await;
        match &*socket.receive_text().await {
            "well" => socket.close(1000).await,
            _ => {
                opened += 1;
                front(socket).await;
                // The backend is let go when the end has been judged.
                let load = format!("longhaul_backend_tunnels{{pool=\"all\",backend=\"{}\"}}", tested.address);
                proxy.wait_metric(&load, 0.0).await;
            }
        }
    }
    let is_ejected = proxy.metric(&ejected(tested.address)).await == 1.0;
    let count = proxy.metric(&ejections(tested.address, "early_deaths")).await;
    assert_eq!((count, opened), if is_ejected { (1.0, 3) } else { (0.0, 4) });
    assert_eq!(proxy.metric(&ejected(well.address)).await, 0.0);
    is_ejected
}

/// Waits for the other side's word.
async fn go<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(socket: &mut WebSocket<S>) {
    assert_eq!(socket.receive_text().await, "go");
}

async fn rest(stream: &mut (impl tokio::io::AsyncRead + Unpin)) {
    let _ = within("the end", stream.read_to_end(&mut Vec::new())).await;
}

fn reset(tcp: &TcpStream) {
    SockRef::from(tcp).set_linger(Some(Duration::ZERO)).expect("a socket");
}

/// Gives the word and waits for the end.
async fn watch(mut socket: Front) {
    socket.send(&Message::text("go")).await;
    rest(&mut socket.stream).await;
}

/// Ends the stream when it is told to, without a Close frame.
async fn end(mut socket: Back) {
    go(&mut socket).await;
    socket.stream.shutdown().await.expect("a live stream");
    rest(&mut socket.stream).await;
}

#[tokio::test]
async fn ends_without_a_close_and_resets_do() {
    assert!(ejects(KEYS, end, watch).await);
    let resets = |mut socket: Back| async move {
        go(&mut socket).await;
        reset(&socket.stream);
    };
    assert!(ejects(KEYS, resets, watch).await);
    // However the client takes it.
    let takes_it_badly = |mut socket: Front| async move {
        socket.send(&Message::text("go")).await;
        rest(&mut socket.stream).await;
        reset(socket.stream.tcp());
    };
    assert!(ejects(KEYS, end, takes_it_badly).await);
}

#[tokio::test]
async fn not_where_it_is_off_or_the_tunnel_is_old() {
    assert!(!ejects("early_deaths = \"off\"", end, watch).await);
    let keys = "early_deaths = 3, early_death_within = \"1ms\"";
    let old = |socket: Front| async move {
        // At least that old.
        tokio::time::sleep(Duration::from_millis(5)).await;
        watch(socket).await;
    };
    assert!(!ejects(keys, end, old).await);
}

#[tokio::test]
async fn close_frames_do_not() {
    let closes = |mut socket: Back| async move {
        go(&mut socket).await;
        socket.send(&Message::close(1011, "")).await;
        socket.stream.shutdown().await.expect("a live stream");
        rest(&mut socket.stream).await;
    };
    assert!(!ejects(KEYS, closes, watch).await);
    // Nor when it is not returned.
    let hangs_up = |socket: Back| async move {
        let mut socket = socket;
        assert_eq!(socket.receive().await, Message::close(1000, ""));
        reset(&socket.stream);
    };
    let says_good_bye = |mut socket: Front| async move {
        socket.send(&Message::close(1000, "")).await;
        rest(&mut socket.stream).await;
    };
    assert!(!ejects(KEYS, hangs_up, says_good_bye).await);
}

#[tokio::test]
async fn what_the_client_does_first_does_not() {
    let leaves = |mut socket: Front| async move {
        socket.stream.shutdown().await.expect("a live stream");
        rest(&mut socket.stream).await;
    };
    let resets = |mut socket: Back| async move {
        rest(&mut socket.stream).await;
        reset(&socket.stream);
    };
    assert!(!ejects(KEYS, resets, leaves).await);
    let vanishes = |socket: Front| async move { reset(socket.stream.tcp()) };
    assert!(!ejects(KEYS, resets, vanishes).await);
}

/// Where frames cannot be read there may have been a Close.
#[tokio::test]
async fn what_cannot_be_seen_does_not() {
    let speaks_otherwise = |mut socket: Back| async move {
        go(&mut socket).await;
        socket.send_raw(b"no frame at all").await;
        socket.stream.shutdown().await.expect("a live stream");
        rest(&mut socket.stream).await;
    };
    assert!(!ejects(KEYS, speaks_otherwise, watch).await);
    // Whoever it was who spoke so.
    let ends = |mut socket: Back| async move {
        within("it", socket.stream.read_exact(&mut [0; 15])).await.expect("a live stream");
        socket.stream.shutdown().await.expect("a live stream");
        rest(&mut socket.stream).await;
    };
    let begins_otherwise = |mut socket: Front| async move {
        socket.send_raw(b"no frame at all").await;
        rest(&mut socket.stream).await;
    };
    assert!(!ejects(KEYS, ends, begins_otherwise).await);
}
