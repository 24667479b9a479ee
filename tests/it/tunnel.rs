//! The splice: bytes pass intact, no faster than they are read, and what passes is counted.

use std::time::Duration;

use longhaul::proto::frame::Opcode;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::time::timeout;

use crate::kit::{Backend, Calls, Client, Message, Pki, Proxy, plain, secure, within};

/// A proxy in front of a backend that the test plays, reached in plain text and over TLS.
async fn start() -> (Proxy, Backend, Calls, Pki) {
    let ((backend, calls), pki) = (Backend::by_hand().await, Pki::new());
    let certificate = pki.issue(&["example.com"]);
    let proxy = Proxy::start(&(plain(&[backend.address]) + &secure(&[&certificate]))).await;
    (proxy, backend, calls, pki)
}

async fn client(proxy: &Proxy, pki: &Pki, tls: bool) -> Client {
    match tls {
        true => Client::connect_tls(proxy.address("secure"), pki, "example.com").await,
        false => proxy.connect("plain").await,
    }
}

fn moved(what: &str, direction: &str) -> String {
    format!("longhaul_tunnel_{what}_total{{route=\"all\",direction=\"{direction}\"}}")
}

#[tokio::test]
async fn much_passes_both_ways_at_once_intact() {
    let (proxy, _backend, mut calls, pki) = start().await;
    for (round, tls) in [(1.0, false), (2.0, true)] {
        let (client, backend) = calls.tunnel(client(&proxy, &pki, tls).await, "", "").await;
        let frames = |masks: bool| -> Vec<u8> {
            let sizes = [0, 1, 125, 126, 65_535, 65_536, 70_001, 300_000];
            let messages = sizes.iter().cycle().take(8 * 17).enumerate().map(|(number, size)| {
                Message::binary((0..*size).map(|at| (at * 31 + number) as u8).collect::<Vec<_>>())
            });
            messages.flat_map(|message| message.frame(masks)).collect()
        };
        let (up, down) = (frames(true), frames(false));
        assert!(up.len() > 8 << 20);
        let ((mut client_reads, mut client_writes), (mut backend_reads, mut backend_writes)) =
            (split(client.stream), split(backend.stream));
        let send_up =
            async { client_writes.write_all(&up).await.and(Ok(client_writes.flush().await?)).and(Ok(())) };
        let (mut at_backend, mut at_client) = (vec![0; up.len()], vec![0; down.len()]);
        let moving = async {
            tokio::try_join!(
                send_up,
                async { backend_writes.write_all(&down).await },
                async { backend_reads.read_exact(&mut at_backend).await.map(drop) },
                async { client_reads.read_exact(&mut at_client).await.map(drop) },
            )
        };
        within("everything", moving).await.expect("live streams");
        assert!(at_backend == up, "the backend got what the client sent, tls: {tls}");
        assert!(at_client == down, "the client got what the backend sent, tls: {tls}");
        for (bytes, direction) in [(up.len(), "to_backend"), (down.len(), "to_client")] {
            proxy.wait_metric(&moved("bytes", direction), round * bytes as f64).await;
            proxy.wait_metric(&moved("messages", direction), round * 8.0 * 17.0).await;
        }
    }
}

const CHUNK_BYTES: usize = 16 * 1024;
/// What the ends of the test ask for. Less than two segments of a loopback connection would make it crawl.
const SOCKET_BUFFER_BYTES: usize = 128 * 1024;

/// Writes until the other end takes no more. Returns how much was taken; `most` fails the test.
async fn fill(writer: &mut (impl AsyncWrite + Unpin), most: usize) -> usize {
    let mut written = 0;
    while let Ok(count) = timeout(Duration::from_secs(1), writer.write(&pattern(written))).await {
        written += count.expect("a live stream");
        assert!(written < most, "{written} bytes went to a reader that reads nothing");
    }
    written
}

/// What stands at `offset` of the endless sequence that [`fill`] writes.
fn pattern(offset: usize) -> Vec<u8> {
    (offset..offset + CHUNK_BYTES).map(|at| (at % 251) as u8).collect()
}

/// Reads what [`fill`] wrote.
async fn drain(reader: &mut (impl AsyncRead + Unpin), length: usize) {
    let mut bytes = vec![0; length];
    within("what was held back", reader.read_exact(&mut bytes)).await.expect("a live stream");
    assert!(bytes.iter().enumerate().all(|(at, byte)| usize::from(*byte) == at % 251));
}

/// The most bytes that the kernel lets a socket hold, by what it says of its own tuning.
fn kernel_bytes_max(file: &str) -> usize {
    let text = std::fs::read_to_string(format!("/proc/sys/net/ipv4/{file}")).expect("a Linux kernel");
    text.split_whitespace().last().and_then(|most| most.parse().ok()).expect("three numbers")
}

/// A reader that stops, stops its writer: longhaul itself holds no more than its scratch buffer.
#[tokio::test]
async fn a_reader_that_stops_stops_its_writer() {
    let (proxy, _backend, mut calls, pki) = start().await;
    // One buffer of the reader (the kernel makes it twice what is asked for), one send buffer of longhaul, and what
    // longhaul keeps: 64 KiB, and 32 KiB more over TLS. The last 128 KiB are for how the kernel rounds.
    let taken_max = 2 * SOCKET_BUFFER_BYTES + kernel_bytes_max("tcp_wmem") + (64 + 32 + 128) * 1024;
    let most = taken_max + kernel_bytes_max("tcp_rmem") + (8 << 20);
    for (tls, direction) in [(false, "to_backend"), (false, "to_client"), (true, "to_client")] {
        let before = proxy.metric(&moved("bytes", direction)).await;
        let client = client(&proxy, &pki, tls).await;
        let (client_socket, backend) = calls.tunnel(client, "", "").await;
        let (mut client, mut backend) = (client_socket.stream, backend.stream);
        let (reader, writer) = match direction {
            "to_backend" => (SockRef::from(&backend), SockRef::from(client.tcp())),
            _ => (SockRef::from(client.tcp()), SockRef::from(&backend)),
        };
        reader.set_recv_buffer_size(SOCKET_BUFFER_BYTES).expect("a live socket");
        writer.set_send_buffer_size(SOCKET_BUFFER_BYTES).expect("a live socket");
        let pushed = match direction {
            "to_backend" => fill(&mut client, most).await,
            _ => fill(&mut backend, most).await,
        };
        let taken = proxy.metric(&moved("bytes", direction)).await - before;
        assert!(taken <= taken_max as f64, "{taken} bytes taken, at most {taken_max} have room");
        match direction {
            "to_backend" => drain(&mut backend, pushed).await,
            _ => drain(&mut client, pushed).await,
        }
        // The bytes were no frames; what matters is that all of them came.
        proxy.wait_metric(&moved("bytes", direction), before + pushed as f64).await;
    }
}

fn fragment(opcode: u8, payload: &[u8], masks: bool) -> Vec<u8> {
    let message = Message { opcode: Opcode::Text, payload: payload.to_vec() };
    let mut frame = message.frame(masks);
    frame[0] = opcode;
    frame
}

#[tokio::test]
async fn messages_are_counted_while_the_tunnel_lives() {
    let (proxy, _backend, mut calls, pki) = start().await;
    let (mut client, mut backend) = calls.tunnel(client(&proxy, &pki, false).await, "", "").await;
    // Three fragments and a ping between them are one message.
    let pieces =
        [fragment(0x01, b"one ", true), fragment(0x00, b"two ", true), fragment(0x89, b"ping", true)];
    let (start, end) = (pieces.concat(), fragment(0x80, b"three", true));
    client.send_raw(&start).await;
    proxy.wait_metric(&moved("bytes", "to_backend"), start.len() as f64).await;
    assert_eq!(proxy.metric(&moved("messages", "to_backend")).await, 0.0);
    client.send_raw(&end).await;
    proxy.wait_metric(&moved("messages", "to_backend"), 1.0).await;
    proxy.wait_metric(&moved("bytes", "to_backend"), (start.len() + end.len()) as f64).await;
    for (opcode, payload) in [
        (Opcode::Text, &b"one "[..]),
        (Opcode::Continuation, b"two "),
        (Opcode::Ping, b"ping"),
        (Opcode::Continuation, b"three"),
    ] {
        assert_eq!(backend.receive().await, Message { opcode, payload: payload.to_vec() });
    }
    // A frame that comes byte by byte is a frame.
    for byte in Message::text("slowly").frame(false) {
        backend.send_raw(&[byte]).await;
    }
    assert_eq!(client.receive_text().await, "slowly");
    proxy.wait_metric(&moved("messages", "to_client"), 1.0).await;
    assert_eq!(proxy.metric("longhaul_tunnels_active{route=\"all\"}").await, 1.0);
}

/// Which frames are counted depends on what was agreed; that all bytes pass does not.
#[tokio::test]
async fn what_cannot_be_read_passes_uncounted() {
    let (text, compressed) = (fragment(0x81, b"plain", true), fragment(0xc1, b"deflated", true));
    let unmasked = fragment(0x81, b"unmasked", false);
    let deflate = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    let other = "Sec-WebSocket-Extensions: x-other\r\n";
    let (proxy, _backend, mut calls, pki) = start().await;
    let mut counted = 0.0;
    // Extensions that are offered and agreed, frames of the client, how many of them count.
    for (extensions, frames, messages) in [
        (deflate, [&text, &compressed, &text], 3.0),
        ("", [&text, &compressed, &text], 1.0),
        ("", [&text, &unmasked, &text], 1.0),
        (deflate, [&compressed, &unmasked, &compressed], 1.0),
        (other, [&text, &compressed, &text], 0.0),
    ] {
        let client = client(&proxy, &pki, false).await;
        let (mut client, mut backend) = calls.tunnel(client, extensions, extensions).await;
        let mut arrived = Vec::new();
        for frame in frames {
            client.send_raw(frame).await;
            arrived.resize(frame.len(), 0);
            within("a frame", backend.stream.read_exact(&mut arrived)).await.expect("a live stream");
            assert_eq!(&arrived, frame);
        }
        drop((client, backend));
        counted += messages;
        proxy.wait_metric("longhaul_tunnels_active{route=\"all\"}", 0.0).await;
        assert_eq!(proxy.metric(&moved("messages", "to_backend")).await, counted, "{extensions}{frames:?}");
    }
}

/// The state of longhaul's sockets to these peers, by `/proc/net/tcp`: the timer that runs, and its hundredths of
/// seconds.
fn timers(peers: &[u16]) -> Vec<(u8, u32)> {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("a Linux kernel");
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let port = |address: &str| u16::from_str_radix(address.rsplit(':').next()?, 16).ok();
    let ours = rows.filter(|row| row[3] == "01" && port(row[2]).is_some_and(|port| peers.contains(&port)));
    ours.filter_map(|row| {
        let (timer, when) = row[5].split_once(':')?;
        Some((timer.parse().ok()?, u32::from_str_radix(when, 16).ok()?))
    })
    .collect()
}

/// What else is set on a socket cannot be seen from outside; the tests of `net::socket` read it.
#[tokio::test]
async fn keepalive_watches_both_legs() {
    let (backend, mut calls) = Backend::by_hand().await;
    const KEEPALIVE_TIMER: u8 = 2;
    for (keepalive, expected) in [("77s", Some(7700)), ("off", None)] {
        let config = format!("[tcp]\nkeepalive = \"{keepalive}\"\n") + &plain(&[backend.address]);
        let proxy = Proxy::start(&config).await;
        let (mut client, mut backend_end) = calls.tunnel(proxy.connect("plain").await, "", "").await;
        backend_end.send(&Message::text("hello")).await;
        assert_eq!(client.receive_text().await, "hello");
        let client_port = client.stream.tcp().local_addr().expect("a live socket").port();
        let watched = async {
            loop {
                let running: Vec<_> = timers(&[client_port, backend.address.port()])
                    .into_iter()
                    .filter(|(timer, _)| *timer == KEEPALIVE_TIMER)
                    .map(|(_, hundredths)| hundredths)
                    .collect();
                match expected {
                    Some(most) if running.len() == 2 => {
                        return assert!(
                            running.iter().all(|left| (most / 2..=most).contains(left)),
                            "{running:?}"
                        );
                    }
                    None => return assert!(running.is_empty(), "{running:?}"),
                    Some(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        };
        within("keep-alive timers on both legs", watched).await;
    }
}
