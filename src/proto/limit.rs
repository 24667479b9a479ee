//! How much one side of a tunnel may send: how large its frames and messages may be, and how fast they may come.
//!
//! A frame is judged by its header, before anything of it passes: a size by what the header declares, a message by the sum
//! of what its fragments declare. A frame that comes too fast waits for its turn or is refused, as the rules say; control
//! frames that come too fast are always refused. Bytes that are to wait are not read (see [`Limiter::allowance`]); where
//! what is too fast is refused, a frame's bytes are those that it declares. A Close may always pass.
//!
//! Times are nanoseconds since any beginning.

use super::frame::{Header, Opcode};
use super::rate::Rate;

/// What holds for one side; `None` is any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Payload of a frame, in bytes.
    pub frame_max: Option<u64>,
    /// Payload of a message, in bytes, all its fragments.
    pub message_max: Option<u64>,
    /// Frames of messages.
    pub frames: Option<Rate>,
    /// Messages.
    pub messages: Option<Rate>,
    /// Bytes, framing included.
    pub bytes: Option<Rate>,
    /// Control frames.
    pub control: Option<Rate>,
    /// Whether what comes too fast waits, rather than be refused; control frames do not.
    pub waits: bool,
}

/// Which limit it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// [`Limits::frame_max`]
    FrameSize,
    /// [`Limits::message_max`]
    MessageSize,
    /// [`Limits::frames`]
    Frames,
    /// [`Limits::messages`]
    Messages,
    /// [`Limits::bytes`]
    Bytes,
    /// [`Limits::control`]
    Control,
}

impl Limit {
    /// Whether something is too large, rather than too fast.
    pub fn is_size(self) -> bool {
        matches!(self, Limit::FrameSize | Limit::MessageSize)
    }
}

/// Why a frame may not pass now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It may at this time.
    Until(u64),
    /// It never may.
    Over(Limit),
}

/// What one side has used up of its limits.
#[derive(Debug)]
pub struct Limiter {
    limits: Limits,
    /// Of the message that began last.
    message_bytes: u64,
    frames: u64,
    messages: u64,
    bytes: u64,
    control: u64,
}

impl Limiter {
    /// Nothing has been used.
    pub fn new(limits: Limits) -> Limiter {
        Limiter { limits, message_bytes: 0, frames: 0, messages: 0, bytes: 0, control: 0 }
    }

    /// From now on nothing has to wait, or is refused for coming too fast.
    pub fn lift_rates(&mut self) {
        let Limits { frame_max, message_max, .. } = self.limits;
        self.limits = Limits { frame_max, message_max, ..Limits::default() };
    }

    /// Lets a frame with this header pass at `now`, all of it.
    ///
    /// # Errors
    /// Why it may not; then nothing is used up.
    pub fn admit(&mut self, header: &Header, now: u64) -> Result<(), Stop> {
        if header.opcode.is_control() {
            return self.admit_control(header, now);
        }
        let Limits { frame_max, message_max, .. } = self.limits;
        if frame_max.is_some_and(|max| header.length > max) {
            return Err(Stop::Over(Limit::FrameSize));
        }
        let begins = header.opcode != Opcode::Continuation;
        let before = if begins { 0 } else { self.message_bytes };
        let message_bytes = before.saturating_add(header.length);
        if message_max.is_some_and(|max| message_bytes > max) {
            return Err(Stop::Over(Limit::MessageSize));
        }
        let frames = self.take(self.limits.frames, self.frames, 1, now, Limit::Frames)?;
        let messages =
            self.take(self.limits.messages, self.messages, u64::from(begins), now, Limit::Messages)?;
        self.bytes = self.take_bytes(header, now)?;
        (self.frames, self.messages) = (frames, messages);
        self.message_bytes = message_bytes;
        Ok(())
    }

    fn admit_control(&mut self, header: &Header, now: u64) -> Result<(), Stop> {
        if header.opcode == Opcode::Close {
            return Ok(());
        }
        let control = match self.limits.control {
            Some(rate) => rate.take(self.control, now, 1, 0).map_err(|_| Stop::Over(Limit::Control))?.until,
            None => self.control,
        };
        self.bytes = self.take_bytes(header, now)?;
        self.control = control;
        Ok(())
    }

    /// What `bytes` becomes when a frame's are taken; those that are to wait are counted as they are read.
    fn take_bytes(&self, header: &Header, now: u64) -> Result<u64, Stop> {
        let rate = self.limits.bytes.filter(|_| !self.limits.waits);
        let bytes = header.length.saturating_add(header_bytes(header));
        self.take(rate, self.bytes, bytes, now, Limit::Bytes)
    }

    /// What `until` becomes when so much is taken.
    fn take(&self, rate: Option<Rate>, until: u64, amount: u64, now: u64, limit: Limit) -> Result<u64, Stop> {
        let Some(rate) = rate.filter(|_| amount > 0) else { return Ok(until) };
        match rate.take(until, now, amount, 0) {
            Ok(taken) => Ok(taken.until),
            Err(wait) if self.limits.waits => Err(Stop::Until(now.saturating_add(wait))),
            Err(_) => Err(Stop::Over(limit)),
        }
    }

    /// How many bytes may be read at `now`, at least one.
    ///
    /// # Errors
    /// When the next ones may be.
    pub fn allowance(&self, now: u64) -> Result<u64, u64> {
        let Some(rate) = self.limits.bytes.filter(|_| self.limits.waits) else { return Ok(u64::MAX) };
        rate.room(self.bytes, now)
    }

    /// Whether reading may have to wait.
    pub fn limits_reading(&self) -> bool {
        self.limits.waits && self.limits.bytes.is_some()
    }

    /// So many bytes were read.
    pub fn read(&mut self, bytes: u64, now: u64) {
        if let Some(rate) = self.limits.bytes.filter(|_| self.limits.waits)
            && let Ok(taken) = rate.take(self.bytes, now, bytes, u64::MAX)
        {
            self.bytes = taken.until;
        }
    }
}

/// Bytes of the header itself, its length in the shortest form.
fn header_bytes(header: &Header) -> u64 {
    let length = match header.length {
        0..126 => 0,
        126..65_536 => 2,
        _ => 8,
    };
    2 + length + if header.mask.is_some() { 4 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn header(fin: bool, opcode: Opcode, length: u64) -> Header {
        Header { fin, rsv: 0, opcode, mask: Some([0; 4]), length }
    }

    #[test]
    fn sizes_are_judged_by_what_is_declared() {
        let limits = Limits { frame_max: Some(100), message_max: Some(250), ..Limits::default() };
        let mut limiter = Limiter::new(limits);
        let mut admit = |fin, opcode, length| limiter.admit(&header(fin, opcode, length), 0);
        assert_eq!(admit(true, Opcode::Text, 100), Ok(()));
        assert_eq!(admit(true, Opcode::Text, 101), Err(Stop::Over(Limit::FrameSize)));
        assert_eq!(admit(true, Opcode::Binary, (1 << 63) - 1), Err(Stop::Over(Limit::FrameSize)));
        assert_eq!(admit(false, Opcode::Text, 100), Ok(()));
        assert_eq!(admit(true, Opcode::Ping, 125), Ok(()));
        assert_eq!(admit(false, Opcode::Continuation, 100), Ok(()));
        assert_eq!(admit(true, Opcode::Continuation, 51), Err(Stop::Over(Limit::MessageSize)));
        assert_eq!(admit(true, Opcode::Continuation, 50), Ok(()));
        assert_eq!(admit(true, Opcode::Text, 100), Ok(()));
        // Lengths that would wrap.
        let mut limiter = Limiter::new(Limits { message_max: Some(u64::MAX - 1), ..Limits::default() });
        let large = header(false, Opcode::Continuation, (1 << 63) - 1);
        assert_eq!((limiter.admit(&large, 0), limiter.admit(&large, 0)), (Ok(()), Ok(())));
        assert_eq!(limiter.admit(&large, 0), Err(Stop::Over(Limit::MessageSize)));
    }

    #[test]
    fn sizes_hold_where_rates_were_lifted() {
        let limits = Limits { frame_max: Some(10), message_max: Some(15), ..Limits::default() };
        let mut limiter = Limiter::new(limits);
        limiter.lift_rates();
        assert_eq!(limiter.admit(&header(true, Opcode::Text, 11), 0), Err(Stop::Over(Limit::FrameSize)));
        assert_eq!(limiter.admit(&header(false, Opcode::Text, 10), 0), Ok(()));
        let rest = header(true, Opcode::Continuation, 6);
        assert_eq!(limiter.admit(&rest, 0), Err(Stop::Over(Limit::MessageSize)));
    }

    #[test]
    fn a_message_counts_once_however_many_its_fragments() {
        let mut limiter = Limiter::new(Limits { messages: Some(Rate::new(1, 2)), ..Limits::default() });
        for _ in 0..2 {
            assert_eq!(limiter.admit(&header(false, Opcode::Text, 1), SECOND), Ok(()));
            for fin in [false, false, true] {
                assert_eq!(limiter.admit(&header(fin, Opcode::Continuation, 1), SECOND), Ok(()));
            }
        }
        let over = limiter.admit(&header(true, Opcode::Text, 1), SECOND);
        assert_eq!(over, Err(Stop::Over(Limit::Messages)));
    }

    #[test]
    fn what_is_too_fast_waits_or_is_refused() {
        let rate = Some(Rate::new(10, 2));
        for (limits, limit, opcode) in [
            (Limits { messages: rate, ..Limits::default() }, Limit::Messages, Opcode::Text),
            (Limits { frames: rate, ..Limits::default() }, Limit::Frames, Opcode::Continuation),
        ] {
            let frame = header(false, opcode, 0);
            for waits in [true, false] {
                let mut limiter = Limiter::new(Limits { waits, ..limits });
                assert_eq!(limiter.admit(&frame, SECOND), Ok(()));
                assert_eq!(limiter.admit(&frame, SECOND), Ok(()));
                let until = SECOND + SECOND / 10;
                let stop = if waits { Stop::Until(until) } else { Stop::Over(limit) };
                assert_eq!(limiter.admit(&frame, SECOND), Err(stop));
                assert_eq!(limiter.admit(&frame, until), Ok(()));
                assert!(limiter.admit(&frame, until).is_err());
                limiter.lift_rates();
                assert_eq!(limiter.admit(&frame, until), Ok(()));
            }
        }
    }

    #[test]
    fn control_frames_never_wait_and_a_close_always_passes() {
        let mut limiter =
            Limiter::new(Limits { control: Some(Rate::new(1, 3)), waits: true, ..Limits::default() });
        for _ in 0..3 {
            assert_eq!(limiter.admit(&header(true, Opcode::Ping, 0), SECOND), Ok(()));
        }
        assert_eq!(limiter.admit(&header(true, Opcode::Pong, 0), SECOND), Err(Stop::Over(Limit::Control)));
        assert_eq!(limiter.admit(&header(true, Opcode::Close, 2), SECOND), Ok(()));
        assert_eq!(limiter.admit(&header(true, Opcode::Text, 0), SECOND), Ok(()));
    }

    #[test]
    fn bytes_are_read_as_they_may_pass_or_refused_by_the_header() {
        let limits = Limits { bytes: Some(Rate::new(1000, 500)), waits: true, ..Limits::default() };
        let mut limiter = Limiter::new(limits);
        assert_eq!(limiter.allowance(SECOND), Ok(500));
        limiter.read(200, SECOND);
        assert_eq!(limiter.allowance(SECOND), Ok(300));
        limiter.read(300, SECOND);
        let next = limiter.allowance(SECOND).expect_err("all is used up");
        assert!(next > SECOND && limiter.allowance(next).is_ok_and(|room| room >= 1), "{next}");
        assert_eq!(limiter.admit(&header(true, Opcode::Binary, 1 << 40), SECOND), Ok(()));
        let mut limiter = Limiter::new(Limits { waits: false, ..limits });
        assert_eq!(limiter.allowance(SECOND), Ok(u64::MAX));
        assert_eq!(limiter.admit(&header(true, Opcode::Binary, 492), SECOND), Ok(()));
        let over = limiter.admit(&header(true, Opcode::Binary, 1), SECOND);
        assert_eq!(over, Err(Stop::Over(Limit::Bytes)));
        // Those of control frames too, but for a Close.
        let control = Some(Rate::new(1, 5));
        let mut limiter = Limiter::new(Limits { waits: false, control, ..limits });
        for _ in 0..3 {
            assert_eq!(limiter.admit(&header(true, Opcode::Ping, 125), SECOND), Ok(()));
        }
        let over = limiter.admit(&header(true, Opcode::Pong, 125), SECOND);
        assert_eq!(over, Err(Stop::Over(Limit::Bytes)));
        assert_eq!(limiter.admit(&header(true, Opcode::Close, 125), SECOND), Ok(()));
        // What was refused for its bytes has not used up the other limit.
        for _ in 0..2 {
            assert_eq!(limiter.admit(&header(true, Opcode::Ping, 0), SECOND), Ok(()));
        }
        assert_eq!(limiter.admit(&header(true, Opcode::Ping, 0), SECOND), Err(Stop::Over(Limit::Control)));
    }
}
