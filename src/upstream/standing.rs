//! How a backend stands: its health, the state that the operator wants it in, whether requests that failed have
//! taken it out, whether it could be reached, and since when it can be chosen. What a choice asks of every member is one
//! byte.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::config::State;

/// What is known of a backend's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Health {
    /// Not yet probed: picked only when none is up.
    Unknown = 0,
    /// Probes pass, or there are none.
    Up = 1,
    /// Probes fail: never picked.
    Down = 2,
}

impl Health {
    /// The word in metrics and for operators.
    pub fn label(self) -> &'static str {
        match self {
            Health::Unknown => "unknown",
            Health::Up => "up",
            Health::Down => "down",
        }
    }
}

const HEALTH: u8 = 0b0011;
const DRAINING: u8 = 0b0100;
const DISABLED: u8 = 0b1000;
const STATE: u8 = DRAINING | DISABLED;
/// It has become available a while ago, and may still be growing.
const RISEN: u8 = 0b0001_0000;
/// It began with the process, and has not changed since.
const FIRST: u8 = 0b0010_0000;
/// Requests that failed have taken it out, for a time that [`Conduct`](super::ejection::Conduct) knows.
const EJECTED: u8 = 0b0100_0000;
/// The last connection to it did not come about; for how long that counts, [`Reach`](super::reach::Reach) knows.
const UNREACHED: u8 = 0b1000_0000;

/// Times are milliseconds since this.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Health, state and age of one backend.
#[derive(Debug)]
pub struct Standing {
    bits: AtomicU8,
    /// When it became available; only with [`RISEN`].
    risen_ms: AtomicU64,
}

impl Standing {
    /// Of a backend that begins with the process: as all others do, it is not new among them.
    pub fn new(health: Health) -> Standing {
        LazyLock::force(&ORIGIN);
        Standing { bits: AtomicU8::new(health as u8 | FIRST), risen_ms: AtomicU64::new(0) }
    }

    /// It comes to others that have been there.
    pub fn arrive(&self) {
        self.bits.fetch_and(!FIRST, Relaxed);
        if self.health() == Health::Up {
            self.rise();
        }
    }

    /// What is known of its health.
    pub fn health(&self) -> Health {
        match self.bits.load(Relaxed) & HEALTH {
            1 => Health::Up,
            2 => Health::Down,
            _ => Health::Unknown,
        }
    }

    /// The state that it is in.
    pub fn state(&self) -> State {
        match self.bits.load(Relaxed) & STATE {
            DRAINING => State::Draining,
            DISABLED => State::Disabled,
            _ => State::Active,
        }
    }

    /// Whether it is active, of this health, and neither ejected nor found out of reach.
    #[inline]
    pub fn is_active_and(&self, health: Health) -> bool {
        self.bits.load(Relaxed) & (HEALTH | STATE | EJECTED | UNREACHED) == health as u8
    }

    /// Whether it is ejected or was found out of reach, and but for that active and of this health.
    pub fn is_doubted_and(&self, health: Health) -> bool {
        let bits = self.bits.load(Relaxed);
        bits & (EJECTED | UNREACHED) != 0 && bits & (HEALTH | STATE) == health as u8
    }

    /// Sets the health; returns what it was. Who comes up is new among the others, unless that is the process's first
    /// finding of it.
    pub fn set_health(&self, health: Health) -> Health {
        let before = self.health();
        if before == health {
            return before;
        }
        let first = self.bits.load(Relaxed) & FIRST != 0;
        self.change(HEALTH | FIRST, health as u8);
        if health == Health::Up && !first {
            self.rise();
        }
        before
    }

    /// Sets the state. Who becomes active is new among the others.
    pub fn set_state(&self, state: State) {
        let before = self.state();
        let bits = match state {
            State::Active => 0,
            State::Draining => DRAINING,
            State::Disabled => DISABLED,
        };
        self.change(STATE, bits);
        if state == State::Active && before != State::Active {
            self.rise();
        }
    }

    /// Whether it was ejected, and nobody has found yet that its time is over.
    pub fn is_ejected(&self) -> bool {
        self.bits.load(Relaxed) & EJECTED != 0
    }

    /// Ejects it, or takes it back; who comes back is new among the others.
    pub fn set_ejected(&self, ejected: bool) {
        let before = self.is_ejected();
        self.change(EJECTED, if ejected { EJECTED } else { 0 });
        if before && !ejected {
            self.rise();
        }
    }

    /// Whether the last connection to it did not come about.
    #[inline]
    pub fn is_unreached(&self) -> bool {
        self.bits.load(Relaxed) & UNREACHED != 0
    }

    /// The last connection to it did not come about.
    pub fn set_unreached(&self) {
        self.bits.fetch_or(UNREACHED, Relaxed);
    }

    /// It was reached; if it `is_new` by that, it is new among the others.
    pub fn set_reached(&self, is_new: bool) {
        self.bits.fetch_and(!UNREACHED, Relaxed);
        if is_new {
            self.rise();
        }
    }

    /// Whether it became available while others were, and has not been seen to be [settled](Standing::settle).
    pub fn is_risen(&self) -> bool {
        self.bits.load(Relaxed) & RISEN != 0
    }

    /// How long ago it became available, if it [is risen](Standing::is_risen).
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(*ORIGIN + Duration::from_millis(self.risen_ms.load(Relaxed)))
    }

    /// It is as good as if it had been there all the time.
    pub fn settle(&self) {
        self.bits.fetch_and(!RISEN, Relaxed);
    }

    fn rise(&self) {
        self.risen_ms.store(since_origin_ms(Instant::now()), Relaxed);
        self.bits.fetch_or(RISEN, Relaxed);
    }

    /// Sets the bits of a mask, while others may set others.
    fn change(&self, mask: u8, bits: u8) {
        let _ = self.bits.fetch_update(Relaxed, Relaxed, |before| Some(before & !mask | bits));
    }
}

/// A time as an atomic can hold it; what was before all backends is 0.
pub(super) fn since_origin_ms(at: Instant) -> u64 {
    u64::try_from(at.saturating_duration_since(*ORIGIN).as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_new(standing: &Standing) -> bool {
        standing.is_risen()
    }

    #[test]
    fn who_begins_with_the_process_is_not_new() {
        let standing = Standing::new(Health::Unknown);
        assert_eq!(standing.set_health(Health::Up), Health::Unknown);
        assert!(!is_new(&standing));
        // Asking again changes nothing.
        assert_eq!(standing.set_health(Health::Up), Health::Up);
        standing.set_state(State::Active);
        assert!(!is_new(&standing) && !is_new(&Standing::new(Health::Up)));
    }

    #[test]
    fn who_comes_up_comes_back_or_is_added_is_new() {
        let came_back = Standing::new(Health::Up);
        came_back.set_health(Health::Down);
        assert!(!is_new(&came_back));
        came_back.set_health(Health::Up);
        assert!(is_new(&came_back));
        came_back.settle();
        assert!(!is_new(&came_back));

        let late = Standing::new(Health::Unknown);
        late.set_health(Health::Down);
        late.set_health(Health::Up);
        let added = Standing::new(Health::Up);
        added.arrive();
        let found = Standing::new(Health::Unknown);
        found.arrive();
        assert!(!is_new(&found));
        found.set_health(Health::Up);
        let forgotten = Standing::new(Health::Up);
        forgotten.set_health(Health::Unknown);
        forgotten.set_health(Health::Up);
        for (standing, name) in [(late, "late"), (added, "added"), (found, "found"), (forgotten, "forgotten")]
        {
            assert!(is_new(&standing), "{name}");
        }
        for state in [State::Draining, State::Disabled] {
            let enabled = Standing::new(Health::Up);
            enabled.set_state(state);
            assert!(!is_new(&enabled));
            enabled.set_state(State::Active);
            assert!(is_new(&enabled), "{state:?}");
        }
    }

    #[test]
    fn health_and_state_do_not_touch_each_other() {
        let standing = Standing::new(Health::Unknown);
        for health in [Health::Down, Health::Up, Health::Unknown] {
            for state in [State::Disabled, State::Draining, State::Active] {
                standing.set_health(health);
                standing.set_state(state);
                assert_eq!((standing.health(), standing.state()), (health, state));
                for asked in [Health::Down, Health::Up, Health::Unknown] {
                    let expected = state == State::Active && asked == health;
                    assert_eq!(standing.is_active_and(asked), expected);
                }
            }
        }
    }
}
