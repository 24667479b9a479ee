//! The text exposition format 0.0.4, read strictly: whatever a careful scraper could refuse is a failure here.

use std::collections::BTreeMap;

/// A scrape, by family.
pub type Scrape = BTreeMap<String, Family>;

/// One metric.
#[derive(Debug)]
pub struct Family {
    /// What `# TYPE` says.
    pub kind: String,
    /// What `# HELP` says.
    pub help: String,
    /// In their order.
    pub samples: Vec<Sample>,
}

/// One line.
#[derive(Debug)]
pub struct Sample {
    /// The name, with `_bucket`, `_sum` or `_count` for a histogram's.
    pub name: String,
    /// In their order.
    pub labels: Vec<(String, String)>,
    /// The value.
    pub value: f64,
}

impl Sample {
    /// The value of a label; empty if there is none.
    pub fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(label, _)| label == name).map_or("", |(_, value)| value)
    }
}

/// Reads a scrape; panics at the first fault.
pub fn parse(text: &str) -> Scrape {
    assert!(text.ends_with('\n'), "the last line must end");
    let mut families = Scrape::new();
    let (mut help, mut current) = (None, String::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            assert!(help.is_none(), "a HELP without its TYPE before {line}");
            help = rest.split_once(' ');
            assert!(help.is_some_and(|(_, help)| !help.is_empty()), "{line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and a type");
            let (of, help) = help.take().expect("a HELP before each TYPE");
            assert_eq!(of, name);
            assert!(is_name(name), "{line}");
            assert!(matches!(kind, "counter" | "gauge" | "histogram"), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            let family = Family { kind: kind.into(), help: help.into(), samples: Vec::new() };
            assert!(families.insert(name.into(), family).is_none(), "{name} comes twice");
            current = name.into();
        } else {
            let sample = sample(line);
            let family = families.get_mut(&current).expect("a sample behind its TYPE");
            let suffix =
                sample.name.strip_prefix(&current).unwrap_or_else(|| panic!("{line} among {current}"));
            let allowed: &[&str] =
                if family.kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(allowed.contains(&suffix), "{line}");
            assert!(family.kind == "gauge" || sample.value >= 0.0, "{line}");
            let twin = |other: &Sample| (&other.name, &other.labels) == (&sample.name, &sample.labels);
            assert!(!family.samples.iter().any(twin), "{line} comes twice");
            family.samples.push(sample);
        }
    }
    for (name, family) in &families {
        assert!(!family.samples.is_empty(), "{name} has no samples");
        if family.kind == "histogram" {
            check_histogram(name, &family.samples);
        }
    }
    families
}

fn sample(line: &str) -> Sample {
    let end = line.find(['{', ' ']).expect("a value");
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "{line}");
    let mut labels: Vec<(String, String)> = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"").expect("a label and its value");
            assert!(is_name(label) && !label.contains(':'), "{line}");
            assert!(labels.iter().all(|(other, _)| other != label), "{line}");
            let (value, after) = quoted(after);
            labels.push((label.into(), value));
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        rest = &rest[1..];
    }
    let value = rest.strip_prefix(' ').expect("a space before the value");
    Sample { name: name.into(), labels, value: value.parse().unwrap_or_else(|_| panic!("no number: {line}")) }
}

/// A label's value, up to its closing quote, and what follows.
fn quoted(text: &str) -> (String, &str) {
    let (mut value, mut chars) = (String::new(), text.char_indices());
    while let Some((index, c)) = chars.next() {
        match c {
            '"' => return (value, &text[index + 1..]),
            '\\' => value.push(match chars.next() {
                Some((_, 'n')) => '\n',
                Some((_, c @ ('"' | '\\'))) => c,
                other => panic!("no such escape: {other:?} in {text}"),
            }),
            c => value.push(c),
        }
    }
    panic!("a label's value does not end: {text}")
}

fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
    !name.is_empty() && name.chars().all(fits) && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// Each series has ascending, cumulative buckets up to `+Inf`, which is the count, and a sum.
fn check_histogram(name: &str, samples: &[Sample]) {
    let mut series: BTreeMap<Vec<(String, String)>, Vec<&Sample>> = BTreeMap::new();
    for sample in samples {
        let labels = sample.labels.iter().filter(|(label, _)| label != "le").cloned().collect();
        series.entry(labels).or_default().push(sample);
    }
    for (labels, samples) in series {
        let of = |suffix: &str| {
            let name = format!("{name}{suffix}");
            samples.iter().filter(move |sample| sample.name == name).collect::<Vec<_>>()
        };
        let buckets: Vec<(f64, f64)> = of("_bucket")
            .iter()
            .map(|sample| (sample.label("le").parse().expect("a bound"), sample.value))
            .collect();
        assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{name} {labels:?}: {buckets:?}");
        let (&[count], &[_sum]) = (&of("_count")[..], &of("_sum")[..]) else {
            panic!("{name} {labels:?} lacks its count or sum")
        };
        assert_eq!(buckets.last(), Some(&(f64::INFINITY, count.value)), "{name} {labels:?}");
    }
}
