//! A tunnel is asked to go: the client gets a Close that says why, and both sides end it as RFC 6455 wants it.

use std::time::Duration;

use longhaul::proto::frame::Opcode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::kit::{Message, Stage, Way, within};

/// Orders the newest tunnel to go; `parameters` are further ones.
async fn part(stage: &Stage, parameters: &str) {
    let id = id(stage).await;
    let (status, body) =
        stage.proxy.admin("POST", &format!("/api/v1/tunnels/close?id={id}{parameters}")).await;
    assert_eq!(status, 200, "{body}");
}

/// The newest tunnel, which may enter the live table a moment after its 101.
async fn id(stage: &Stage) -> String {
    let found = async {
        loop {
            let (_, table) = stage.proxy.admin("GET", "/api/v1/tunnels").await;
            let newest = table["tunnels"].as_array().and_then(|tunnels| tunnels.last()).cloned();
            if let Some(id) = newest.and_then(|newest| Some(newest["id"].as_str()?.to_string())) {
                return id;
            }
        }
    };
    within("a tunnel in the live table", found).await
}

fn told(record: &Value) -> [&Value; 6] {
    ["reason", "initiator", "close_code", "close_initiator", "clean", "farewell"].map(|key| &record[key])
}

#[tokio::test]
async fn both_sides_close_cleanly_and_the_client_first() {
    // Each step follows the one before, not a deadline.
    let mut stage = Stage::set("close_timeout = \"1h\"\n").await;
    for (count, way) in Way::ALL.into_iter().enumerate() {
        let (mut client, mut backend) = stage.tunnel(way, None).await;
        backend.send(&Message::text("before")).await;
        assert_eq!(client.receive_text().await, "before");
        part(&stage, "&code=1012&reason=back%20in%20a%20minute").await;
        assert_eq!(client.receive().await, Message::close(1012, "back in a minute"));
        // The backend does not know yet. What it says is thrown away, what the client says arrives.
        backend.send(&Message::text("thrown away")).await;
        client.send(&Message::text("still here")).await;
        assert_eq!(backend.receive_text().await, "still here");
        client.send(&Message::close(1012, "")).await;
        assert_eq!(backend.receive().await, Message::close(1012, ""));
        backend.send(&Message::close(1012, "")).await;
        assert_eq!(within("the end", client.try_receive()).await, None, "{way:?}");
        assert_eq!(within("the end", backend.try_receive()).await, None, "{way:?}");
        let record = stage.ended(count + 1).await;
        let expected = [
            &json!("operator"),
            &json!("proxy"),
            &json!(1012),
            &json!("proxy"),
            &json!(true),
            &json!("sent"),
        ];
        assert_eq!(told(&record), expected, "{way:?} {record}");
    }
    let thrown = "longhaul_tunnel_discarded_bytes_total{route=\"all\",direction=\"to_client\"}";
    assert_eq!(stage.proxy.metric(thrown).await, 3.0 * (2.0 + 11.0 + 4.0));
}

/// What is thrown away is not held to limits, and what follows it is still seen.
#[tokio::test]
async fn what_is_thrown_away_is_not_limited() {
    let keys = "frames.to_client = { frame_max = \"10B\", control = { per_second = 1, burst = 1 } }\n";
    let mut stage = Stage::set(keys).await;
    for (count, way) in Way::ALL.into_iter().enumerate() {
        let (mut client, mut backend) = stage.tunnel(way, None).await;
        part(&stage, "&code=1012").await;
        assert_eq!(client.receive().await, Message::close(1012, ""));
        backend.send(&Message::text("more than ten bytes")).await;
        for _ in 0..3 {
            backend.send(&Message { opcode: Opcode::Ping, payload: Vec::new() }).await;
        }
        client.send(&Message::close(1012, "")).await;
        assert_eq!(backend.receive().await, Message::close(1012, ""));
        backend.send(&Message::close(1012, "")).await;
        assert_eq!(within("the end", client.try_receive()).await, None, "{way:?}");
        let record = stage.ended(count + 1).await;
        assert_eq!((&record["reason"], &record["clean"]), (&json!("operator"), &json!(true)), "{record}");
    }
}

/// Messages that come without a pause, and a message in parts: the Close stands between two frames.
#[tokio::test]
async fn the_close_finds_a_place_in_a_stream_without_pauses() {
    let mut stage = Stage::set("").await;
    for way in Way::ALL {
        let (mut client, mut backend) = stage.tunnel(way, None).await;
        let part_of_one = |payload: &[u8]| [&[0x00, 126, 0x03, 0xe8], payload].concat();
        let payload = vec![7; 1000];
        let sending = async {
            backend.stream.write_all(&[0x02, 0]).await.expect("a live stream");
            let frames = part_of_one(&payload).repeat(50);
            while backend.stream.write_all(&frames).await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        let receiving = async {
            for _ in 0..1000 {
                assert_eq!(within("a part", client.receive()).await.payload.len() % 1000, 0);
            }
            part(&stage, "&code=4000&reason=go").await;
            loop {
                let frame = client.receive().await;
                if frame.opcode == Opcode::Close {
                    assert_eq!(frame, Message::close(4000, "go"));
                    break;
                }
                assert_eq!(frame.payload, payload);
            }
            client.send(&Message::close(4000, "")).await;
        };
        tokio::select! {
            () = sending => panic!("the backend is read until it closes"),
            () = receiving => {}
        }
        let mut rest = Vec::new();
        let _ = within("nothing more", async {
            // The backend answers in its time, and goes.
            drop(backend);
            client.stream.read_to_end(&mut rest).await
        })
        .await;
        assert_eq!(rest, b"", "{way:?}");
    }
}

#[tokio::test]
async fn a_frame_that_never_ends_holds_nobody_up() {
    let mut stage = Stage::set("close_timeout = \"300ms\"\n").await;
    for (count, way) in Way::ALL.into_iter().enumerate() {
        let (mut client, mut backend) = stage.tunnel(way, None).await;
        backend.send_raw(&[0x82, 100, 1, 2, 3]).await;
        within("half a frame", client.stream.read_exact(&mut [0; 5])).await.expect("a live stream");
        part(&stage, "").await;
        // The backend can be told, and its client cannot.
        assert_eq!(backend.receive().await, Message::close(1001, ""));
        let mut rest = Vec::new();
        let _ = within("the end", client.stream.read_to_end(&mut rest)).await;
        assert_eq!(rest, b"");
        let record = stage.ended(count + 1).await;
        let (code, proxy) = (json!(1001), json!("proxy"));
        let expected = [&json!("operator"), &proxy, &code, &proxy, &json!(false), &json!("cut")];
        assert_eq!(told(&record), expected, "{way:?} {record}");
    }
}

/// Nor is a backend left with half a frame and a record that says it was told.
#[tokio::test]
async fn who_is_left_with_half_a_frame_was_cut() {
    let mut stage = Stage::set("close_timeout = \"300ms\"\n").await;
    let (mut client, mut backend) = stage.tunnel(Way::Plain, None).await;
    client.send_raw(&[0x82, 0x80 | 100, 0, 0, 0, 0, 1, 2, 3]).await;
    let mut half = [0; 9];
    within("half a frame", backend.stream.read_exact(&mut half)).await.expect("a live stream");
    part(&stage, "").await;
    assert_eq!(client.receive().await, Message::close(1001, ""));
    let mut rest = Vec::new();
    let _ = within("the end", backend.stream.read_to_end(&mut rest)).await;
    assert_eq!(rest, b"");
    let record = stage.ended(1).await;
    assert_eq!(told(&record)[2..], [&json!(1001), &json!("proxy"), &json!(false), &json!("cut")], "{record}");
}

/// But who left its own frame unended is not owed anything.
#[tokio::test]
async fn who_is_gone_was_not_cut() {
    let mut stage = Stage::set("").await;
    let (mut client, mut backend) = stage.tunnel(Way::Plain, None).await;
    client.send_raw(&[0x82, 0x80 | 100, 0, 0, 0, 0, 1, 2, 3]).await;
    within("half a frame", backend.stream.read_exact(&mut [0; 9])).await.expect("a live stream");
    drop(backend);
    assert_eq!(client.receive().await, Message::close(1011, ""));
    drop(client);
    assert_eq!(stage.ended(1).await["farewell"], "sent");
}

/// The client is asked to go, and is gone: the backend hears the same code.
#[tokio::test]
async fn a_client_that_hangs_up_instead_of_an_answer_takes_no_reason_along() {
    let mut stage = Stage::set("").await;
    for (count, way) in Way::ALL.into_iter().enumerate() {
        let (mut client, mut backend) = stage.tunnel(way, None).await;
        part(&stage, "&code=1012").await;
        assert_eq!(client.receive().await, Message::close(1012, ""));
        drop(client);
        assert_eq!(backend.receive().await, Message::close(1012, ""), "{way:?}");
        backend.send(&Message::close(1012, "")).await;
        assert_eq!(stage.ended(count + 1).await["reason"], "operator");
    }
}

/// A client that leaves when it is asked to go is not waited for.
#[tokio::test]
async fn who_leaves_need_not_answer() {
    let mut stage = Stage::set("close_timeout = \"1h\"\n").await;
    for (count, way) in Way::ALL.into_iter().enumerate() {
        let (mut client, mut backend) = stage.tunnel(way, None).await;
        part(&stage, "&code=1012").await;
        assert_eq!(client.receive().await, Message::close(1012, ""));
        client.stream.shutdown().await.expect("a live stream");
        assert_eq!(backend.receive().await.opcode, Opcode::Close, "{way:?}");
        backend.send(&Message::close(1000, "")).await;
        assert_eq!(within("the end", backend.try_receive()).await, None);
        assert_eq!(stage.ended(count + 1).await["reason"], "operator", "{way:?}");
    }
}

/// A client that does not answer: its backend is told all the same, and gets its time.
#[tokio::test]
async fn who_does_not_answer_is_left() {
    let mut stage = Stage::set("close_timeout = \"300ms\"\n").await;
    for (count, way) in Way::ALL.into_iter().enumerate() {
        let (mut client, mut backend) = stage.tunnel(way, None).await;
        part(&stage, "&code=1001&reason=bye").await;
        assert_eq!(client.receive().await, Message::close(1001, "bye"));
        assert_eq!(backend.receive().await, Message::close(1001, "bye"));
        backend.send(&Message::close(1001, "")).await;
        assert_eq!(within("the end", backend.try_receive()).await, None);
        assert_eq!(within("the end", client.try_receive()).await, None);
        let record = stage.ended(count + 1).await;
        let expected = [
            &json!("operator"),
            &json!("proxy"),
            &json!(1001),
            &json!("proxy"),
            &json!(false),
            &json!("sent"),
        ];
        assert_eq!(told(&record), expected, "{way:?} {record}");
    }
}

/// A reader that is stopped has not taken its Close: it is cut.
#[tokio::test]
async fn a_client_that_does_not_read_is_cut() {
    let mut stage = Stage::set("close_timeout = \"300ms\"\n").await;
    let (client, mut backend) = stage.tunnel(Way::Plain, None).await;
    let frame = Message::binary(vec![1; 60_000]).frame(false);
    while timeout(Duration::from_millis(400), backend.stream.write_all(&frame)).await.is_ok() {}
    part(&stage, "").await;
    let record = stage.ended(1).await;
    assert_eq!((&record["reason"], &record["farewell"]), (&json!("operator"), &json!("cut")), "{record}");
    drop(client);
}

#[tokio::test]
async fn where_frames_are_not_read_the_tunnel_just_ends() {
    let mut stage = Stage::set("inspect = \"off\"\nclose_timeout = \"1h\"\n").await;
    let (mut client, mut backend) = stage.tunnel(Way::Plain, None).await;
    part(&stage, "").await;
    assert_eq!(within("the end", client.try_receive()).await, None);
    assert_eq!(within("the end", backend.try_receive()).await, None);
    let record = stage.ended(1).await;
    assert_eq!((&record["reason"], &record["close_code"]), (&json!("operator"), &Value::Null), "{record}");
    // There is nothing that could have been said.
    assert_eq!(record["farewell"], Value::Null, "{record}");
    assert_eq!(stage.proxy.metric("longhaul_tunnel_farewells_total").await, 0.0);
}

#[tokio::test]
async fn orders_that_cannot_be_are_refused() {
    let mut stage = Stage::set("").await;
    let (_client, _backend) = stage.tunnel(Way::Plain, None).await;
    let id = id(&stage).await;
    for (query, expected, problem) in [
        ("".to_string(), 400, "id is the id of a tunnel"),
        ("id=nobody".into(), 400, "id is the id of a tunnel"),
        ("id=00000000000001".into(), 404, "no such tunnel"),
        (format!("id={id}&code=1005"), 400, "code is a Close code"),
        (format!("id={id}&code=99999"), 400, "code is a Close code"),
        (format!("id={id}&reason={}", "x".repeat(124)), 400, "\"reason has 123 bytes at most: no more fit"),
        (format!("id={id}&why=not"), 400, "the parameters are"),
    ] {
        let (status, body) = stage.proxy.admin("POST", &format!("/api/v1/tunnels/close?{query}")).await;
        assert_eq!(status, expected, "{query} {body}");
        assert!(body.to_string().contains(problem), "{query} {body}");
    }
    let (_, table) = stage.proxy.admin("GET", "/api/v1/tunnels").await;
    assert_eq!(table["total"], 1);
}
