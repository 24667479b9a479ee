//! What is known of the frames that pass: counts, sizes, Close codes, and who broke the rules; on every way the same.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::kit::{Ends, Message, Stage, Way, within};

/// Who is told of the other's end may not answer.
const SOON: &str = "close_timeout = \"200ms\"\n";

/// A frame that need not be valid; a mask of zeros leaves its payload as it is.
fn raw(first: u8, payload: &[u8], masked: bool) -> Vec<u8> {
    let mut bytes = vec![first, u8::try_from(payload.len()).expect("a short frame") | u8::from(masked) << 7];
    bytes.resize(if masked { 6 } else { 2 }, 0);
    bytes.extend_from_slice(payload);
    bytes
}

fn series(name: &str, labels: &str) -> String {
    format!("longhaul_tunnel_{name}{{route=\"all\",{labels}}}")
}

/// The only tunnel's row in the live table, as soon as this holds of it.
async fn row(stage: &Stage, wanted: impl Fn(&Value) -> bool) -> Value {
    let found = async {
        loop {
            let (_, table) = stage.proxy.admin("GET", "/api/v1/tunnels").await;
            if wanted(&table["tunnels"][0]) {
                return table["tunnels"][0].clone();
            }
        }
    };
    within("a row of the live table", found).await
}

/// Sends everything to the other end, which must get it as it is.
async fn pass((client, backend): &mut Ends, up: &[u8], down: &[u8]) {
    let (mut at_backend, mut at_client) = (vec![0; up.len()], vec![0; down.len()]);
    client.send_raw(up).await;
    backend.send_raw(down).await;
    within("what the client sent", backend.stream.read_exact(&mut at_backend)).await.expect("a live stream");
    within("what the backend sent", client.stream.read_exact(&mut at_client)).await.expect("a live stream");
    assert_eq!((&*at_backend, &*at_client), (up, down));
}

/// Leaves without a word, the client first.
async fn part((mut client, mut backend): Ends) {
    let _ = client.stream.shutdown().await;
    drop(client);
    let _ = within("the end", backend.stream.read_to_end(&mut Vec::new())).await;
}

#[tokio::test]
async fn messages_and_control_frames_are_counted_by_what_they_are() {
    let mut stage = Stage::set(SOON).await;
    for (round, way) in [1.0, 2.0, 3.0].into_iter().zip(Way::ALL) {
        let mut ends = stage.tunnel(way, None).await;
        let up = [
            raw(0x81, b"one", true),
            raw(0x02, b"two", true),
            raw(0x89, b"ping", true),
            raw(0x00, b"", true),
            raw(0x80, &[7; 120], true),
        ]
        .concat();
        let down = [raw(0x82, b"", false), raw(0x8a, b"ping", false), raw(0x8a, b"", false)].concat();
        pass(&mut ends, &up, &down).await;
        let counted = |row: &Value| row["to_backend"]["pings"] == 1 && row["to_client"]["pongs"] == 2;
        let row = row(&stage, counted).await;
        let (to_backend, to_client) = (
            json!({
                "bytes": up.len(), "text_messages": 1, "binary_messages": 1, "pings": 1, "pongs": 0,
                "closed": false, "close_code": null,
            }),
            json!({
                "bytes": down.len(), "text_messages": 0, "binary_messages": 1, "pings": 0, "pongs": 2,
                "closed": false, "close_code": null,
            }),
        );
        assert_eq!((&row["to_backend"], &row["to_client"]), (&to_backend, &to_client), "{way:?}");
        for (name, labels, count) in [
            ("messages_total", "direction=\"to_backend\",opcode=\"text\"", 1.0),
            ("messages_total", "direction=\"to_backend\",opcode=\"binary\"", 1.0),
            ("messages_total", "direction=\"to_client\",opcode=\"text\"", 0.0),
            ("messages_total", "direction=\"to_client\",opcode=\"binary\"", 1.0),
            ("control_frames_total", "direction=\"to_backend\",opcode=\"ping\"", 1.0),
            ("control_frames_total", "direction=\"to_backend\",opcode=\"pong\"", 0.0),
            ("control_frames_total", "direction=\"to_client\",opcode=\"pong\"", 2.0),
            ("message_bytes_count", "direction=\"to_backend\"", 2.0),
            ("message_bytes_sum", "direction=\"to_backend\"", 126.0),
            ("message_bytes_bucket", "direction=\"to_backend\",le=\"64\"", 1.0),
            ("message_bytes_bucket", "direction=\"to_backend\",le=\"256\"", 2.0),
            ("message_bytes_count", "direction=\"to_client\"", 1.0),
        ] {
            let series = series(name, labels);
            assert_eq!(stage.proxy.metric(&series).await, count * round, "{way:?} {series}");
        }
        part(ends).await;
        stage.proxy.wait_metric("longhaul_tunnels_active{route=\"all\"}", 0.0).await;
    }
}

#[tokio::test]
async fn closes_are_accounted_by_code_initiator_and_whether_both_closed() {
    let mut stage = Stage::set(SOON).await;
    let code = |code: u16| Some(code.to_be_bytes().to_vec());
    let mut count = 0;
    // What is sent first, by whom, whether it is answered; the label of it.
    for (payload, by_client, answered, label) in [
        (code(1000), true, true, "1000"),
        (code(1001), false, true, "1001"),
        (code(3999), true, true, "3xxx"),
        (code(4001), false, true, "4xxx"),
        (code(1005), true, true, "other"),
        (code(999), false, true, "other"),
        (Some(Vec::new()), true, true, "empty"),
        (code(1013), true, false, "1013"),
        (code(1014), false, false, "1014"),
        // Whoever is left is told.
        (None, true, false, "1011"),
        (None, false, false, "1011"),
    ] {
        for way in Way::ALL {
            count += 1;
            let (mut client, mut backend) = stage.tunnel(way, None).await;
            let close = payload.clone().map(|payload| raw(0x88, &payload, by_client)).unwrap_or_default();
            let (answer_up, answer_down) = (raw(0x88, b"\x03\xe8", true), raw(0x88, b"\x03\xe8", false));
            if by_client {
                client.send_raw(&close).await;
                let mut seen = vec![0; close.len()];
                within("a Close", backend.stream.read_exact(&mut seen)).await.expect("a live stream");
                if answered {
                    backend.send_raw(&answer_down).await;
                    client.receive().await;
                }
                client.stream.shutdown().await.expect("a live stream");
                drop(client);
                let _ = within("the end", backend.stream.read_to_end(&mut Vec::new())).await;
                drop(backend);
            } else {
                backend.send_raw(&close).await;
                let mut seen = vec![0; close.len()];
                within("a Close", client.stream.read_exact(&mut seen)).await.expect("a live stream");
                if answered {
                    client.send_raw(&answer_up).await;
                    backend.receive().await;
                }
                drop(backend);
                let _ = within("the end", client.stream.read_to_end(&mut Vec::new())).await;
                let _ = client.stream.shutdown().await;
            }
            let record = stage.ended(count).await;
            let initiator = if by_client { "client" } else { "backend" };
            assert_eq!(record["clean"], answered, "{way:?} {record}");
            let (told, told_by) = (Some([3, 0xf3]), if payload.is_some() { initiator } else { "proxy" });
            let sent =
                payload.as_deref().map_or(told, |payload| payload.try_into().ok()).map(u16::from_be_bytes);
            assert_eq!(record["close_code"], json!(sent), "{way:?} {record}");
            assert_eq!(record["close_initiator"], told_by, "{way:?} {record}");
            let labels = format!("code=\"{label}\",initiator=\"{told_by}\",clean=\"{answered}\"");
            assert!(stage.proxy.metric(&series("closes_total", &labels)).await >= 1.0, "{way:?} {labels}");
        }
    }
    assert_eq!(stage.proxy.metric("longhaul_tunnel_closes_total").await, f64::from(count as u32));
}

#[tokio::test]
async fn a_close_shows_in_the_live_table_before_the_tunnel_ends() {
    let mut stage = Stage::set(SOON).await;
    let (mut client, mut backend) = stage.tunnel(Way::Plain, None).await;
    client.send(&Message::close(4321, "so long")).await;
    assert_eq!(backend.receive().await, Message::close(4321, "so long"));
    let row = row(&stage, |row| row["to_backend"]["closed"] == true).await;
    assert_eq!(
        (&row["to_backend"]["close_code"], &row["to_client"]["closed"]),
        (&json!(4321), &json!(false))
    );
}

#[tokio::test]
async fn a_direction_that_breaks_the_rules_is_told_once_and_passes_unread() {
    let mut stage = Stage::set(SOON).await;
    let mut count = 0;
    // What a client sends, the kind, whether a backend may say the same without a mask.
    let table: [(Vec<u8>, &str, bool); 8] = [
        (raw(0x83, b"", true), "reserved_opcode", true),
        (raw(0xc1, b"", true), "reserved_bits", true),
        (raw(0x81, b"", false), "mask_missing", false),
        (raw(0x09, b"", true), "control_fragmented", true),
        ([vec![0x89, 0xfe, 0, 126, 0, 0, 0, 0], vec![1; 126]].concat(), "control_too_long", false),
        (raw(0x80, b"", true), "continuation_without_start", true),
        ([raw(0x01, b"a", true), raw(0x81, b"b", true)].concat(), "start_inside_message", false),
        (vec![0x82, 0xfe, 0, 1, 0, 0, 0, 0, 7], "length_not_minimal", false),
    ];
    let after = raw(0x81, b"after", true);
    for (wrong, kind, same_for_backends) in table {
        for way in Way::ALL {
            count += 1;
            let mut ends = stage.tunnel(way, None).await;
            let up = [raw(0x81, b"before", true), wrong.clone(), after.clone()].concat();
            let down = if same_for_backends { raw(wrong[0], b"", false) } else { raw(0x81, b"fine", false) };
            pass(&mut ends, &up, &down).await;
            part(ends).await;
            let record = stage.ended(count).await;
            assert!(record["violation"].is_string(), "{kind} {record}");
            assert_eq!(record["messages_to_backend"], 1, "{kind} {record}");
        }
        let of = |direction| format!("direction=\"{direction}\",kind=\"{kind}\"");
        let counts = ["to_backend", "to_client"].map(|way| series("violations_total", &of(way)));
        assert_eq!(stage.proxy.metric(&counts[0]).await, 3.0, "{kind}");
        assert_eq!(stage.proxy.metric(&counts[1]).await, if same_for_backends { 3.0 } else { 0.0 }, "{kind}");
    }
    let mut ends = stage.tunnel(Way::Plain, None).await;
    pass(&mut ends, &after, &raw(0x81, b"masked", true)).await;
    let masked = series("violations_total", "direction=\"to_client\",kind=\"mask_present\"");
    stage.proxy.wait_metric(&masked, 1.0).await;
}

#[tokio::test]
async fn off_is_a_pipe_of_which_only_bytes_are_known() {
    let mut stage = Stage::set("inspect = \"off\"\n").await;
    for way in Way::ALL {
        let mut ends = stage.tunnel(way, None).await;
        pass(&mut ends, b"nothing that RFC 6455 knows", &raw(0x88, b"\x03\xe8", false)).await;
        let row = row(&stage, |row| row["bytes_to_client"] == 4).await;
        assert_eq!((&row["bytes_to_backend"], &row["to_client"]["closed"]), (&json!(27), &json!(false)));
        part(ends).await;
        stage.proxy.wait_metric("longhaul_tunnels_active{route=\"all\"}", 0.0).await;
    }
    assert_eq!(stage.proxy.metric("longhaul_tunnel_messages_total").await, 0.0);
    assert_eq!(stage.proxy.metric("longhaul_tunnel_violations_total").await, 0.0);
    let none = series("closes_total", "code=\"none\",initiator=\"client\",clean=\"false\"");
    assert_eq!(stage.proxy.metric(&none).await, 3.0);
}
