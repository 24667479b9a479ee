//! Frames, written and read by hand: whole messages for most tests, raw bytes for those that look closer.

use longhaul::proto::frame::{Header, Opcode, unmask};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{Wire, within};

/// One end of a WebSocket.
pub struct WebSocket<S> {
    /// The stream below.
    pub stream: S,
    buffer: Vec<u8>,
    masks: bool,
    /// Pings of longhaul's own are answered, and are not told.
    answers: bool,
}

/// A frame's opcode and payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What it is.
    pub opcode: Opcode,
    /// Unmasked.
    pub payload: Vec<u8>,
}

impl Message {
    /// A text message in one frame.
    pub fn text(text: &str) -> Message {
        Message { opcode: Opcode::Text, payload: text.as_bytes().to_vec() }
    }

    /// A binary message in one frame.
    pub fn binary(payload: impl Into<Vec<u8>>) -> Message {
        Message { opcode: Opcode::Binary, payload: payload.into() }
    }

    /// A Close frame.
    pub fn close(code: u16, reason: &str) -> Message {
        let payload = [&code.to_be_bytes()[..], reason.as_bytes()].concat();
        Message { opcode: Opcode::Close, payload }
    }

    /// The message as one frame, with a mask if a client sends it.
    pub fn frame(&self, masks: bool) -> Vec<u8> {
        let mask = masks.then_some([0x37, 0xfa, 0x21, 0x3d]);
        let length = self.payload.len() as u64;
        let header = Header { fin: true, rsv: 0, opcode: self.opcode, mask, length };
        let mut bytes = Vec::new();
        header.write(&mut bytes);
        let start = bytes.len();
        bytes.extend_from_slice(&self.payload);
        if let Some(mask) = mask {
            unmask(&mut bytes[start..], mask, 0);
        }
        bytes
    }
}

impl<S: Wire + 'static> WebSocket<S> {
    /// The same, whatever carries it.
    pub fn boxed(self) -> WebSocket<Box<dyn Wire>> {
        WebSocket {
            stream: Box::new(self.stream),
            buffer: self.buffer,
            masks: self.masks,
            answers: self.answers,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// The client's end, of which `early` has been read already.
    pub fn client(stream: S, early: Vec<u8>) -> WebSocket<S> {
        WebSocket { stream, buffer: early, masks: true, answers: true }
    }

    /// The backend's end.
    pub fn backend(stream: S, early: Vec<u8>) -> WebSocket<S> {
        WebSocket { stream, buffer: early, masks: false, answers: false }
    }

    /// Leaves it to the test to answer longhaul's own Pings.
    pub fn by_hand(mut self) -> WebSocket<S> {
        self.answers = false;
        self
    }

    /// Sends a message as one frame.
    pub async fn send(&mut self, message: &Message) {
        self.send_raw(&message.frame(self.masks)).await;
    }

    /// Sends bytes as they are.
    pub async fn send_raw(&mut self, bytes: &[u8]) {
        within("room to write", async {
            self.stream.write_all(bytes).await.expect("the other end reads");
            self.stream.flush().await.expect("the other end reads");
        })
        .await;
    }

    /// Receives a frame; `None` when the stream has ended at a frame's border.
    pub async fn try_receive(&mut self) -> Option<Message> {
        loop {
            if let Some((header, start)) = Header::read(&self.buffer).expect("valid framing") {
                let end = start + usize::try_from(header.length).expect("a frame of a test");
                if self.buffer.len() >= end {
                    assert_ne!(header.mask.is_some(), self.masks, "a client masks, a backend does not");
                    let mut payload = self.buffer[start..end].to_vec();
                    self.buffer.drain(..end);
                    if let Some(mask) = header.mask {
                        unmask(&mut payload, mask, 0);
                    }
                    if self.answers && header.opcode == Opcode::Ping && payload.len() == 8 {
                        let pong = Message { opcode: Opcode::Pong, payload }.frame(self.masks);
                        // Longhaul may have left.
                        let _ = self.stream.write_all(&pong).await.and(self.stream.flush().await);
                        continue;
                    }
                    return Some(Message { opcode: header.opcode, payload });
                }
            }
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) if self.buffer.is_empty() => return None,
                Ok(0) => panic!("the stream ended inside a frame"),
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }

    /// Receives a frame.
    #[track_caller]
    pub fn receive(&mut self) -> impl Future<Output = Message> {
        let received = within("a frame", self.try_receive());
        async move { received.await.expect("a frame, not the end") }
    }

    /// Is asked to go, with this code, and goes.
    pub async fn parts(mut self, code: u16) {
        assert_eq!(self.receive().await, Message::close(code, ""));
        self.send(&Message::close(code, "")).await;
        assert_eq!(within("the end", self.try_receive()).await, None);
    }

    /// Receives a text.
    pub async fn receive_text(&mut self) -> String {
        let message = self.receive().await;
        assert_eq!(message.opcode, Opcode::Text);
        String::from_utf8(message.payload).expect("text")
    }

    /// Sends `text` and expects it back.
    pub async fn round_trip(&mut self, text: &str) {
        self.send(&Message::text(text)).await;
        assert_eq!(self.receive_text().await, text);
    }

    /// Closes politely and waits for the other end's Close and for the end of the stream.
    pub async fn close(mut self, code: u16) {
        self.send(&Message::close(code, "")).await;
        assert_eq!(self.receive().await, Message::close(code, ""));
        let _ = self.stream.shutdown().await;
        assert_eq!(within("the end", self.try_receive()).await, None);
    }

    /// Sends everything back until the other end closes.
    pub async fn echo(mut self) {
        while let Some(message) = self.try_receive().await {
            let frame = message.frame(self.masks);
            let sent = self.stream.write_all(&frame).await.and(self.stream.flush().await);
            if sent.is_err() || message.opcode == Opcode::Close {
                break;
            }
        }
        let _ = self.stream.shutdown().await;
    }
}
