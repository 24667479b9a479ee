//! The loop's part in what moves slowly: readers that take nothing, and senders that must wait.

use std::time::Duration;

use tokio::time::Instant;

use super::Splice;
use crate::outcome::Party;
use crate::telemetry::labels::Direction;
use crate::tunnel::flow::Flow;

impl Splice {
    /// What is to be seen after each move: all of it costs a look at what is not there, for most tunnels at most times.
    pub(super) fn look_after(&mut self, now: impl Fn() -> Instant) {
        if self.is_pinging() {
            self.follow_pings();
        }
        let has_stalled = self.care.as_ref().is_some_and(|care| care.stalled != [None; 2]);
        if has_stalled || !self.up.is_passed_on() || !self.down.is_passed_on() {
            self.follow_readers(&now);
        }
        if self.up.weave().is_held() || self.down.weave().is_held() {
            self.follow_senders();
        }
    }

    /// Starts the clock of a reader that takes nothing, anew with every byte, and stops it.
    fn follow_readers(&mut self, now: &impl Fn() -> Instant) {
        let Some(timeout) = self.terms().write_timeout else { return };
        let care = self.care.get_or_insert_default();
        let mut started = None;
        for (flow, stalled) in [&mut self.up, &mut self.down].into_iter().zip(&mut care.stalled) {
            if flow.is_passed_on() {
                *stalled = None;
            } else if flow.take_stir() || stalled.is_none() {
                *stalled = Some(now());
                started = *stalled;
            }
        }
        if let Some(started) = started {
            self.set_timer(started + timeout);
        }
    }

    fn follow_senders(&mut self) {
        if let Some(until) = self.held_until() {
            self.set_timer(until);
        }
    }

    /// When the next sender may go on that has to wait.
    pub(super) fn held_until(&self) -> Option<Instant> {
        let until = [&self.up, &self.down].into_iter().filter_map(|flow| flow.weave().held_until()).min()?;
        Some(self.session().opened() + Duration::from_nanos(until))
    }

    /// Who has taken nothing for too long at `now`, or else when somebody will have.
    pub(super) fn stalled(&self, now: Instant) -> Result<Option<Instant>, Party> {
        let (Some(timeout), Some(care)) = (self.terms().write_timeout, &self.care) else { return Ok(None) };
        let mut nearest = None;
        for (direction, stalled) in [Direction::ToBackend, Direction::ToClient].into_iter().zip(care.stalled)
        {
            let Some(deadline) = stalled.map(|since| since + timeout) else { continue };
            if deadline <= now {
                return Err(if direction == Direction::ToClient { Party::Client } else { Party::Backend });
            }
            nearest = nearest.into_iter().chain([deadline]).min();
        }
        Ok(nearest)
    }

    /// Whether what a peer sends may not be read, be it for the other one, or because it comes too fast.
    pub(super) fn is_held_back(&self) -> bool {
        [&self.up, &self.down].into_iter().any(Flow::is_held_back)
    }
}
