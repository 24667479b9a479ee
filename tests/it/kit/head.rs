//! The head of an HTTP/1 message, as it stood on the wire.

use tokio::io::{AsyncRead, AsyncReadExt};

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
