//! Active health checks: a task per backend, which alone decides between up and down.
//!
//! A backend starts as unknown and is probed at once; its first result counts by itself, so that a start does not wait
//! for `rise` rounds. Of many that are to be probed at once some wait for their turn. After the first result, `rise` successes in a row bring it up, `fall` failures take it down.

mod http;
mod parting;
mod request;
mod talk;
mod tcp;
mod websocket;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};

use super::backend::{Backend, Health};
use crate::config::{self, HealthKind, Limits, OnDown, Tcp};
use crate::net::dial::{DialError, Way};
use crate::net::source::Sources;
use crate::net::tls::connect::Connector;
use crate::outcome::{ConnectError, Refusal};
use crate::proto::proxy_header::{Header, Version};
use crate::telemetry::Metrics;

/// How a backend is probed.
#[derive(Clone)]
pub struct Terms {
    /// What a probe does, and how often.
    pub check: config::Health,
    /// How the backend is spoken to; `None` is plain text.
    pub tls: Option<Connector>,
    /// The PROXY header that its connections begin with, in which a probe speaks for itself.
    pub proxy_protocol: Option<Version>,
    /// Options of its sockets.
    pub tcp: Tcp,
    /// Where its connections come from.
    pub sources: Sources,
    /// Of which the bounds of an answer's head hold.
    pub limits: Limits,
}

/// Why a probe has failed.
struct Unwell {
    reason: &'static str,
    /// What there is to know beyond the reason.
    detail: Option<String>,
    /// This machine lacks what a probe needs: nothing was found out.
    lack: Option<ConnectError>,
}

/// Probes one backend until the task is dropped. Tells `first_result` once, when the first probe has ended. After each probe
/// `drain` hears whether the backend is down and its tunnels are not to live on: a handshake that was under way may have
/// become a tunnel since. A probe goes when it is its turn: as many run at once, of all pools, as `turns` has permits.
pub async fn watch(
    backend: Arc<Backend>,
    terms: Terms,
    metrics: Metrics,
    turns: Arc<Semaphore>,
    first_result: mpsc::Sender<()>,
    drain: impl Fn(&Backend, bool),
) {
    let check = &terms.check;
    let mut first_result = Some(first_result);
    let mut streak = Streak::default();
    loop {
        let permit = turns.acquire().await;
        let begun = Instant::now();
        let result = timeout(check.timeout, probe(&backend, &terms)).await;
        let took = begun.elapsed();
        drop(permit);
        let result = result.unwrap_or_else(|_| Err("timeout".into()));
        metrics.probe(&backend.pool, &backend.label, label(&result));
        match result {
            Err(Unwell { lack: Some(lack), detail, .. }) => tell_lack(&backend, lack, detail),
            result => {
                backend.probed(took);
                if result.is_ok() {
                    backend.reached();
                }
                if let Some(health) = streak.judge(backend.health(), result.is_ok(), check) {
                    turn(&backend, health, result);
                }
            }
        }
        drain(&backend, backend.health() == Health::Down && check.on_down == OnDown::Drain);
        // Its drop tells that this backend's first round is over.
        first_result.take();
        let interval = if backend.health() == Health::Up { check.interval } else { check.interval_down };
        sleep(spread(interval, fastrand::f64())).await;
    }
}

async fn probe(backend: &Backend, terms: &Terms) -> Result<(), Unwell> {
    let Terms { check, tls, proxy_protocol, tcp, sources, limits } = terms;
    let hello = proxy_protocol.map(|version| Header::Local.write(version));
    let way = Way { hello, tls: tls.as_ref(), tcp, sources };
    match &check.kind {
        HealthKind::Tcp => tcp::probe(backend, &way, check.timeout).await,
        HealthKind::Http(probe) => http::probe(backend, &way, probe, check.timeout, limits).await,
        HealthKind::WebSocket(probe) => websocket::probe(backend, &way, probe, check.timeout, limits).await,
    }
}

/// How a probe ended, in metrics.
fn label(result: &Result<(), Unwell>) -> &'static str {
    match result {
        Ok(()) => "passed",
        Err(Unwell { lack: None, .. }) => "failed",
        Err(Unwell { lack: Some(_), .. }) => "unsent",
    }
}

/// A probe was one too many: the health is another now.
fn turn(backend: &Backend, health: Health, result: Result<(), Unwell>) {
    backend.set_health(health);
    let (pool, backend) = (&backend.pool, &backend.label);
    match result {
        Ok(()) => tracing::info!(%pool, %backend, "backend up"),
        Err(Unwell { reason, detail, .. }) => {
            tracing::warn!(%pool, %backend, reason, detail, "backend down");
        }
    }
}

/// A backend was not probed, which changes nothing of what is known of it.
fn tell_lack(backend: &Backend, lack: ConnectError, detail: Option<String>) {
    if backend.may_complain() {
        let (pool, backend, error, remedy) = (&backend.pool, &backend.label, lack.label(), lack.remedy());
        tracing::warn!(%pool, %backend, error, detail, remedy, "cannot probe");
    }
}

impl From<&'static str> for Unwell {
    fn from(reason: &'static str) -> Unwell {
        Unwell { reason, detail: None, lack: None }
    }
}

impl From<DialError> for Unwell {
    fn from(DialError { error, detail }: DialError) -> Unwell {
        Unwell { reason: error.label(), detail, lack: Some(error).filter(|error| error.blames_machine()) }
    }
}

impl From<Refusal> for Unwell {
    fn from(refusal: Refusal) -> Unwell {
        Unwell { reason: refusal.reason(), detail: refusal.detail().map(str::to_owned), lack: None }
    }
}

/// Between 90% and 110% of `interval`, so that many proxies do not probe in step. `random` is from 0 to 1.
fn spread(interval: Duration, random: f64) -> Duration {
    interval.mul_f64(0.9 + 0.2 * random)
}

/// Results of the same kind in a row.
#[derive(Default)]
struct Streak {
    passed: bool,
    length: u32,
}

impl Streak {
    /// Adds a result. Returns the new health, if it changes.
    fn judge(&mut self, now: Health, passed: bool, check: &config::Health) -> Option<Health> {
        self.length = if self.passed == passed { self.length.saturating_add(1) } else { 1 };
        self.passed = passed;
        let next = if passed { Health::Up } else { Health::Down };
        let needed = if passed { check.rise } else { check.fall };
        let enough = now == Health::Unknown || self.length >= needed;
        (enough && next != now).then_some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_result_counts_then_rise_and_fall_do() {
        let check = config::Health {
            kind: HealthKind::Tcp,
            interval: Duration::from_secs(1),
            interval_down: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            rise: 2,
            fall: 3,
            on_down: OnDown::Keep,
        };
        let mut streak = Streak::default();
        let mut now = Health::Unknown;
        let mut seen = Vec::new();
        for passed in [true, false, false, true, false, false, false, true, false, true, true] {
            if let Some(next) = streak.judge(now, passed, &check) {
                now = next;
            }
            seen.push(now);
        }
        let (up, down) = (Health::Up, Health::Down);
        assert_eq!(seen, [up, up, up, up, up, up, down, down, down, down, up]);
    }

    #[test]
    fn intervals_are_spread() {
        let second = Duration::from_secs(1);
        assert_eq!(spread(second, 0.0), Duration::from_millis(900));
        assert_eq!(spread(second, 0.5), second);
    }
}
