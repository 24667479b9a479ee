//! Which series exist, and the handles that count.
//!
//! Three kinds of storage behind one list of families: *hot* series in [`cells`](super::cells), reached by a handle
//! that is resolved once, when a snapshot is built; *cold* series in a locked map, for events that happen once a
//! connection and have many labels; and *sources*, asked at scrape time for what other parts know anyway.
//!
//! Labels come from the configuration or from closed enums, never from the wire; even so every family is bounded, and
//! what does not fit is counted.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::cells::{Block, Store};

/// Series of one cold family, at most.
const COLD_SERIES_MAX: usize = 50_000;

/// One metric: a name, and what its series are told apart by.
#[derive(Debug)]
pub struct Family {
    /// The full name, with its unit and, for a counter, `_total`.
    pub name: &'static str,
    /// One sentence for who reads `/metrics`.
    pub help: &'static str,
    /// What its values do.
    pub kind: Kind,
    /// The label names.
    pub labels: &'static [&'static str],
}

/// What a metric's values do.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Only grow.
    Counter,
    /// Go up and down.
    Gauge,
    /// Are counted by size.
    Histogram(&'static Buckets),
}

/// The upper bounds of a histogram's buckets, as integers of a small unit.
#[derive(Debug)]
pub struct Buckets {
    /// Ascending, in the small unit.
    pub bounds: &'static [u64],
    /// How many of the small unit make one of the exported unit (1,000,000 for microseconds of seconds).
    pub per_unit: f64,
}

/// The label values of one series, in the order of the family's labels.
pub type Labels = Box<[Box<str>]>;

/// Something for every series, by family name.
pub type Families<V> = HashMap<&'static str, BTreeMap<Labels, V>>;

/// The values of one family's series, as a scrape finds them.
pub type Values = BTreeMap<Labels, Value>;

/// The value of one series.
#[derive(Clone, Debug)]
pub enum Value {
    /// Of a counter or a gauge.
    Number(f64),
    /// Of a histogram: the count in each bucket (not cumulative, the last one unbounded), and the sum.
    Histogram(Vec<u64>, f64),
}

/// All series.
pub struct Registry {
    store: Arc<Store>,
    hot: Mutex<Families<Weak<Series>>>,
    cold: Mutex<Families<u64>>,
    sources: Mutex<Vec<Source>>,
    dropped: AtomicU64,
}

type Source = Box<dyn Fn(&mut Samples) + Send + Sync>;

/// Where a source puts what it knows.
#[derive(Default)]
pub struct Samples {
    families: Families<Value>,
}

impl Samples {
    /// The value of one series now.
    pub fn push(&mut self, family: &'static Family, labels: &[&str], value: f64) {
        debug_assert_eq!(family.labels.len(), labels.len());
        let values = self.families.entry(family.name).or_default();
        values.insert(boxed(labels), Value::Number(value));
    }
}

impl Registry {
    /// An empty registry for `workers` workers.
    pub fn new(workers: usize) -> Registry {
        Registry {
            store: Store::new(workers),
            hot: Mutex::default(),
            cold: Mutex::default(),
            sources: Mutex::default(),
            dropped: AtomicU64::new(0),
        }
    }

    /// The handle of a hot counter; the same series for the same labels as long as a handle lives.
    pub fn counter(&self, family: &'static Family, labels: &[&str]) -> Counter {
        Counter(self.series(family, labels, 1))
    }

    /// The handle of a hot gauge.
    pub fn gauge(&self, family: &'static Family, labels: &[&str]) -> Gauge {
        Gauge(self.series(family, labels, 1))
    }

    /// The handle of a hot histogram.
    pub fn histogram(&self, family: &'static Family, labels: &[&str]) -> Histogram {
        let Kind::Histogram(buckets) = family.kind else {
            unreachable!("{} is declared as a histogram", family.name)
        };
        // The buckets, the unbounded one, and the sum.
        Histogram { series: self.series(family, labels, buckets.bounds.len() + 2), buckets }
    }

    /// Counts one event of a cold family.
    pub fn count(&self, family: &'static Family, labels: &[&str]) {
        self.add(family, labels, 1);
    }

    /// Counts `amount` of a cold family.
    pub fn add(&self, family: &'static Family, labels: &[&str], amount: u64) {
        debug_assert_eq!(family.labels.len(), labels.len());
        let mut cold = self.cold.lock().unwrap_or_else(PoisonError::into_inner);
        let series = cold.entry(family.name).or_default();
        let known: &dyn Texts = &Wanted(labels);
        if let Some(count) = series.get_mut(known) {
            *count += amount;
        } else if series.len() < COLD_SERIES_MAX {
            series.insert(boxed(labels), amount);
        } else {
            self.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Shows a series of a cold family before its first event, so that its first is seen as a change.
    pub fn declare(&self, family: &'static Family, labels: &[&str]) {
        let mut cold = self.cold.lock().unwrap_or_else(PoisonError::into_inner);
        cold.entry(family.name).or_default().entry(boxed(labels)).or_default();
    }

    /// The labels of the series of a hot family that somebody has a handle of. Forgets the others, of all families.
    pub fn live(&self, family: &'static Family) -> BTreeSet<Labels> {
        let mut hot = self.hot.lock().unwrap_or_else(PoisonError::into_inner);
        for series in hot.values_mut() {
            series.retain(|_, weak| weak.strong_count() > 0);
        }
        hot.get(family.name).map(|series| series.keys().cloned().collect()).unwrap_or_default()
    }

    /// Forgets the series of a cold family whose labels are not `wanted`.
    pub fn retain(&self, family: &'static Family, wanted: impl Fn(&[Box<str>]) -> bool) {
        let mut cold = self.cold.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(series) = cold.get_mut(family.name) {
            series.retain(|labels, _| wanted(labels));
        }
    }

    /// Asks `source` at every scrape, on the thread that scrapes.
    pub fn source(&self, source: impl Fn(&mut Samples) + Send + Sync + 'static) {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(source));
    }

    /// How many series or counts found no room.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// All values now, by family name.
    pub fn values(&self) -> Families<Value> {
        let mut samples = Samples::default();
        for source in self.sources.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            source(&mut samples);
        }
        let mut families = samples.families;
        for (name, series) in self.cold.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let numbers = series.iter().map(|(labels, count)| (labels.clone(), Value::Number(*count as f64)));
            families.entry(name).or_default().extend(numbers);
        }
        let mut hot = self.hot.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, series) in hot.iter_mut() {
            series.retain(|_, weak| weak.strong_count() > 0);
            let live =
                series.iter().filter_map(|(labels, weak)| Some((labels.clone(), weak.upgrade()?.value())));
            families.entry(name).or_default().extend(live);
        }
        families
    }

    fn series(&self, family: &'static Family, labels: &[&str], length: usize) -> Arc<Series> {
        debug_assert_eq!(family.labels.len(), labels.len());
        let mut hot = self.hot.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = hot.entry(family.name).or_default().entry(boxed(labels)).or_default();
        if let Some(series) = slot.upgrade() {
            return series;
        }
        let block = self.store.block(length);
        if block.is_none() {
            self.dropped.fetch_add(1, Relaxed);
        }
        let series = Arc::new(Series { kind: family.kind, block });
        *slot = Arc::downgrade(&series);
        series
    }
}

fn boxed(labels: &[&str]) -> Labels {
    labels.iter().map(|label| Box::from(*label)).collect()
}

/// Labels by which a series can be found, kept or only lent: to count what is known takes no memory.
trait Texts {
    fn text(&self, index: usize) -> Option<&str>;
}

impl Texts for Labels {
    fn text(&self, index: usize) -> Option<&str> {
        self.get(index).map(|text| &**text)
    }
}

struct Wanted<'a>(&'a [&'a str]);

impl Texts for Wanted<'_> {
    fn text(&self, index: usize) -> Option<&str> {
        self.0.get(index).copied()
    }
}

impl<'a> Borrow<dyn Texts + 'a> for Labels {
    fn borrow(&self) -> &(dyn Texts + 'a) {
        self
    }
}

/// The order of [`Labels`].
impl Ord for dyn Texts + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        let pairs = (0..).map(|index| (self.text(index), other.text(index)));
        let mut pairs = pairs.take_while(|pair| *pair != (None, None));
        pairs
            .find_map(|(one, other)| Some(one.cmp(&other)).filter(|order| order.is_ne()))
            .unwrap_or(Ordering::Equal)
    }
}

impl PartialOrd for dyn Texts + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for dyn Texts + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for dyn Texts + '_ {}

/// One series in the cells; without a block (the store was full) it counts nothing.
struct Series {
    kind: Kind,
    block: Option<Block>,
}

impl Series {
    fn add(&self, offset: usize, amount: u64) {
        if let Some(block) = &self.block {
            block.add(offset, amount);
        }
    }

    fn sum(&self, offset: usize) -> u64 {
        self.block.as_ref().map_or(0, |block| block.sum(offset))
    }

    fn value(&self) -> Value {
        match self.kind {
            Kind::Counter => Value::Number(self.sum(0) as f64),
            // A gauge wraps below zero in the cells of a worker that released more than it took.
            Kind::Gauge => Value::Number(self.sum(0).cast_signed() as f64),
            Kind::Histogram(buckets) => {
                let unbounded = buckets.bounds.len();
                let counts = (0..=unbounded).map(|offset| self.sum(offset)).collect();
                Value::Histogram(counts, self.sum(unbounded + 1) as f64 / buckets.per_unit)
            }
        }
    }
}

/// Counts up.
#[derive(Clone)]
pub struct Counter(Arc<Series>);

impl Counter {
    /// One more.
    pub fn increment(&self) {
        self.0.add(0, 1);
    }

    /// `amount` more.
    pub fn add(&self, amount: u64) {
        self.0.add(0, amount);
    }
}

/// Counts what is there now.
#[derive(Clone)]
pub struct Gauge(Arc<Series>);

impl Gauge {
    /// One more, until the guard is dropped.
    pub fn enter(&self) -> GaugeGuard {
        self.0.add(0, 1);
        GaugeGuard(self.clone())
    }
}

/// One of what a gauge counts.
pub struct GaugeGuard(Gauge);

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.0.add(0, 1u64.wrapping_neg());
    }
}

/// Counts by size.
#[derive(Clone)]
pub struct Histogram {
    series: Arc<Series>,
    buckets: &'static Buckets,
}

impl Histogram {
    /// Counts `duration`, in microseconds.
    pub fn observe(&self, duration: Duration) {
        self.count(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    /// Counts `amount`, in the small unit.
    pub fn count(&self, amount: u64) {
        let bucket = self.buckets.bounds.partition_point(|bound| *bound < amount);
        self.series.add(bucket, 1);
        self.series.add(self.buckets.bounds.len() + 1, amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static BUCKETS: Buckets = Buckets { bounds: &[1_000_000, 2_000_000], per_unit: 1e6 };
    static TIMES: Family =
        Family { name: "times", help: "", kind: Kind::Histogram(&BUCKETS), labels: &["a", "b"] };
    static OPEN: Family = Family { name: "open", help: "", kind: Kind::Gauge, labels: &["a", "b"] };
    static ENDS: Family = Family { name: "ends", help: "", kind: Kind::Counter, labels: &["a", "b"] };

    fn number(registry: &Registry, name: &str, labels: &[&str]) -> Option<f64> {
        match registry.values().get(name)?.get(&boxed(labels))? {
            Value::Number(number) => Some(*number),
            Value::Histogram(..) => None,
        }
    }

    #[test]
    fn label_sets_that_only_differ_in_their_borders_stay_apart() {
        let registry = Registry::new(1);
        let one = registry.gauge(&OPEN, &["api1", "2"]);
        let other = registry.gauge(&OPEN, &["api", "12"]);
        let _guards = (one.enter(), other.enter(), other.enter());
        assert_eq!(number(&registry, "open", &["api1", "2"]), Some(1.0));
        assert_eq!(number(&registry, "open", &["api", "12"]), Some(2.0));
        registry.count(&ENDS, &["api1", "2"]);
        registry.count(&ENDS, &["api", "12"]);
        assert_eq!(number(&registry, "ends", &["api", "12"]), Some(1.0));
    }

    #[test]
    fn a_series_lives_as_long_as_its_handles() {
        let registry = Registry::new(1);
        let gauge = registry.gauge(&OPEN, &["a", "b"]);
        let guard = gauge.enter();
        drop(gauge);
        assert_eq!(number(&registry, "open", &["a", "b"]), Some(1.0));
        let again = registry.gauge(&OPEN, &["a", "b"]);
        drop(guard);
        assert_eq!(number(&registry, "open", &["a", "b"]), Some(0.0));
        drop(again);
        assert_eq!(number(&registry, "open", &["a", "b"]), None);
    }

    #[test]
    fn a_histogram_counts_a_bound_into_its_own_bucket() {
        let registry = Registry::new(1);
        let times = registry.histogram(&TIMES, &["a", "b"]);
        for ms in [1, 1000, 1001, 2000, 9000] {
            times.observe(Duration::from_millis(ms));
        }
        let values = registry.values();
        let Value::Histogram(counts, sum) = &values["times"][&boxed(&["a", "b"])] else { panic!() };
        assert_eq!(counts, &[2, 2, 1]);
        assert!((sum - 13.002).abs() < 1e-9);
    }
}
