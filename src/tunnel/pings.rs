//! Pings of the proxy's own: when they go, and what their answers say.
//!
//! One is under way at a time. It goes between two frames, and its clock starts when it was flushed: a writer that is blocked
//! does not count against the peer. Any byte of the peer answers as well as a Pong does, but only a Pong tells how long the
//! way there and back is; who sends neither for the route's `timeout` is gone. While the peer is not read, or does not take
//! what there is for it, behind which the Ping may still be, there is nothing to be known, and the clock starts anew.
//!
//! All times are nanoseconds since the tunnel opened.

use crate::proto::weave::{SECRET_BYTES, TOKEN_BYTES};

/// The Pings to one side.
#[derive(Debug)]
pub struct Pings {
    /// When the next one goes.
    due: u64,
    /// When the one under way was flushed.
    flushed: u64,
    /// Bytes of the peer by then.
    heard: u64,
    secret: [u8; SECRET_BYTES],
    number: u16,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Resting,
    /// One waits for its place, or for its reader.
    Queued,
    Sent,
    /// The same, and its clock was started anew: how long its way is cannot be told any more.
    Late,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Nothing before this time; without one, nothing before the Ping is flushed.
    Wait(Option<u64>),
    /// A Ping with this payload is to be queued.
    Ping([u8; TOKEN_BYTES]),
    /// The peer is gone.
    Lost,
}

/// When the first one goes: after half an interval to a whole one, by `seed`.
pub fn first(interval: u64, seed: u64) -> u64 {
    let half = interval / 2;
    half + fastrand::Rng::with_seed(seed).u64(..=half)
}

impl Pings {
    /// Pings that nobody can guess who does not know `secret`; the first is `due` then.
    pub fn new(secret: [u8; SECRET_BYTES], due: u64) -> Pings {
        Pings { due, flushed: 0, heard: 0, secret, number: 0, stage: Stage::Resting }
    }

    /// Whether one is under way: then its way is to be looked at whenever the tunnel moves.
    pub fn is_under_way(&self) -> bool {
        self.stage != Stage::Resting
    }

    /// All that was to be written has left; `heard` bytes came so far. Whether that starts the clock.
    pub fn left(&mut self, now: u64, interval: u64, heard: u64) -> bool {
        let starts = self.stage == Stage::Queued;
        if starts {
            (self.stage, self.flushed, self.heard) = (Stage::Sent, now, heard);
            self.due = now.saturating_add(interval);
        }
        starts
    }

    /// The Pong has come: how long it took.
    pub fn answered(&mut self, now: u64) -> Option<u64> {
        let was_sent = self.stage == Stage::Sent;
        self.stage = Stage::Resting;
        was_sent.then(|| now.saturating_sub(self.flushed))
    }

    /// When the next one goes.
    pub fn due(&self) -> u64 {
        self.due
    }

    /// What is due. `heard` bytes came so far; `is_read` says whether more would have been seen.
    pub fn act(&mut self, now: u64, timeout: u64, heard: u64, is_read: bool) -> Act {
        if matches!(self.stage, Stage::Sent | Stage::Late) {
            let deadline = self.flushed.saturating_add(timeout);
            if now < deadline {
                return Act::Wait(Some(deadline));
            }
            if heard != self.heard {
                self.stage = Stage::Resting;
            } else if is_read {
                return Act::Lost;
            } else {
                (self.stage, self.flushed) = (Stage::Late, now);
                return Act::Wait(Some(now.saturating_add(timeout)));
            }
        }
        match self.stage {
            Stage::Resting if now < self.due => Act::Wait(Some(self.due)),
            Stage::Resting => {
                self.stage = Stage::Queued;
                self.number = self.number.wrapping_add(1);
                Act::Ping(self.token())
            }
            _ => Act::Wait(None),
        }
    }

    fn token(&self) -> [u8; TOKEN_BYTES] {
        let mut token = [0; TOKEN_BYTES];
        let bytes = self.secret.into_iter().chain(self.number.to_be_bytes());
        for (place, byte) in token.iter_mut().zip(bytes) {
            *place = byte;
        }
        token
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const INTERVAL: u64 = 30_000;
    const TIMEOUT: u64 = 20_000;

    fn pings() -> Pings {
        Pings::new(*b"secret", INTERVAL)
    }

    #[test]
    fn the_first_ones_of_a_crowd_are_spread() {
        let firsts: Vec<u64> = (0..10_000).map(|seed| first(INTERVAL, seed)).collect();
        assert_eq!(firsts[7], first(INTERVAL, 7));
        assert!(firsts.iter().all(|first| (INTERVAL / 2..=INTERVAL).contains(first)));
        for tenth in 0..10 {
            let from = INTERVAL / 2 + tenth * INTERVAL / 20;
            let within = firsts.iter().filter(|first| (from..from + INTERVAL / 20).contains(first)).count();
            assert!((800..1200).contains(&within), "{within} in tenth {tenth}");
        }
        assert_eq!(first(0, 1), 0);
    }

    #[test]
    fn the_clock_starts_when_it_was_flushed_and_an_answer_stops_it() {
        let mut pings = pings();
        assert_eq!(pings.act(0, TIMEOUT, 0, true), Act::Wait(Some(INTERVAL)));
        let Act::Ping(token) = pings.act(INTERVAL, TIMEOUT, 5, true) else { panic!("it is due") };
        assert!(token.starts_with(b"secret") && pings.is_under_way());
        // Nothing can be held against the peer meanwhile.
        assert_eq!(pings.act(INTERVAL + 10 * TIMEOUT, TIMEOUT, 5, true), Act::Wait(None));
        let flushed = INTERVAL + 20 * TIMEOUT;
        assert!(pings.left(flushed, INTERVAL, 5) && !pings.left(flushed + 1, INTERVAL, 5));
        assert_eq!(pings.act(flushed + 1, TIMEOUT, 5, true), Act::Wait(Some(flushed + TIMEOUT)));
        assert_eq!(pings.answered(flushed + 70), Some(70));
        assert_eq!(pings.act(flushed + 71, TIMEOUT, 5, true), Act::Wait(Some(flushed + INTERVAL)));
        let Act::Ping(next) = pings.act(flushed + INTERVAL, TIMEOUT, 5, true) else { panic!("it is due") };
        assert!(next.starts_with(b"secret") && next != token);
    }

    /// With `pings` that have one under way, flushed at 0.
    fn sent() -> Pings {
        let mut pings = Pings::new(*b"secret", 0);
        assert!(matches!(pings.act(0, TIMEOUT, 0, true), Act::Ping(_)));
        assert!(pings.left(0, INTERVAL, 7));
        pings
    }

    #[test]
    fn silence_is_a_loss_and_any_byte_is_not() {
        assert_eq!(sent().act(TIMEOUT, TIMEOUT, 7, true), Act::Lost);
        let mut pings = sent();
        assert_eq!(pings.act(TIMEOUT, TIMEOUT, 8, true), Act::Wait(Some(INTERVAL)));
        // A Pong that comes after all says nothing of the way.
        assert_eq!(pings.answered(TIMEOUT + 1), None);
    }

    #[test]
    fn who_is_not_read_is_not_lost() {
        let mut pings = sent();
        assert_eq!(pings.act(TIMEOUT, TIMEOUT, 7, false), Act::Wait(Some(2 * TIMEOUT)));
        assert_eq!(pings.act(2 * TIMEOUT, TIMEOUT, 7, true), Act::Lost);
        assert_eq!(pings.answered(2 * TIMEOUT + 1), None);
    }

    #[test]
    fn each_has_another_payload() {
        let mut pings = Pings::new(*b"secret", 0);
        let mut seen = HashSet::new();
        for round in 0..1000 {
            let Act::Ping(token) = pings.act(round * INTERVAL, TIMEOUT, 0, true) else { panic!("it is due") };
            assert!(seen.insert(token));
            pings.left(round * INTERVAL, INTERVAL, 0);
            pings.answered(round * INTERVAL);
        }
    }
}
