//! What is told of the bytes that pass: counted for the route, in the worker's own cells, and for the tunnel, in its entry of
//! the live table, while it lives. Nothing here takes memory or a lock for a message.

use tokio::time::Instant;

use super::clock;
use super::inject::{self, code};
use super::recorder::Recorder;
use super::sessions::Session;
use crate::proto::frame::{Header, Violation};
use crate::proto::scan::{Frame, Scanner};
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
    /// Whether the reader is told when the source is gone, and then why.
    leaves: Option<&'t dyn Fn() -> bool>,
}

impl<'t> Tap<'t> {
    /// For one direction of the tunnel that `session` is the entry of.
    pub fn new(session: &'t Session, direction: Direction) -> Tap<'t> {
        Tap {
            session,
            direction,
            metrics: session.terms.metrics.direction(direction),
            recorder: None,
            leaves: None,
        }
    }

    /// The headers of frames are to be remembered.
    pub fn recording(self, recorder: Option<&'t mut Recorder>) -> Tap<'t> {
        Tap { recorder, ..self }
    }

    /// The reader has not closed: it is told when the source is gone. `leaves` says whether that is because longhaul or the
    /// backend stops.
    pub fn telling(self, is_open: bool, leaves: &'t dyn Fn() -> bool) -> Tap<'t> {
        Tap { leaves: is_open.then_some(leaves), ..self }
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
        let code = if (self.leaves?)() { code::SERVICE_RESTART } else { code::INTERNAL_ERROR };
        Some((code, inject::close(self.direction, code, "")))
    }
}
