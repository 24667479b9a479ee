//! Heap: what a change of a pool's backends takes, however many routes there are, and what backends leave behind that
//! have come and gone. In this program, on this thread.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::sync::Arc;

use longhaul::config::{Config, list};
use longhaul::outcome::ConnectError;
use longhaul::state::build::pool::with_backends;
use longhaul::state::registry::Registry;
use longhaul::state::{Snapshot, build};
use longhaul::telemetry::Metrics;

use crate::allocator::Heap;
use crate::report::Report;

/// Changes between two readings.
const CHANGES: usize = 20;
/// Backends that come and go.
const ADDRESSES: usize = 10_000;

/// Counts all cases.
pub fn measure(report: &mut Report) {
    report.section("heap of endpoints");
    for (case, routes) in [("a change, 10 routes", 10), ("a change, 10,000 routes", 10_000)] {
        let mut pool = Endpoints::new(routes);
        pool.change_often();
        let before = heap();
        pool.change_often();
        let now = heap();
        let share = |now: i64, before: i64| (now - before) as f64 / CHANGES as f64;
        let bytes = share(now.allocated_bytes, before.allocated_bytes);
        report.row(
            case,
            &[share(now.allocations, before.allocations), bytes, share(now.live_bytes, before.live_bytes)],
        );
    }
    let mut pool = Endpoints::new(10);
    pool.change_often();
    let before = heap();
    for cycle in 1..=2 {
        pool.change(cycle * ADDRESSES..(cycle + 1) * ADDRESSES);
        assert_eq!(pool.registry.backends().len(), ADDRESSES);
        pool.change(1..11);
    }
    assert_eq!(pool.registry.backends().len(), 10);
    let left = heap().live_bytes - before.live_bytes;
    report.row("10,000 that came and went", &[0.0, 0.0, left as f64]);
}

/// A pool whose backends somebody else names.
struct Endpoints {
    snapshot: Snapshot,
    registry: Registry,
    metrics: Metrics,
    folder: tempfile::TempDir,
}

impl Endpoints {
    /// It has none yet.
    fn new(routes: usize) -> Endpoints {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("list.toml"), "backends = []").expect("a writable folder");
        let mut text = "[[listeners]]\nname = \"l\"\naddress = \"127.0.0.1:0\"\n\
                        [pools.all]\ndiscovery = { kind = \"file\", path = \"list.toml\", backends_max = 10000 }\n"
            .to_owned();
        for route in 0..routes {
            text += &format!("[[routes]]\nname = \"r{route}\"\npath = \"/{route}/*\"\npool = \"all\"\n");
        }
        let config = Config::parse("a.toml", &text, folder.path()).expect("a configuration");
        let (registry, metrics) = (Registry::default(), Metrics::new(1));
        let snapshot = build::build(Arc::new(config), None, &registry, &metrics).expect("a snapshot");
        Endpoints { snapshot, registry, metrics, folder }
    }

    /// One of its ten backends is another one, again and again.
    fn change_often(&mut self) {
        for round in 0..CHANGES {
            self.change(round % 2..round % 2 + 10);
        }
    }

    /// From now on these are its backends, each of which has refused somebody.
    fn change(&mut self, backends: std::ops::Range<usize>) {
        let address =
            |index: usize| format!("\"10.{}.{}.{}:80\"", index >> 16, index >> 8 & 255, index & 255);
        let backends: Vec<String> = backends.map(address).collect();
        let path = self.folder.path().join("list.toml");
        fs::write(&path, format!("backends = [{}]", backends.join(", "))).expect("a writable folder");
        let backends = list::load(&path, &self.snapshot.config.pools["all"], ADDRESSES).expect("a list");
        let next = with_backends(&self.snapshot, "all", backends.into(), &self.registry, &self.metrics);
        self.snapshot = next.expect("cryptography").expect("another list");
        let live = self.registry.backends();
        live.iter()
            .for_each(|backend| self.metrics.connect_error("all", &backend.label, ConnectError::Refused));
        let live: HashSet<&str> = live.iter().map(|backend| &*backend.label).collect();
        self.metrics.forget_backends(|_, backend| live.contains(backend));
    }
}

/// What this thread has; without the blocks by size, which would count themselves.
fn heap() -> Heap {
    let thread = fs::read_link("/proc/thread-self").expect("Linux");
    let thread = thread.file_name().and_then(|id| id.to_str()?.parse().ok()).expect("a number");
    Heap { live: BTreeMap::new(), ..Heap::of(thread).expect("it has allocated something") }
}
