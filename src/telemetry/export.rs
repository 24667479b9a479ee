//! From the registry to the text that Prometheus scrapes, by the `prometheus` crate's `Collector` and encoder
//! (exposition format 0.0.4).

use std::collections::HashMap;
use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{self, MetricFamily, MetricType};
use prometheus::{Encoder, TextEncoder};

use super::metrics::FAMILIES;
use super::registry::{Family, Kind, Registry, Value, Values};

/// The content type of [`Exporter::text`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Writes all metrics as text.
pub struct Exporter {
    registry: prometheus::Registry,
}

impl Exporter {
    /// An exporter of `registry`.
    ///
    /// # Errors
    /// When two families of the table share a name.
    pub fn new(registry: Arc<Registry>) -> Result<Exporter, prometheus::Error> {
        let mut descriptions = Vec::new();
        for family in FAMILIES {
            let labels = family.labels.iter().map(|label| label.to_string()).collect();
            let (name, help) = (family.name.to_string(), family.help.to_string());
            descriptions.push(Desc::new(name, help, labels, HashMap::new())?);
        }
        let exporter = Exporter { registry: prometheus::Registry::new() };
        exporter.registry.register(Box::new(Source { registry, descriptions }))?;
        Ok(exporter)
    }

    /// All series now.
    ///
    /// # Errors
    /// When the encoder refuses a family, which only a mistake in the table can cause.
    pub fn text(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::with_capacity(16 * 1024);
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

struct Source {
    registry: Arc<Registry>,
    descriptions: Vec<Desc>,
}

impl Collector for Source {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut values = self.registry.values();
        let present = FAMILIES.iter().filter_map(|family| {
            let values = values.remove(family.name).filter(|values| !values.is_empty())?;
            Some(to_proto(family, &values))
        });
        present.collect()
    }
}

fn to_proto(family: &Family, values: &Values) -> MetricFamily {
    let mut exported = MetricFamily::default();
    exported.set_name(family.name.to_string());
    exported.set_help(family.help.to_string());
    exported.set_field_type(match family.kind {
        Kind::Counter => MetricType::COUNTER,
        Kind::Gauge => MetricType::GAUGE,
        Kind::Histogram(_) => MetricType::HISTOGRAM,
    });
    let metrics = values.iter().map(|(labels, value)| {
        let pairs = family.labels.iter().zip(labels).map(|(name, value)| {
            let mut pair = proto::LabelPair::default();
            pair.set_name(name.to_string());
            pair.set_value(value.to_string());
            pair
        });
        let mut metric = proto::Metric::from_label(pairs.collect());
        match (value, family.kind) {
            (Value::Histogram(counts, sum), Kind::Histogram(buckets)) => {
                metric.set_histogram(histogram(counts, *sum, buckets.bounds, buckets.per_unit));
            }
            (Value::Number(number), Kind::Counter) => {
                let mut counter = proto::Counter::default();
                counter.set_value(*number);
                metric.set_counter(counter);
            }
            (Value::Number(number), _) => {
                let mut gauge = proto::Gauge::default();
                gauge.set_value(*number);
                metric.set_gauge(gauge);
            }
            (Value::Histogram(..), _) => unreachable!("{} is no histogram", family.name),
        }
        metric
    });
    exported.set_metric(metrics.collect());
    exported
}

fn histogram(counts: &[u64], sum: f64, bounds: &[u64], per_unit: f64) -> proto::Histogram {
    let mut cumulative = 0;
    let buckets = bounds.iter().zip(counts).map(|(bound, count)| {
        cumulative += count;
        let mut bucket = proto::Bucket::default();
        bucket.set_upper_bound(*bound as f64 / per_unit);
        bucket.set_cumulative_count(cumulative);
        bucket
    });
    let mut histogram = proto::Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(counts.iter().sum());
    histogram.set_sample_sum(sum);
    histogram
}
