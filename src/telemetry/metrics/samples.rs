//! What other parts know anyway and tell at scrape time.

use std::time::Duration;

use super::table::*;
use crate::config::State;
use crate::telemetry::process;
use crate::telemetry::registry::Samples;

impl Samples {
    /// Whether `/readyz` answers 200.
    pub fn ready(&mut self, ready: bool) {
        self.push(&READY, &[], f64::from(u8::from(ready)));
    }

    /// How many configurations were accepted, and how the last reading of the file went; `success` since 1970.
    pub fn configuration(&mut self, generation: u64, succeeded: bool, success: Duration) {
        self.push(&GENERATION, &[], generation as f64);
        self.push(&RELOAD_SUCCESSFUL, &[], f64::from(u8::from(succeeded)));
        self.push(&RELOAD_SUCCESS_TIME, &[], success.as_secs_f64());
    }

    /// The limits beside which usage is shown.
    pub fn limits(&mut self, connections_max: usize, tunnels_max: usize) {
        self.push(&CONNECTIONS_MAX, &[], connections_max as f64);
        self.push(&TUNNELS_MAX, &[], tunnels_max as f64);
    }

    /// What a worker carries.
    pub fn worker(&mut self, index: usize, connections: usize) {
        self.push(&WORKER_CONNECTIONS, &[&index.to_string()], connections as f64);
    }

    /// What a backend carries, how many connections to it carry nothing, and whether it is up.
    pub fn backend(&mut self, pool: &str, backend: &str, up: bool, load: usize, idle: usize) {
        self.push(&BACKEND_UP, &[pool, backend], f64::from(u8::from(up)));
        self.push(&BACKEND_TUNNELS, &[pool, backend], load as f64);
        self.push(&BACKEND_IDLE, &[pool, backend], idle as f64);
    }

    /// How many tunnels a backend may carry, and how many more than it does.
    pub fn backend_seats(&mut self, pool: &str, backend: &str, max: usize, free: usize) {
        self.push(&BACKEND_TUNNELS_MAX, &[pool, backend], max as f64);
        self.push(&BACKEND_TUNNELS_FREE, &[pool, backend], free as f64);
    }

    /// How many handshakes wait for a backend of a pool.
    pub fn waiting(&mut self, pool: &str, waiting: usize) {
        self.push(&POOL_WAITING, &[pool], waiting as f64);
    }

    /// Which tunnels a backend gets.
    pub fn backend_state(&mut self, pool: &str, backend: &str, state: State) {
        self.push(&BACKEND_STATE, &[pool, backend, state.label()], 1.0);
    }

    /// What health checks have found of a backend, and how long the last one took.
    pub fn health(&mut self, pool: &str, backend: &str, health: &'static str, probe: Option<Duration>) {
        self.push(&BACKEND_HEALTH, &[pool, backend, health], 1.0);
        if let Some(took) = probe {
            self.push(&BACKEND_PROBE_DURATION, &[pool, backend], took.as_secs_f64());
        }
    }

    /// Whether a backend is ejected.
    pub fn ejected(&mut self, pool: &str, backend: &str, ejected: bool) {
        self.push(&BACKEND_EJECTED, &[pool, backend], f64::from(u8::from(ejected)));
    }

    /// How many backends a pool's discovery names, how many it has ceased to name, and when it last had an answer, since
    /// 1970.
    pub fn discovery(&mut self, pool: &str, named: usize, leaving: usize, answered: Duration) {
        self.push(&DISCOVERY_BACKENDS, &[pool, "named"], named as f64);
        self.push(&DISCOVERY_BACKENDS, &[pool, "leaving"], leaving as f64);
        self.push(&DISCOVERY_SUCCESS_TIME, &[pool], answered.as_secs_f64());
    }

    /// How many tunnels are left that are asked to go for a reason.
    pub fn draining(&mut self, reason: &str, tunnels: usize) {
        self.push(&DRAIN_TUNNELS, &[reason], tunnels as f64);
    }

    /// When a certificate stops being valid, since 1970.
    pub fn certificate(&mut self, listener: &str, certificate: &str, expiry: Duration) {
        self.push(&CERTIFICATE_EXPIRY, &[listener, certificate], expiry.as_secs_f64());
    }

    /// How many tunnels processes still carry that this one has taken over from.
    pub fn predecessors(&mut self, tunnels: u64) {
        self.push(&PREDECESSOR_TUNNELS, &[], tunnels as f64);
    }

    /// Log lines lost so far.
    pub fn log_dropped(&mut self, lines: u64) {
        self.push(&LOG_DROPPED, &[], lines as f64);
    }

    /// Of the process, as the kernel knows it.
    pub(super) fn process(&mut self) {
        let Some(figures) = process::figures() else { return };
        self.push(&PROCESS_CPU, &[], figures.cpu_seconds);
        self.push(&PROCESS_RESIDENT, &[], figures.resident_bytes);
        self.push(&PROCESS_VIRTUAL, &[], figures.virtual_bytes);
        self.push(&PROCESS_OPEN_FDS, &[], figures.open_fds);
        self.push(&PROCESS_MAX_FDS, &[], figures.max_fds);
        self.push(&PROCESS_THREADS, &[], figures.threads);
        self.push(&PROCESS_START, &[], figures.start_seconds);
    }
}
