//! One frame header of WebSocket: reading it, writing it, and the masking of payload (RFC 6455 5.2 and
//! 5.3).
//!
//! [`Header::read`] refuses what is wrong in every context: reserved opcodes, long or fragmented control
//! frames, lengths that are not written the shortest way. What depends on the sender or on earlier frames
//! (masking, reserved bits, the order of fragments) is the business of [`super::scan`]. Payload is never
//! looked at here.

use std::error::Error;
use std::fmt;

/// The longest header: two bytes, eight of extended length, four of masking key.
pub const HEADER_BYTES_MAX: usize = 14;

/// The longest payload of a control frame (RFC 6455 5.5), and the longest length that fits the second byte.
pub const CONTROL_PAYLOAD_BYTES_MAX: u64 = 125;

const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;
const LENGTH_IN_TWO_BYTES: u8 = 126;
const LENGTH_IN_EIGHT_BYTES: u8 = 127;

/// The header of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whether this frame ends its message. Always set on control frames.
    pub fin: bool,
    /// RSV1, RSV2 and RSV3 as the bits 4, 2 and 1; 0 to 7.
    pub rsv: u8,
    /// What the frame is.
    pub opcode: Opcode,
    /// The masking key, if the payload is masked.
    pub mask: Option<[u8; 4]>,
    /// Bytes of payload behind the header, below 2^63.
    pub length: u64,
}

impl Header {
    /// Reads the header at the start of `bytes` and says how many bytes it takes, 2 to
    /// [`HEADER_BYTES_MAX`]. `None` means that more bytes are needed. More bytes never change an answer
    /// other than `None`.
    ///
    /// # Errors
    /// Any violation that needs no context, as early as the bytes show it.
    #[inline]
    pub fn read(bytes: &[u8]) -> Result<Option<(Header, usize)>, Violation> {
        let Some((&[first, second], rest)) = bytes.split_first_chunk() else {
            return Ok(None);
        };
        let fin = first & FIN != 0;
        let opcode = Opcode::from_bits(first);
        let short_length = second & !MASKED;
        if matches!(opcode, Opcode::Reserved(_)) {
            return Err(Violation::ReservedOpcode);
        }
        if opcode.is_control() {
            if !fin {
                return Err(Violation::ControlFragmented);
            }
            if u64::from(short_length) > CONTROL_PAYLOAD_BYTES_MAX {
                return Err(Violation::ControlTooLong);
            }
        }
        let Some((length, rest)) = read_length(short_length, rest)? else {
            return Ok(None);
        };
        let (mask, rest) = if second & MASKED == 0 {
            (None, rest)
        } else if let Some((mask, rest)) = rest.split_first_chunk() {
            (Some(*mask), rest)
        } else {
            return Ok(None);
        };
        let rsv = (first >> 4) & 0b111;
        let header = Header { fin, rsv, opcode, mask, length };
        Ok(Some((header, bytes.len() - rest.len())))
    }

    /// What the start of `bytes` says of a frame, right or wrong: for a record of what [`Header::read`] refuses. The length is
    /// that of the second byte where what extends it is not there; the mask is left out. `None` below two bytes.
    pub fn glance(bytes: &[u8]) -> Option<Header> {
        let (&[first, second], rest) = bytes.split_first_chunk()?;
        let short_length = second & !MASKED;
        let extended = match short_length {
            LENGTH_IN_TWO_BYTES => rest.first_chunk().map(|length| u16::from_be_bytes(*length).into()),
            LENGTH_IN_EIGHT_BYTES => rest.first_chunk().map(|length| u64::from_be_bytes(*length)),
            _ => None,
        };
        Some(Header {
            fin: first & FIN != 0,
            rsv: (first >> 4) & 0b111,
            opcode: Opcode::from_bits(first),
            mask: None,
            length: extended.unwrap_or(short_length.into()),
        })
    }

    /// Appends the header to `out`, the length in its shortest form. Nothing is checked: tests write wrong
    /// headers with this too. Bits of `rsv` above the third are dropped.
    pub fn write(&self, out: &mut Vec<u8>) {
        let fin = if self.fin { FIN } else { 0 };
        let masked = if self.mask.is_some() { MASKED } else { 0 };
        out.push(fin | (self.rsv & 0b111) << 4 | self.opcode.bits());
        match (u8::try_from(self.length), u16::try_from(self.length)) {
            (Ok(length), _) if length < LENGTH_IN_TWO_BYTES => out.push(masked | length),
            (_, Ok(length)) => {
                out.push(masked | LENGTH_IN_TWO_BYTES);
                out.extend_from_slice(&length.to_be_bytes());
            }
            _ => {
                out.push(masked | LENGTH_IN_EIGHT_BYTES);
                out.extend_from_slice(&self.length.to_be_bytes());
            }
        }
        if let Some(mask) = self.mask {
            out.extend_from_slice(&mask);
        }
    }
}

/// The length behind the second byte, and what follows it.
#[inline]
fn read_length(short_length: u8, bytes: &[u8]) -> Result<Option<(u64, &[u8])>, Violation> {
    let (length, shortest, rest) = match short_length {
        LENGTH_IN_TWO_BYTES => match bytes.split_first_chunk() {
            Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), 126, rest),
            None => return Ok(None),
        },
        LENGTH_IN_EIGHT_BYTES => match bytes.split_first_chunk() {
            Some((length, rest)) => (u64::from_be_bytes(*length), 1 << 16, rest),
            None => return Ok(None),
        },
        short => (u64::from(short), 0, bytes),
    };
    if length < shortest {
        return Err(Violation::LengthNotMinimal);
    }
    if length >> 63 != 0 {
        return Err(Violation::LengthTooLarge);
    }
    Ok(Some((length, rest)))
}

/// What a frame is (RFC 6455 5.2, 11.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// A further part of a fragmented message.
    Continuation,
    /// A text message or its first part.
    Text,
    /// A binary message or its first part.
    Binary,
    /// The end of this direction.
    Close,
    /// A question that wants a Pong.
    Ping,
    /// The answer to a Ping, or a sign of life.
    Pong,
    /// Kept for later versions: 3 to 7 and 11 to 15. Never in a header that [`Header::read`] has read.
    Reserved(u8),
}

impl Opcode {
    /// The opcode in the low four bits of `bits`.
    #[inline]
    pub fn from_bits(bits: u8) -> Opcode {
        match bits & 0x0f {
            0x0 => Opcode::Continuation,
            0x1 => Opcode::Text,
            0x2 => Opcode::Binary,
            0x8 => Opcode::Close,
            0x9 => Opcode::Ping,
            0xa => Opcode::Pong,
            reserved => Opcode::Reserved(reserved),
        }
    }

    /// The four bits on the wire.
    pub fn bits(self) -> u8 {
        match self {
            Opcode::Continuation => 0x0,
            Opcode::Text => 0x1,
            Opcode::Binary => 0x2,
            Opcode::Close => 0x8,
            Opcode::Ping => 0x9,
            Opcode::Pong => 0xa,
            Opcode::Reserved(bits) => bits & 0x0f,
        }
    }

    /// Whether such a frame may stand between the parts of a message (RFC 6455 5.5). Decided by the highest
    /// bit, so it holds for reserved opcodes too.
    #[inline]
    pub fn is_control(self) -> bool {
        self.bits() & 0x8 != 0
    }
}

/// Masks or unmasks `payload` in place (RFC 6455 5.3); the two are the same. `offset` is the place of the
/// first byte of `payload` within the payload of its frame.
pub fn unmask(payload: &mut [u8], mask: [u8; 4], offset: u64) {
    let mut key = mask;
    key.rotate_left(usize::from(offset.to_le_bytes()[0] & 0b11));
    let (blocks, rest) = payload.as_chunks_mut::<4>();
    for block in blocks {
        for (byte, key) in block.iter_mut().zip(key) {
            *byte ^= key;
        }
    }
    for (byte, key) in rest.iter_mut().zip(key) {
        *byte ^= key;
    }
}

/// What a sender did that RFC 6455 forbids. An endpoint would answer with close code 1002.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Violation {
    /// An opcode that no version defines (5.2).
    ReservedOpcode,
    /// A reserved bit that no agreed extension uses there (5.2).
    ReservedBits,
    /// A client sent a frame without mask (5.1).
    MaskMissing,
    /// A backend sent a frame with a mask (5.1).
    MaskPresent,
    /// A control frame with more than [`CONTROL_PAYLOAD_BYTES_MAX`] bytes (5.5).
    ControlTooLong,
    /// A control frame without FIN (5.5).
    ControlFragmented,
    /// A continuation where no message was open (5.4).
    ContinuationWithoutStart,
    /// A new message while another was open (5.4).
    StartInsideMessage,
    /// A length that had a shorter form (5.2).
    LengthNotMinimal,
    /// A length of 2^63 or more (5.2).
    LengthTooLarge,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Violation::ReservedOpcode => "a frame has a reserved opcode",
            Violation::ReservedBits => "a frame has a reserved bit that no extension agreed on",
            Violation::MaskMissing => "a frame from the client is not masked",
            Violation::MaskPresent => "a frame from the backend is masked",
            Violation::ControlTooLong => "a control frame is longer than 125 bytes",
            Violation::ControlFragmented => "a control frame is fragmented",
            Violation::ContinuationWithoutStart => "a continuation frame continues nothing",
            Violation::StartInsideMessage => "a message starts inside another message",
            Violation::LengthNotMinimal => "a length is not in its shortest form",
            Violation::LengthTooLarge => "a length has its highest bit set",
        })
    }
}

impl Error for Violation {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(opcode: Opcode, mask: Option<[u8; 4]>, length: u64) -> Header {
        Header { fin: true, rsv: 0, opcode, mask, length }
    }

    #[test]
    fn examples_of_rfc_6455_section_5_7() {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        let part = Header { fin: false, ..header(Opcode::Text, None, 3) };
        let table: [(&[u8], Header); 7] = [
            (&[0x81, 0x05], header(Opcode::Text, None, 5)),
            (&[0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d], header(Opcode::Text, Some(key), 5)),
            (&[0x01, 0x03], part),
            (&[0x80, 0x02], header(Opcode::Continuation, None, 2)),
            (&[0x89, 0x05], header(Opcode::Ping, None, 5)),
            (&[0x82, 0x7e, 0x01, 0x00], header(Opcode::Binary, None, 256)),
            (&[0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0], header(Opcode::Binary, None, 65536)),
        ];
        for (bytes, expected) in table {
            assert_eq!(Header::read(bytes), Ok(Some((expected, bytes.len()))));
            let mut written = Vec::new();
            expected.write(&mut written);
            assert_eq!(written, bytes);
        }
        let mut payload = [0x7f, 0x9f, 0x4d, 0x51, 0x58];
        unmask(&mut payload, key, 0);
        assert_eq!(&payload, b"Hello");
    }

    #[test]
    fn violations_are_seen_as_early_as_the_bytes_show_them() {
        let table: [(&[u8], Violation); 9] = [
            (&[0x83, 0x00], Violation::ReservedOpcode),
            (&[0x8f, 0xff], Violation::ReservedOpcode),
            (&[0x08, 0x00], Violation::ControlFragmented),
            (&[0x88, 0x7e], Violation::ControlTooLong),
            (&[0x8a, 0xff], Violation::ControlTooLong),
            (&[0x82, 0x7e, 0x00, 0x7d], Violation::LengthNotMinimal),
            (&[0x82, 0xfe, 0x00, 0x00], Violation::LengthNotMinimal),
            (&[0x82, 0x7f, 0, 0, 0, 0, 0, 0, 0xff, 0xff], Violation::LengthNotMinimal),
            (&[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0], Violation::LengthTooLarge),
        ];
        for (bytes, violation) in table {
            assert_eq!(Header::read(bytes), Err(violation), "{bytes:x?}");
            assert_eq!(Header::read(&bytes[..bytes.len() - 1]), Ok(None), "{bytes:x?}");
        }
        assert_eq!(Header::read(&[]), Ok(None));
    }

    #[test]
    fn a_glance_sees_what_is_there_of_any_header() {
        let seen = |fin, rsv, opcode, length| Some(Header { fin, rsv, opcode, mask: None, length });
        let table: [(&[u8], Option<Header>); 6] = [
            (&[0x83], None),
            (&[0xb3, 0x85], seen(true, 3, Opcode::Reserved(3), 5)),
            (&[0x09, 0xfe, 0x01], seen(false, 0, Opcode::Ping, 126)),
            (&[0x89, 0x7e, 0x01, 0x00], seen(true, 0, Opcode::Ping, 256)),
            (&[0x82, 0xfe, 0, 1], seen(true, 0, Opcode::Binary, 1)),
            (&[0x82, 0x7f, 0x80, 0, 0, 0, 0, 0, 0, 0], seen(true, 0, Opcode::Binary, 1 << 63)),
        ];
        for (bytes, expected) in table {
            assert_eq!(Header::glance(bytes), expected, "{bytes:x?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_and_no_prefix_suffices(
            fin: bool,
            rsv in 0u8..8,
            opcode in prop::sample::select(vec![
                Opcode::Continuation, Opcode::Text, Opcode::Binary, Opcode::Close, Opcode::Ping,
            ]),
            mask: Option<[u8; 4]>,
            length in prop_oneof![0u64..200, 65_000u64..66_000, 0u64..1 << 63],
        ) {
            let control = opcode.is_control();
            let header = Header {
                fin: fin || control,
                rsv,
                opcode,
                mask,
                length: if control { length % 126 } else { length },
            };
            let mut bytes = Vec::new();
            header.write(&mut bytes);
            prop_assert!((2..=HEADER_BYTES_MAX).contains(&bytes.len()));
            for end in 0..bytes.len() {
                prop_assert_eq!(Header::read(&bytes[..end]), Ok(None));
            }
            let used = bytes.len();
            bytes.extend_from_slice(b"payload");
            prop_assert_eq!(Header::read(&bytes), Ok(Some((header, used))));
        }

        #[test]
        fn unmasking_in_pieces_is_unmasking_at_once(
            payload in prop::collection::vec(any::<u8>(), 0..100),
            mask: [u8; 4],
            at in 0usize..100,
        ) {
            let at = at.min(payload.len());
            let mut whole = payload.clone();
            unmask(&mut whole, mask, 0);
            let mut pieces = payload.clone();
            let (first, second) = pieces.split_at_mut(at);
            unmask(first, mask, 0);
            unmask(second, mask, at as u64);
            prop_assert_eq!(&whole, &pieces);
            unmask(&mut whole, mask, 0);
            prop_assert_eq!(whole, payload);
        }
    }
}
