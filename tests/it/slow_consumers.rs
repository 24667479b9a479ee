//! Who does not read: its tunnel ends, it is told if it takes that, and cut if it does not; the other side is told.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::kit::{Ends, Message, Stage, Way, WebSocket, Wire, within};

const KEYS: &str = "write_timeout = \"500ms\"\nclose_timeout = \"400ms\"\npings = { client = \"off\" }\n";

fn told(record: &Value) -> [&Value; 4] {
    ["reason", "initiator", "close_code", "farewell"].map(|key| &record[key])
}

/// Sends whole frames until nobody takes any; how many, and what is left of the last.
async fn fill<S: AsyncWrite + Unpin>(stream: &mut S, masks: bool) -> usize {
    let frame = Message::binary(vec![1; 60_000]).frame(masks);
    let mut written = 0;
    loop {
        let rest = &frame[written % frame.len()..];
        match timeout(Duration::from_millis(200), stream.write(rest)).await {
            Ok(Ok(count)) => written += count,
            _ => return written,
        }
    }
}

/// The side that reads nothing, and the other.
fn sides((client, backend): Ends, by_client: bool) -> [WebSocket<Box<dyn Wire>>; 2] {
    let backend = backend.boxed();
    if by_client { [client, backend] } else { [backend, client] }
}

#[tokio::test]
async fn who_takes_nothing_is_cut_and_the_other_is_told() {
    let (mut stage, mut count) = (Stage::set(KEYS).await, 0);
    for way in Way::ALL {
        for by_client in [true, false] {
            count += 1;
            let [mut slow, mut other] = sides(stage.tunnel(way, None).await, by_client);
            fill(&mut other.stream, !by_client).await;
            assert_eq!(other.receive().await, Message::close(1011, ""), "{way:?} {by_client}");
            let record = stage.ended(count).await;
            let by = if by_client { "client" } else { "backend" };
            let reason = [&record["reason"], &record["initiator"], &record["farewell"]];
            assert_eq!(reason, [&json!("slow_consumer"), &json!(by), &json!("cut")], "{way:?} {record}");
            let series = format!(
                "longhaul_tunnels_closed_total{{route=\"all\",reason=\"slow_consumer\",initiator=\"{by}\"}}"
            );
            assert!(stage.proxy.metric(&series).await >= 1.0);
            let cut = within("the end", slow.stream.read_to_end(&mut Vec::new())).await;
            cut.expect_err("a reset is an error");
        }
    }
}

/// What waits in the kernel for a slow reader is bounded: a Ping or a Close that comes behind it still gets there in time.
#[tokio::test]
async fn what_waits_in_the_kernel_is_bounded() {
    let mut taken = Vec::new();
    for unsent_max in ["64KiB", "off"] {
        let keys = "write_timeout = \"off\"\npings = { client = \"off\" }\n";
        let tcp = format!("[tcp]\nunsent_max = \"{unsent_max}\"\n");
        let mut stage = Stage::with(keys, &tcp).await;
        let (_client, mut backend) = stage.tunnel(Way::Plain, None).await;
        fill(&mut backend.stream, false).await;
        let (_, table) = stage.proxy.admin("GET", "/api/v1/tunnels").await;
        taken.push(table["tunnels"][0]["bytes_to_client"].as_u64().expect("a number"));
    }
    assert!(taken[0] < 768 << 10 && taken[1] > 2 * taken[0], "{taken:?}");
}

/// Whoever reads again in time gets what was on its way, to the end of a frame, and a Close behind it.
#[tokio::test]
async fn who_reads_after_all_is_told() {
    let keys = KEYS.replace("400ms", "10s");
    let mut stage = Stage::set(&keys).await;
    let (mut client, mut backend) = stage.tunnel(Way::Plain, None).await;
    let frame = Message::binary(vec![1; 60_000]).frame(false);
    let written = fill(&mut backend.stream, false).await;
    assert_eq!(backend.receive().await, Message::close(1011, ""));
    // To the end of the frame, behind which there is a place.
    let (reading, sending) = (
        async {
            let mut frames = 0;
            loop {
                match client.receive().await {
                    message if message == Message::close(1013, "") => return frames,
                    message => assert_eq!(message.payload.len(), 60_000),
                }
                frames += 1;
            }
        },
        async {
            let rest = &frame[written % frame.len()..];
            let _ = timeout(Duration::from_secs(5), backend.stream.write_all(rest)).await;
            backend.send(&Message::close(1011, "")).await;
        },
    );
    let (frames, ()) = tokio::join!(reading, sending);
    // What the client's side had taken before; what the backend had sent behind it is thrown away.
    assert!((1..=written / frame.len() + 1).contains(&frames), "{frames} of {written} bytes");
    client.send(&Message::close(1013, "")).await;
    drop((client, backend));
    let record = stage.ended(1).await;
    assert_eq!(
        told(&record),
        [&json!("slow_consumer"), &json!("client"), &json!(1013), &json!("sent")],
        "{record}"
    );
}

/// A byte now and then is reading: nobody is cut for being slow.
#[tokio::test]
async fn who_reads_slowly_is_left_alone() {
    let mut stage = Stage::set(&KEYS.replace("500ms", "1s")).await;
    for (way, count, pause_ms) in [(Way::Plain, 200, 100), (Way::Http2, 60, 20)] {
        let (mut client, mut backend) = stage.tunnel(way, None).await;
        let sending = async {
            let frame = Message::binary(vec![1; 60_000]).frame(false);
            for _ in 0..count {
                within("room", backend.stream.write_all(&frame)).await.expect("it is read");
            }
        };
        let reading = async {
            let mut buffer = vec![0; 4 << 20];
            let mut left = count * 60_004;
            while left > 0 {
                tokio::time::sleep(Duration::from_millis(pause_ms)).await;
                left -=
                    within("bytes", client.stream.read(&mut buffer)).await.expect("a live stream").min(left);
            }
        };
        tokio::join!(sending, reading);
    }
    let slow = "longhaul_tunnels_closed_total{route=\"all\",reason=\"slow_consumer\",initiator=\"client\"}";
    assert_eq!(stage.proxy.metric(slow).await, 0.0);
}

/// Where nothing is known of frames, both are cut.
#[tokio::test]
async fn without_frames_both_are_cut() {
    // At once: there is nobody to wait for.
    let keys = "write_timeout = \"500ms\"\nclose_timeout = \"1h\"\ninspect = \"off\"\n";
    let mut stage = Stage::set(keys).await;
    let (client, mut backend) = stage.tunnel(Way::Plain, None).await;
    fill(&mut backend.stream, false).await;
    let _ = within("the end", backend.stream.read_to_end(&mut Vec::new())).await;
    let record = stage.ended(1).await;
    assert_eq!(
        [&record["reason"], &record["initiator"]],
        [&json!("slow_consumer"), &json!("client")],
        "{record}"
    );
    drop(client);
}
