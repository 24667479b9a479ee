//! The frames of a probe's WebSocket: a ping and its answer, a good-bye and its answer (RFC 6455 5.5). Messages of the
//! backend, such as a greeting, are skipped.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Unwell, parting};
use crate::net::stream::Stream;
use crate::proto::frame::{Header, Opcode, unmask};

/// How much a backend may say to a probe, headers of frames included.
const BYTES_MAX: usize = 1024 * 1024;
/// How much is read at once.
const READ_BYTES: usize = 2 * 1024;
/// The code of a good-bye (RFC 6455 7.4.1).
const NORMAL: u16 = 1000;

/// An open WebSocket, as its client.
pub struct Talk {
    stream: Stream,
    /// Read, and not looked at.
    unread: Vec<u8>,
    /// What may still be read.
    allowance: usize,
}

/// A control frame.
struct Control {
    opcode: Opcode,
    payload: Vec<u8>,
}

impl Talk {
    /// `early` came together with the 101.
    pub fn begin(stream: Stream, early: Vec<u8>) -> Talk {
        Talk { stream, unread: early, allowance: BYTES_MAX }
    }

    /// Sends a Ping and waits for the Pong that answers it. Others may come before, unasked (RFC 6455 5.5.3).
    pub async fn ping(&mut self) -> Result<(), Unwell> {
        let payload = fastrand::u64(..).to_be_bytes();
        self.send(Opcode::Ping, &payload).await?;
        loop {
            let frame = self.receive().await?;
            match frame.opcode {
                Opcode::Pong if frame.payload == payload => return Ok(()),
                Opcode::Ping => self.send(Opcode::Pong, &frame.payload).await?,
                Opcode::Close => return Err("closed".into()),
                _ => {}
            }
        }
    }

    /// Closes with 1000, waits for the backend's Close, and ends the stream.
    pub async fn end(mut self) -> Result<(), Unwell> {
        self.send(Opcode::Close, &NORMAL.to_be_bytes()).await?;
        while self.receive().await?.opcode != Opcode::Close {}
        parting::part(self.stream).await.map_err(lost)
    }

    async fn send(&mut self, opcode: Opcode, payload: &[u8]) -> Result<(), Unwell> {
        let mask = fastrand::u32(..).to_be_bytes();
        let length = payload.len() as u64;
        let mut frame = Vec::new();
        Header { fin: true, rsv: 0, opcode, mask: Some(mask), length }.write(&mut frame);
        let mut payload = payload.to_vec();
        unmask(&mut payload, mask, 0);
        frame.append(&mut payload);
        self.stream.write_all(&frame).await.map_err(lost)?;
        self.stream.flush().await.map_err(lost)
    }

    /// The next control frame.
    async fn receive(&mut self) -> Result<Control, Unwell> {
        loop {
            let header = match Header::read(&self.unread) {
                // No extension was agreed on, and backends do not mask (RFC 6455 5.1, 5.2).
                Ok(Some((header, _))) if header.mask.is_some() || header.rsv != 0 => {
                    return Err("framing".into());
                }
                Ok(Some((header, length))) => {
                    self.unread.drain(..length);
                    header
                }
                Ok(None) => {
                    self.fill().await?;
                    continue;
                }
                Err(_) => return Err("framing".into()),
            };
            let payload = self.take(header.length, header.opcode.is_control()).await?;
            if header.opcode.is_control() {
                return Ok(Control { opcode: header.opcode, payload });
            }
        }
    }

    /// The payload of a frame; nothing of it if it is not `kept`.
    async fn take(&mut self, length: u64, kept: bool) -> Result<Vec<u8>, Unwell> {
        let mut payload = Vec::new();
        let mut left = length;
        loop {
            let there = usize::try_from(left).unwrap_or(usize::MAX).min(self.unread.len());
            payload.extend(self.unread.drain(..there).filter(|_| kept));
            left -= there as u64;
            if left == 0 {
                return Ok(payload);
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Result<(), Unwell> {
        if self.allowance == 0 {
            return Err("too_much".into());
        }
        self.unread.reserve(READ_BYTES.min(self.allowance));
        let mut stream = (&mut self.stream).take(self.allowance as u64);
        match stream.read_buf(&mut self.unread).await.map_err(lost)? {
            0 => Err("backend_closed".into()),
            bytes => {
                self.allowance -= bytes;
                Ok(())
            }
        }
    }
}

fn lost(_: io::Error) -> Unwell {
    "backend_closed".into()
}
