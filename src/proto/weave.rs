//! One direction of a tunnel as its reader sees it: what the source sends, and between its frames what the proxy adds
//! (RFC 6455 5.4, 5.5).
//!
//! A frame of the proxy's own goes in where one frame has ended and the next has not begun, wherever that is within the
//! bytes that were read: they are split there. None goes in behind a Close, whoever sent it, and behind the proxy's own
//! nothing passes at all. What a source sends behind its own Close passes as it is; where the rules of frames are enforced it
//! is thrown away, as its reader would have to (RFC 6455 1.4, 5.5.1).
//!
//! What may have to be kept back (the frame that breaks a rule, the answer to the proxy's own Ping) is not passed on before
//! it is whole enough to be judged: at most [`HEADER_BYTES_MAX`](super::frame::HEADER_BYTES_MAX) bytes of it are held.

mod aside;

use self::aside::Aside;
use super::frame::{Header, Violation};
use super::limit::{Limit, Limiter, Limits};
use super::scan::{Frame, Kind, Scanner, Step};

/// Payload of a Ping of the proxy's own: with its header and its mask an answer is held whole.
pub const TOKEN_BYTES: usize = 8;

/// Its beginning, by which an answer is known to be one, be it a late one; what follows tells which.
pub const SECRET_BYTES: usize = 6;

/// Who is told of what passes in one direction.
pub trait Watch {
    /// Bytes were taken from the source.
    fn taken(&mut self, bytes: usize);
    /// Some of them were of the source's own making: more than answers to the proxy's Pings.
    fn moved(&mut self) {}
    /// The last byte of a frame was among them. `scanner` has just passed it.
    fn frame(&mut self, frame: Frame, scanner: &Scanner);
    /// Nothing more will be seen of frames: the source broke their rules.
    fn violation(&mut self, violation: Violation);
    /// A frame has begun, be it one that may not pass; told only where it was asked for. Of a header that cannot be read it
    /// is what [`Header::glance`] sees.
    fn header(&mut self, _header: &Header) {}
    /// The source is not read for a while: it sends faster than it may.
    fn waits(&mut self) {}
    /// Nanoseconds since any beginning; a little behind, unless it is to be exact.
    fn now(&mut self, _is_exact: bool) -> u64 {
        0
    }
    /// The source has ended between two frames, and without a Close: what the reader is told, and the code of it.
    fn farewell(&mut self) -> Option<(u16, Vec<u8>)> {
        None
    }
}

/// Why a direction cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offence {
    /// The rules of frames are enforced, and it broke them.
    Violation(Violation),
    /// It went over a limit.
    Over(Limit),
}

/// What a direction is to take next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// At most so many bytes of the source.
    Read(usize),
    /// What it was given back before, from this place on.
    Again(Vec<u8>, usize),
    /// Nothing before [`Weave::held_until`].
    Nothing,
}

/// One direction.
#[derive(Debug)]
pub struct Weave {
    scanner: Scanner,
    /// There while anything is to be added or kept back, and when it has been remembered for good.
    aside: Option<Box<Aside>>,
}

impl Weave {
    /// A direction that `scanner` watches. If `strict`, a violation ends it.
    pub fn new(scanner: Scanner, strict: bool) -> Weave {
        let aside = strict.then(|| Box::new(Aside { strict, ..Aside::default() }));
        Weave { scanner, aside }
    }

    /// The source may send no more than this.
    pub fn limit(&mut self, limits: Limits) {
        self.aside.get_or_insert_default().limiter = Some(Box::new(Limiter::new(limits)));
    }

    /// From now on every header is told.
    pub fn tell_headers(&mut self) {
        self.aside.get_or_insert_default().tells_headers = true;
    }

    /// The source need not wait any more.
    pub fn lift_rates(&mut self) {
        if let Some(aside) = &mut self.aside {
            aside.held_until = None;
            if let Some(limiter) = &mut aside.limiter {
                limiter.lift_rates();
            }
        }
    }

    /// When the source may go on, if it has sent too fast.
    pub fn held_until(&self) -> Option<u64> {
        self.aside.as_deref()?.held_until
    }

    /// Whether it is not read because of that.
    pub fn is_held(&self) -> bool {
        self.aside.as_deref().is_some_and(|aside| aside.held_until.is_some() || !aside.again.0.is_empty())
    }

    /// What is to be taken next.
    pub fn next(&mut self, watch: &mut impl Watch) -> Next {
        let Some(aside) = self.aside.as_deref_mut() else { return Next::Read(usize::MAX) };
        if let Some(until) = aside.held_until {
            if watch.now(true) < until {
                return Next::Nothing;
            }
            aside.held_until = None;
        }
        if !aside.again.0.is_empty() {
            let (bytes, start) = std::mem::take(&mut aside.again);
            return Next::Again(bytes, start);
        }
        let Some(limiter) = aside.limiter.as_deref().filter(|limiter| limiter.limits_reading()) else {
            return Next::Read(usize::MAX);
        };
        match limiter.allowance(watch.now(false)).or_else(|_| limiter.allowance(watch.now(true))) {
            Ok(bytes) => Next::Read(usize::try_from(bytes).unwrap_or(usize::MAX)),
            Err(until) => {
                aside.held_until = Some(until);
                watch.waits();
                Next::Nothing
            }
        }
    }

    /// Gives back what [`Weave::take`] has not taken of `bytes`, from `start` on.
    pub fn give_back(&mut self, bytes: Vec<u8>, start: usize) {
        if let Some(aside) = self.aside.as_deref_mut().filter(|_| start < bytes.len()) {
            aside.again = (bytes, start);
        }
    }

    /// So many bytes were read of the source.
    pub fn read(&mut self, bytes: usize, watch: &mut impl Watch) {
        let limiter = self.aside.as_deref_mut().and_then(|aside| aside.limiter.as_deref_mut());
        if let Some(limiter) = limiter.filter(|limiter| limiter.limits_reading()) {
            limiter.read(bytes as u64, watch.now(false));
        }
    }

    /// Whether anything is to be added or kept back, or what was is to be remembered. All else passes as it is.
    #[inline]
    pub fn is_busy(&self) -> bool {
        self.aside.is_some()
    }

    /// What has been seen of the source's frames.
    pub fn scanner(&self) -> &Scanner {
        &self.scanner
    }

    /// Adds a control frame at the next boundary, unless a Close is to be there.
    pub fn say(&mut self, frame: &[u8]) {
        let aside = self.aside.get_or_insert_default();
        if aside.closing.is_none() {
            aside.waiting.extend_from_slice(frame);
        }
    }

    /// Adds a Close at the next boundary, behind which nothing passes; the first one counts.
    pub fn say_close(&mut self, code: u16, frame: &[u8]) {
        self.say(frame);
        self.aside.get_or_insert_default().closing.get_or_insert(code);
    }

    /// Whether something waits for its place and may still find it.
    pub fn owes(&self) -> bool {
        let waits =
            |aside: &Aside| !aside.waiting.is_empty() && (aside.is_cut_off || !self.scanner.is_blind());
        self.scanner.close().is_none() && self.aside.as_deref().is_some_and(waits)
    }

    /// Whether what waits can go in now.
    pub fn can_speak(&self) -> bool {
        self.owes() && self.is_between()
    }

    /// Whether what is said now will find its place, if the frame that passes ends.
    pub fn is_open(&self) -> bool {
        let is_closing = |aside: &Aside| aside.closing.is_some();
        !self.scanner.is_blind()
            && self.scanner.close().is_none()
            && !self.aside.as_deref().is_some_and(is_closing)
    }

    /// Whether a violation has ended the direction.
    pub fn is_cut_off(&self) -> bool {
        self.aside.as_deref().is_some_and(|aside| aside.is_cut_off)
    }

    /// Whether the reader may be told, here and now, that nothing will follow.
    pub fn may_close(&self) -> bool {
        let is_closing = |aside: &Aside| aside.closing.is_some();
        self.is_between() && self.scanner.close().is_none() && !self.aside.as_deref().is_some_and(is_closing)
    }

    /// The code of the proxy's own Close, when that has gone in.
    pub fn own_close(&self) -> Option<u16> {
        self.aside.as_deref()?.closed
    }

    /// Bytes of the source that did not pass.
    pub fn discarded(&self) -> u64 {
        self.aside.as_deref().map_or(0, |aside| aside.discarded)
    }

    /// The answer to a Ping with this payload, which comes from the source, is kept back from now on, and with it those
    /// whose first [`SECRET_BYTES`] are the same: answers to Pings before it. No limit counts them as control frames.
    pub fn await_answer(&mut self, token: [u8; TOKEN_BYTES]) {
        self.aside.get_or_insert_default().awaited = Some(token);
    }

    /// Whether such an answer is still awaited.
    pub fn awaits_answer(&self) -> bool {
        self.aside.as_deref().is_some_and(|aside| aside.awaited.is_some())
    }

    /// Writes what is held to the end of `room`, and forgets it: the next bytes for [`Weave::take`] are those and what
    /// follows them. How many they are.
    pub fn resume(&mut self, room: &mut [u8]) -> usize {
        let Some(aside) = self.aside.as_deref_mut().filter(|aside| aside.tail_bytes > 0) else { return 0 };
        let tail = aside.tail.get(..aside.tail_bytes).unwrap_or_default();
        let Some(start) = room.len().checked_sub(tail.len()) else { return 0 };
        for (place, byte) in room.iter_mut().skip(start).zip(tail) {
            *place = *byte;
        }
        std::mem::take(&mut aside.tail_bytes)
    }

    /// Takes the next bytes of the source and gives those that pass to `pass`, in order, what the proxy adds between them.
    /// How many it took: the others are to be given back, and come again when the source may go on.
    ///
    /// # Errors
    /// A violation, where the direction is strict, or a limit: what came before its frame has passed, and nothing else ever
    /// will.
    #[inline]
    pub fn take(
        &mut self,
        bytes: &[u8],
        watch: &mut impl Watch,
        mut pass: impl FnMut(&[u8]),
    ) -> Result<usize, Offence> {
        let Weave { scanner, aside } = self;
        let Some(aside) = aside.as_deref_mut() else {
            watch.moved();
            look(scanner, bytes, watch);
            pass(bytes);
            return Ok(bytes.len());
        };
        if aside.is_past_close {
            aside.discarded += bytes.len() as u64;
            return Ok(bytes.len());
        }
        let mut begun = scanner.at_boundary().then_some(0);
        let (mut passed, mut end, mut rest) = (0, bytes.len(), bytes);
        let (mut outcome, mut has_moved) = (Ok(bytes.len()), false);
        while !rest.is_empty() {
            let peeked = aside.peek(scanner, rest);
            if let Err(stop) = aside.admit(peeked, rest, watch) {
                end = bytes.len() - rest.len();
                outcome = aside.stop(stop, end, scanner, watch);
                if outcome.is_err() {
                    aside.tell(peeked, watch);
                }
                break;
            }
            let frame_start = rest;
            let step = scanner.step(&mut rest);
            let is_kept_back = matches!(step, Step::More) && begun.is_some() && aside.keeps_back(scanner);
            if !is_kept_back {
                aside.tell(peeked, watch);
            }
            match step {
                Step::Frame(frame) => {
                    let here = bytes.len() - rest.len();
                    match begun.filter(|_| aside.takes_answer(frame, scanner)) {
                        Some(start) => {
                            aside.pass(bytes.get(passed..start), &mut pass);
                            passed = here;
                        }
                        None => {
                            has_moved = true;
                            watch.frame(frame, scanner);
                        }
                    }
                    if !aside.waiting.is_empty() && scanner.close().is_none() {
                        aside.pass(bytes.get(passed..here), &mut pass);
                        passed = here;
                        aside.speak(&mut pass);
                    }
                    begun = Some(here);
                    if aside.strict && frame.kind == Kind::Close {
                        aside.pass(bytes.get(passed..here), &mut pass);
                        (aside.is_past_close, passed) = (true, here);
                        break;
                    }
                }
                Step::More => {
                    if let Some(start) = begun.filter(|_| is_kept_back) {
                        aside.hold(bytes.get(start..).unwrap_or_default());
                        scanner.rewind();
                        end = start;
                    }
                    break;
                }
                Step::Violation(violation) => {
                    watch.violation(violation);
                    aside.tell_unread(peeked, frame_start, watch);
                    if aside.strict {
                        end = begun.unwrap_or(passed);
                        outcome = Err(Offence::Violation(violation));
                    }
                    break;
                }
            }
        }
        aside.pass(bytes.get(passed..end), &mut pass);
        if outcome.is_err() {
            aside.is_cut_off = true;
            aside.discarded += bytes.len().saturating_sub(end) as u64;
        }
        if has_moved || end > passed || outcome.is_err() {
            watch.moved();
        }
        self.tidy();
        outcome
    }

    /// Adds what waits, if this is the place for it.
    pub fn speak(&mut self, mut pass: impl FnMut(&[u8])) {
        if self.can_speak()
            && let Some(aside) = &mut self.aside
        {
            aside.speak(&mut pass);
            self.tidy();
        }
    }

    /// From the moment on when nothing is left to be done or remembered, all passes as it is again.
    fn tidy(&mut self) {
        if self.aside.as_deref().is_some_and(Aside::is_idle) {
            self.aside = None;
        }
    }

    /// The source has ended: of a frame that has just begun nothing passes.
    pub fn end(&mut self) {
        if let Some(aside) = &mut self.aside {
            aside.discarded += std::mem::take(&mut aside.tail_bytes) as u64;
        }
    }

    /// Whether what the reader has got ends within a frame, as far as that is known.
    pub fn is_within_frame(&self) -> bool {
        !self.is_between() && !self.scanner.is_blind()
    }

    /// Whether the reader stands between two frames.
    fn is_between(&self) -> bool {
        self.scanner.at_boundary() || self.is_cut_off()
    }
}

/// Reads the headers in what passes as it is.
#[inline]
fn look(scanner: &mut Scanner, mut bytes: &[u8], watch: &mut impl Watch) {
    while !bytes.is_empty() {
        match scanner.step(&mut bytes) {
            Step::Frame(frame) => watch.frame(frame, scanner),
            Step::More => break,
            Step::Violation(violation) => return watch.violation(violation),
        }
    }
}
