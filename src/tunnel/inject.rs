//! Control frames of the proxy's own: masked towards backends, by a mask that nobody can guess, and plain towards clients
//! (RFC 6455 5.1, 5.3, 5.5). Where they go in is the business of [`weave`](crate::proto::weave).

use crate::net::tls;
use crate::proto::close::may_be_sent;
use crate::proto::frame::{CONTROL_PAYLOAD_BYTES_MAX, Header, Opcode, unmask};
use crate::proto::scan::Close;
use crate::telemetry::labels::Direction;

/// Longest reason of a Close, in bytes: a control frame's payload without the code (RFC 6455 5.5).
pub const REASON_BYTES_MAX: usize = CONTROL_PAYLOAD_BYTES_MAX as usize - 2;

/// The Close codes that the proxy itself has a use for (RFC 6455 7.4.1, and IANA's registry).
pub mod code {
    /// All has been said.
    pub const NORMAL: u16 = 1000;
    /// Nobody is there any more who wants it.
    pub const GOING_AWAY: u16 = 1001;
    /// The rules of frames were broken.
    pub const PROTOCOL_ERROR: u16 = 1002;
    /// What is asked for is not allowed, or not any more.
    pub const POLICY: u16 = 1008;
    /// A message is larger than it may be.
    pub const TOO_BIG: u16 = 1009;
    /// The other side is gone.
    pub const INTERNAL_ERROR: u16 = 1011;
    /// The same, where it goes because it stops: to come back is worth while.
    pub const SERVICE_RESTART: u16 = 1012;
    /// Who gets it did not take what there was for it; it may come back when it can.
    pub const TRY_AGAIN_LATER: u16 = 1013;
}

/// By which code `close` is answered: its own, where it has one that may be sent (RFC 6455 5.5.1).
pub fn answer(close: Close) -> u16 {
    match close.code {
        None => code::NORMAL,
        Some(code) if may_be_sent(code) => code,
        Some(_) => code::PROTOCOL_ERROR,
    }
}

/// A Close for the reader of `direction`. Of a longer reason as many characters as there is room for.
pub fn close(direction: Direction, code: u16, reason: &str) -> Vec<u8> {
    let reason = reason.get(..reason.floor_char_boundary(REASON_BYTES_MAX)).unwrap_or_default();
    let payload = [&code.to_be_bytes()[..], reason.as_bytes()].concat();
    control(direction, Opcode::Close, payload)
}

/// A Ping for the reader of `direction`.
pub fn ping(direction: Direction, payload: &[u8]) -> Vec<u8> {
    control(direction, Opcode::Ping, payload.to_vec())
}

fn control(direction: Direction, opcode: Opcode, mut payload: Vec<u8>) -> Vec<u8> {
    let mask = (direction == Direction::ToBackend).then(mask);
    let mut frame = Vec::with_capacity(6 + payload.len());
    Header { fin: true, rsv: 0, opcode, mask, length: payload.len() as u64 }.write(&mut frame);
    if let Some(mask) = mask {
        unmask(&mut payload, mask, 0);
    }
    frame.extend_from_slice(&payload);
    frame
}

/// A new one for each frame. Without the system's randomness, which longhaul does not start without, it is a weak one.
fn mask() -> [u8; 4] {
    tls::random().unwrap_or_else(|| fastrand::u32(..).to_ne_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(frame: &[u8]) -> (Header, Vec<u8>) {
        let (header, start) = Header::read(frame).unwrap().unwrap();
        let mut payload = frame[start..].to_vec();
        if let Some(mask) = header.mask {
            unmask(&mut payload, mask, 0);
        }
        (header, payload)
    }

    #[test]
    fn frames_are_masked_anew_towards_backends_and_never_towards_clients() {
        let (to_client, payload) = read(&close(Direction::ToClient, 1012, "restart"));
        assert_eq!(
            (to_client.opcode, to_client.mask, &*payload),
            (Opcode::Close, None, &b"\x03\xf4restart"[..])
        );
        let masks: Vec<_> = (0..4)
            .map(|_| {
                let (to_backend, payload) = read(&ping(Direction::ToBackend, b"12345678"));
                assert_eq!((to_backend.opcode, &*payload), (Opcode::Ping, &b"12345678"[..]));
                to_backend.mask.unwrap()
            })
            .collect();
        assert!(masks.iter().any(|mask| *mask != masks[0]), "{masks:?}");
    }

    #[test]
    fn a_reason_is_cut_between_characters() {
        let (header, payload) = read(&close(Direction::ToClient, 1001, &"é".repeat(100)));
        assert_eq!(header.length, 2 + 122);
        assert_eq!(payload[2..], *"é".repeat(61).as_bytes());
    }
}
