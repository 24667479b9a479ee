//! The flight recorder: the headers of a tunnel's last frames, for the record of an end that was not clean. Never a payload.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::{Value, json};

use crate::proto::frame::{Header, Opcode};
use crate::telemetry::labels::Direction;

/// The last frames of both directions, as they came.
#[derive(Debug)]
pub struct Recorder {
    entries: VecDeque<Entry>,
    entries_max: usize,
}

/// A frame's header, and when it came.
#[derive(Clone, Copy, Debug)]
struct Entry {
    direction: Direction,
    fin: bool,
    rsv: u8,
    opcode: Opcode,
    length: u64,
    /// Since the tunnel opened.
    at: Duration,
}

impl Recorder {
    /// Remembers so many, and takes memory for them as they come.
    pub fn new(entries_max: usize) -> Recorder {
        Recorder { entries: VecDeque::new(), entries_max }
    }

    /// A frame has begun.
    pub fn note(&mut self, direction: Direction, header: &Header, at: Duration) {
        if self.entries.len() >= self.entries_max {
            self.entries.pop_front();
        }
        let Header { fin, rsv, opcode, length, .. } = *header;
        self.entries.push_back(Entry { direction, fin, rsv, opcode, length, at });
    }

    /// What there is, the oldest first.
    pub fn frames(&self) -> Vec<Value> {
        self.entries.iter().map(Entry::show).collect()
    }
}

impl Entry {
    fn show(&self) -> Value {
        let opcode = match self.opcode {
            Opcode::Continuation => "continuation",
            Opcode::Text => "text",
            Opcode::Binary => "binary",
            Opcode::Close => "close",
            Opcode::Ping => "ping",
            Opcode::Pong => "pong",
            Opcode::Reserved(_) => "reserved",
        };
        json!({
            "at_ms": u64::try_from(self.at.as_millis()).unwrap_or(u64::MAX),
            "direction": self.direction.label(),
            "opcode": opcode,
            "fin": self.fin,
            "rsv": self.rsv,
            "length": self.length,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_kept_and_no_memory_is_taken_before() {
        let mut recorder = Recorder::new(3);
        assert_eq!(recorder.entries.capacity(), 0);
        for length in 0..10 {
            let header = Header { fin: length % 2 == 0, rsv: 4, opcode: Opcode::Text, mask: None, length };
            recorder.note(Direction::ToClient, &header, Duration::from_millis(100 + length));
        }
        let frames = recorder.frames();
        assert_eq!(frames.len(), 3);
        assert_eq!(
            frames[2],
            json!({
                "at_ms": 109, "direction": "to_client", "opcode": "text", "fin": false, "rsv": 4, "length": 9,
            })
        );
        assert!(recorder.entries.capacity() <= 4);
    }
}
