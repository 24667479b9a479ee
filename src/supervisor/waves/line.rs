//! Those that wait for their slot, of all waves.
//!
//! A slot belongs to a tunnel and to the cause for which it is to go. Who goes for another cause has another slot, and the
//! first one is nobody's any more.

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
    /// After a look at most twice as many as tunnels and connections have a slot or had one.
    waiting: BinaryHeap<Reverse<Turn>>,
    /// Those that have, or had, a slot.
    known: HashMap<Id, Place>,
    /// The tunnels of the HTTP/2 connections that wait.
    gathered: HashMap<u32, Vec<Id>>,
    /// HTTP/2 connections that were asked to go.
    told: HashSet<u32>,
    pace: Pace,
    /// How many there have been: of equal slots the first comes first.
    count: u64,
}

/// The slot of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The number of the cause for which it goes.
    pub cause: u64,
    /// That of its [`Turn`]; with its connection it has none.
    turn: Option<u64>,
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
            known: HashMap::new(),
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

    /// The slot that a tunnel has, or had.
    pub fn place(&self, id: Id) -> Option<Place> {
        self.known.get(&id).copied()
    }

    /// Forgets all but these.
    pub fn keep(&mut self, known: Vec<(Id, Place)>) {
        self.known = known.into_iter().collect();
        if self.waiting.len() > 2 * (self.known.len() + self.gathered.len()) {
            let mut waiting = std::mem::take(&mut self.waiting);
            waiting.retain(|Reverse(turn)| self.is_present(turn));
            self.waiting = waiting;
        }
        if self.waiting.len() < self.waiting.capacity() / 8 {
            self.waiting.shrink_to_fit();
        }
    }

    /// Gives these a slot each from now on, those first that have been idle for longest.
    pub fn add(&mut self, mut units: Vec<(Instant, Unit)>, window: Duration, cause: u64) {
        units.sort_unstable();
        let (begin, window) = (self.at(Instant::now()), nanoseconds(window));
        let wave = Wave::new(units.len() as u64, fastrand::u64(..), window);
        for ((_, unit), slot) in units.into_iter().zip(wave.slots()) {
            self.count += 1;
            self.waiting.push(Reverse(Turn { slot: begin.saturating_add(slot), number: self.count, unit }));
            if let Unit::Tunnel(id) = unit {
                self.known.insert(id, Place { cause, turn: Some(self.count) });
            }
        }
    }

    /// These tunnels go with their connection. Whether that needs a slot; if it had its own, they go now.
    pub fn gather(&mut self, carrier: u32, tunnels: Vec<Id>, cause: u64) -> bool {
        if self.told.contains(&carrier) {
            let now = Instant::now();
            let units = tunnels.into_iter().map(|id| (now, Unit::Tunnel(id))).collect();
            self.add(units, Duration::ZERO, cause);
            return false;
        }
        self.known.extend(tunnels.iter().map(|id| (*id, Place { cause, turn: None })));
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
        loop {
            let Reverse(first) = self.waiting.peek()?;
            if self.pace.turn(first.slot) > now {
                return None;
            }
            let turn = self.waiting.pop().map(|Reverse(turn)| turn);
            if turn.is_some_and(|turn| self.is_present(&turn)) {
                return turn;
            }
        }
    }

    /// Whether it is still somebody's.
    fn is_present(&self, turn: &Turn) -> bool {
        match turn.unit {
            Unit::Tunnel(id) => self.place(id).is_some_and(|place| place.turn == Some(turn.number)),
            Unit::Connection(_) => true,
        }
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
        line.add(vec![tunnel(1, 0), tunnel(3, 1), tunnel(2, 2)], Duration::ZERO, 7);
        // However long that took.
        let now = Instant::now();
        assert!(line.place(ids[0]).is_some_and(|place| place.cause == 7));
        for (after_ms, id) in [(1, ids[1]), (150, ids[2]), (250, ids[0])] {
            let turn = line.take(now + Duration::from_millis(after_ms)).expect("a turn");
            assert!(turn.unit == Unit::Tunnel(id));
            line.note(turn, now + Duration::from_millis(after_ms), 1);
            assert!(line.take(now + Duration::from_millis(after_ms)).is_none());
        }
        assert!(line.due().is_none());
        let place = line.place(ids[1]).expect("a place");
        line.keep(vec![(ids[1], place)]);
        assert!(line.place(ids[1]) == Some(place) && line.place(ids[0]).is_none());
    }

    #[test]
    fn a_slot_of_another_cause_takes_the_place_of_the_first_and_none_pile_up() {
        let mut line = Line::new();
        let (now, ids) = (Instant::now(), [(); 3].map(|()| Id::next()));
        let units = || ids.map(|id| (now, Unit::Tunnel(id))).into();
        line.add(units(), Duration::ZERO, 1);
        line.add(units(), Duration::from_secs(3_000), 2);
        // The first of these is some time in the first thousand seconds.
        line.waiting.retain(|Reverse(turn)| turn.number != 4);
        assert!(line.take(Instant::now()).is_none() && line.waiting.len() == 2);
        for cause in 3..100 {
            line.add(units(), Duration::from_secs(3_000), cause);
            line.keep(ids.map(|id| (id, line.place(id).expect("a place"))).into());
            assert!(line.waiting.len() <= 6, "{}", line.waiting.len());
        }
        line.keep(Vec::new());
        assert!(line.waiting.is_empty());
    }

    #[test]
    fn what_a_late_thread_has_missed_is_not_made_up_for() {
        let mut line = Line::new();
        line.set_rate(Some(10));
        let begun = Instant::now();
        line.add([(); 3].map(|()| (begun, Unit::Tunnel(Id::next()))).into(), Duration::ZERO, 1);
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
        line.add([(); 2].map(|()| (begun, Unit::Tunnel(Id::next()))).into(), Duration::ZERO, 1);
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
        assert!(line.gather(7, ids[..2].to_vec(), 1) && !line.gather(7, vec![ids[2]], 1) && !line.tell(7));
        line.add(vec![(begun, Unit::Connection(7))], Duration::ZERO, 1);
        let now = Instant::now();
        let turn = line.take(now).expect("a turn");
        assert!(turn.unit == Unit::Connection(7) && line.disperse(7) == ids[..3]);
        assert!(line.place(ids[2]).is_some());
        line.note(turn, now, 3);
        // Who came too late for it goes as soon as the rate allows.
        assert!(!line.gather(7, vec![ids[3]], 1));
        assert!(line.take(now + Duration::from_millis(250)).is_none());
        let then = Instant::now().max(now + Duration::from_millis(350));
        assert!(line.take(then).is_some_and(|turn| turn.unit == Unit::Tunnel(ids[3])));
        assert!(line.tell(8) && !line.tell(8));
        line.keep_told(&[7]);
        assert!(line.tell(8) && !line.tell(7));
    }
}
