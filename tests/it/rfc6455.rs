//! A walk through RFC 6455 with frames made by hand: what each side sends reaches the other byte for byte, right or wrong,
//! with frames watched and without; and what was seen of it is true.

mod cases;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use self::cases::{Case, all};
use crate::kit::{Message, Stage, Way, WebSocket, Wire, within};

/// Sends `bytes` in pieces; each must have come to the other end, as it is, before the next is sent.
async fn pass<A: Wire, B: Wire>(
    from: &mut WebSocket<A>,
    to: &mut WebSocket<B>,
    bytes: &[u8],
    way: Way,
    what: &str,
) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let sent = bytes.len() - rest.len();
        let count = match way {
            // Every cut within a header and the start of its payload, then all but the end.
            Way::Plain if sent < 20 || rest.len() < 4 => 1,
            Way::Plain => rest.len() - 3,
            Way::Tls => rest.len().min(bytes.len().div_ceil(2)),
            Way::Http2 => rest.len(),
        };
        let (piece, after) = rest.split_at(count);
        let mut seen = vec![0; count];
        let read = within(what, to.stream.read_exact(&mut seen));
        let (read, ()) = tokio::join!(read, from.send_raw(piece));
        read.expect("a live stream");
        assert!(seen == piece, "{what}: behind {sent} bytes");
        rest = after;
    }
}

fn encode(case: &Case, by_client: bool) -> Vec<u8> {
    let key = by_client.then_some(case.key);
    let mut bytes: Vec<u8> = case.frames.iter().flat_map(|frame| frame.encode(key)).collect();
    bytes.truncate(bytes.len() - case.missing);
    bytes
}

/// Lets `from` leave without a word behind the bytes of `case`. `to` is told so if frames are `watched`, and if it stands
/// where a frame may begin.
async fn leave<A: Wire, B: Wire>(
    mut from: WebSocket<A>,
    mut to: WebSocket<B>,
    case: &Case,
    watched: bool,
    what: &str,
) {
    let _ = from.stream.shutdown().await;
    if watched && case.violation.is_none() && case.close.is_none() && case.missing == 0 {
        assert_eq!(to.receive().await, Message::close(1011, ""), "{what}");
    } else {
        let mut rest = Vec::new();
        let _ = within(what, to.stream.read_to_end(&mut rest)).await;
        assert_eq!(rest, b"", "{what}");
    }
}

/// Plays `case` from one side to the other. Returns the record of the end.
async fn play(stage: &mut Stage, case: &Case, way: Way, by_client: bool, watched: bool) -> Value {
    let lines = stage.proxy.log_length();
    let (mut client, mut backend) = stage.tunnel(way, case.extension).await;
    let bytes = encode(case, by_client);
    let what = format!("{} ({way:?}, client: {by_client}, watched: {watched})", case.what);
    if by_client {
        pass(&mut client, &mut backend, &bytes, way, &what).await;
        leave(client, backend, case, watched, &what).await;
    } else {
        pass(&mut backend, &mut client, &bytes, way, &what).await;
        leave(backend, client, case, watched, &what).await;
    }
    stage.ended_behind(lines, 1).await
}

async fn walk(watched: bool) {
    let inspect = if watched { "observe" } else { "off" };
    let mut stage = Stage::set(&format!("inspect = \"{inspect}\"\n")).await;
    for case in all() {
        for way in Way::ALL {
            for by_client in [true, false] {
                let record = play(&mut stage, &case, way, by_client, watched).await;
                let direction = if by_client { "messages_to_backend" } else { "messages_to_client" };
                let (messages, violation) = if watched { (case.messages, case.violation) } else { (0, None) };
                let found = (&record[direction], &record["violation"]);
                assert_eq!(found, (&json!(messages), &json!(violation)), "{way:?} {} {record}", case.what);
                if let Some(code) = case.close.filter(|_| watched) {
                    let side = if by_client { "client" } else { "backend" };
                    let found = (&record["close_code"], &record["close_initiator"]);
                    assert_eq!(found, (&json!(code), &json!(side)), "{way:?} {} {record}", case.what);
                }
            }
        }
    }
}

#[tokio::test]
async fn every_frame_passes_as_it_is_where_frames_are_watched() {
    walk(true).await;
}

#[tokio::test]
async fn every_frame_passes_as_it_is_where_they_are_not() {
    walk(false).await;
}
