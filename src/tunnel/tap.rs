//! What is told of the bytes that pass: counted for the route, in the worker's own cells, and for the tunnel, in its entry of
//! the live table, while it lives. Nothing here takes memory or a lock for a message.

use super::clock;
use super::sessions::Session;
use crate::proto::frame::Violation;
use crate::proto::scan::{Frame, Scanner};
use crate::telemetry::labels::Direction;
use crate::telemetry::metrics::DirectionMetrics;

/// Who is told of what passes in one direction.
pub trait Watch {
    /// Bytes were taken from the source.
    fn taken(&mut self, bytes: usize);
    /// The last byte of a frame was among them. `scanner` has just passed it.
    fn frame(&mut self, frame: Frame, scanner: &Scanner);
    /// Nothing more will be seen of frames: the source broke their rules.
    fn violation(&mut self, violation: Violation);
}

/// The watch of a tunnel.
pub struct Tap<'t> {
    session: &'t Session,
    direction: Direction,
    metrics: &'t DirectionMetrics,
}

impl<'t> Tap<'t> {
    /// For one direction of the tunnel that `session` is the entry of.
    pub fn new(session: &'t Session, direction: Direction) -> Tap<'t> {
        Tap { session, direction, metrics: session.terms.metrics.direction(direction) }
    }
}

impl Watch for Tap<'_> {
    fn taken(&mut self, bytes: usize) {
        let bytes = bytes as u64;
        self.session.count_bytes(self.direction, bytes);
        self.session.touch(clock::now());
        self.metrics.bytes.add(bytes);
    }

    fn frame(&mut self, frame: Frame, scanner: &Scanner) {
        self.session.count_frame(self.direction, frame.kind, scanner.close());
        self.metrics.frame(frame);
    }

    fn violation(&mut self, violation: Violation) {
        self.session.terms.metrics.violation(self.direction, violation);
    }
}
