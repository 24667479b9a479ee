//! The dashboard asks for metrics that there are, shows all of them, and its panels lie beside each other.

use std::collections::{BTreeSet, HashSet};
use std::fs;

use longhaul::telemetry::metrics::FAMILIES;
use longhaul::telemetry::registry::Kind;
use serde_json::Value;

fn panels() -> Vec<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/grafana/longhaul.json");
    let text = fs::read_to_string(path).expect("the dashboard");
    let dashboard: Value = serde_json::from_str(&text).expect("JSON");
    dashboard["panels"].as_array().expect("panels").clone()
}

/// What every panel asks, with the panel's title.
fn questions(panels: &[Value]) -> Vec<(String, String)> {
    let targets = |panel: &Value| panel["targets"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of = |panel: &Value| {
        targets(panel).into_iter().map(|target| (text(&panel["title"]), text(&target["expr"]))).collect()
    };
    panels.iter().flat_map(|panel| -> Vec<_> { of(panel) }).collect()
}

/// The metrics of longhaul in a question, each with the labels that it selects by.
fn metrics(question: &str) -> Vec<(&str, Vec<&str>)> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let starts = question.match_indices("longhaul_").map(|(start, _)| start);
    starts
        .map(|start| {
            let rest = &question[start..];
            let (name, rest) = rest.split_at(rest.find(|c| !is_part(c)).unwrap_or(rest.len()));
            let selector =
                rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |found| found.0);
            let labels = selector.split(',').filter_map(|one| one.split(['=', '!']).next());
            (name, labels.map(str::trim).filter(|label| !label.is_empty()).collect())
        })
        .collect()
}

#[test]
fn it_asks_for_what_there_is_and_for_all_of_it() {
    let mut shown = HashSet::new();
    for (title, question) in questions(&panels()) {
        for (name, labels) in metrics(&question) {
            let of = |family: &&&longhaul::telemetry::registry::Family| {
                let rest = name.strip_prefix(family.name);
                match family.kind {
                    Kind::Histogram(_) => matches!(rest, Some("_bucket" | "_count" | "_sum")),
                    _ => rest == Some(""),
                }
            };
            let family =
                FAMILIES.iter().find(of).unwrap_or_else(|| panic!("{title}: {name} is not in the table"));
            shown.insert(family.name);
            for label in labels {
                let is_known = family.labels.contains(&label) || ["instance", "job", "le"].contains(&label);
                assert!(is_known, "{title}: {name} has no label {label}");
            }
        }
    }
    let missing: Vec<_> = FAMILIES
        .iter()
        .map(|family| family.name)
        .filter(|name| name.starts_with("longhaul_") && !shown.contains(name))
        .collect();
    assert!(missing.is_empty(), "no panel shows {missing:?}");
}

#[test]
fn panels_lie_beside_each_other() {
    let (mut ids, mut taken) = (BTreeSet::new(), HashSet::new());
    for panel in panels() {
        let title = &panel["title"];
        assert!(ids.insert(panel["id"].as_u64()), "{title}: its id is another's, too");
        let [x, y, width, height] =
            ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().expect("a number"));
        assert!(x + width <= 24, "{title}: wider than the page");
        for place in (y..y + height).flat_map(|row| (x..x + width).map(move |column| (row, column))) {
            assert!(taken.insert(place), "{title} lies upon another panel at {place:?}");
        }
    }
}
