//! What a stream over TLS keeps of what cannot move on, and no longer than that.

use std::mem;

/// What comes before a record's payload: type, version, length (RFC 8446 5.1).
const HEADER_BYTES: usize = 5;
/// The largest record: rustls refuses longer ones (RFC 5246 6.2.3).
pub const RECORD_BYTES_MAX: usize = HEADER_BYTES + (1 << 14) + 2048;

/// Bytes that are waiting, in their order; usually none, and then without memory.
#[derive(Default)]
pub struct Kept {
    /// All of them, and those that have gone on since.
    pub bytes: Vec<u8>,
    passed: usize,
}

/// What came and could not be dealt with yet.
#[derive(Default)]
pub struct Incoming {
    /// As rustls left it.
    pub bytes: Vec<u8>,
    /// Where in it an incomplete record begins. Before it are parts of a message of the handshake, of which rustls knows where
    /// they are.
    incomplete_at: usize,
}

impl Kept {
    /// Whether nothing is waiting.
    pub fn is_empty(&self) -> bool {
        self.rest().is_empty()
    }

    /// What is waiting.
    pub fn rest(&self) -> &[u8] {
        self.bytes.get(self.passed..).unwrap_or_default()
    }

    /// So many have gone on. When all have, so does the memory.
    pub fn pass(&mut self, count: usize) {
        self.passed += count;
        if self.is_empty() {
            mem::take(self);
        }
    }
}

impl Incoming {
    /// Keeps `fresh`, if it does not even complete the record that was begun. Whether it did.
    pub fn add_if_incomplete(&mut self, fresh: &[u8]) -> bool {
        let incomplete = fresh.len() < missing(self.bytes.get(self.incomplete_at..).unwrap_or_default());
        if incomplete {
            self.bytes.extend_from_slice(fresh);
        }
        incomplete
    }

    /// Where the last record of `all` begins that is incomplete, `all` being what was kept and what came behind it. It is to
    /// be asked before rustls moves bytes about.
    pub fn border(&self, all: &[u8]) -> usize {
        let mut border = self.incomplete_at;
        while let Some(record) = all.get(border..)
            && missing(record) == 0
            && let [_, _, _, high, low, ..] = record
        {
            border += HEADER_BYTES + usize::from(u16::from_be_bytes([*high, *low]));
        }
        border
    }

    /// Keeps what is left of `all`, of which `done` bytes are done with.
    pub fn keep(&mut self, all: &[u8], done: usize, border: usize) {
        let rest = all.get(done..).unwrap_or_default();
        if rest.is_empty() {
            mem::take(self);
            return;
        }
        self.bytes.clear();
        self.bytes.extend_from_slice(rest);
        self.incomplete_at = border.saturating_sub(done);
    }

    /// Nothing more will come, so what is incomplete stays so.
    pub fn end(&mut self) {
        self.bytes.truncate(self.incomplete_at);
        self.bytes.shrink_to_fit();
    }
}

/// How many bytes `record` lacks: if its header is incomplete, as many as that lacks.
fn missing(record: &[u8]) -> usize {
    match record {
        [_, _, _, high, low, payload @ ..] => {
            usize::from(u16::from_be_bytes([*high, *low])).saturating_sub(payload.len())
        }
        short => HEADER_BYTES - short.len(),
    }
}
