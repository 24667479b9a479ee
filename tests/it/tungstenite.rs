//! tungstenite at both ends: a library with rules of its own, which it enforces.

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame};
use tokio_tungstenite::tungstenite::protocol::{Message, Role};

use crate::kit::{Stage, Way, Wire, within};

type Client = WebSocketStream<Box<dyn Wire>>;

/// Opens a tunnel; the backend sends every message back.
async fn open(stage: &mut Stage, way: Way) -> Client {
    let (client, backend) = stage.tunnel(way, None).await;
    tokio::spawn(async move {
        let mut backend = WebSocketStream::from_raw_socket(backend.stream, Role::Server, None).await;
        while let Some(Ok(message)) = backend.next().await {
            if (message.is_text() || message.is_binary()) && backend.send(message).await.is_err() {
                break;
            }
        }
    });
    WebSocketStream::from_raw_socket(client.stream, Role::Client, None).await
}

async fn next(socket: &mut WebSocketStream<impl AsyncRead + AsyncWrite + Unpin>) -> Message {
    within("a message", socket.next()).await.expect("a live tunnel").expect("valid frames")
}

#[tokio::test]
async fn messages_of_every_form_come_back() {
    for inspect in ["observe", "strict", "off"] {
        let mut stage = Stage::set(&format!("inspect = \"{inspect}\"\n")).await;
        for way in Way::ALL {
            let mut client = open(&mut stage, way).await;
            for count in [0, 125, 126, 65_535, 65_536, 300_000] {
                let messages = [Message::binary(vec![7; count]), Message::text("é".repeat(count / 2))];
                for message in messages {
                    client.send(message.clone()).await.expect("a live tunnel");
                    assert!(next(&mut client).await == message, "{inspect} {way:?} {count}");
                }
            }
            let parts = [(OpCode::Data(Data::Text), "in "), (OpCode::Data(Data::Continue), "parts")];
            for ((opcode, part), is_last) in parts.into_iter().zip([false, true]) {
                let frame = Frame::message(part, opcode, is_last);
                client.send(Message::Frame(frame)).await.expect("a live tunnel");
                client.send(Message::Ping("between".into())).await.expect("a live tunnel");
            }
            let mut heard = [next(&mut client).await, next(&mut client).await, next(&mut client).await];
            heard.sort_by_key(Message::is_text);
            let pong = Message::Pong("between".into());
            assert_eq!(heard, [pong.clone(), pong, Message::text("in parts")], "{inspect} {way:?}");
        }
    }
}

#[tokio::test]
async fn both_ends_close_by_the_book() {
    let mut stage = Stage::set("").await;
    for (count, way) in Way::ALL.into_iter().enumerate() {
        let mut client = open(&mut stage, way).await;
        let close = CloseFrame { code: CloseCode::Normal, reason: "done".into() };
        client.send(Message::Close(Some(close.clone()))).await.expect("a live tunnel");
        assert_eq!(next(&mut client).await, Message::Close(Some(close)), "{way:?}");
        // tungstenite knows no end but one that follows both Close frames.
        assert!(within("the end", client.next()).await.is_none(), "{way:?}");
        drop(client);
        let record = stage.ended(count + 1).await;
        assert_eq!((&record["close_code"], &record["clean"]), (&1000.into(), &true.into()), "{record}");
    }
}

#[tokio::test]
async fn a_backend_that_is_gone_is_told_by_a_close() {
    let mut stage = Stage::set("").await;
    for way in Way::ALL {
        let (client, backend) = stage.tunnel(way, None).await;
        let mut client: Client = WebSocketStream::from_raw_socket(client.stream, Role::Client, None).await;
        drop(backend);
        let Message::Close(Some(close)) = next(&mut client).await else { panic!("{way:?}") };
        assert_eq!(close.code, CloseCode::Error);
        assert!(within("the end", client.next()).await.is_none(), "{way:?}");
    }
}
