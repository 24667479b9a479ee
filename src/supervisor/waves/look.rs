//! One look through the live table: who is to go, and has no slot yet.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use tokio::time::Instant;

use super::causes::{Cause, Causes};
use super::line::{Line, Place, Unit};
use crate::telemetry::access::Id;
use crate::tunnel::carriers::Carriers;
use crate::tunnel::goodbye::Why;
use crate::tunnel::sessions::Session;

/// What it has found.
#[derive(Default)]
pub struct Look {
    /// By the number of the cause.
    causes: HashMap<u64, OfCause>,
    /// Those that have a slot, or had, of the cause for which they are to go.
    known: Vec<(Id, Place)>,
    /// HTTP/2 connections that carry any.
    carriers: HashSet<u32>,
    /// Those that were chosen one by one.
    seen: HashSet<Id>,
}

struct OfCause {
    cause: Arc<Cause>,
    left: usize,
    /// Those that had no slot, and since when they are idle.
    new: Vec<(Instant, Unit)>,
    /// The same, of those that go together with all of their connection.
    together: HashMap<u32, (Instant, Vec<Id>)>,
}

impl Look {
    /// A tunnel is open.
    pub fn note(&mut self, session: &Arc<Session>, causes: &Causes, line: &Line) {
        let place = line.place(session.id);
        let Some(cause) = causes.of(session, place.map(|place| place.cause)) else { return };
        let of = || OfCause { cause: cause.clone(), left: 0, new: Vec::new(), together: HashMap::new() };
        let of = self.causes.entry(cause.number).or_insert_with(of);
        of.left += 1;
        if cause.goodbye.why() == Why::Rebalance {
            self.seen.insert(session.id);
        }
        // Who stops lets go of the connection; who loses a backend may have others on it.
        let carrier =
            Some(session.carrier).filter(|carrier| *carrier != 0 && cause.goodbye.why() == Why::Drain);
        self.carriers.extend(carrier);
        if let Some(place) = place.filter(|place| place.cause == cause.number) {
            self.known.push((session.id, place));
            return;
        }
        if session.goodbye().is_some() {
            return;
        }
        let Some(carrier) = carrier else {
            of.new.push((session.active(), Unit::Tunnel(session.id)));
            return;
        };
        let (active, tunnels) = of.together.entry(carrier).or_insert((session.active(), Vec::new()));
        *active = session.active().max(*active);
        tunnels.push(session.id);
    }

    /// Gives those a slot that had none.
    pub fn line_up(&mut self, line: &mut Line) {
        line.keep(std::mem::take(&mut self.known));
        for of in self.causes.values_mut() {
            let together: usize = of.together.values().map(|(_, tunnels)| tunnels.len()).sum();
            let window = of.cause.window_of((of.new.len() + together) as u64);
            for (carrier, (active, tunnels)) in of.together.drain() {
                let is_new = line.gather(carrier, tunnels, of.cause.number);
                of.new.extend(is_new.then_some((active, Unit::Connection(carrier))));
            }
            if !of.new.is_empty() {
                of.cause.tell_log(of.left);
                line.add(std::mem::take(&mut of.new), window, of.cause.number);
            }
        }
    }

    /// HTTP/2 connections that carry no tunnel need not wait.
    pub fn send_away_idle(&self, carriers: &Carriers, line: &mut Line) {
        let open = carriers.numbers();
        for number in open.iter().filter(|number| !self.carriers.contains(number)) {
            if line.tell(*number) {
                carriers.ask_to_go(*number);
            }
        }
        line.keep_told(&open);
    }

    /// Whether a cause has tunnels left.
    pub fn has_left(&self, cause: &Arc<Cause>) -> bool {
        self.causes.contains_key(&cause.number)
    }

    /// Whether a tunnel that was chosen is open.
    pub fn has_seen(&self, id: Id) -> bool {
        self.seen.contains(&id)
    }

    /// How many are left, by reason.
    pub fn left(&self) -> BTreeMap<&'static str, usize> {
        let mut left = BTreeMap::new();
        for of in self.causes.values() {
            *left.entry(of.cause.goodbye.why().ending().label()).or_default() += of.left;
        }
        left
    }
}
