//! What is told of the bytes that pass: counted for the route, in the worker's own cells, and for the tunnel, in its entry of
//! the live table, while it lives. Nothing here takes memory or a lock for a message.

use tokio::time::Instant;

use super::clock;
use super::inject::{self, code};
use super::recorder::Recorder;
use super::sessions::Session;
use crate::proto::frame::{Header, Violation};
use crate::proto::scan::{Close, Frame, Scanner};
use crate::proto::weave::Watch;
use crate::telemetry::labels::Direction;
use crate::telemetry::metrics::DirectionMetrics;

/// The watch of a tunnel.
pub struct Tap<'t> {
    session: &'t Session,
    direction: Direction,
    metrics: &'t DirectionMetrics,
    /// Remembers headers.
    recorder: Option<&'t mut Recorder>,
    /// What the reader is told when the source is gone.
    farewell: Option<Farewell<'t>>,
}

impl<'t> Tap<'t> {
    /// For one direction of the tunnel that `session` is the entry of.
    pub fn new(session: &'t Session, direction: Direction) -> Tap<'t> {
        Tap {
            session,
            direction,
            metrics: session.terms.metrics.direction(direction),
            recorder: None,
            farewell: None,
        }
    }

    /// The headers of frames are to be remembered.
    pub fn recording(self, recorder: Option<&'t mut Recorder>) -> Tap<'t> {
        Tap { recorder, ..self }
    }

    /// The reader is told when the source is gone.
    pub fn telling(self, farewell: Farewell<'t>) -> Tap<'t> {
        Tap { farewell: Some(farewell), ..self }
    }
}

/// What decides how the one side of a tunnel is told that the other is gone.
#[derive(Clone, Copy)]
pub struct Farewell<'t> {
    /// The Close that it has sent itself: that is answered.
    pub close: Option<Close>,
    /// The code by which longhaul has asked the client to go.
    pub goodbye: Option<u16>,
    /// Whether longhaul or the backend stops.
    pub leaves: &'t dyn Fn() -> bool,
}

impl Farewell<'_> {
    fn code(&self) -> u16 {
        match (self.close, self.goodbye) {
            (Some(close), _) => inject::answer(close),
            (None, Some(code)) => code,
            (None, None) if (self.leaves)() => code::SERVICE_RESTART,
            (None, None) => code::INTERNAL_ERROR,
        }
    }
}

impl Watch for Tap<'_> {
    fn taken(&mut self, bytes: usize) {
        let bytes = bytes as u64;
        self.session.count_bytes(self.direction, bytes);
        self.metrics.bytes.add(bytes);
    }

    #[inline]
    fn moved(&mut self) {
        self.session.touch(clock::now());
    }

    fn frame(&mut self, frame: Frame, scanner: &Scanner) {
        self.session.count_frame(self.direction, frame.kind, scanner.close());
        self.metrics.frame(frame);
    }

    fn header(&mut self, header: &Header) {
        if let Some(recorder) = &mut self.recorder {
            recorder.note(self.direction, header, self.session.opened().elapsed());
        }
    }

    fn waits(&mut self) {
        self.session.terms.metrics.waits(self.direction);
    }

    fn now(&mut self, is_exact: bool) -> u64 {
        let now = if is_exact { Instant::now() } else { clock::now() };
        let since = now.saturating_duration_since(self.session.opened());
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }

    fn violation(&mut self, violation: Violation) {
        self.session.terms.metrics.violation(self.direction, violation);
    }

    fn farewell(&mut self) -> Option<(u16, Vec<u8>)> {
        let code = self.farewell?.code();
        Some((code, inject::close(self.direction, code, "")))
    }
}
