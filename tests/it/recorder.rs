//! The flight recorder: the headers of the last frames of a tunnel that did not end cleanly, and nothing of what they held.

use longhaul::proto::frame::Opcode;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use crate::kit::{Message, Stage, Way, within};

fn frames(record: &Value) -> Vec<(String, String, bool, u64, u64)> {
    let frames = record["frames"].as_array().cloned().unwrap_or_default();
    let text = |frame: &Value, key: &str| frame[key].as_str().expect("a text").to_string();
    let number = |frame: &Value, key: &str| frame[key].as_u64().expect("a number");
    let all = frames.iter().map(|frame| {
        let fin = frame["fin"].as_bool().expect("yes or no");
        let (way, opcode) = (text(frame, "direction"), text(frame, "opcode"));
        (way, opcode, fin, number(frame, "rsv"), number(frame, "length"))
    });
    all.collect()
}

#[tokio::test]
async fn what_came_last_is_in_the_record_of_an_unclean_end() {
    let mut stage = Stage::set("record_frames = 3\npings = { client = \"off\" }\n").await;
    for (count, way) in Way::ALL.into_iter().enumerate() {
        let (mut client, mut backend) = stage.tunnel(way, Some("permessage-deflate")).await;
        for text in ["first", "hidden words"] {
            client.send(&Message::text(text)).await;
            assert_eq!(backend.receive_text().await, text);
        }
        // With RSV1, and not the last of its message; byte by byte.
        for byte in [0x42, 0x02, 7, 7] {
            backend.send_raw(&[byte]).await;
        }
        within("it", client.stream.read_exact(&mut [0; 4])).await.expect("a live stream");
        // One that never ends.
        client.send_raw(&[0x82, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4, 5]).await;
        within("it", backend.stream.read_exact(&mut [0; 15])).await.expect("a live stream");
        drop((client, backend));
        let record = stage.ended(count + 1).await;
        let expected = [
            ("to_backend".to_string(), "text".to_string(), true, 0, 12),
            ("to_client".to_string(), "binary".to_string(), false, 4, 2),
            ("to_backend".to_string(), "binary".to_string(), true, 0, 1 << 32),
        ];
        assert_eq!(frames(&record), expected, "{way:?} {record}");
        let times: Vec<_> = record["frames"]
            .as_array()
            .expect("frames")
            .iter()
            .map(|frame| frame["at_ms"].as_u64())
            .collect();
        assert!(times.is_sorted() && times.iter().all(Option::is_some), "{record}");
        assert!(!record.to_string().contains("hidden"), "{record}");
    }
}

/// Though longhaul waits for the whole of it, to keep it back.
#[tokio::test]
async fn an_answer_that_comes_in_pieces_is_one_frame() {
    let mut stage = Stage::set("record_frames = 256\npings = { client = \"50ms\" }\n").await;
    let (client, mut backend) = stage.tunnel(Way::Plain, None).await;
    let mut client = client.by_hand();
    let answer = Message { opcode: Opcode::Pong, payload: client.receive().await.payload };
    for byte in answer.frame(true) {
        client.send_raw(&[byte]).await;
    }
    client.send(&Message::text("behind it")).await;
    assert_eq!(backend.receive_text().await, "behind it");
    drop((client, backend));
    let frames = frames(&stage.ended(1).await);
    let opcodes: Vec<&str> = frames.iter().map(|(_, opcode, ..)| &**opcode).collect();
    assert_eq!(opcodes, ["pong", "text"]);
}

/// It is what the record is for, though none of it passed, and whether or not its header can be read.
#[tokio::test]
async fn the_frame_that_ended_a_tunnel_is_the_last_one() {
    const SMALL: &str = "frames.to_backend = { frame_max = \"100B\", message_max = \"150B\" }\n";
    const SLOW: &str = "frames.to_backend = { messages = { per_second = 1, burst = 1 }, over = \"close\" }\n";
    const QUIET: &str = "frames.to_backend = { control = { per_second = 1, burst = 1 } }\n";
    const STRICT: &str = "inspect = \"strict\"\n";
    let masked = |start: &[u8]| [start, &[0; 4]].concat();
    let part = [masked(&[0x01, 0x80 | 100]), vec![b'p'; 100]].concat();
    let ping = masked(&[0x89, 0x80]);
    // The keys, what passes, what does not, and what is told of that.
    let table = [
        (SMALL, vec![], masked(&[0x81, 0x80 | 101]), ("text", true, 0, 101)),
        (SMALL, part, masked(&[0x80, 0x80 | 51]), ("continuation", true, 0, 51)),
        (SLOW, masked(&[0x82, 0x80]), masked(&[0x82, 0x80]), ("binary", true, 0, 0)),
        (QUIET, ping.clone(), ping.clone(), ("ping", true, 0, 0)),
        (STRICT, ping.clone(), masked(&[0x93, 0x81]), ("reserved", true, 1, 1)),
        (STRICT, ping.clone(), masked(&[0x89, 0xfe, 0, 126]), ("ping", true, 0, 126)),
        (STRICT, ping.clone(), masked(&[0x0a, 0x83]), ("pong", false, 0, 3)),
        (STRICT, ping.clone(), masked(&[0x82, 0xfe, 0, 1]), ("binary", true, 0, 1)),
        (
            STRICT,
            ping.clone(),
            masked(&[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0]),
            ("binary", true, 0, 1 << 63),
        ),
        (STRICT, ping, vec![0x82, 0x01], ("binary", true, 0, 1)),
    ];
    for (keys, passes, wrong, (opcode, fin, rsv, length)) in table {
        let mut stage = Stage::set(&format!("record_frames = 9\nclose_timeout = \"200ms\"\n{keys}")).await;
        for (count, way) in Way::ALL.into_iter().enumerate() {
            let (mut client, mut backend) = stage.tunnel(way, None).await;
            // At once, and byte by byte.
            let all = [&*passes, &*wrong].concat();
            for piece in all.chunks(if count == 1 { 1 } else { 200 }) {
                client.send_raw(piece).await;
            }
            within("what passes", backend.stream.read_exact(&mut vec![0; passes.len()]))
                .await
                .expect("a live stream");
            assert_eq!(backend.receive().await.opcode, Opcode::Close, "{way:?} {wrong:x?}");
            drop((client, backend));
            let record = stage.ended(count + 1).await;
            let (expected, told) = (("to_backend".into(), opcode.into(), fin, rsv, length), frames(&record));
            assert_eq!(told.last(), Some(&expected), "{way:?} {wrong:x?} {record}");
            assert_eq!(told.len(), 1 + usize::from(!passes.is_empty()), "{way:?} {wrong:x?} {record}");
        }
    }
}

/// It is looked at twice, and came once.
#[tokio::test]
async fn a_frame_that_waits_for_its_turn_is_recorded_once() {
    let keys = "record_frames = 9\nframes.to_backend = { messages = { per_second = 10, burst = 1 } }\n";
    let mut stage = Stage::set(keys).await;
    let (mut client, mut backend) = stage.tunnel(Way::Plain, None).await;
    let all: Vec<u8> = ["a", "ab", "abc"].iter().flat_map(|text| Message::text(text).frame(true)).collect();
    client.send_raw(&all).await;
    for text in ["a", "ab", "abc"] {
        assert_eq!(backend.receive_text().await, text);
    }
    drop((client, backend));
    let lengths: Vec<u64> = frames(&stage.ended(1).await).iter().map(|frame| frame.4).collect();
    assert_eq!(lengths, [1, 2, 3]);
}

#[tokio::test]
async fn a_clean_end_and_a_route_without_it_have_none() {
    for (keys, clean) in [("record_frames = 3\n", true), ("", false)] {
        let mut stage = Stage::set(keys).await;
        let (mut client, mut backend) = stage.tunnel(Way::Plain, None).await;
        if clean {
            client.send(&Message::close(1000, "")).await;
            backend.receive().await;
            backend.send(&Message::close(1000, "")).await;
            client.receive().await;
        }
        drop((client, backend));
        let record = stage.ended(1).await;
        assert_eq!((&record["clean"], &record["frames"]), (&json!(clean), &Value::Null), "{record}");
    }
}
