//! What a direction has of its own while it does not pass all as it is: what waits for its place, and what is kept back.

use super::super::frame::{HEADER_BYTES_MAX, Header, Opcode, unmask};
use super::super::limit::{Limiter, Stop};
use super::super::scan::{Frame, Kind, Scanner};
use super::{Offence, SECRET_BYTES, TOKEN_BYTES, Watch};

/// There while there is anything to be added or kept back.
#[derive(Debug, Default)]
pub struct Aside {
    /// A violation ends the direction; nothing of the frame that commits it passes.
    pub strict: bool,
    /// It has.
    pub is_cut_off: bool,
    /// The rules are enforced, and the source has sent its Close: nothing passes any more.
    pub is_past_close: bool,
    /// Frames that wait for their place.
    pub waiting: Vec<u8>,
    /// The code of the Close that is the last of them, or has been.
    pub closing: Option<u16>,
    /// The code of the Close that has gone in.
    pub closed: Option<u16>,
    /// The start of a frame, none of which has passed.
    pub tail: [u8; HEADER_BYTES_MAX],
    pub tail_bytes: usize,
    /// What the Pong says that answers the proxy's latest Ping.
    pub awaited: Option<[u8; TOKEN_BYTES]>,
    /// Bytes of the source that did not pass.
    pub discarded: u64,
    pub limiter: Option<Box<Limiter>>,
    /// Every header is told.
    pub tells_headers: bool,
    /// When the source may go on that has sent too fast.
    pub held_until: Option<u64>,
    /// What was read of it before that showed, and from where on it is to be taken again.
    pub again: (Vec<u8>, usize),
}

impl Aside {
    /// Passes on, unless nothing does any more.
    pub fn pass(&mut self, bytes: Option<&[u8]>, pass: &mut impl FnMut(&[u8])) {
        match bytes.filter(|bytes| !bytes.is_empty()) {
            Some(bytes) if self.is_cut_off || self.is_past_close || self.closed.is_some() => {
                self.discarded += bytes.len() as u64;
            }
            Some(bytes) => pass(bytes),
            None => {}
        }
    }

    /// Whether headers are looked at before their frames pass.
    pub fn peeks(&self) -> bool {
        self.limiter.is_some() || self.tells_headers
    }

    /// The header that `bytes` begin with, if it is to be looked at, and its bytes.
    pub fn peek(&self, scanner: &Scanner, bytes: &[u8]) -> Option<(Header, usize)> {
        if self.peeks() && self.closed.is_none() { scanner.peek(bytes) } else { None }
    }

    /// Lets the frame pass whose header was peeked at the start of `bytes`. A Pong that is to answer a Ping of the proxy's is
    /// not the source's own: it is judged when it is whole, and counts only if it does not.
    pub fn admit(
        &mut self,
        peeked: Option<(Header, usize)>,
        bytes: &[u8],
        watch: &mut impl Watch,
    ) -> Result<(), Stop> {
        let Some((header, header_bytes)) = peeked.filter(|_| self.limiter.is_some()) else { return Ok(()) };
        let payload = bytes.get(header_bytes..).unwrap_or_default();
        if self.may_answer(&header, payload) {
            return Ok(());
        }
        let Some(limiter) = &mut self.limiter else { return Ok(()) };
        match limiter.admit(&header, watch.now(false)) {
            // By a clock that is behind, it may have come too early.
            Err(Stop::Over(limit)) if limit.is_size() => Err(Stop::Over(limit)),
            Err(_) => limiter.admit(&header, watch.now(true)),
            Ok(()) => Ok(()),
        }
    }

    /// Whether a frame with this header answers a Ping of the proxy's, or may as far as its payload is there. What may, and is
    /// not whole, is kept back ([`Aside::keeps_back`]) and comes again.
    fn may_answer(&self, header: &Header, payload: &[u8]) -> bool {
        let Some(awaited) = &self.awaited else { return false };
        if header.opcode != Opcode::Pong || header.length != TOKEN_BYTES as u64 {
            return false;
        }
        let Some(mut token) = payload.first_chunk::<TOKEN_BYTES>().copied() else { return true };
        unmask(&mut token, header.mask.unwrap_or_default(), 0);
        token.starts_with(secret(awaited))
    }

    /// Tells of a header, where that was asked for.
    pub fn tell(&self, peeked: Option<(Header, usize)>, watch: &mut impl Watch) {
        if let Some((header, _)) = peeked.filter(|_| self.tells_headers) {
            watch.header(&header);
        }
    }

    /// Tells what there is of the header that `bytes` begin with, if it was not to be read.
    pub fn tell_unread(&self, peeked: Option<(Header, usize)>, bytes: &[u8], watch: &mut impl Watch) {
        if self.tells_headers
            && self.closed.is_none()
            && peeked.is_none()
            && let Some(header) = Header::glance(bytes)
        {
            watch.header(&header);
        }
    }

    /// A frame may not pass now, in front of which so many bytes do.
    pub fn stop(
        &mut self,
        stop: Stop,
        bytes: usize,
        scanner: &mut Scanner,
        watch: &mut impl Watch,
    ) -> Result<usize, Offence> {
        match stop {
            Stop::Until(until) => {
                self.held_until = Some(until);
                watch.waits();
                Ok(bytes)
            }
            Stop::Over(limit) => {
                scanner.go_blind();
                Err(Offence::Over(limit))
            }
        }
    }

    pub fn speak(&mut self, pass: &mut impl FnMut(&[u8])) {
        pass(&std::mem::take(&mut self.waiting));
        self.closed = self.closing;
    }

    /// Whether this frame answers a Ping of the proxy's. When it answers the latest, no further answer is to come: a peer
    /// answers in order, if it answers all (RFC 6455 5.5.3).
    pub fn takes_answer(&mut self, frame: Frame, scanner: &Scanner) -> bool {
        let Some(awaited) = self.awaited else { return false };
        let (token, is_as_long) = (scanner.token(), frame.bytes == TOKEN_BYTES as u64);
        if frame.kind != Kind::Pong || !is_as_long || !token.starts_with(secret(&awaited)) {
            return false;
        }
        if token == awaited {
            self.awaited = None;
        }
        true
    }

    /// Whether it holds nothing, and never did what is to be remembered.
    pub fn is_idle(&self) -> bool {
        let has_rule = self.strict || self.is_cut_off || self.awaited.is_some() || self.peeks();
        let waits = !self.waiting.is_empty() || self.held_until.is_some() || !self.again.0.is_empty();
        let has_bytes = waits || self.tail_bytes > 0 || self.discarded > 0;
        !has_rule && !has_bytes && self.closing.is_none()
    }

    /// Whether what has just begun may have to be kept back, and so must not pass in part.
    pub fn keeps_back(&self, scanner: &Scanner) -> bool {
        (self.strict || self.awaited.is_some() || self.peeks()) && scanner.is_within_header()
            || self.awaited.is_some() && scanner.is_within_pong(TOKEN_BYTES)
    }

    pub fn hold(&mut self, bytes: &[u8]) {
        self.tail_bytes = 0;
        for (place, byte) in self.tail.iter_mut().zip(bytes) {
            *place = *byte;
            self.tail_bytes += 1;
        }
    }
}

fn secret(token: &[u8; TOKEN_BYTES]) -> &[u8] {
    token.get(..SECRET_BYTES).unwrap_or_default()
}
