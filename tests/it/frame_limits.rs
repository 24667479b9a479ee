//! What a side may send: too large is refused by the header, too fast waits or is refused, and both sides are told.

use std::time::{Duration, Instant};

use longhaul::proto::frame::{Header, Opcode};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use crate::kit::{Ends, Message, Stage, Way, WebSocket, Wire, within};

const SOON: &str = "close_timeout = \"300ms\"\npings = { client = \"off\" }\n";

fn told(record: &Value) -> [&Value; 4] {
    ["reason", "initiator", "close_code", "close_initiator"].map(|key| &record[key])
}

/// A frame's header, without a payload.
fn header(fin: bool, opcode: Opcode, length: u64, masked: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    Header { fin, rsv: 0, opcode, mask: masked.then_some([0; 4]), length }.write(&mut bytes);
    bytes
}

/// Either end of a tunnel.
type End = WebSocket<Box<dyn Wire>>;

/// The sender and the reader of a direction.
fn sides((client, backend): Ends, to_backend: bool) -> (End, End) {
    let backend = backend.boxed();
    if to_backend { (client, backend) } else { (backend, client) }
}

#[tokio::test]
async fn what_is_too_large_is_refused_before_any_of_it_passes() {
    for to_backend in [true, false] {
        let way_of = if to_backend { "to_backend" } else { "to_client" };
        let keys = format!("{SOON}frames.{way_of} = {{ frame_max = \"100B\", message_max = \"250B\" }}\n");
        let (mut stage, mut count) = (Stage::set(&keys).await, 0);
        let frame = |fin, opcode, length: u8| {
            [header(fin, opcode, length.into(), to_backend), vec![7; length.into()]].concat()
        };
        let fits = frame(true, Opcode::Binary, 100);
        let parts = [
            frame(false, Opcode::Text, 100),
            frame(true, Opcode::Ping, 5),
            frame(false, Opcode::Continuation, 100),
        ]
        .concat();
        let whole = [&*parts, &frame(true, Opcode::Continuation, 50)].concat();
        let table = [
            (fits.clone(), header(true, Opcode::Binary, 101, to_backend), "frame_too_large"),
            (whole, header(true, Opcode::Text, 1 << 62, to_backend), "frame_too_large"),
            (fits, header(false, Opcode::Text, (1 << 63) - 1, to_backend), "frame_too_large"),
            (parts, header(true, Opcode::Continuation, 51, to_backend), "message_too_large"),
        ];
        for (passes, too_large, reason) in table {
            for (way, slowly) in Way::ALL.into_iter().zip([true, false, true]) {
                count += 1;
                let (mut sender, mut reader) = sides(stage.tunnel(way, None).await, to_backend);
                let bytes = [&*passes, &too_large, b"begins"].concat();
                for piece in bytes.chunks(if slowly { 1 } else { bytes.len() }) {
                    if tokio::io::AsyncWriteExt::write_all(&mut sender.stream, piece).await.is_err() {
                        break;
                    }
                    let _ = tokio::io::AsyncWriteExt::flush(&mut sender.stream).await;
                }
                let mut seen = vec![0; passes.len()];
                within("what fits", reader.stream.read_exact(&mut seen)).await.expect("a live stream");
                assert_eq!(seen, passes);
                assert_eq!(reader.receive().await, Message::close(1009, ""), "{way:?} {reason}");
                assert_eq!(sender.receive().await, Message::close(1009, ""), "{way:?} {reason}");
                drop((sender, reader));
                let record = stage.ended(count).await;
                let by = if to_backend { "client" } else { "backend" };
                let expected = [&json!(reason), &json!(by), &json!(1009), &json!("proxy")];
                assert_eq!(told(&record), expected, "{way:?} {record}");
                // Nobody looks at what follows.
                assert_eq!(record["violation"], Value::Null, "{way:?} {record}");
            }
        }
        // Of each at least the header.
        let discarded =
            format!("longhaul_tunnel_discarded_bytes_total{{route=\"all\",direction=\"{way_of}\"}}");
        assert!(stage.proxy.metric(&discarded).await >= 2.0 * count as f64);
    }
}

/// In the bytes that come together with the handshake.
#[tokio::test]
async fn limits_hold_from_the_first_byte_on() {
    let keys =
        format!("{SOON}frames.to_backend = {{ frame_max = \"100B\", messages = {{ per_second = 5 }} }}\n");
    let mut stage = Stage::set(&keys).await;
    let messages = Message::text("m").frame(true).repeat(8);
    let too_large = header(true, Opcode::Text, 101, true);
    for (early, count, closes) in [(&messages, 8, false), (&too_large, 0, true)] {
        let begun = Instant::now();
        let head = crate::kit::handshake("/", "example.com", "");
        let mut client = stage.proxy.connect("plain").await;
        client.send([head.as_bytes(), early].concat()).await;
        let mut backend = stage.call().await.accept("").await;
        for _ in 0..count {
            assert_eq!(backend.receive_text().await, "m");
        }
        assert!(count == 0 || begun.elapsed() >= Duration::from_millis(550), "{:?}", begun.elapsed());
        if closes {
            assert_eq!(backend.receive().await, Message::close(1009, ""));
        }
    }
}

#[tokio::test]
async fn what_is_too_fast_waits_for_its_turn() {
    for (keys, label, burst, rest) in [
        ("messages = { per_second = 20, burst = 10 }", "messages", 10, 10),
        ("frames = { per_second = 20, burst = 10 }", "frames", 10, 10),
        // Ten bytes each with the mask.
        ("bytes = { per_second = \"200B\", burst = \"100B\" }", "bytes", 10, 10),
    ] {
        let mut stage = Stage::set(&format!("{SOON}frames.to_backend = {{ {keys} }}\n")).await;
        for way in Way::ALL {
            let (mut client, mut backend) = stage.tunnel(way, None).await;
            let begun = Instant::now();
            let all: Vec<u8> = (0..burst + rest).flat_map(|_| Message::text("abcd").frame(true)).collect();
            client.send_raw(&[all, Message::close(1000, "").frame(true)].concat()).await;
            for index in 0..burst + rest {
                // The other direction is not held up, and its reader may answer.
                backend.send(&Message::text("down")).await;
                assert_eq!(client.receive_text().await, "down");
                assert_eq!(backend.receive_text().await, "abcd", "{label} {way:?} {index}");
                if index + 1 == burst {
                    let early = begun.elapsed();
                    assert!(early < Duration::from_millis(450), "{label} {way:?}: {early:?}");
                }
            }
            let took = begun.elapsed();
            assert!(took >= Duration::from_millis(450), "{label} {way:?}: {took:?}");
            assert_eq!(backend.receive().await, Message::close(1000, ""));
        }
        let waits = "longhaul_tunnel_waits_total{route=\"all\",direction=\"to_backend\"}";
        assert!(stage.proxy.metric(waits).await >= 3.0, "{label}");
    }
}

#[tokio::test]
async fn or_ends_the_tunnel() {
    for (keys, sent, reason) in [
        (
            "messages = { per_second = 1, burst = 3 }, over = \"close\"",
            header(true, Opcode::Text, 0, true),
            "message_rate",
        ),
        (
            "frames = { per_second = 1, burst = 3 }, over = \"close\"",
            header(true, Opcode::Text, 0, true),
            "frame_rate",
        ),
        (
            "bytes = { per_second = \"1B\", burst = \"18B\" }, over = \"close\"",
            header(true, Opcode::Text, 0, true),
            "byte_rate",
        ),
        // Whatever their kind.
        (
            "bytes = { per_second = \"1B\", burst = \"18B\" }, over = \"close\"",
            header(true, Opcode::Ping, 0, true),
            "byte_rate",
        ),
        // Always, for those.
        ("control = { per_second = 1, burst = 3 }", header(true, Opcode::Ping, 0, true), "control_rate"),
        ("control = { per_second = 1, burst = 3 }", header(true, Opcode::Pong, 0, true), "control_rate"),
    ] {
        let mut stage = Stage::set(&format!("{SOON}frames.to_backend = {{ {keys} }}\n")).await;
        for (count, way) in Way::ALL.into_iter().enumerate() {
            let (mut client, mut backend) = stage.tunnel(way, None).await;
            client.send_raw(&sent.repeat(6)).await;
            let mut seen = vec![0; 3 * sent.len()];
            within("three", backend.stream.read_exact(&mut seen)).await.expect("a live stream");
            assert_eq!(backend.receive().await, Message::close(1008, ""), "{reason} {way:?}");
            assert_eq!(client.receive().await, Message::close(1008, ""), "{reason} {way:?}");
            drop((client, backend));
            let record = stage.ended(count + 1).await;
            let expected = [&json!(reason), &json!("client"), &json!(1008), &json!("proxy")];
            assert_eq!(told(&record), expected, "{way:?} {record}");
        }
    }
}

/// A backend that is held back is heard when its tunnel goes: its Close stands behind what is thrown away.
#[tokio::test]
async fn what_is_thrown_away_need_not_wait() {
    let keys = "pings = { client = \"off\" }\nframes.to_client = { bytes = { per_second = \"100B\" } }\n";
    let mut stage = Stage::set(keys).await;
    let (mut client, mut backend) = stage.tunnel(Way::Plain, None).await;
    backend.send_raw(&Message::text("m").frame(false).repeat(2_000)).await;
    assert_eq!(client.receive_text().await, "m");
    let waits = "longhaul_tunnel_waits_total{route=\"all\",direction=\"to_client\"}";
    stage.proxy.wait_metric_in(waits, 1.0..).await;
    let (_, table) = stage.proxy.admin("GET", "/api/v1/tunnels").await;
    let id = table["tunnels"][0]["id"].as_str().expect("the tunnel is there").to_string();
    assert_eq!(stage.proxy.admin("POST", &format!("/api/v1/tunnels/close?id={id}")).await.0, 200);
    while client.receive().await.opcode != Opcode::Close {}
    client.send(&Message::close(1000, "")).await;
    assert_eq!(backend.receive().await, Message::close(1000, ""));
    backend.send(&Message::close(1000, "")).await;
    let record = stage.ended(1).await;
    assert_eq!((&record["reason"], &record["clean"]), (&json!("operator"), &json!(true)), "{record}");
}

/// Nothing is left of the wait when it is over: who has nothing more to say is idle.
#[tokio::test]
async fn who_was_held_back_may_be_idle() {
    let keys = "idle_timeout = \"300ms\"\npings = { client = \"off\" }\n\
                frames.to_backend = { messages = { per_second = 20, burst = 1 } }\n";
    let mut stage = Stage::set(keys).await;
    let (mut client, mut backend) = stage.tunnel(Way::Plain, None).await;
    client.send_raw(&Message::text("m").frame(true).repeat(4)).await;
    for _ in 0..4 {
        assert_eq!(backend.receive_text().await, "m");
    }
    assert_eq!(client.receive().await, Message::close(1001, "idle"));
}

/// Each counts once, in however many pieces it comes.
#[tokio::test]
async fn control_frames_count_however_they_are_cut() {
    let mut stage = Stage::set("frames.to_backend = { control = { per_second = 1, burst = 20 } }\n").await;
    let (mut client, backend) = stage.tunnel(Way::Plain, None).await;
    let (mut backend, begun, mut passed) = (backend.by_hand(), Instant::now(), 0);
    let ping = Message { opcode: Opcode::Ping, payload: b"12345678".to_vec() };
    let frame = ping.frame(true);
    let (first, rest) = frame.split_at(1);
    loop {
        client.send_raw(first).await;
        // So that longhaul reads them apart.
        tokio::time::sleep(Duration::from_millis(2)).await;
        client.send_raw(rest).await;
        let message = backend.receive().await;
        if message.opcode == Opcode::Close {
            assert_eq!(message, Message::close(1008, ""));
            break;
        }
        assert_eq!(message, ping);
        passed += 1;
    }
    let may_be = 20 + begun.elapsed().as_secs() + 1;
    assert!((20..=may_be).contains(&passed), "{passed} of {may_be}");
    assert_eq!(client.receive().await, Message::close(1008, ""));
}

/// Empty fragments are no messages, and no bytes of any: their number is limited.
#[tokio::test]
async fn fragments_without_end_are_limited() {
    let keys =
        format!("{SOON}frames.to_backend = {{ message_max = \"10B\", frames = {{ per_second = 50 }} }}\n");
    let mut stage = Stage::set(&keys).await;
    let (mut client, mut backend) = stage.tunnel(Way::Plain, None).await;
    let begun = Instant::now();
    client.send_raw(&header(false, Opcode::Text, 0, true)).await;
    client.send_raw(&header(false, Opcode::Continuation, 0, true).repeat(99)).await;
    within("all of them", backend.stream.read_exact(&mut [0; 600])).await.expect("a live stream");
    assert!(begun.elapsed() >= Duration::from_millis(950), "{:?}", begun.elapsed());
}

/// They have used up what the burst of bytes is.
#[tokio::test]
async fn early_bytes_count() {
    let keys =
        format!("{SOON}frames.to_backend = {{ bytes = {{ per_second = \"100B\", burst = \"70B\" }} }}\n");
    let mut stage = Stage::set(&keys).await;
    let (begun, messages) = (Instant::now(), Message::text("m").frame(true).repeat(10));
    let mut client = stage.proxy.connect("plain").await;
    client.send([crate::kit::handshake("/", "example.com", "").as_bytes(), &messages].concat()).await;
    let mut backend = stage.call().await.accept("").await;
    assert_eq!(client.head().await.status(), 101);
    client.send(&messages).await;
    for _ in 0..20 {
        assert_eq!(backend.receive_text().await, "m");
    }
    assert!(begun.elapsed() >= Duration::from_millis(650), "{:?}", begun.elapsed());
}

/// Neither idle time nor Pings end a tunnel that longhaul itself holds back; and a goodbye does not wait.
#[tokio::test]
async fn who_is_held_back_is_not_dead() {
    let keys = "idle_timeout = \"300ms\"\nclose_timeout = \"2s\"\npings = { client = \"100ms\", timeout = \"200ms\" }\n\
                frames.to_backend = { messages = { per_second = 1, burst = 1 } }\n";
    let mut stage = Stage::set(keys).await;
    let (mut client, mut backend) = stage.tunnel(Way::Plain, None).await;
    let messages: Vec<u8> = (0..50).flat_map(|_| Message::text("m").frame(true)).collect();
    client.send_raw(&messages).await;
    let until = Instant::now() + Duration::from_millis(2500);
    let mut received = 0;
    while Instant::now() < until {
        if let Ok(message) = timeout(Duration::from_millis(100), backend.try_receive()).await {
            assert_eq!(message, Some(Message::text("m")));
            received += 1;
        }
    }
    assert!((2..=4).contains(&received), "{received}");
    let (_, table) = stage.proxy.admin("GET", "/api/v1/tunnels").await;
    let id = table["tunnels"][0]["id"].as_str().expect("the tunnel is there").to_string();
    assert_eq!(stage.proxy.admin("POST", &format!("/api/v1/tunnels/close?id={id}")).await.0, 200);
    loop {
        let message = client.receive().await;
        if message.opcode == Opcode::Close {
            break;
        }
    }
    client.send(&Message::close(1000, "")).await;
    let (begun, mut rest) = (Instant::now(), 0);
    while backend.receive().await.opcode != Opcode::Close {
        rest += 1;
    }
    assert!(
        rest + received == 50 && begun.elapsed() < Duration::from_secs(2),
        "{rest} {:?}",
        begun.elapsed()
    );
}
