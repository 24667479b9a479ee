//! Those that wait for their slot, of all waves.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::proto::waves::{Pace, Wave};
use crate::telemetry::access::Id;

/// The thread may be so late that what it has missed is made up for, beyond the rate.
const LATE_MAX: u64 = 5_000_000;

/// Who goes when. As long as there are tunnels that are to go.
pub struct Line {
    /// Times are nanoseconds since this.
    origin: Instant,
    waiting: BinaryHeap<Reverse<Turn>>,
    /// Those that have, or had, a slot.
    known: HashSet<Id>,
    /// The tunnels of the HTTP/2 connections that wait.
    gathered: HashMap<u32, Vec<Id>>,
    /// HTTP/2 connections that were asked to go.
    told: HashSet<u32>,
    pace: Pace,
    /// How many there have been: of equal slots the first comes first.
    count: u64,
}

/// Who has a slot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unit {
    /// A tunnel alone.
    Tunnel(Id),
    /// All tunnels of an HTTP/2 connection, and then the connection.
    Connection(u32),
}

/// A slot that has come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Turn {
    slot: u64,
    number: u64,
    /// Whose it is.
    pub unit: Unit,
}

impl Line {
    /// Nobody waits.
    pub fn new() -> Line {
        Line {
            origin: Instant::now(),
            waiting: BinaryHeap::new(),
            known: HashSet::new(),
            gathered: HashMap::new(),
            told: HashSet::new(),
            pace: Pace::new(None),
            count: 0,
        }
    }

    /// At most so many a second, from now on.
    pub fn set_rate(&mut self, per_second: Option<u32>) {
        self.pace = self.pace.at(per_second);
    }

    /// Whether a tunnel has, or had, a slot.
    pub fn knows(&self, id: Id) -> bool {
        self.known.contains(&id)
    }

    /// Forgets all but these.
    pub fn keep(&mut self, known: Vec<Id>) {
        self.known = known.into_iter().collect();
        if self.waiting.len() < self.waiting.capacity() / 8 {
            self.waiting.shrink_to_fit();
        }
    }

    /// Gives these a slot each from now on, those first that have been idle for longest.
    pub fn add(&mut self, mut units: Vec<(Instant, Unit)>, window: Duration) {
        units.sort_unstable();
        let (begin, window) = (self.at(Instant::now()), nanoseconds(window));
        let wave = Wave::new(units.len() as u64, fastrand::u64(..), window);
        for ((_, unit), slot) in units.into_iter().zip(wave.slots()) {
            self.count += 1;
            self.waiting.push(Reverse(Turn { slot: begin.saturating_add(slot), number: self.count, unit }));
            if let Unit::Tunnel(id) = unit {
                self.known.insert(id);
            }
        }
    }

    /// These tunnels go with their connection. Whether that needs a slot; if it had its own, they go now.
    pub fn gather(&mut self, carrier: u32, tunnels: Vec<Id>) -> bool {
        self.known.extend(&tunnels);
        if self.told.contains(&carrier) {
            let now = Instant::now();
            self.add(tunnels.into_iter().map(|id| (now, Unit::Tunnel(id))).collect(), Duration::ZERO);
            return false;
        }
        let is_new = !self.gathered.contains_key(&carrier);
        self.gathered.entry(carrier).or_default().extend(tunnels);
        is_new
    }

    /// The slot of a connection has come: its tunnels.
    pub fn disperse(&mut self, carrier: u32) -> Vec<Id> {
        self.told.insert(carrier);
        self.gathered.remove(&carrier).unwrap_or_default()
    }

    /// A connection goes that has no tunnel. Whether that is new.
    pub fn tell(&mut self, carrier: u32) -> bool {
        !self.gathered.contains_key(&carrier) && self.told.insert(carrier)
    }

    /// Forgets the connections that are none of these.
    pub fn keep_told(&mut self, open: &[u32]) {
        let open: HashSet<_> = open.iter().collect();
        self.told.retain(|carrier| open.contains(carrier));
    }

    /// When the next turn is.
    pub fn due(&self) -> Option<Instant> {
        let Reverse(first) = self.waiting.peek()?;
        self.origin.checked_add(Duration::from_nanos(self.pace.turn(first.slot)))
    }

    /// The one whose turn it is at `now`.
    pub fn take(&mut self, now: Instant) -> Option<Turn> {
        let now = self.at(now);
        let Reverse(first) = self.waiting.peek()?;
        if self.pace.turn(first.slot) > now {
            return None;
        }
        self.waiting.pop().map(|Reverse(turn)| turn)
    }

    /// So many were asked in this turn, at `now`.
    pub fn note(&mut self, turn: Turn, now: Instant, asked: u64) {
        let now = self.at(now);
        self.pace.note(self.pace.turn(turn.slot).max(now.saturating_sub(LATE_MAX)), asked);
    }

    fn at(&self, time: Instant) -> u64 {
        nanoseconds(time.saturating_duration_since(self.origin))
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_idle_for_longest_goes_first_and_the_others_wait_for_their_turn() {
        let mut line = Line::new();
        line.set_rate(Some(10));
        let (begun, ids) = (Instant::now(), [(); 3].map(|()| Id::next()));
        let idle = |seconds| begun - Duration::from_secs(seconds);
        let tunnel = |seconds, index: usize| (idle(seconds), Unit::Tunnel(ids[index]));
        line.add(vec![tunnel(1, 0), tunnel(3, 1), tunnel(2, 2)], Duration::ZERO);
        // However long that took.
        let now = Instant::now();
        assert!(line.knows(ids[0]));
        for (after_ms, id) in [(1, ids[1]), (150, ids[2]), (250, ids[0])] {
            let turn = line.take(now + Duration::from_millis(after_ms)).expect("a turn");
            assert!(turn.unit == Unit::Tunnel(id));
            line.note(turn, now + Duration::from_millis(after_ms), 1);
            assert!(line.take(now + Duration::from_millis(after_ms)).is_none());
        }
        assert!(line.due().is_none());
        line.keep(vec![ids[1]]);
        assert!(line.knows(ids[1]) && !line.knows(ids[0]));
    }

    #[test]
    fn what_a_late_thread_has_missed_is_not_made_up_for() {
        let mut line = Line::new();
        line.set_rate(Some(10));
        let begun = Instant::now();
        line.add([(); 3].map(|()| (begun, Unit::Tunnel(Id::next()))).into(), Duration::ZERO);
        let late = Instant::now() + Duration::from_secs(1);
        let turn = line.take(late).expect("a turn");
        line.note(turn, late, 1);
        assert!(line.take(late + Duration::from_millis(50)).is_none());
        assert!(line.take(late + Duration::from_millis(100)).is_some());
    }

    #[test]
    fn who_does_not_use_a_turn_leaves_it_to_the_next() {
        let mut line = Line::new();
        line.set_rate(Some(1));
        let begun = Instant::now();
        line.add([(); 2].map(|()| (begun, Unit::Tunnel(Id::next()))).into(), Duration::ZERO);
        let soon = Instant::now();
        for _ in 0..2 {
            let turn = line.take(soon).expect("a turn");
            line.note(turn, soon, 0);
        }
    }

    #[test]
    fn a_connection_counts_for_all_its_tunnels_and_has_one_slot() {
        let mut line = Line::new();
        line.set_rate(Some(10));
        let (begun, ids) = (Instant::now(), [(); 4].map(|()| Id::next()));
        assert!(line.gather(7, ids[..2].to_vec()) && !line.gather(7, vec![ids[2]]) && !line.tell(7));
        line.add(vec![(begun, Unit::Connection(7))], Duration::ZERO);
        let now = Instant::now();
        let turn = line.take(now).expect("a turn");
        assert!(turn.unit == Unit::Connection(7) && line.disperse(7) == ids[..3] && line.knows(ids[2]));
        line.note(turn, now, 3);
        // Who came too late for it goes as soon as the rate allows.
        assert!(!line.gather(7, vec![ids[3]]));
        assert!(line.take(now + Duration::from_millis(250)).is_none());
        let then = Instant::now().max(now + Duration::from_millis(350));
        assert!(line.take(then).is_some_and(|turn| turn.unit == Unit::Tunnel(ids[3])));
        assert!(line.tell(8) && !line.tell(8));
        line.keep_told(&[7]);
        assert!(line.tell(8) && !line.tell(7));
    }
}
