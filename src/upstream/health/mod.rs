//! Active health checks: a task per backend, which alone decides between up and down.
//!
//! A backend starts as unknown and is probed at once; its first result counts by itself, so that a start does not wait
//! for `rise` rounds. After that, `rise` successes in a row bring it up, `fall` failures take it down.

mod http;
mod tcp;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::backend::{Backend, Health};
use crate::config::{self, HealthKind, Limits, Tcp};
use crate::telemetry::Metrics;

/// Probes one backend until the task is dropped. Tells `first_result` once, when the first probe has ended.
pub async fn watch(
    backend: Arc<Backend>,
    check: config::Health,
    tcp: Tcp,
    limits: Limits,
    metrics: Metrics,
    first_result: mpsc::Sender<()>,
) {
    let mut first_result = Some(first_result);
    let mut streak = Streak::default();
    loop {
        let result = timeout(check.timeout, probe(&backend, &check, &tcp, &limits)).await;
        let result = result.unwrap_or(Err("timeout"));
        metrics.probe(&backend.pool, &backend.label, result.is_ok());
        if let Some(health) = streak.judge(backend.health(), result.is_ok(), &check) {
            backend.set_health(health);
            let (pool, backend) = (&backend.pool, &backend.label);
            match result {
                Ok(()) => tracing::info!(%pool, %backend, "backend up"),
                Err(reason) => tracing::warn!(%pool, %backend, reason, "backend down"),
            }
        }
        // Its drop tells that this backend's first round is over.
        first_result.take();
        sleep(spread(check.interval, fastrand::f64())).await;
    }
}

async fn probe(
    backend: &Backend,
    check: &config::Health,
    tcp: &Tcp,
    limits: &Limits,
) -> Result<(), &'static str> {
    match &check.kind {
        HealthKind::Tcp => tcp::probe(backend, check.timeout, tcp).await,
        HealthKind::Http { path } => http::probe(backend, path, check.timeout, tcp, limits).await,
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
            timeout: Duration::from_secs(1),
            rise: 2,
            fall: 3,
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
