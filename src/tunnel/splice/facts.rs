//! What there is to tell of a tunnel when it has ended.

use serde_json::Value;
use tokio::time::Instant;

use super::Splice;
use crate::config::Inspect;
use crate::outcome::{CloseCode, Closing, Ending, Farewell, Party};
use crate::proto::frame::Violation;
use crate::telemetry::labels::Direction;
use crate::tunnel::flow::Flow;
use crate::tunnel::parting;

impl Splice {
    /// What became of the Close frames.
    pub fn closing(&self) -> Closing {
        let sent = |flow: &Flow| {
            let close = flow.weave().scanner().close()?;
            Some(close.code.map_or(CloseCode::Empty, CloseCode::Number))
        };
        let own = self.down.weave().own_close().or(self.up.weave().own_close());
        let code = match self.closer {
            None => None,
            Some(Party::Client) => sent(&self.up),
            Some(Party::Backend) => sent(&self.down),
            Some(Party::Proxy) => own.map(CloseCode::Number),
        };
        Closing { by: self.closer, code: code.unwrap_or(CloseCode::None), clean: self.is_clean() }
    }

    /// What became of who was still there when the tunnel was ended for them.
    pub fn farewell(&self) -> Option<Farewell> {
        let has_own_close = |flow: &Flow| flow.weave().own_close().is_some();
        match self.terms().inspect {
            Inspect::Off => None,
            _ if self.was_cut => Some(Farewell::Cut),
            _ => (has_own_close(&self.up) || has_own_close(&self.down)).then_some(Farewell::Sent),
        }
    }

    /// The headers of its last frames, where they are remembered, and the end was not a clean one.
    pub fn last_frames(&self) -> Option<Vec<Value>> {
        let recorder = self.care.as_ref()?.recorder.as_ref()?;
        (!self.is_clean()).then(|| recorder.frames())
    }

    /// Bytes of the sender of `direction` that were thrown away.
    pub fn discarded(&self, direction: Direction) -> u64 {
        self.flow(direction).weave().discarded()
    }

    /// How the sender of `direction` broke the rules of frames, if it did.
    pub fn violation(&self, direction: Direction) -> Option<Violation> {
        self.flow(direction).weave().scanner().violation()
    }

    /// When the backend ended the tunnel out of the blue, if it did: nobody had sent a Close frame, none could have passed
    /// unseen, longhaul had not said goodbye, and the client's stream had not ended before.
    pub fn backend_died(&self, ending: Ending) -> Option<Instant> {
        let is_blind = |flow: &Flow| flow.weave().scanner().is_blind();
        let was_asked = self.parting.as_ref().is_some_and(|parting| !parting.is_loss());
        let has_closed = matches!(self.closer, Some(Party::Client | Party::Backend));
        if has_closed || was_asked || is_blind(&self.up) || is_blind(&self.down) {
            return None;
        }
        match self.ended() {
            Some((Party::Client, _)) => None,
            // However the client took it.
            Some((_, at)) => Some(at),
            None => (ending.by == Party::Backend).then(Instant::now),
        }
    }

    /// Whose stream ended first, and when.
    pub(super) fn ended(&self) -> Option<(Party, Instant)> {
        self.ended_by.map(|party| (party, self.ended_at))
    }

    fn flow(&self, direction: Direction) -> &Flow {
        if direction == Direction::ToBackend { &self.up } else { &self.down }
    }

    pub(super) fn is_clean(&self) -> bool {
        parting::is_clean(&self.up, &self.down)
    }
}
