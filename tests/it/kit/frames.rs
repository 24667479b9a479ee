//! HTTP/2 by hand, for what no client library says.

use tokio::io::AsyncReadExt;

use super::{Client, within};

/// A connection on which the preface and empty settings were sent.
pub struct Frames(pub Client);

/// What came: type, flags, stream and payload.
pub type Frame = (u8, u8, u32, Vec<u8>);

/// Types of frames (RFC 9113 6).
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

/// Flags of HEADERS.
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// Codes of errors (RFC 9113 7).
pub const NO_ERROR: u32 = 0;
pub const PROTOCOL_ERROR: u32 = 1;
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// A frame as bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a small frame").to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A block of fields, none of them compressed (RFC 7541 6.2.2).
pub fn block(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let text = |bytes: &mut Vec<u8>, text: &[u8]| {
        match text.len() {
            short @ 0..127 => bytes.push(short as u8),
            long => {
                bytes.push(127);
                let mut rest = long - 127;
                while rest >= 128 {
                    bytes.push((rest % 128) as u8 | 128);
                    rest /= 128;
                }
                bytes.push(rest as u8);
            }
        }
        bytes.extend_from_slice(text);
    };
    for (name, value) in fields {
        bytes.push(0);
        text(&mut bytes, name.as_bytes());
        text(&mut bytes, value);
    }
    bytes
}

/// The fields of a GET.
pub const GET: [(&str, &[u8]); 4] =
    [(":method", b"GET"), (":scheme", b"https"), (":authority", b"chat.example.com"), (":path", b"/")];

/// The fields of a POST.
pub const POST: [(&str, &[u8]); 4] = [(":method", b"POST"), GET[1], GET[2], GET[3]];

/// The fields of an extended CONNECT.
pub const CONNECT: [(&str, &[u8]); 6] = [
    (":method", b"CONNECT"),
    GET[2],
    (":protocol", b"websocket"),
    GET[1],
    (":path", b"/ws"),
    ("sec-websocket-version", b"13"),
];

impl Frames {
    /// Says the preface.
    pub async fn begin(mut client: Client) -> Frames {
        client.send([&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(SETTINGS, 0, 0, &[])].concat()).await;
        Frames(client)
    }

    /// Sends a frame.
    pub async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.0.send(frame(kind, flags, stream, payload)).await;
    }

    /// The next frame; `None` at the end.
    pub async fn receive(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        within("a frame", self.0.read_exact(&mut head)).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        within("a payload", self.0.read_exact(&mut payload)).await.ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & (u32::MAX >> 1);
        Some((head[3], head[4], stream, payload))
    }

    /// What is next heard of this stream's outcome.
    pub async fn outcome(&mut self, stream: u32) -> Outcome {
        loop {
            match self.receive().await {
                None => return Outcome::Closed,
                Some((GOAWAY, _, _, payload)) => return Outcome::Goaway(code(&payload[4..8])),
                Some((RST_STREAM, _, id, payload)) if id == stream => return Outcome::Reset(code(&payload)),
                Some((HEADERS, _, id, payload)) if id == stream => {
                    return Outcome::Answered(status(&payload));
                }
                Some(_) => {}
            }
        }
    }
}

/// What became of a stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The connection ended without GOAWAY.
    Closed,
    /// GOAWAY with this code.
    Goaway(u32),
    /// RST_STREAM with this code.
    Reset(u32),
    /// HEADERS with this status.
    Answered(u16),
}

/// The status in a block, where it is the first field (RFC 7541 appendix A and B).
fn status(block: &[u8]) -> u16 {
    const TABLE: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    let [first, length, text @ ..] = block else { return TABLE[usize::from(block[0]) - 0x88] };
    if *first != 0x48 {
        return TABLE[usize::from(*first) - 0x88];
    }
    assert_eq!(length & 0x80, 0x80, "digits are shorter by Huffman's code");
    let bits =
        text.iter().take(usize::from(length & 0x7f)).fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
    let mut left = u32::from(length & 0x7f) * 8;
    let mut take = |count: u32| {
        left -= count;
        bits >> left & ((1 << count) - 1)
    };
    (0..3).fold(0, |status, _| {
        // 0 to 2 have five bits, the others six, which begin with 011 (3) or 0111 (6).
        let digit = match take(5) {
            short @ 0..3 => short,
            long => (long << 1 | take(1)) - 0b011001 + 3,
        };
        status * 10 + u16::try_from(digit).expect("a digit")
    })
}

fn code(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes.try_into().expect("four bytes"))
}
