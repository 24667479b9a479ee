//! Pings of longhaul's own: nobody behind it sees them or their answers, and who does not answer is gone.

mod half_open;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use longhaul::proto::frame::Opcode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::kit::{Backend, Ends, Message, Proxy, Stage, Way, WebSocket, Wire, plain, within};

const TO_CLIENT: &str = "pings = { client = \"50ms\", timeout = \"10s\" }\n";
const TO_BACKEND: &str = "pings = { client = \"off\", backend = \"50ms\", timeout = \"10s\" }\n";
const HASTY: &str = "pings = { client = \"100ms\", timeout = \"300ms\" }\nclose_timeout = \"200ms\"\n";

fn pong(payload: &[u8]) -> Message {
    Message { opcode: Opcode::Pong, payload: payload.to_vec() }
}

fn told(record: &Value) -> [&Value; 6] {
    ["reason", "initiator", "close_code", "close_initiator", "clean", "farewell"].map(|key| &record[key])
}

/// A tunnel whose client answers only what the test says.
async fn tunnel(stage: &mut Stage, way: Way) -> Ends {
    let (client, backend) = stage.tunnel(way, None).await;
    (client.by_hand(), backend)
}

/// Takes so many messages, and answers the Pings between them.
async fn take<S: Wire>(client: &mut WebSocket<S>, mut count: usize) {
    while count > 0 {
        let message = client.receive().await;
        match message.opcode {
            Opcode::Ping => client.send(&pong(&message.payload)).await,
            opcode => {
                assert_eq!(opcode, Opcode::Binary);
                count -= 1;
            }
        }
    }
}

/// The next Ping, which must be what comes next.
async fn ping<S: Wire>(end: &mut WebSocket<S>) -> Vec<u8> {
    let ping = end.receive().await;
    assert_eq!((ping.opcode, ping.payload.len()), (Opcode::Ping, 8), "{ping:?}");
    ping.payload
}

/// Both ends as they are for Pings to one side: the one that is asked, and the other.
fn sides((client, backend): Ends, to_client: bool) -> [WebSocket<Box<dyn Wire>>; 2] {
    let ends = [client, backend.boxed()];
    let [client, backend] = ends;
    if to_client { [client, backend] } else { [backend, client] }
}

#[tokio::test]
async fn neither_they_nor_their_answers_pass() {
    for (keys, to_client) in [(TO_CLIENT, true), (TO_BACKEND, false)] {
        let mut stage = Stage::set(keys).await;
        let (side, other_side) = if to_client { ("client", "backend") } else { ("backend", "client") };
        let mut payloads = HashSet::new();
        for way in Way::ALL {
            let [mut asked, mut other] = sides(tunnel(&mut stage, way).await, to_client);
            for round in 0..3 {
                let payload = ping(&mut asked).await;
                // Pongs of somebody else's making pass, and so does all that stands around the answer.
                let others = [&b"12345678"[..], &payload[..7], &[&payload[..], b"9"].concat()].map(pong);
                for other in &others {
                    asked.send(other).await;
                }
                asked.send(&pong(&payload)).await;
                asked.send(&Message::text(&format!("round {round}"))).await;
                for expected in others {
                    assert_eq!(other.receive().await, expected, "{way:?}");
                }
                assert_eq!(other.receive_text().await, format!("round {round}"), "{way:?}");
                assert!(payloads.insert(payload), "the same payload twice");
            }
            let row = async {
                loop {
                    let (_, table) = stage.proxy.admin("GET", "/api/v1/tunnels").await;
                    let row = table["tunnels"].as_array().and_then(|rows| rows.last()).cloned();
                    let row = row.unwrap_or_default();
                    if row[format!("{side}_round_trip_ms")].as_f64().is_some_and(|took| took > 0.0) {
                        return row;
                    }
                }
            };
            let row = within("a round trip in the live table", row).await;
            assert_eq!(row[format!("{other_side}_round_trip_ms")], Value::Null, "{row}");
            let direction = if to_client { "to_backend" } else { "to_client" };
            assert_eq!(row[direction]["pongs"], 9, "{row}");
            drop((asked, other));
            stage.proxy.wait_metric("longhaul_tunnels_active{route=\"all\"}", 0.0).await;
        }
        let series = format!("longhaul_ping_round_trip_seconds_count{{route=\"all\",side=\"{side}\"}}");
        assert!(stage.proxy.metric(&series).await >= 9.0);
        let record = stage.ended(1).await;
        assert!(record[format!("{side}_round_trip_ms")].is_number(), "{record}");
    }
}

/// An answer that comes in pieces, at once with others, or after the next Ping.
#[tokio::test]
async fn an_answer_is_known_however_it_comes() {
    let mut stage = Stage::set(TO_CLIENT).await;
    for way in Way::ALL {
        let (mut client, mut backend) = tunnel(&mut stage, way).await;
        let payload = ping(&mut client).await;
        let before = Message { opcode: Opcode::Ping, payload: b"mine".to_vec() };
        let bytes =
            [before.frame(true), pong(&payload).frame(true), Message::text("after").frame(true)].concat();
        for byte in bytes {
            client.send_raw(&[byte]).await;
        }
        assert_eq!(backend.receive().await, before);
        assert_eq!(backend.receive_text().await, "after", "{way:?}");
        // An answer once more, ahead of the next one's.
        let late = ping(&mut client).await;
        client.send(&Message::text("alive")).await;
        assert_eq!(backend.receive_text().await, "alive");
        client.send(&pong(&late)).await;
        let next = ping(&mut client).await;
        client.send_raw(&[pong(&late).frame(true), pong(&next).frame(true)].concat()).await;
        client.send(&Message::text("end")).await;
        assert_eq!(backend.receive_text().await, "end", "{way:?}");
    }
}

/// They are no control frames of the source's own; what else it sends is.
#[tokio::test]
async fn no_limit_counts_the_answers() {
    for (pings, to_client) in [("client = \"20ms\"", true), ("client = \"off\", backend = \"20ms\"", false)] {
        let from = if to_client { "to_backend" } else { "to_client" };
        let keys = format!(
            "pings = {{ {pings}, timeout = \"10s\" }}\nclose_timeout = \"200ms\"\n\
             frames.{from} = {{ control = {{ per_second = 1, burst = 2 }}, bytes = {{ per_second = \"1B\", burst = \"99B\" }}, \
             over = \"close\" }}\n"
        );
        let mut stage = Stage::set(&keys).await;
        for way in Way::ALL {
            let [mut asked, mut other] = sides(tunnel(&mut stage, way).await, to_client);
            for round in 0..12 {
                let answer = pong(&ping(&mut asked).await).frame(to_client);
                // One that says the same to nobody is one of its own; whole or not.
                if round < 2 {
                    let own = pong(b"whatever").frame(to_client);
                    asked.send_raw(&[&*answer, &*own].concat()).await;
                    assert_eq!(other.receive().await, pong(b"whatever"), "{way:?}");
                } else if round % 2 == 0 {
                    asked.send_raw(&answer).await;
                } else {
                    for piece in answer.chunks(5) {
                        asked.send_raw(piece).await;
                    }
                }
            }
            let own = pong(b"whatever");
            asked.send_raw(&own.frame(to_client).repeat(40)).await;
            // The time that it took may have been worth some.
            let mut message = other.receive().await;
            while message == own {
                message = other.receive().await;
            }
            assert_eq!(message, Message::close(1008, ""), "{way:?}");
        }
    }
}

/// Bytes answer for the moment, and the next Ping goes; the Pong of the one before is still an answer.
#[tokio::test]
async fn a_late_answer_does_not_pass_either() {
    let mut stage = Stage::set("pings = { client = \"50ms\", timeout = \"60ms\" }\n").await;
    let (mut client, mut backend) = tunnel(&mut stage, Way::Plain).await;
    let mut payloads = Vec::new();
    while payloads.len() < 3 {
        match timeout(Duration::from_millis(10), client.try_receive()).await {
            Ok(message) => payloads.push(message.expect("a Ping, not the end").payload),
            Err(_) => client.send(&Message::text("alive")).await,
        }
    }
    for payload in &payloads {
        client.send(&pong(payload)).await;
    }
    client.send(&Message::text("end")).await;
    loop {
        match backend.receive().await {
            message if message == Message::text("end") => break,
            message => assert_eq!(message, Message::text("alive")),
        }
    }
}

#[tokio::test]
async fn a_client_that_does_not_answer_is_gone() {
    let mut stage = Stage::set(HASTY).await;
    for (count, way) in Way::ALL.into_iter().enumerate() {
        let (mut client, mut backend) = tunnel(&mut stage, way).await;
        let asked = Instant::now();
        ping(&mut client).await;
        assert_eq!(backend.receive().await, Message::close(1011, ""), "{way:?}");
        assert!(asked.elapsed() >= Duration::from_millis(290), "{:?}", asked.elapsed());
        backend.send(&Message::close(1011, "")).await;
        assert_eq!(within("the end", backend.try_receive()).await, None);
        // It was cut, and got no Close.
        let mut rest = Vec::new();
        within("the end", client.stream.read_to_end(&mut rest)).await.expect_err("a reset is an error");
        assert_eq!(rest, b"", "{way:?}");
        let record = stage.ended(count + 1).await;
        let expected = [
            &json!("ping_timeout"),
            &json!("client"),
            &json!(1011),
            &json!("proxy"),
            &json!(false),
            &json!("sent"),
        ];
        assert_eq!(told(&record), expected, "{way:?} {record}");
    }
    let series = "longhaul_tunnels_closed_total{route=\"all\",reason=\"ping_timeout\",initiator=\"client\"}";
    assert_eq!(stage.proxy.metric(series).await, 3.0);
}

#[tokio::test]
async fn so_is_a_backend() {
    let keys = "pings = { client = \"off\", backend = \"100ms\", timeout = \"300ms\" }\n";
    let mut stage = Stage::set(keys).await;
    for (count, way) in Way::ALL.into_iter().enumerate() {
        let (mut client, mut backend) = tunnel(&mut stage, way).await;
        ping(&mut backend).await;
        assert_eq!(client.receive().await, Message::close(1011, ""), "{way:?}");
        client.send(&Message::close(1011, "")).await;
        assert_eq!(within("the end", client.try_receive()).await, None);
        drop(client);
        let record = stage.ended(count + 1).await;
        assert_eq!(told(&record)[..2], [&json!("ping_timeout"), &json!("backend")], "{way:?} {record}");
    }
}

/// No Pong, but bytes: parts of a frame that takes its time.
#[tokio::test]
async fn any_byte_is_a_sign_of_life() {
    let mut stage = Stage::set(HASTY).await;
    for way in Way::ALL {
        let (mut client, mut backend) = tunnel(&mut stage, way).await;
        let frame = Message::binary(vec![7; 40]).frame(true);
        let (last, first) = frame.split_last().expect("a frame");
        for byte in first {
            client.send_raw(&[*byte]).await;
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
        client.send_raw(&[*last]).await;
        assert_eq!(backend.receive().await.payload, [7; 40], "{way:?}");
    }
}

/// A Ping goes between two frames only; until then no clock runs.
#[tokio::test]
async fn a_long_frame_is_not_interrupted() {
    let mut stage = Stage::set(HASTY).await;
    for way in Way::ALL {
        let (mut client, mut backend) = tunnel(&mut stage, way).await;
        // In two frames, between which there is room for one.
        let mut frame = [0x02, 100].to_vec();
        frame.extend_from_slice(&[0x5a; 100]);
        let (first, second) = frame.split_at(50);
        backend.send_raw(first).await;
        let mut seen = vec![0; 50];
        within("half a frame", client.stream.read_exact(&mut seen)).await.expect("a live stream");
        assert_eq!(seen, first);
        // Longer than it may take to answer.
        let nothing = timeout(Duration::from_millis(800), client.stream.read(&mut [0; 1])).await;
        assert!(nothing.is_err(), "{way:?} {nothing:?}");
        backend.send_raw(second).await;
        within("the rest", client.stream.read_exact(&mut seen[..])).await.expect("a live stream");
        within("the rest", client.stream.read_exact(&mut [0; 2])).await.expect("a live stream");
        let payload = ping(&mut client).await;
        client.send(&pong(&payload)).await;
        backend.send_raw(&[0x80, 1, 7]).await;
        let rest = client.receive().await;
        assert_eq!((rest.opcode, &*rest.payload), (Opcode::Continuation, &[7][..]), "{way:?}");
    }
}

#[tokio::test]
async fn none_follows_a_close() {
    let mut stage = Stage::set("pings = { client = \"20ms\", timeout = \"10s\" }\n").await;
    for way in Way::ALL {
        let (mut client, mut backend) = tunnel(&mut stage, way).await;
        backend.send(&Message::close(1000, "")).await;
        while client.receive().await != Message::close(1000, "") {}
        let nothing = timeout(Duration::from_millis(200), client.stream.read(&mut [0; 1])).await;
        assert!(nothing.is_err(), "{way:?} {nothing:?}");
    }
}

/// They are no activity: neither of the peers has said anything.
#[tokio::test]
async fn an_idle_tunnel_is_idle_all_the_same() {
    let keys = "idle_timeout = \"700ms\"\nclose_timeout = \"200ms\"\npings = { client = \"50ms\" }\n";
    let mut stage = Stage::set(keys).await;
    let (mut client, backend) = tunnel(&mut stage, Way::Plain).await;
    let (begun, mut answered) = (Instant::now(), 0);
    while let Some(message) = within("a Ping, or the end", client.try_receive()).await {
        if message.opcode != Opcode::Ping {
            break;
        }
        client.send(&pong(&message.payload)).await;
        answered += 1;
        assert!(begun.elapsed() < Duration::from_secs(5), "{answered}");
    }
    assert!(answered > 3 && begun.elapsed() < Duration::from_secs(5), "{answered} in {:?}", begun.elapsed());
    drop((client, backend));
    assert_eq!(stage.ended(1).await["reason"], "idle_timeout");
}

/// What cannot be read cannot be pinged: with `inspect = "off"`, and behind a violation.
#[tokio::test]
async fn none_where_nobody_knows_the_place() {
    let mut stage = Stage::set("inspect = \"off\"\n").await;
    let (mut client, _backend) = tunnel(&mut stage, Way::Plain).await;
    let nothing = timeout(Duration::from_millis(200), client.stream.read(&mut [0; 1])).await;
    assert!(nothing.is_err(), "{nothing:?}");
    let mut stage = Stage::set("pings = { client = \"200ms\", timeout = \"200ms\" }\n").await;
    for wrong in [true, false] {
        let (mut client, mut backend) = tunnel(&mut stage, Way::Plain).await;
        let reserved = [0x83, if wrong { 0x80 } else { 0 }, 0, 0, 0, 0];
        if wrong {
            client.send_raw(&reserved).await;
            within("it", backend.stream.read_exact(&mut [0; 6])).await.expect("a live stream");
        } else {
            backend.send_raw(&reserved[..2]).await;
            within("it", client.stream.read_exact(&mut [0; 2])).await.expect("a live stream");
        }
        let nothing = timeout(Duration::from_millis(600), client.stream.read(&mut [0; 1])).await;
        assert!(nothing.is_err(), "{nothing:?}");
        backend.stream.write_all(b"still there").await.expect("a live stream");
        within("it", client.stream.read_exact(&mut [0; 11])).await.expect("a live stream");
    }
}

/// Who reads nothing is not asked, and not held to an answer: the Ping has not left.
#[tokio::test]
async fn a_blocked_writer_does_not_count_against_the_peer() {
    let mut stage = Stage::set(HASTY).await;
    let (mut client, mut backend) = tunnel(&mut stage, Way::Plain).await;
    let frame = Message::binary(vec![1; 60_000]).frame(false);
    let mut sent = 0;
    // Within the first half of the interval there is no Ping yet.
    while timeout(Duration::from_millis(700), backend.stream.write_all(&frame)).await.is_ok() {
        sent += 1;
        assert!(sent < 10_000, "nobody is read for ever");
    }
    take(&mut client, sent).await;
}

/// Nor is who takes a while for what there is ahead of the Ping, and behind it.
#[tokio::test]
async fn nor_does_one_that_is_blocked_later() {
    let mut stage = Stage::set(HASTY).await;
    let (mut client, mut backend) = tunnel(&mut stage, Way::Plain).await;
    let payload = ping(&mut client).await;
    let frame = Message::binary(vec![1; 60_000]).frame(false);
    let mut sent = 0;
    while timeout(Duration::from_millis(900), backend.stream.write_all(&frame)).await.is_ok() {
        sent += 1;
        assert!(sent < 10_000, "nobody is read for ever");
    }
    client.send(&pong(&payload)).await;
    take(&mut client, sent).await;
}

/// Each client of a crowd that came together is asked at a time of its own.
#[tokio::test]
async fn the_first_ones_are_spread() {
    let backend = Backend::echo("one").await;
    let route = "name = \"all\"\npings = { client = \"2s\" }\npool";
    let config = plain(&[backend.address]).replace("name = \"all\"\npool", route);
    let (proxy, mut crowd) = (Proxy::start(&config).await, JoinSet::new());
    for _ in 0..20 {
        let client = proxy.connect("plain").await;
        crowd.spawn(async move {
            let (socket, _) = client.open("/", "example.com", "").await;
            let (mut socket, begun) = (socket.by_hand(), Instant::now());
            assert_eq!(socket.receive_text().await, "one");
            ping(&mut socket).await;
            begun.elapsed()
        });
    }
    let mut firsts = crowd.join_all().await;
    firsts.sort();
    assert!(firsts[19] - firsts[0] >= Duration::from_millis(250), "{firsts:?}");
}

/// A route without keys pings its clients, every half a minute: nothing comes before.
#[tokio::test]
async fn they_are_on_by_default_and_come_later() {
    let backend = Backend::echo("one").await;
    let proxy = Proxy::start(&plain(&[backend.address])).await;
    let (mut socket, _) = proxy.connect("plain").await.open("/", "example.com", "").await;
    assert_eq!(socket.receive_text().await, "one");
    let nothing = timeout(Duration::from_millis(200), socket.stream.read(&mut [0; 1])).await;
    assert!(nothing.is_err(), "{nothing:?}");
}
