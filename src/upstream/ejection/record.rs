//! What one backend has done wrong of late, and for how long it is out for it. Pure: callers say what the time is.

use std::time::{Duration, Instant};

use crate::config::Ejection;
use crate::outcome::Fault;

/// The record of one backend.
#[derive(Debug, Default)]
pub struct Record {
    /// Failures in a row, by [`Fault`].
    streaks: [u32; 3],
    /// When a tunnel last died early.
    died: Option<Instant>,
    /// How many tunnels had been opened when the first one of the streak died.
    opened: u64,
    /// Ejections in a row, less those that quiet times made up for.
    ejections: u32,
    /// The end of the last ejection, and what it was for.
    until: Option<(Instant, Fault)>,
}

impl Record {
    /// Adds a failure; `opened` counts all tunnels that were ever opened to the backend. Whether that makes enough of them
    /// to eject it. While it is ejected nothing is added: what fails then began before, or was a last resort.
    pub fn fail(&mut self, fault: Fault, rules: &Ejection, opened: u64, now: Instant) -> bool {
        let enough = match fault {
            Fault::Connect => rules.connect_failures,
            Fault::Handshake => rules.handshake_failures,
            Fault::EarlyDeath => rules.early_deaths,
        };
        let Some(enough) = enough.filter(|_| !self.is_ejected(now)) else { return false };
        if fault == Fault::EarlyDeath {
            self.die(opened, rules, now);
        }
        let streak = &mut self.streaks[fault as usize];
        *streak = streak.saturating_add(1);
        *streak >= enough
    }

    /// Of tunnels that live there is no word until they end, which may be in days. So deaths are no streak when more than
    /// half of the tunnels that opened since the first one live on, or when they are far apart.
    fn die(&mut self, opened: u64, rules: &Ejection, now: Instant) {
        let streak = &mut self.streaks[Fault::EarlyDeath as usize];
        let before = self.died.replace(now);
        let is_far = before.is_some_and(|before| now.saturating_duration_since(before) > rules.time_max);
        let since = opened.saturating_sub(self.opened);
        if *streak == 0 || is_far || since > 2 * (u64::from(*streak) + 1) {
            *streak = 0;
            self.opened = opened;
        }
    }

    /// Something that began at `begun` went well: ends the streak. A tunnel that is older than the last death says
    /// nothing of the time since. Whether there is no streak now.
    pub fn succeed(&mut self, fault: Fault, begun: Instant) -> bool {
        let is_old = fault == Fault::EarlyDeath && self.died.is_some_and(|died| begun < died);
        if !is_old {
            self.streaks[fault as usize] = 0;
        }
        !is_old
    }

    /// Ejects the backend, and forgets why. How long for, and until when; `None` if it is ejected already.
    pub fn eject(&mut self, fault: Fault, rules: &Ejection, now: Instant) -> Option<(Duration, Instant)> {
        if self.is_ejected(now) {
            return None;
        }
        let terms = |time: Duration| time.as_nanos() / rules.time.as_nanos().max(1);
        let made_up = self.until.map_or(0, |(until, _)| terms(now.saturating_duration_since(until)));
        let ejections = u128::from(self.ejections).saturating_sub(made_up) + 1;
        // No more than it takes to reach `time_max`: else a bad day would be held against it for days.
        let most = terms(rules.time_max) + 1;
        self.ejections = u32::try_from(ejections.min(most)).unwrap_or(u32::MAX);
        let time = rules.time.saturating_mul(self.ejections).min(rules.time_max);
        let until = now + time;
        self.until = Some((until, fault));
        self.streaks = Default::default();
        Some((time, until))
    }

    /// Another process has ejected it for so much longer: until when.
    pub fn inherit(&mut self, fault: Fault, left: Duration, now: Instant) -> Instant {
        let until = now + left;
        self.ejections = self.ejections.max(1);
        self.until = Some((until, fault));
        until
    }

    /// What it was last ejected for.
    pub fn reason(&self) -> Option<Fault> {
        self.until.map(|(_, fault)| fault)
    }

    fn is_ejected(&self, now: Instant) -> bool {
        self.until.is_some_and(|(until, _)| now < until)
    }
}

/// Whether one more backend may be ejected from a pool of `members`, of which so many are `ejected`, and so many `others`
/// are neither ejected nor down.
pub fn may_eject(members: usize, ejected: usize, others: usize, rules: &Ejection) -> bool {
    let share = usize::try_from(rules.ejected_max).unwrap_or(usize::MAX);
    // In a small pool a part of it may be less than one.
    let most = (members.saturating_mul(share) / 100).max(1);
    others > 0 && ejected < most
}

#[cfg(test)]
pub mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Statuses;

    const FAULTS: [Fault; 3] = [Fault::Connect, Fault::Handshake, Fault::EarlyDeath];

    /// Some.
    pub fn rules() -> Ejection {
        Ejection {
            connect_failures: Some(3),
            handshake_failures: Some(2),
            handshake_statuses: Statuses(vec![502..=504]),
            early_deaths: Some(4),
            early_death_within: Duration::from_secs(5),
            time: Duration::from_secs(30),
            time_max: Duration::from_secs(100),
            ejected_max: 50,
        }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn as_many_failures_in_a_row_as_the_rules_say_are_enough() {
        let (rules, now) = (rules(), Instant::now());
        for (fault, enough) in FAULTS.into_iter().zip([3, 2, 4]) {
            let mut record = Record::default();
            for _ in 0..2 {
                let failures: Vec<bool> = (0..enough).map(|_| record.fail(fault, &rules, 0, now)).collect();
                assert_eq!(failures.iter().position(|enough| *enough), Some(enough - 1));
                assert!(record.succeed(fault, now));
            }
            // One kind does not count for another.
            for other in FAULTS.into_iter().filter(|other| *other != fault) {
                assert!(!record.fail(other, &rules, 0, now));
            }
        }
        let off = Ejection { connect_failures: None, ..rules };
        let mut record = Record::default();
        assert!(!(0..100).any(|_| record.fail(Fault::Connect, &off, 0, now)));
    }

    #[test]
    fn an_ejection_forgets_the_failures_and_hears_of_none_until_it_is_over() {
        let (rules, start) = (rules(), Instant::now());
        let mut record = Record::default();
        record.fail(Fault::Handshake, &rules, 0, start);
        assert!(record.fail(Fault::Handshake, &rules, 0, start));
        assert_eq!(record.eject(Fault::Handshake, &rules, start), Some((seconds(30), start + seconds(30))));
        assert_eq!(record.eject(Fault::Handshake, &rules, start), None);
        let later = start + seconds(29);
        assert!(!(0..10).any(|_| record.fail(Fault::Handshake, &rules, 0, later)));
        let over = start + seconds(30);
        assert!(!record.fail(Fault::Handshake, &rules, 0, over));
        assert!(record.fail(Fault::Handshake, &rules, 0, over));
    }

    #[test]
    fn ejections_in_a_row_grow_and_quiet_times_make_up_for_them() {
        let rules = rules();
        let (mut record, mut now) = (Record::default(), Instant::now());
        let mut times = Vec::new();
        // Seconds between the end of one and the next.
        for quiet in [0, 0, 29, 0, 0, 30, 59, 60, 90, 1_000_000] {
            now += seconds(quiet);
            let (time, until) = record.eject(Fault::Handshake, &rules, now).unwrap();
            times.push(time.as_secs());
            now = until;
        }
        assert_eq!(times, [30, 60, 90, 100, 100, 100, 100, 90, 30, 30]);
    }

    #[test]
    fn deaths_that_are_far_apart_are_no_streak() {
        let (rules, mut now) = (rules(), Instant::now());
        let mut record = Record::default();
        for _ in 0..20 {
            assert!(!record.fail(Fault::EarlyDeath, &rules, 0, now));
            now += seconds(101);
        }
        let fails: Vec<bool> = (0..4)
            .map(|_| {
                now += seconds(100);
                record.fail(Fault::EarlyDeath, &rules, 0, now)
            })
            .collect();
        assert_eq!(fails, [false, false, false, true]);
    }

    #[test]
    fn only_a_tunnel_that_opened_after_the_last_death_ends_the_streak() {
        let (rules, start) = (rules(), Instant::now());
        let mut record = Record::default();
        for _ in 0..3 {
            record.fail(Fault::EarlyDeath, &rules, 0, start + seconds(10));
        }
        assert!(!record.succeed(Fault::EarlyDeath, start + seconds(9)));
        assert!(record.fail(Fault::EarlyDeath, &rules, 0, start + seconds(11)));
        assert!(record.succeed(Fault::EarlyDeath, start + seconds(12)));
        assert!(!record.fail(Fault::EarlyDeath, &rules, 0, start + seconds(13)));
    }

    /// Else one client whose tunnels a backend breaks off could have it ejected, however many others it serves.
    #[test]
    fn deaths_among_tunnels_that_live_are_no_streak() {
        let (rules, now) = (rules(), Instant::now());
        for (lives, ejects) in [(0, true), (1, true), (4, false), (1_000, false)] {
            let (mut record, mut opened) = (Record::default(), 7);
            let enough = (0..20).any(|_| {
                opened += lives + 1;
                record.fail(Fault::EarlyDeath, &rules, opened, now)
            });
            assert_eq!(enough, ejects, "{lives} live for one that dies");
        }
        // Many that open at once and die at once.
        let mut record = Record::default();
        let fails: Vec<bool> =
            (0..5).map(|died| record.fail(Fault::EarlyDeath, &rules, 500.min(died * 1_000), now)).collect();
        assert_eq!(fails, [false, false, false, false, true]);
    }

    #[test]
    fn one_may_be_ejected_where_another_is_left_and_else_a_part() {
        for (members, percent, most) in [
            (1, 100, 0),
            (2, 50, 1),
            (2, 100, 1),
            (3, 50, 1),
            (4, 50, 2),
            (5, 10, 1),
            (10, 25, 2),
            (3, 100, 2),
        ] {
            let rules = Ejection { ejected_max: percent, ..rules() };
            let mut ejected = 0;
            while ejected < members && may_eject(members, ejected, members - ejected - 1, &rules) {
                ejected += 1;
            }
            assert_eq!(ejected, most, "{percent}% of {members}");
        }
    }

    proptest! {
        /// Whatever happens: nobody is ejected for longer than `time_max`, nor twice at once, and an ejection always ends.
        #[test]
        fn an_ejection_is_bounded(steps in prop::collection::vec((0..3_usize, any::<bool>(), 0..200_u64), 1..200)) {
            let rules = rules();
            let (mut record, mut now) = (Record::default(), Instant::now());
            let mut out: Option<Instant> = None;
            for (fault, fails, pause) in steps {
                now += seconds(pause);
                let fault = FAULTS[fault];
                if !fails {
                    record.succeed(fault, now);
                } else if record.fail(fault, &rules, 0, now) {
                    prop_assert!(out.is_none_or(|until| until <= now));
                    let (time, until) = record.eject(Fault::Handshake, &rules, now).unwrap();
                    prop_assert!(rules.time <= time && time <= rules.time_max);
                    prop_assert_eq!(now + time, until);
                    out = Some(until);
                }
            }
        }
    }
}
