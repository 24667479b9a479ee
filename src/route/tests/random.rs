//! Random tables and requests: the table finds what the rule in words says, spelt out here without any index.

use std::cmp::Reverse;

use proptest::prelude::*;

use super::{Asked, found, table};
use crate::config::{Case, Pattern};

/// A key of a condition, what stands in it, its kind and its narrowness by the rule, and whether a request meets it.
type Condition = (&'static str, &'static str, u8, usize, fn(&Asked) -> bool);

fn header(asked: &Asked, name: &str, meets: impl Fn(&[u8]) -> bool) -> bool {
    asked.headers.iter().any(|(found, value)| found.as_str() == name && meets(value.as_bytes()))
}

fn client_is(asked: &Asked, start: &str) -> bool {
    asked.client.is_some_and(|client| client.to_string().starts_with(start))
}

fn offers(asked: &Asked, names: &[&str]) -> bool {
    asked.offered.iter().flatten().any(|name| names.contains(&name.as_str()))
}

fn certificate(asked: &Asked, name: &str) -> bool {
    asked
        .certificate
        .as_ref()
        .is_some_and(|(subject, names)| subject == name || names.split(", ").any(|own| own == name))
}

const CONDITIONS: &[Condition] = &[
    ("client_certificate", "'CN=a'", 0, 0, |asked| certificate(asked, "CN=a")),
    ("client_certificate", "'DNS:b'", 0, 0, |asked| certificate(asked, "DNS:b")),
    ("client_certificate", "true", 0, 2, |asked| asked.certificate.is_some()),
    ("client_certificate", "false", 0, 3, |asked| asked.certificate.is_none()),
    ("source", "['10.1.2.0/24']", 1, 8, |asked| client_is(asked, "10.1.2.")),
    ("source", "['10.1.0.0/16', '10.2.3.0/24']", 1, 16, |asked| {
        client_is(asked, "10.1.") || client_is(asked, "10.2.3.")
    }),
    ("source", "['10.0.0.0/8']", 1, 24, |asked| client_is(asked, "10.")),
    ("source", "['2001:db8::/32']", 1, 96, |asked| client_is(asked, "2001:db8:")),
    ("subprotocols", "['x']", 2, 1, |asked| offers(asked, &["x"])),
    ("subprotocols", "['y', 'x']", 2, 2, |asked| offers(asked, &["x", "y"])),
    ("cookies", "v = '1'", 3, 0, |asked| header(asked, "cookie", |value| value == b"v=1")),
    ("cookies", "v = true", 3, 2, |asked| header(asked, "cookie", |_| true)),
    ("headers", "x-a = '1'", 4, 0, |asked| header(asked, "x-a", |value| value == b"1")),
    ("headers", "x-a = '2'", 4, 0, |asked| header(asked, "x-a", |value| value == b"2")),
    ("headers", "x-a = '~[0-9]'", 4, 1, |asked| {
        header(asked, "x-a", |value| value.len() == 1 && value[0].is_ascii_digit())
    }),
    ("headers", "x-a = true", 4, 2, |asked| header(asked, "x-a", |_| true)),
    ("headers", "x-a = false", 4, 3, |asked| !header(asked, "x-a", |_| true)),
    ("headers", "x-b = '1'", 4, 0, |asked| header(asked, "x-b", |value| value == b"1")),
    ("query", "q = '1'", 5, 0, |asked| asked.query.split('&').any(|pair| pair == "q=1" || pair == "q=%31")),
    ("query", "q = false", 5, 3, |asked| !asked.query.contains('q')),
    ("methods", "['GET']", 6, 1, |asked| asked.method == "GET"),
    ("methods", "['GET', 'POST']", 6, 2, |asked| asked.method == "GET" || asked.method == "POST"),
    ("kind", "'websocket'", 7, 0, |asked| asked.offered.is_some()),
    ("kind", "'http'", 7, 0, |asked| asked.offered.is_none()),
];

const HOSTS: &[&str] =
    &["", "a.example", "b.a.example", "*.example", "*.a.example", r"~[a-z.]+", r"~[a-z]\.example", "~.*"];
const PATHS: &[&str] = &["", "/", "/*", "/a/*", "/a/b/*", "/a/b", "~/[a-z]", "~/.*", "~/[a-z]/.*"];

/// A route of the test: a host, a path, and conditions by their numbers.
#[derive(Clone, Debug)]
struct Plain {
    host: &'static str,
    path: &'static str,
    conditions: Vec<usize>,
}

impl Plain {
    /// Leaves out conditions that a configuration would not take beside the others: a second one for the same name, and
    /// those that only WebSockets meet where these are not served.
    fn new(host: &'static str, path: &'static str, numbers: Vec<usize>) -> Plain {
        let mut conditions: Vec<usize> = Vec::new();
        for number in numbers {
            let (key, value, ..) = CONDITIONS[number];
            let name = |value: &'static str| value.split_once(" = ").map_or("", |(name, _)| name);
            let clashes = conditions.iter().map(|other| CONDITIONS[*other]).any(|(other_key, other, ..)| {
                let kinds = [(key, value), (other_key, other)];
                let is_http = kinds.contains(&("kind", "'http'"));
                (key == other_key && name(value) == name(other))
                    || (is_http && kinds.iter().any(|(key, _)| *key == "subprotocols"))
            });
            if !clashes {
                conditions.push(number);
            }
        }
        conditions.sort();
        // Two ways to say it.
        let path = if path == "/*" { "" } else { path };
        Plain { host, path, conditions }
    }

    fn keys(&self) -> String {
        let mut keys = String::new();
        for (key, text) in [("host", self.host), ("path", self.path)] {
            if !text.is_empty() {
                keys += &format!("{key} = '{text}'\n");
            }
        }
        let own = || self.conditions.iter().map(|number| CONDITIONS[*number]);
        for key in ["headers", "query", "cookies"] {
            let entries: Vec<_> =
                own().filter(|condition| condition.0 == key).map(|condition| condition.1).collect();
            if !entries.is_empty() {
                keys += &format!("{key} = {{ {} }}\n", entries.join(", "));
            }
        }
        for (key, value, ..) in
            own().filter(|condition| !["headers", "query", "cookies"].contains(&condition.0))
        {
            keys += &format!("{key} = {value}\n");
        }
        keys
    }

    fn serves(&self, asked: &Asked) -> bool {
        let matches = |pattern: &str, text: &str| {
            Pattern::new(&pattern[1..], Case::Matters).unwrap().matches(text.as_bytes())
        };
        let host = match self.host {
            "" => true,
            pattern if pattern.starts_with('~') => matches(pattern, &asked.host),
            wildcard if wildcard.starts_with('*') => asked.host.ends_with(&wildcard[1..]),
            name => name == asked.host,
        };
        let path = match self.path {
            "" => asked.path.starts_with('/'),
            pattern if pattern.starts_with('~') => matches(pattern, &asked.path),
            prefix if prefix.ends_with("/*") => {
                asked.path.starts_with(&prefix[..prefix.len() - 1])
                    || asked.path == prefix[..prefix.len() - 2]
            }
            path => path == asked.path,
        };
        host && path && self.conditions.iter().all(|number| CONDITIONS[*number].4(asked))
    }

    /// The rule: the least comes first.
    fn key(&self) -> impl Ord {
        let host = match self.host {
            "" => (3, Reverse(0)),
            pattern if pattern.starts_with('~') => (2, Reverse(pattern.len())),
            wildcard if wildcard.starts_with('*') => (1, Reverse(wildcard.matches('.').count())),
            _ => (0, Reverse(0)),
        };
        let path = match self.path {
            "" => (3, Reverse(0)),
            pattern if pattern.starts_with('~') => (2, Reverse(pattern.len())),
            prefix if prefix.ends_with('*') => (1, Reverse(prefix.len())),
            _ => (0, Reverse(0)),
        };
        let mut ranks: Vec<_> =
            self.conditions.iter().map(|number| (CONDITIONS[*number].2, CONDITIONS[*number].3)).collect();
        ranks.sort();
        ((host, self.host), (path, self.path), Reverse(ranks.len()), ranks)
    }
}

fn route() -> impl Strategy<Value = Plain> {
    let conditions = prop::collection::vec(0..CONDITIONS.len(), 0..4);
    let host = prop_oneof![3 => Just("a.example"), 2 => prop::sample::select(HOSTS)];
    let path = prop_oneof![3 => Just("/a/*"), 2 => prop::sample::select(PATHS)];
    (host, path, conditions).prop_map(|(host, path, numbers)| Plain::new(host, path, numbers))
}

fn asked() -> impl Strategy<Value = Asked> {
    let pick = |values: &'static [&'static str]| prop::sample::select(values);
    let target = (
        pick(&["a.example", "b.a.example", "c.a.example", "example", "x.example"]),
        pick(&["/", "/a", "/a/", "/a/b", "/a/b/c", "/ab", "/x/y", "*"]),
        pick(&["", "q=1", "q=%31", "q=2&q=1", "q=2", "r=1"]),
        pick(&["GET", "POST", "PUT"]),
    );
    let fields = prop::collection::vec(
        pick(&["x-a: 1", "x-a: 2", "x-a: 3", "x-a: xyz", "x-b: 1", "cookie: v=1", "cookie: v=2"]),
        0..4,
    );
    let client = pick(&["", "10.1.2.3", "10.1.9.9", "10.2.3.4", "10.9.9.9", "2001:db8::1", "::1"]);
    let offered = prop::option::of(prop::collection::vec(pick(&["x", "y", "z"]), 0..3));
    let shown = pick(&["", "CN=a|", "CN=b|DNS:a, DNS:b", "|"]);
    (target, fields, client, offered, shown).prop_map(
        |((host, path, query, method), fields, client, offered, shown)| {
            let mut asked = Asked::get(host, &format!("{path}?{query}"));
            // A WebSocket counts as GET.
            asked = asked.by(if offered.is_some() { "GET" } else { method });
            for field in fields {
                let (name, value) = field.split_once(": ").unwrap();
                asked = asked.with(name, value);
            }
            asked.client = client.parse().ok();
            if let Some(names) = offered {
                asked = asked.offering(&names);
            }
            match shown.split_once('|') {
                Some((subject, names)) => asked.showing(subject, names),
                None => asked,
            }
        },
    )
}

proptest! {
    #[test]
    fn the_table_finds_what_the_rule_says(
        routes in prop::collection::vec(route(), 1..40),
        requests in prop::collection::vec(asked(), 30),
    ) {
        let mut known = std::collections::HashSet::new();
        let mut named: Vec<(String, Plain)> = Vec::new();
        for (number, route) in routes.into_iter().enumerate() {
            if known.insert(route.keys()) {
                // Names that are in no order.
                named.push((format!("r{}", number * 7919 % 1000), route));
            }
        }
        let written: Vec<_> = named.iter().map(|(name, route)| (name.clone(), route.keys())).collect();
        let table = table(&written);
        for asked in requests {
            let mut matching: Vec<_> = named.iter().filter(|(_, route)| route.serves(&asked)).collect();
            matching.sort_by(|(one_name, one), (other_name, other)| {
                one.key().cmp(&other.key()).then_with(|| one_name.cmp(other_name))
            });
            let expected = matching.first().map_or("", |(name, _)| name.as_str());
            prop_assert_eq!(found(&table, &asked), expected, "{:?}\n{:?}", asked, written);
            let explanation = table.explain(&asked.request());
            let explained = explanation.candidates.iter().filter(|candidate| {
                candidate.checks.iter().all(|check| check.instead.is_none())
            });
            let explained: Vec<_> = explained.map(|candidate| candidate.name).collect();
            let expected: Vec<_> = matching.iter().map(|(name, _)| name.as_str()).collect();
            prop_assert_eq!(explained, expected);
        }
    }
}
