//! The frames that a server of HTTP/2 sends, as their bytes pass by (RFC 9113 4.1 and 6).
//!
//! Only their headers are read, and what a GOAWAY says; all else is skipped by arithmetic.

const HEADER_BYTES: usize = 9;
/// Types of frames.
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
/// The flag of a SETTINGS and of a PING that answers one.
const ACK: u8 = 1;
/// Of a GOAWAY: the last stream and a code, which stand before its words.
const GOAWAY_HEAD_BYTES: usize = 8;
/// What is kept of a GOAWAY's words: reasons are shorter.
const WORDS_BYTES_MAX: usize = 64;

/// Walks over the frames of one direction, from its first byte.
#[derive(Debug, Default)]
pub struct Walk {
    header: [u8; HEADER_BYTES],
    /// Bytes of the header that have come.
    held: usize,
    /// Bytes of the present frame's payload that are still to come.
    left: usize,
    /// The beginning of the present frame's payload, if that is a GOAWAY.
    farewell: Option<Vec<u8>>,
}

/// A frame of note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told<'a> {
    /// The answer to a PING.
    Pong,
    /// The answer to SETTINGS.
    SettingsTaken,
    /// GOAWAY, with the beginning of its additional debug data, 64 bytes at most.
    Farewell(&'a [u8]),
}

impl Walk {
    /// Goes on over `bytes`, and hands each frame of note to `told` when it has passed: the answers with their headers, a
    /// GOAWAY with its last byte.
    pub fn feed(&mut self, mut bytes: &[u8], mut told: impl FnMut(Told<'_>)) {
        while !bytes.is_empty() {
            bytes = if self.left > 0 { self.pass(bytes, &mut told) } else { self.begin(bytes, &mut told) };
        }
    }

    /// Takes what belongs to a header; what is left of `bytes`.
    fn begin<'a>(&mut self, bytes: &'a [u8], told: &mut impl FnMut(Told<'_>)) -> &'a [u8] {
        let wanted = self.header.get_mut(self.held..).unwrap_or_default();
        let (now, rest) = bytes.split_at(bytes.len().min(wanted.len()));
        for (place, byte) in wanted.iter_mut().zip(now) {
            *place = *byte;
        }
        self.held += now.len();
        if self.held < HEADER_BYTES {
            return rest;
        }
        self.held = 0;
        let [high, middle, low, kind, flags, ..] = self.header;
        self.left = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        match (kind, flags & ACK) {
            (PING, ACK) => told(Told::Pong),
            (SETTINGS, ACK) => told(Told::SettingsTaken),
            (GOAWAY, _) if self.left == 0 => told(Told::Farewell(&[])),
            (GOAWAY, _) => self.farewell = Some(Vec::new()),
            _ => {}
        }
        rest
    }

    /// Passes over payload; what is left of `bytes`.
    fn pass<'a>(&mut self, bytes: &'a [u8], told: &mut impl FnMut(Told<'_>)) -> &'a [u8] {
        let (payload, rest) = bytes.split_at(bytes.len().min(self.left));
        self.left -= payload.len();
        if let Some(farewell) = &mut self.farewell {
            let room = (GOAWAY_HEAD_BYTES + WORDS_BYTES_MAX).saturating_sub(farewell.len());
            farewell.extend(payload.iter().take(room));
            if self.left == 0 {
                told(Told::Farewell(farewell.get(GOAWAY_HEAD_BYTES..).unwrap_or_default()));
                self.farewell = None;
            }
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 0], payload].concat()
    }

    #[test]
    fn answers_and_farewells_are_told_however_the_bytes_are_cut() {
        let long = [b'x'; 100];
        let bytes = [
            frame(SETTINGS, 0, &[0; 6]),
            frame(SETTINGS, ACK, &[]),
            // DATA with END_STREAM, the same flag.
            frame(0, ACK, &[6; 1000]),
            frame(PING, 0, &[0; 8]),
            frame(PING, ACK, &[0; 8]),
            frame(GOAWAY, 0, &[&[0; 8][..], b"too_many"].concat()),
            frame(GOAWAY, 0, &[0; 8]),
            frame(GOAWAY, 0, &[]),
            frame(GOAWAY, 0, &[&[0; 8][..], &long].concat()),
        ]
        .concat();
        let expected = [
            Told::SettingsTaken,
            Told::Pong,
            Told::Farewell(b"too_many"),
            Told::Farewell(&[]),
            Told::Farewell(&[]),
            Told::Farewell(&long[..WORDS_BYTES_MAX]),
        ];
        for step in [1, 2, 8, 9, 10, 17, bytes.len()] {
            let (mut walk, mut seen) = (Walk::default(), Vec::new());
            for piece in bytes.chunks(step) {
                walk.feed(piece, |told| seen.push(format!("{told:?}")));
            }
            assert_eq!(seen, expected.map(|told| format!("{told:?}")), "{step}");
        }
    }
}
