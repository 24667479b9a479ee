//! The loop's part in the proxy's own [`pings`](crate::tunnel::pings): it queues them, and sees when they have left and when
//! they are answered.

use std::task::Context;
use std::time::Duration;

use tokio::time::Instant;

use super::Splice;
use crate::config;
use crate::net::tls;
use crate::outcome::Party;
use crate::telemetry::labels::Direction;
use crate::tunnel::flow::Flow;
use crate::tunnel::inject;
use crate::tunnel::pings::{self, Act, Pings};
use crate::tunnel::sessions::Session;

/// The directions that Pings may go in.
const DIRECTIONS: [Direction; 2] = [Direction::ToBackend, Direction::ToClient];

/// When the first Ping of a tunnel goes, if any does.
pub(super) fn first(session: &Session) -> Option<Instant> {
    let firsts = DIRECTIONS.into_iter().filter_map(|direction| {
        let interval = interval(&session.terms.pings, direction)?;
        Some(session.opened() + Duration::from_nanos(first_of(session, direction, interval)))
    });
    firsts.min()
}

fn first_of(session: &Session, direction: Direction, interval: Duration) -> u64 {
    pings::first(nanoseconds(interval), session.id.number() << 1 | direction as u64)
}

fn interval(pings: &config::Pings, direction: Direction) -> Option<Duration> {
    if direction == Direction::ToClient { pings.client } else { pings.backend }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Splice {
    /// Whether a Ping is under way.
    pub(super) fn is_pinging(&self) -> bool {
        let is_under_way = |pings: &Option<Pings>| pings.as_ref().is_some_and(Pings::is_under_way);
        self.care.as_ref().is_some_and(|care| care.pings.iter().any(is_under_way))
    }

    /// Sees how far the Pings have come that are under way.
    pub(super) fn follow_pings(&mut self) {
        let now = Instant::now();
        let session = self.registration.session();
        let (since, terms) = (since(session, now), &session.terms);
        let mut deadline: Option<Instant> = None;
        for direction in DIRECTIONS {
            let (to, from) = legs(&mut self.up, &mut self.down, direction);
            let pings = self.care.as_mut().and_then(|care| care.pings[direction as usize].as_mut());
            let (Some(pings), Some(interval)) = (pings, interval(&terms.pings, direction)) else { continue };
            if !pings.is_under_way() {
                continue;
            }
            if to.is_flushed()
                && !to.weave().owes()
                && pings.left(since, nanoseconds(interval), session.bytes(opposite(direction)))
            {
                deadline = deadline.into_iter().chain([now + terms.pings.timeout]).min();
            }
            if !from.weave().awaits_answer()
                && let Some(took) = pings.answered(since)
            {
                let due = session.opened() + Duration::from_nanos(pings.due());
                deadline = deadline.into_iter().chain([due]).min();
                session.answered(direction, Duration::from_nanos(took));
                terms.metrics.round_trip(direction, Duration::from_nanos(took));
            }
        }
        if let Some(deadline) = deadline {
            self.set_timer(deadline);
        }
    }

    /// Queues the Pings that are due at `now`. When there is something to be done next, and who has not answered.
    pub(super) fn ping(
        &mut self,
        now: Instant,
        context: &mut Context<'_>,
    ) -> (Option<Instant>, Option<Party>) {
        let session = self.registration.session();
        let (since, terms) = (since(session, now), &session.terms);
        let mut nearest: Option<u64> = None;
        for direction in DIRECTIONS {
            let Some(interval) = interval(&terms.pings, direction) else { continue };
            let (to, from) = legs(&mut self.up, &mut self.down, direction);
            let is_open = |flow: &Flow| flow.weave().is_open() && !flow.source_ended();
            if !is_open(to) || !is_open(from) {
                continue;
            }
            let first = first_of(session, direction, interval);
            let known = self.care.as_ref().is_some_and(|care| care.pings[direction as usize].is_some());
            if !known && since < first {
                nearest = Some(nearest.map_or(first, |nearest| nearest.min(first)));
                continue;
            }
            let pings = &mut self.care.get_or_insert_default().pings[direction as usize];
            let pings = pings.get_or_insert_with(|| Pings::new(secret(), first));
            let (heard, is_read) =
                (session.bytes(opposite(direction)), to.is_passed_on() && !from.is_held_back());
            match pings.act(since, nanoseconds(terms.pings.timeout), heard, is_read) {
                Act::Wait(until) => nearest = nearest.into_iter().chain(until).min(),
                Act::Ping(token) => {
                    to.weave_mut().say(&inject::ping(direction, &token));
                    from.weave_mut().await_answer(token);
                    context.waker().wake_by_ref();
                }
                Act::Lost => return (None, Some(party(direction))),
            }
        }
        (nearest.map(|nearest| session.opened() + Duration::from_nanos(nearest)), None)
    }
}

/// The flow that leads to the side that `direction` leads to, and the one from there.
fn legs<'f>(up: &'f mut Flow, down: &'f mut Flow, direction: Direction) -> (&'f mut Flow, &'f mut Flow) {
    if direction == Direction::ToBackend { (up, down) } else { (down, up) }
}

fn opposite(direction: Direction) -> Direction {
    if direction == Direction::ToBackend { Direction::ToClient } else { Direction::ToBackend }
}

fn party(direction: Direction) -> Party {
    if direction == Direction::ToBackend { Party::Backend } else { Party::Client }
}

/// Nanoseconds since the tunnel opened.
fn since(session: &Session, now: Instant) -> u64 {
    nanoseconds(now.saturating_duration_since(session.opened()))
}

/// Without the system's randomness, which longhaul does not start without, it is a weak one.
fn secret() -> [u8; crate::proto::weave::SECRET_BYTES] {
    tls::random().unwrap_or_else(|| std::array::from_fn(|_| fastrand::u8(..)))
}
