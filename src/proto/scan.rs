//! The watcher of one direction of a tunnel: it knows where frames end, and little else (RFC 6455 5).
//!
//! The bytes pass by in pieces of any size; the scanner reads frame headers, skips payload by arithmetic,
//! and can say at any time whether the direction stands between two frames. Only there may the proxy add a
//! frame of its own. It edits nothing, keeps at most one unfinished header, and looks into no payload but
//! the first two bytes of a Close.
//!
//! A sender that breaks the framing rules is reported once; after that there is no telling where a frame
//! begins, and the scanner is blind for good. Text is not checked for UTF-8, and nothing is decompressed.

use super::frame::{HEADER_BYTES_MAX, Header, Opcode, Violation};

const RSV1: u8 = 0b100;

/// Watches what one side sends. Made when the tunnel opens, before its first byte.
#[derive(Clone, Debug)]
pub struct Scanner {
    /// Bytes of payload of the present frame that are still to come.
    remaining: u64,
    /// The start of a header whose end has not come yet.
    held: [u8; HEADER_BYTES_MAX],
    held_bytes: u8,
    /// The masking key of the present Close frame, zero if it has none.
    close_mask: [u8; 4],
    /// The code of the first Close frame, as far as it has come. Further ones are not noted.
    close_code: [u8; 2],
    close_code_bytes: u8,
    close: Option<Close>,
    /// What it means when `remaining` becomes zero.
    ends: Ends,
    side: Side,
    rsv1_allowed: bool,
    message_open: bool,
    blind: bool,
    violation: Option<Violation>,
}

/// Who sends the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client: each frame must be masked (RFC 6455 5.1).
    Client,
    /// The backend: no frame may be masked.
    Backend,
}

/// What ended within the bytes of one [`Scanner::feed`]. Both counts saturate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Frames whose last byte passed, control frames included.
    pub frames: u32,
    /// Messages whose final frame ended; a control frame is not a message.
    pub messages: u32,
}

/// A Close frame that has passed whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close {
    /// The code in the frame, as sent: it may be one that [`super::close::may_be_sent`] denies. `None` if
    /// the frame had no payload, or only one byte of it.
    pub code: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    Frame,
    Message,
    Close,
}

impl Scanner {
    /// A scanner for what `side` sends. `rsv1_allowed` if an extension was agreed that marks the first
    /// frame of a message with RSV1, as `permessage-deflate` does (RFC 7692 6).
    pub fn new(side: Side, rsv1_allowed: bool) -> Scanner {
        Scanner {
            remaining: 0,
            held: [0; HEADER_BYTES_MAX],
            held_bytes: 0,
            close_mask: [0; 4],
            close_code: [0; 2],
            close_code_bytes: 0,
            close: None,
            ends: Ends::Frame,
            side,
            rsv1_allowed,
            message_open: false,
            blind: false,
            violation: None,
        }
    }

    /// A scanner that looks at nothing and never stands at a boundary.
    pub fn blind() -> Scanner {
        Scanner { blind: true, ..Scanner::new(Side::Backend, false) }
    }

    /// Takes note of the next bytes of the direction and says what ended within them. Where the bytes are
    /// cut makes no difference. A blind scanner sees nothing.
    #[inline]
    pub fn feed(&mut self, mut bytes: &[u8]) -> Seen {
        let mut seen = Seen::default();
        while !bytes.is_empty() && !self.blind {
            if self.remaining == 0 {
                match self.read_header(bytes) {
                    Ok(Some((header, rest))) => {
                        bytes = rest;
                        self.begin(&header);
                    }
                    Ok(None) => break,
                    Err(violation) => {
                        self.violation = Some(violation);
                        self.blind = true;
                        break;
                    }
                }
            }
            bytes = self.pass_payload(bytes);
            if self.remaining == 0 {
                self.end(&mut seen);
            }
        }
        seen
    }

    /// Whether the direction stands between two frames: before the first byte, or right behind the last
    /// byte of a frame. The next frame may be one of the proxy's own then, unless a Close has passed:
    /// nothing may follow that (RFC 6455 5.5.1). A boundary may lie within a fragmented message, where only
    /// control frames fit. Never true for a blind scanner.
    #[inline]
    pub fn at_boundary(&self) -> bool {
        !self.blind && self.remaining == 0 && self.held_bytes == 0
    }

    /// The first Close frame of this direction, from the moment its last byte has passed.
    pub fn close(&self) -> Option<Close> {
        self.close
    }

    /// Whether this scanner looks at nothing, from the beginning or since a violation.
    pub fn is_blind(&self) -> bool {
        self.blind
    }

    /// What made this scanner blind, if anything did.
    pub fn violation(&self) -> Option<Violation> {
        self.violation
    }

    /// The next header, which begins in `held` or in `bytes`, and the bytes behind it; `None` if its end is
    /// still to come, and then all of `bytes` is held.
    #[inline]
    fn read_header<'b>(&mut self, bytes: &'b [u8]) -> Result<Option<(Header, &'b [u8])>, Violation> {
        let held_bytes = usize::from(self.held_bytes);
        let read = if held_bytes == 0 {
            Header::read(bytes)?
        } else {
            let filled = self.hold(bytes);
            Header::read(self.held.get(..filled).unwrap_or_default())?
        };
        let Some((header, header_bytes)) = read else {
            if held_bytes == 0 {
                self.hold(bytes);
            }
            return Ok(None);
        };
        self.held_bytes = 0;
        self.check(&header)?;
        let rest = bytes.get(header_bytes.saturating_sub(held_bytes)..).unwrap_or_default();
        Ok(Some((header, rest)))
    }

    /// Appends `bytes` to the held ones, as far as a header can reach, and says how many are held now.
    fn hold(&mut self, bytes: &[u8]) -> usize {
        let space = self.held.iter_mut().skip(usize::from(self.held_bytes));
        for (place, byte) in space.zip(bytes) {
            *place = *byte;
            self.held_bytes += 1;
        }
        usize::from(self.held_bytes)
    }

    /// The rules that depend on the sender and on the frames before (RFC 6455 5.1, 5.2, 5.4; RFC 7692 6).
    #[inline]
    fn check(&self, header: &Header) -> Result<(), Violation> {
        match (self.side, header.mask) {
            (Side::Client, None) => return Err(Violation::MaskMissing),
            (Side::Backend, Some(_)) => return Err(Violation::MaskPresent),
            _ => {}
        }
        let starts = matches!(header.opcode, Opcode::Text | Opcode::Binary);
        let rsv_allowed = if self.rsv1_allowed && starts { RSV1 } else { 0 };
        if header.rsv & !rsv_allowed != 0 {
            return Err(Violation::ReservedBits);
        }
        if starts && self.message_open {
            return Err(Violation::StartInsideMessage);
        }
        if header.opcode == Opcode::Continuation && !self.message_open {
            return Err(Violation::ContinuationWithoutStart);
        }
        Ok(())
    }

    #[inline]
    fn begin(&mut self, header: &Header) {
        self.remaining = header.length;
        self.ends = if header.opcode == Opcode::Close {
            self.close_mask = header.mask.unwrap_or_default();
            Ends::Close
        } else if header.opcode.is_control() {
            Ends::Frame
        } else {
            self.message_open = !header.fin;
            if header.fin { Ends::Message } else { Ends::Frame }
        };
    }

    /// Skips the payload at the start of `bytes` and gives back what follows it.
    #[inline]
    fn pass_payload<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let ending = usize::try_from(self.remaining).ok().and_then(|n| bytes.split_at_checked(n));
        let (payload, rest) = ending.unwrap_or((bytes, &[]));
        if self.ends == Ends::Close {
            self.note_close_code(payload);
        }
        self.remaining -= payload.len() as u64;
        rest
    }

    fn note_close_code(&mut self, payload: &[u8]) {
        let places = self.close_code.iter_mut().zip(self.close_mask);
        for ((place, key), byte) in places.skip(usize::from(self.close_code_bytes)).zip(payload) {
            *place = byte ^ key;
            self.close_code_bytes += 1;
        }
    }

    #[inline]
    fn end(&mut self, seen: &mut Seen) {
        seen.frames = seen.frames.saturating_add(1);
        match self.ends {
            Ends::Frame => {}
            Ends::Message => seen.messages = seen.messages.saturating_add(1),
            Ends::Close => {
                let code = u16::from_be_bytes(self.close_code);
                let code = (self.close_code_bytes == 2).then_some(code);
                self.close.get_or_insert(Close { code });
            }
        }
    }
}

#[cfg(test)]
mod tests;
