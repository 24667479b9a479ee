//! Passive health: a backend on which requests fail gets no more of them for a while.
//!
//! Whoever sends something to a backend tells what came of it. Failures in a row eject the backend, for a time that grows
//! with every ejection and never for good; `record` has the rules. When the time is over the backend serves again, and
//! is judged again: probes have no say in it, because they passed, or there were none, while requests failed.
//!
//! An ejection is a guess, so it must not do harm: only a part of a pool is ejected, never the last backend that is left,
//! and ejected ones are still asked when there is no other.

pub(super) mod record;

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use self::record::{Record, may_eject};
use super::backend::{Backend, Health};
use super::handshake::Reply;
use super::pool::Pool;
use super::standing::Standing;
use crate::config::{Ejection, State};
use crate::net::dial::DialError;
use crate::outcome::{Fault, Refusal};
use crate::telemetry::Metrics;

/// Ejections of all pools happen one after the other: two at once could each take the other for what is left. Old and
/// new generations of a pool meet here, too.
static EJECTING: Mutex<()> = Mutex::new(());

/// What times are counted from, so that one fits an atomic.
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// How a backend has behaved. Of one on which all is well the lock is never taken.
#[derive(Debug, Default)]
pub struct Conduct {
    /// A bit for each [`Fault`] that has a streak.
    streaks: AtomicU8,
    /// Tunnels that were ever opened to it.
    opened: AtomicU64,
    /// Milliseconds from [`EPOCH`] to the end of its last ejection. That it is ejected is a bit of its [`Standing`].
    until_ms: AtomicU64,
    record: Mutex<Record>,
}

impl Conduct {
    /// Whether the time of a backend that was ejected is not over. Who finds it over takes the backend back.
    pub fn is_out(&self, standing: &Standing) -> bool {
        if !self.left().is_zero() {
            return true;
        }
        // Another ejection, which may have begun since, happens under this lock, too.
        let record = self.record();
        let is_out = !self.left().is_zero();
        if !is_out {
            standing.set_ejected(false);
        }
        drop(record);
        is_out
    }

    /// What it is ejected for, and for how long yet.
    pub fn ejection(&self) -> Option<(Fault, Duration)> {
        let left = Some(self.left()).filter(|left| !left.is_zero())?;
        Some((self.record().reason()?, left))
    }

    /// How long it stays ejected; nothing if it is not.
    fn left(&self) -> Duration {
        Duration::from_millis(self.until_ms.load(Relaxed).saturating_sub(now_ms()))
    }

    /// Something that was begun now went well.
    pub fn succeeded(&self, fault: Fault) {
        if self.has_streak(fault) {
            self.end_streak(fault, Instant::now());
        }
    }

    /// A tunnel that opened then has ended as it should, or is no longer young.
    pub fn tunnel_lived(&self, opened: Instant) {
        if self.has_streak(Fault::EarlyDeath) {
            self.end_streak(Fault::EarlyDeath, opened);
        }
    }

    /// Lets bygones be bygones.
    pub fn forgive(&self, standing: &Standing) {
        let mut record = self.record();
        *record = Record::default();
        self.streaks.store(0, Relaxed);
        self.until_ms.store(0, Relaxed);
        standing.set_ejected(false);
    }

    fn has_streak(&self, fault: Fault) -> bool {
        self.streaks.load(Relaxed) & bit(fault) != 0
    }

    fn end_streak(&self, fault: Fault, begun: Instant) {
        let mut record = self.record();
        if record.succeed(fault, begun) {
            self.streaks.fetch_and(!bit(fault), Relaxed);
        }
    }

    /// Whether this failure makes enough of them.
    fn fail(&self, fault: Fault, rules: &Ejection, now: Instant) -> bool {
        let mut record = self.record();
        self.streaks.fetch_or(bit(fault), Relaxed);
        record.fail(fault, rules, self.opened.load(Relaxed), now)
    }

    /// How long it is ejected for; `None` if it was already.
    pub(super) fn eject(
        &self,
        standing: &Standing,
        fault: Fault,
        rules: &Ejection,
        now: Instant,
    ) -> Option<Duration> {
        let mut record = self.record();
        let (time, until) = record.eject(fault, rules, now)?;
        self.streaks.store(0, Relaxed);
        // Never a moment too early: the record would not hear of what fails then.
        self.until_ms.store(since_epoch_ms(until) + 1, Relaxed);
        standing.set_ejected(true);
        Some(time)
    }

    /// Another process has ejected it, for so much longer.
    pub fn inherit(&self, standing: &Standing, fault: Fault, left: Duration, now: Instant) {
        let mut record = self.record();
        let until = record.inherit(fault, left, now);
        self.until_ms.store(since_epoch_ms(until) + 1, Relaxed);
        standing.set_ejected(true);
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection to a backend of `pool` did not come about. Whether that is to be remembered of it, as in every pool
/// ([`reach`](super::reach)), because ejection has no say in it: it counts no such failures, or cannot eject this backend.
pub fn unreachable(pool: &Pool, backend: &Backend, error: &DialError, metrics: &Metrics) -> bool {
    let is_counted = pool.ejection.as_ref().is_some_and(|rules| rules.connect_failures.is_some());
    match error.error {
        error if error.blames_machine() => false,
        error if is_counted && error.blames_backend() => failed(pool, backend, Fault::Connect, metrics),
        _ => true,
    }
}

/// A backend of `pool` was offered a handshake, and this came of it.
pub fn answered(pool: &Pool, backend: &Backend, reply: &Result<Reply, Refusal>, metrics: &Metrics) {
    let Some(rules) = &pool.ejection else { return };
    let has_failed = match reply {
        Ok(Reply::Switched(_)) => {
            backend.conduct.opened.fetch_add(1, Relaxed);
            false
        }
        Ok(Reply::Declined(answer)) => rules.handshake_statuses.contain(answer.status()),
        Err(refusal) if refusal.blames_backend() => true,
        // It says nothing of the backend.
        Err(_) => return,
    };
    match has_failed {
        true => {
            failed(pool, backend, Fault::Handshake, metrics);
        }
        false => backend.conduct.succeeded(Fault::Handshake),
    }
}

/// A backend of `pool` broke off a tunnel that had lived for so long since it `opened`.
pub fn died(pool: &Pool, backend: &Backend, opened: Instant, lived: Duration, metrics: &Metrics) {
    match &pool.ejection {
        Some(rules) if lived < rules.early_death_within => {
            failed(pool, backend, Fault::EarlyDeath, metrics);
        }
        _ => backend.conduct.tunnel_lived(opened),
    }
}

/// Whether it would be ejected for that, could the pool do without it.
fn failed(pool: &Pool, backend: &Backend, fault: Fault, metrics: &Metrics) -> bool {
    let Some(rules) = &pool.ejection else { return false };
    let now = Instant::now();
    if !backend.conduct.fail(fault, rules, now) {
        return false;
    }
    let (name, address, reason) = (&pool.name, &backend.label, fault.label());
    let ejecting = EJECTING.lock().unwrap_or_else(PoisonError::into_inner);
    if !can_do_without(pool, backend, rules) {
        if backend.may_complain() {
            tracing::warn!(pool = %name, backend = %address, reason, "backend not ejected: too few are left");
        }
        return true;
    }
    // Another worker may have been faster.
    let Some(time) = backend.conduct.eject(&backend.standing, fault, rules, now) else { return false };
    drop(ejecting);
    metrics.ejection(name, address, fault);
    let for_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    tracing::warn!(pool = %name, backend = %address, reason, for_ms, "backend ejected");
    false
}

/// Whether the pool can do without this backend, beside those that are ejected or down already.
fn can_do_without(pool: &Pool, backend: &Backend, rules: &Ejection) -> bool {
    let (mut members, mut ejected, mut others) = (0, 0, 0);
    for member in pool.members.all().iter() {
        let member = &*member.backend;
        members += 1;
        let is_active = member.standing.state() == State::Active;
        if member.is_ejected() {
            ejected += 1;
        } else if !std::ptr::eq(member, backend) && is_active && member.health() != Health::Down {
            others += 1;
        }
    }
    may_eject(members, ejected, others, rules)
}

fn bit(fault: Fault) -> u8 {
    1 << fault as u8
}

fn now_ms() -> u64 {
    since_epoch_ms(Instant::now())
}

fn since_epoch_ms(at: Instant) -> u64 {
    u64::try_from(at.saturating_duration_since(*EPOCH).as_millis()).unwrap_or(u64::MAX)
}
