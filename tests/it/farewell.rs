//! Whoever is left learns by a Close frame that the other side is gone, or that the rules were broken; or is cut, and the
//! ending says so.

use std::time::Duration;

use serde_json::{Value, json};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::kit::{Message, Stage, Way, WebSocket, Wire, within};

type Front = WebSocket<Box<dyn Wire>>;
type Back = WebSocket<TcpStream>;

fn reset(backend: Back) {
    SockRef::from(&backend.stream).set_linger(Some(Duration::ZERO)).expect("a live socket");
}

fn farewells(result: &str) -> String {
    format!("longhaul_tunnel_farewells_total{{route=\"all\",result=\"{result}\"}}")
}

/// What the records say: reason and initiator, and what became of who was left.
fn told(record: &Value) -> [&Value; 6] {
    ["reason", "initiator", "close_code", "close_initiator", "clean", "farewell"].map(|key| &record[key])
}

#[tokio::test]
async fn a_client_learns_that_its_backend_is_gone() {
    let mut stage = Stage::set("").await;
    let mut count = 0;
    for way in Way::ALL {
        for (reason, leave) in [("reset", reset as fn(Back)), ("ended", drop)] {
            count += 1;
            let (mut client, mut backend) = stage.tunnel(way, None).await;
            backend.send(&Message::text("my last")).await;
            assert_eq!(client.receive_text().await, "my last");
            leave(backend);
            assert_eq!(client.receive().await, Message::close(1011, ""), "{way:?} {reason}");
            client.send(&Message::text("nobody reads this")).await;
            client.send(&Message::close(1011, "")).await;
            assert_eq!(within("the end", client.try_receive()).await, None);
            drop(client);
            let record = stage.ended(count).await;
            let expected = [
                &json!(reason),
                &json!("backend"),
                &json!(1011),
                &json!("proxy"),
                &json!(false),
                &json!("sent"),
            ];
            assert_eq!(told(&record), expected, "{way:?} {record}");
        }
    }
    assert_eq!(stage.proxy.metric(&farewells("sent")).await, f64::from(count as u32));
    assert_eq!(stage.proxy.metric(&farewells("cut")).await, 0.0);
}

#[tokio::test]
async fn a_backend_learns_that_its_client_is_gone() {
    let mut stage = Stage::set("").await;
    for (count, (way, reason)) in Way::ALL.into_iter().zip(["ended", "truncated", "reset"]).enumerate() {
        let (mut client, mut backend) = stage.tunnel(way, None).await;
        client.send(&Message::text("my last")).await;
        assert_eq!(backend.receive_text().await, "my last");
        drop(client);
        assert_eq!(backend.receive().await, Message::close(1011, ""), "{way:?}");
        backend.send(&Message::text("nobody reads this")).await;
        backend.send(&Message::close(1011, "")).await;
        assert_eq!(within("the end", backend.try_receive()).await, None);
        drop(backend);
        let record = stage.ended(count + 1).await;
        let expected =
            [&json!(reason), &json!("client"), &json!(1011), &json!("proxy"), &json!(false), &json!("sent")];
        assert_eq!(told(&record), expected, "{way:?} {record}");
    }
}

/// A side that closes, of which the other just hangs up, gets its own Close back.
#[tokio::test]
async fn a_close_that_nobody_answers_is_answered() {
    let mut stage = Stage::set("").await;
    let mut count = 0;
    for way in Way::ALL {
        for (reason, leave) in [("reset", reset as fn(Back)), ("ended", drop)] {
            count += 1;
            let (mut client, mut backend) = stage.tunnel(way, None).await;
            client.send(&Message::close(4999, "bye")).await;
            assert_eq!(backend.receive().await, Message::close(4999, "bye"));
            leave(backend);
            assert_eq!(client.receive().await, Message::close(4999, ""), "{way:?} {reason}");
            assert_eq!(within("the end", client.try_receive()).await, None);
            drop(client);
            let record = stage.ended(count).await;
            let (code, client) = (json!(4999), json!("client"));
            let expected = [&code, &client, &json!(false), &json!("sent")];
            assert_eq!(told(&record)[2..], expected, "{way:?} {record}");
        }
    }
    for (payload, answer) in [(&[][..], 1000), (&[0x03, 0xed], 1002)] {
        count += 1;
        let (mut client, mut backend) = stage.tunnel(Way::Plain, None).await;
        let close = [&[0x88, payload.len() as u8], payload].concat();
        backend.send_raw(&close).await;
        within("a Close", client.stream.read_exact(&mut vec![0; close.len()])).await.expect("a live stream");
        drop(client);
        assert_eq!(backend.receive().await, Message::close(answer, ""));
        drop(backend);
        stage.ended(count).await;
    }
}

/// Who does not answer the Close gets the end in time.
#[tokio::test]
async fn an_answer_is_awaited_for_close_timeout() {
    let mut stage = Stage::set("close_timeout = \"200ms\"\n").await;
    for (count, way) in Way::ALL.into_iter().enumerate() {
        let (mut client, backend) = stage.tunnel(way, None).await;
        reset(backend);
        assert_eq!(client.receive().await, Message::close(1011, ""));
        assert_eq!(within("the end", client.try_receive()).await, None);
        assert_eq!(stage.ended(count + 1).await["farewell"], "sent");
    }
}

/// Half a frame cannot be followed by another: a reset is a reset then, and an end an end.
#[tokio::test]
async fn who_stands_within_a_frame_is_cut() {
    let mut stage = Stage::set("").await;
    for (count, way) in Way::ALL.into_iter().enumerate() {
        let (mut client, mut backend) = stage.tunnel(way, None).await;
        backend.send_raw(&[0x82, 100, 1, 2, 3]).await;
        let mut half = [0; 5];
        within("half a frame", client.stream.read_exact(&mut half)).await.expect("a live stream");
        reset(backend);
        within("a reset", client.stream.read(&mut [0])).await.expect_err("a reset is an error");
        let record = stage.ended(count + 1).await;
        let none = Value::Null;
        let expected = [&json!("reset"), &json!("backend"), &none, &none, &json!(false), &json!("cut")];
        assert_eq!(told(&record), expected, "{way:?} {record}");
    }
    assert_eq!(stage.proxy.metric(&farewells("cut")).await, 3.0);
    let none =
        "longhaul_tunnel_closes_total{route=\"all\",code=\"none\",initiator=\"backend\",clean=\"false\"}";
    assert_eq!(stage.proxy.metric(none).await, 3.0);
}

/// What has been closed by one side is not closed once more, but answered.
#[tokio::test]
async fn nothing_but_an_answer_follows_a_close() {
    let mut stage = Stage::set("").await;
    let (mut client, mut backend) = stage.tunnel(Way::Plain, None).await;
    backend.send(&Message::close(4000, "")).await;
    backend.stream.shutdown().await.expect("a live stream");
    assert_eq!(client.receive().await, Message::close(4000, ""));
    assert_eq!(within("the end", client.try_receive()).await, None);
    client.stream.shutdown().await.expect("a live stream");
    assert_eq!(backend.receive().await, Message::close(4000, ""));
    assert_eq!(within("the end", backend.try_receive()).await, None);
    drop((client, backend));
    let record = stage.ended(1).await;
    assert_eq!(told(&record)[..3], [&json!("ended"), &json!("backend"), &json!(4000)], "{record}");
}

#[tokio::test]
async fn while_the_backend_drains_its_end_is_a_restart() {
    let mut stage = Stage::set("").await;
    let (mut client, backend) = stage.tunnel(Way::Plain, None).await;
    let order = format!("/api/v1/backends/state?pool=all&backend={}&state=draining", stage.backend.address);
    assert_eq!(stage.proxy.admin("POST", &order).await.0, 200);
    drop(backend);
    assert_eq!(client.receive().await, Message::close(1012, ""));
}

fn raw(first: u8, payload: &[u8], masked: bool) -> Vec<u8> {
    let mut bytes = vec![first, u8::try_from(payload.len()).expect("a short frame") | u8::from(masked) << 7];
    bytes.resize(if masked { 6 } else { 2 }, 0);
    bytes.extend_from_slice(payload);
    bytes
}

/// The Close that both get, and what else a side got before it.
async fn refused(client: &mut Front, backend: &mut Back, to_backend: &[u8], to_client: &[u8]) {
    let mut seen = vec![0; to_backend.len()];
    within("what came before", backend.stream.read_exact(&mut seen)).await.expect("a live stream");
    assert_eq!(seen, to_backend);
    let mut seen = vec![0; to_client.len()];
    within("what came before", client.stream.read_exact(&mut seen)).await.expect("a live stream");
    assert_eq!(seen, to_client);
    assert_eq!(backend.receive().await, Message::close(1002, ""));
    assert_eq!(client.receive().await, Message::close(1002, ""));
}

#[tokio::test]
async fn strict_ends_tunnels_for_who_breaks_the_rules() {
    let mut stage = Stage::set("inspect = \"strict\"\nclose_timeout = \"1h\"\n").await;
    let table: [(Vec<u8>, &str, bool); 10] = [
        (raw(0x83, b"", true), "reserved_opcode", true),
        (raw(0xc1, b"", true), "reserved_bits", true),
        (raw(0x81, b"", false), "mask_missing", true),
        (raw(0x81, b"", true), "mask_present", false),
        (raw(0x09, b"", true), "control_fragmented", true),
        (vec![0x89, 0xfe, 0, 126, 0, 0, 0, 0, 7], "control_too_long", true),
        (raw(0x80, b"", true), "continuation_without_start", true),
        (raw(0x81, b"b", true), "start_inside_message", true),
        (vec![0x82, 0xfe, 0, 1, 0, 0, 0, 0, 7], "length_not_minimal", true),
        (vec![0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "length_too_large", true),
    ];
    let mut count = 0;
    for (wrong, kind, by_client) in table {
        for (way, slowly) in Way::ALL.into_iter().zip([true, false, true]) {
            count += 1;
            let (mut client, mut backend) = stage.tunnel(way, None).await;
            let first = if kind == "start_inside_message" { 0x01 } else { 0x81 };
            let before = raw(first, b"before", by_client);
            let bytes = [&*before, &wrong, b"behind"].concat();
            // Each byte by itself, or all at once.
            for piece in bytes.chunks(if slowly { 1 } else { bytes.len() }) {
                let sent = match by_client {
                    true => client.stream.write_all(piece).await,
                    false => backend.stream.write_all(piece).await,
                };
                // It may be over before the last of them.
                if sent.is_err() {
                    break;
                }
                let _ = client.stream.flush().await;
            }
            let (up, down) = if by_client { (&*before, &[][..]) } else { (&[][..], &*before) };
            refused(&mut client, &mut backend, up, down).await;
            backend.send(&Message::close(1002, "")).await;
            if !by_client {
                client.send(&Message::close(1002, "")).await;
            }
            let record = stage.ended(count).await;
            let by = if by_client { "client" } else { "backend" };
            let expected = [
                &json!("violation"),
                &json!(by),
                &json!(1002),
                &json!("proxy"),
                &json!(false),
                &json!("sent"),
            ];
            assert_eq!(told(&record), expected, "{kind} {way:?} {record}");
        }
        let direction = if by_client { "to_backend" } else { "to_client" };
        let series = format!(
            "longhaul_tunnel_violations_total{{route=\"all\",direction=\"{direction}\",kind=\"{kind}\"}}"
        );
        assert_eq!(stage.proxy.metric(&series).await, 3.0, "{kind}");
    }
}

/// An extension could give reserved bits and opcodes any meaning: neither end is offered one that nobody here knows.
#[tokio::test]
async fn strict_offers_no_unknown_extension() {
    let mut stage = Stage::set("inspect = \"strict\"\nclose_timeout = \"200ms\"\n").await;
    for (offered, arrives) in
        [("x-foo", None), ("x-foo, permessage-deflate; a=1", Some("permessage-deflate; a=1"))]
    {
        let mut client = stage.proxy.connect("plain").await;
        let lines = format!("Sec-WebSocket-Extensions: {offered}\r\n");
        client.send(crate::kit::handshake("/", "example.com", &lines)).await;
        let call = stage.call().await;
        assert_eq!(call.head.get("sec-websocket-extensions"), arrives);
        let mut backend = call.accept("").await;
        assert_eq!(client.head().await.status(), 101);
        client.send(raw(0x83, b"", true)).await;
        assert_eq!(backend.receive().await, Message::close(1002, ""));
    }
    // One that agrees to it all the same agrees to what was not offered.
    let mut client = stage.proxy.connect("plain").await;
    let lines = "Sec-WebSocket-Extensions: x-foo\r\n";
    client.send(crate::kit::handshake("/", "example.com", lines)).await;
    let _backend = stage.call().await.accept(lines).await;
    assert_eq!(client.head().await.status(), 502);
}

/// What follows the source's own Close is thrown away, right or wrong, and the end is as clean as without it.
#[tokio::test]
async fn strict_passes_nothing_behind_a_close() {
    let mut stage = Stage::set("inspect = \"strict\"\n").await;
    for (count, way) in Way::ALL.into_iter().enumerate() {
        let (mut client, mut backend) = stage.tunnel(way, None).await;
        let close = raw(0x88, b"\x03\xe8", true);
        let behind = [raw(0x81, b"behind", true), raw(0x83, b"", true), raw(0x82, b"", false)].concat();
        client.send_raw(&[&*close, &*behind].concat()).await;
        assert_eq!(backend.receive().await, Message::close(1000, ""));
        client.send_raw(&behind).await;
        // The other direction is still read.
        backend.send(&Message::text("behind")).await;
        backend.send(&Message::close(1000, "")).await;
        assert_eq!(client.receive_text().await, "behind");
        assert_eq!(client.receive().await, Message::close(1000, ""));
        backend.stream.shutdown().await.expect("a live stream");
        assert_eq!(within("the end", client.try_receive()).await, None, "{way:?}");
        drop((client, backend));
        let record = stage.ended(count + 1).await;
        let expected = [&json!("closed"), &json!("client"), &json!(1000), &json!("client"), &json!(true)];
        assert_eq!(told(&record)[..5], expected, "{way:?} {record}");
        assert_eq!(record["messages_to_backend"], 0, "{record}");
    }
    let thrown = "longhaul_tunnel_discarded_bytes_total{route=\"all\",direction=\"to_backend\"}";
    assert_eq!(stage.proxy.metric(thrown).await, 3.0 * 2.0 * (12.0 + 6.0 + 2.0));
    assert_eq!(stage.proxy.metric("longhaul_tunnel_violations_total").await, 0.0);
}

/// What is right passes as it is, however it is cut.
#[tokio::test]
async fn strict_passes_what_is_right() {
    let mut stage = Stage::set("inspect = \"strict\"\n").await;
    for way in Way::ALL {
        let (mut client, mut backend) = stage.tunnel(way, Some("permessage-deflate")).await;
        let frames = [
            raw(0xc1, b"one", true),
            raw(0x02, b"two", true),
            raw(0x89, b"ping", true),
            raw(0x80, b"", true),
            [vec![0x82, 0xfe, 0, 126, 0, 0, 0, 0], vec![5; 126]].concat(),
            raw(0x88, b"\x03\xe8", true),
        ]
        .concat();
        for piece in frames.chunks(3) {
            client.send_raw(piece).await;
        }
        let mut seen = vec![0; frames.len()];
        within("all of it", backend.stream.read_exact(&mut seen)).await.expect("a live stream");
        assert_eq!(seen, frames);
    }
}
