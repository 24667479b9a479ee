//! The head of an HTTP/1 message, as it stood on the wire.

use tokio::io::{AsyncRead, AsyncReadExt};

use super::within;

/// A start line and fields, and what came in the same read behind them.
#[derive(Clone, Debug)]
pub struct Head {
    /// `GET / HTTP/1.1` or `HTTP/1.1 200 OK`.
    pub line: String,
    /// As written, in order.
    pub fields: Vec<(String, String)>,
    /// What followed the head.
    pub rest: Vec<u8>,
}

impl Head {
    /// Reads a head; `None` when the stream ends before its first byte.
    pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Head> {
        Head::read_after(stream, Vec::new()).await
    }

    /// Reads a head of which `bytes` have been read already.
    pub async fn read_after(stream: &mut (impl AsyncRead + Unpin), mut bytes: Vec<u8>) -> Option<Head> {
        loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                let rest = bytes.split_off(end + 4);
                let text = String::from_utf8(bytes).expect("the head is text");
                return Some(Head::parse(text.trim_end(), rest));
            }
            match stream.read_buf(&mut bytes).await {
                Ok(0) | Err(_) if bytes.is_empty() => return None,
                Ok(0) => panic!("the stream ended inside a head: {:?}", String::from_utf8_lossy(&bytes)),
                Err(error) => panic!("{error} inside a head: {:?}", String::from_utf8_lossy(&bytes)),
                Ok(_) => {}
            }
        }
    }

    /// Reads the body behind this head, by its length, its chunks or the end of `stream`; what came after it is the
    /// second value.
    pub async fn body(self, stream: &mut (impl AsyncRead + Unpin)) -> (Vec<u8>, Vec<u8>) {
        let length = self.get("content-length").map(|length| length.parse().expect("a length"));
        let chunked = self.get("transfer-encoding") == Some("chunked");
        let mut bytes = self.rest;
        match (length, chunked) {
            (Some(length), false) => {
                read_to(stream, &mut bytes, length).await;
                let after = bytes.split_off(length);
                (bytes, after)
            }
            (None, true) => read_chunks(stream, bytes).await,
            (None, false) => {
                within("the end of the body", stream.read_to_end(&mut bytes)).await.expect("a clean end");
                (bytes, Vec::new())
            }
            (Some(_), true) => panic!("two framings"),
        }
    }

    fn parse(text: &str, rest: Vec<u8>) -> Head {
        let mut lines = text.split("\r\n");
        let line = lines.next().unwrap_or_default().to_string();
        let field = |line: &str| {
            let (name, value) = line.split_once(':').expect("a field has a colon");
            (name.to_string(), value.trim().to_string())
        };
        Head { line, fields: lines.map(field).collect(), rest }
    }

    /// The status of a response.
    pub fn status(&self) -> u16 {
        self.line.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status line")
    }

    /// The values of a field, in order.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let named = self.fields.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// The value of a field that must not stand twice.
    pub fn get(&self, name: &str) -> Option<&str> {
        match self.all(name)[..] {
            [] => None,
            [value] => Some(value),
            ref several => panic!("{name} stands {} times", several.len()),
        }
    }

    /// The target of a request.
    pub fn target(&self) -> &str {
        self.line.split(' ').nth(1).expect("a request line")
    }
}

/// Reads until `bytes` contains `wanted`, however long that takes, and no further than the read that brings it.
pub async fn read_until(stream: &mut (impl AsyncRead + Unpin), bytes: &mut Vec<u8>, wanted: &str) {
    while !bytes.windows(wanted.len()).any(|window| window == wanted.as_bytes()) {
        let count = within(wanted, stream.read_buf(bytes)).await.expect("a live stream");
        assert!(count > 0, "the stream ended before {wanted:?}: {:?}", String::from_utf8_lossy(bytes));
    }
}

/// Reads until there are at least `length` bytes.
async fn read_to(stream: &mut (impl AsyncRead + Unpin), bytes: &mut Vec<u8>, length: usize) {
    while bytes.len() < length {
        let count = within("the body", stream.read_buf(bytes)).await.expect("a live stream");
        assert!(count > 0, "the stream ended {} bytes into a body of {length}", bytes.len());
    }
}

/// Decodes chunks without trailers.
async fn read_chunks(stream: &mut (impl AsyncRead + Unpin), mut bytes: Vec<u8>) -> (Vec<u8>, Vec<u8>) {
    let mut body = Vec::new();
    loop {
        read_until(stream, &mut bytes, "\r\n").await;
        let end = bytes.windows(2).position(|window| window == b"\r\n").expect("it was read");
        let size = std::str::from_utf8(&bytes[..end]).expect("a chunk's size");
        let size = usize::from_str_radix(size, 16).expect("a chunk's size");
        read_to(stream, &mut bytes, end + 2 + size + 2).await;
        body.extend_from_slice(&bytes[end + 2..end + 2 + size]);
        bytes.drain(..end + 2 + size + 2);
        if size == 0 {
            return (body, bytes);
        }
    }
}
