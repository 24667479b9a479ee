//! The watcher of one direction of a tunnel: it knows where frames end, and little else (RFC 6455 5).
//!
//! The bytes pass by in pieces of any size; the scanner reads frame headers, skips payload by arithmetic,
//! and can say at any time whether the direction stands between two frames. Only there may the proxy add a
//! frame of its own. It edits nothing, keeps at most one unfinished header, and looks into no payload but
//! the first ten bytes of a control frame: the code of a Close, and what tells one Pong from another.
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
    /// Payload of the present message so far, that of its present frame included.
    message_bytes: u64,
    /// Between frames: the start of a header whose end has not come yet. Within a control frame: its masking key, zero if it
    /// has none, and the start of its payload without the mask.
    held: [u8; HEADER_BYTES_MAX],
    /// Of the header, or of the payload.
    held_bytes: u8,
    /// The first one. Further ones are not noted.
    close: Option<Close>,
    /// What it means when `remaining` becomes zero.
    present: Kind,
    /// What the message is that began with a fragment and has not ended.
    open: Option<Kind>,
    side: Side,
    rsv1_allowed: bool,
    sight: Sight,
}

/// Bytes of [`Scanner::held`] in front of a control frame's payload.
const KEY_BYTES: usize = 4;

/// Who sends the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client: each frame must be masked (RFC 6455 5.1).
    Client,
    /// The backend: no frame may be masked.
    Backend,
}

/// How far [`Scanner::step`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// To the end of the bytes, and no frame ended there.
    More,
    /// To the end of a frame: the direction stands between two.
    Frame(Frame),
    /// To a frame that breaks the rules, none of whose bytes were taken, but for those of its header that were held. From
    /// here on the scanner is blind.
    Violation(Violation),
}

/// A frame that has passed whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it was.
    pub kind: Kind,
    /// Payload as on the wire, compressed or not: of a message that of all its fragments, of a control frame no more than
    /// the ten bytes that are looked at.
    pub bytes: u64,
}

/// What a frame was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A part of a message, not its last.
    Fragment,
    /// The last or only frame of a text message.
    Text,
    /// The last or only frame of a binary message.
    Binary,
    /// A Close.
    Close,
    /// A Ping.
    Ping,
    /// A Pong.
    Pong,
}

impl Kind {
    /// Whether it ends a message; a control frame is none.
    pub fn is_message(self) -> bool {
        matches!(self, Kind::Text | Kind::Binary)
    }
}

/// A Close frame that has passed whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close {
    /// The code in the frame, as sent: it may be one that [`super::close::may_be_sent`] denies. `None` if
    /// the frame had no payload, or only one byte of it.
    pub code: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sight {
    Clear,
    Blind,
    Lost(Violation),
}

impl Scanner {
    /// A scanner for what `side` sends. `rsv1_allowed` if an extension was agreed that marks the first
    /// frame of a message with RSV1, as `permessage-deflate` does (RFC 7692 6).
    pub fn new(side: Side, rsv1_allowed: bool) -> Scanner {
        Scanner {
            remaining: 0,
            message_bytes: 0,
            held: [0; HEADER_BYTES_MAX],
            held_bytes: 0,
            close: None,
            present: Kind::Fragment,
            open: None,
            side,
            rsv1_allowed,
            sight: Sight::Clear,
        }
    }

    /// A scanner that looks at nothing and never stands at a boundary.
    pub fn blind() -> Scanner {
        Scanner { sight: Sight::Blind, ..Scanner::new(Side::Backend, false) }
    }

    /// Takes note of the next bytes of the direction, at most to the end of the present frame, and leaves those behind it
    /// in `bytes`. Where the bytes are cut makes no difference. A blind scanner takes all of them and sees nothing.
    #[inline]
    pub fn step(&mut self, bytes: &mut &[u8]) -> Step {
        if self.sight != Sight::Clear {
            *bytes = &[];
            return Step::More;
        }
        if self.remaining == 0 {
            match self.read_header(bytes) {
                Ok(Some((header, rest))) => {
                    *bytes = rest;
                    self.begin(&header);
                }
                Ok(None) => {
                    *bytes = &[];
                    return Step::More;
                }
                Err(violation) => {
                    self.sight = Sight::Lost(violation);
                    return Step::Violation(violation);
                }
            }
        }
        *bytes = self.pass_payload(bytes);
        if self.remaining == 0 { Step::Frame(self.end()) } else { Step::More }
    }

    /// Whether the direction stands between two frames: before the first byte, or right behind the last
    /// byte of a frame. The next frame may be one of the proxy's own then, unless a Close has passed:
    /// nothing may follow that (RFC 6455 5.5.1). A boundary may lie within a fragmented message, where only
    /// control frames fit. Never true for a blind scanner.
    #[inline]
    pub fn at_boundary(&self) -> bool {
        self.sight == Sight::Clear && self.remaining == 0 && self.held_bytes == 0
    }

    /// The first Close frame of this direction, from the moment its last byte has passed.
    pub fn close(&self) -> Option<Close> {
        self.close
    }

    /// Whether this scanner looks at nothing, from the beginning or since a violation.
    pub fn is_blind(&self) -> bool {
        self.sight != Sight::Clear
    }

    /// What made this scanner blind, if anything did.
    pub fn violation(&self) -> Option<Violation> {
        match self.sight {
            Sight::Lost(violation) => Some(violation),
            Sight::Clear | Sight::Blind => None,
        }
    }

    /// The first eight bytes of the control frame that has just passed, zeros where it has none.
    pub fn token(&self) -> [u8; 8] {
        self.held.get(KEY_BYTES..).and_then(|payload| payload.first_chunk()).copied().unwrap_or_default()
    }

    /// The header at the start of `bytes` and how many of them it takes, if a frame is to begin there and all of the header
    /// is in them.
    pub fn peek(&self, bytes: &[u8]) -> Option<(Header, usize)> {
        Header::read(bytes).ok().flatten().filter(|_| self.at_boundary())
    }

    /// Looks at nothing any more.
    pub fn go_blind(&mut self) {
        if self.sight == Sight::Clear {
            self.sight = Sight::Blind;
        }
    }

    /// Whether a header has begun and not ended.
    pub fn is_within_header(&self) -> bool {
        !self.is_blind() && self.remaining == 0 && self.held_bytes > 0
    }

    /// Whether a Pong with a payload of so many bytes has begun and not ended; at most ten.
    pub fn is_within_pong(&self, payload_bytes: usize) -> bool {
        let seen = u64::from(self.held_bytes) + self.remaining;
        !self.is_blind() && self.remaining > 0 && self.present == Kind::Pong && seen == payload_bytes as u64
    }

    /// Goes back to in front of a frame that has begun and not ended, all of which is going to come again: a header, or a
    /// control frame.
    pub fn rewind(&mut self) {
        (self.remaining, self.held_bytes) = (0, 0);
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
        if starts && self.open.is_some() {
            return Err(Violation::StartInsideMessage);
        }
        if header.opcode == Opcode::Continuation && self.open.is_none() {
            return Err(Violation::ContinuationWithoutStart);
        }
        Ok(())
    }

    #[inline]
    fn begin(&mut self, header: &Header) {
        self.remaining = header.length;
        let message = match header.opcode {
            Opcode::Text => Kind::Text,
            Opcode::Binary => Kind::Binary,
            Opcode::Continuation => self.open.unwrap_or(Kind::Fragment),
            control => return self.begin_control(control, header.mask),
        };
        self.message_bytes = self.message_bytes.saturating_add(header.length);
        (self.present, self.open) =
            if header.fin { (message, None) } else { (Kind::Fragment, Some(message)) };
    }

    fn begin_control(&mut self, opcode: Opcode, mask: Option<[u8; KEY_BYTES]>) {
        self.present = match opcode {
            Opcode::Close => Kind::Close,
            Opcode::Ping => Kind::Ping,
            _ => Kind::Pong,
        };
        self.held = [0; HEADER_BYTES_MAX];
        for (place, key) in self.held.iter_mut().zip(mask.unwrap_or_default()) {
            *place = key;
        }
    }

    /// Skips the payload at the start of `bytes` and gives back what follows it.
    #[inline]
    fn pass_payload<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let ending = usize::try_from(self.remaining).ok().and_then(|n| bytes.split_at_checked(n));
        let (payload, rest) = ending.unwrap_or((bytes, &[]));
        if matches!(self.present, Kind::Close | Kind::Ping | Kind::Pong) {
            self.hold_payload(payload);
        }
        self.remaining -= payload.len() as u64;
        rest
    }

    /// Holds the start of a control frame's payload, without its mask.
    fn hold_payload(&mut self, payload: &[u8]) {
        let (key, start) = self.held.split_at_mut(KEY_BYTES);
        let places = start.iter_mut().zip(key.iter().cycle());
        for ((place, key), byte) in places.skip(usize::from(self.held_bytes)).zip(payload) {
            *place = byte ^ key;
            self.held_bytes += 1;
        }
    }

    #[inline]
    fn end(&mut self) -> Frame {
        let kind = self.present;
        if kind.is_message() {
            return Frame { kind, bytes: std::mem::take(&mut self.message_bytes) };
        }
        let held_bytes = std::mem::take(&mut self.held_bytes);
        let bytes = u64::from(held_bytes);
        if kind == Kind::Close {
            let code = self.held.get(KEY_BYTES..).and_then(|payload| payload.first_chunk());
            let code = code.filter(|_| held_bytes >= 2).map(|code| u16::from_be_bytes(*code));
            self.close.get_or_insert(Close { code });
        }
        Frame { kind, bytes }
    }
}

#[cfg(test)]
mod tests;
