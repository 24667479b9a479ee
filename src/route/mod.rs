//! Which route a request takes: by host, then by path; the most specific wins, and the order in the file never matters.
//!
//! 1. The host: an exact name before `*.` wildcards, a wildcard with more labels before one with fewer, any host last.
//! 2. Within each of these, the path: an exact one before prefixes, a longer prefix before a shorter one.
//!
//! A host's routes that have no matching path do not hide those of a less specific host. A lookup allocates nothing and
//! costs a hash per label of the host and a binary search per prefix length, whatever the number of routes.

use std::collections::HashMap;

use crate::config::{HostMatch, PathMatch};

/// Routes by what they match. `T` is what a match leads to.
pub struct Table<T> {
    exact: HashMap<String, Paths<T>>,
    below: HashMap<String, Paths<T>>,
    any: Paths<T>,
}

/// The routes of one host.
struct Paths<T> {
    exact: HashMap<String, T>,
    /// Without the final slash: `/ws/*` is `/ws`, and `/*` is empty.
    prefix: HashMap<String, T>,
    /// The longest key of `prefix`, in bytes: longer parts of a path need no lookup.
    prefix_bytes_max: usize,
}

impl<T> Default for Table<T> {
    fn default() -> Table<T> {
        Table { exact: HashMap::new(), below: HashMap::new(), any: Paths::default() }
    }
}

impl<T> Default for Paths<T> {
    fn default() -> Paths<T> {
        Paths { exact: HashMap::new(), prefix: HashMap::new(), prefix_bytes_max: 0 }
    }
}

impl<T> Table<T> {
    /// Adds a route; the configuration has no two with the same match.
    pub fn insert(&mut self, host: &HostMatch, path: &PathMatch, target: T) {
        let paths = match host {
            HostMatch::Exact(name) => self.exact.entry(name.clone()).or_default(),
            HostMatch::Below(name) => self.below.entry(name.clone()).or_default(),
            HostMatch::Any => &mut self.any,
        };
        match path {
            PathMatch::Exact(path) => {
                paths.exact.insert(path.clone(), target);
            }
            PathMatch::Prefix(path) => {
                let key = path.strip_suffix('/').unwrap_or(path);
                paths.prefix_bytes_max = paths.prefix_bytes_max.max(key.len());
                paths.prefix.insert(key.to_string(), target);
            }
        }
    }

    /// The route of `host` (lower case, without port) and `path` (without query).
    pub fn find(&self, host: &str, path: &str) -> Option<&T> {
        let exact = self.exact.get(host).and_then(|paths| paths.find(path));
        let below = || parents(host).find_map(|parent| self.below.get(parent)?.find(path));
        exact.or_else(below).or_else(|| self.any.find(path))
    }
}

/// `a.b.c` has the parents `b.c` and `c`. A host longer than DNS allows (RFC 1035 2.3.4) has none: it is no name.
fn parents(host: &str) -> impl Iterator<Item = &str> {
    let host = if host.len() > HOST_BYTES_MAX { "" } else { host };
    host.match_indices('.').filter_map(|(dot, _)| host.get(dot + 1..))
}

const HOST_BYTES_MAX: usize = 253;

impl<T> Paths<T> {
    fn find(&self, path: &str) -> Option<&T> {
        let longest_prefix = || self.parts(path).find_map(|part| self.prefix.get(part));
        self.exact.get(path).or_else(longest_prefix)
    }

    /// What may be a prefix of `path`: the path itself and all that stands before one of its slashes, longest first,
    /// none of it longer than the longest prefix.
    fn parts<'p>(&self, path: &'p str) -> impl Iterator<Item = &'p str> {
        // A path may hold any UTF-8, so the limit may fall into a character; a slash is never inside one.
        let end = path.floor_char_boundary(self.prefix_bytes_max + 1);
        let slashes = path.get(..end).unwrap_or_default().rmatch_indices('/');
        let parts = slashes.filter_map(|(slash, _)| path.get(..slash));
        let whole = path.len() <= self.prefix_bytes_max && !path.is_empty();
        whole.then_some(path).into_iter().chain(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(routes: &[(&str, &str)]) -> Table<String> {
        let mut table = Table::default();
        for (host, path) in routes {
            let host_match = match (*host, host.strip_prefix("*.")) {
                ("", _) => HostMatch::Any,
                (_, Some(parent)) => HostMatch::Below(parent.into()),
                (name, None) => HostMatch::Exact(name.into()),
            };
            let path_match = match path.strip_suffix('*') {
                Some(prefix) => PathMatch::Prefix(prefix.into()),
                None => PathMatch::Exact((*path).into()),
            };
            table.insert(&host_match, &path_match, format!("{host}{path}"));
        }
        table
    }

    #[test]
    fn the_most_specific_route_wins() {
        let table = table(&[
            ("", "/*"),
            ("", "/any"),
            ("*.example.com", "/*"),
            ("*.eu.example.com", "/ws/*"),
            ("chat.example.com", "/ws/*"),
            ("chat.example.com", "/ws/v2/*"),
            ("chat.example.com", "/ws/v2/exact"),
        ]);
        for (host, path, expected) in [
            ("chat.example.com", "/ws/v2/exact", "chat.example.com/ws/v2/exact"),
            ("chat.example.com", "/ws/v2/exact/", "chat.example.com/ws/v2/*"),
            ("chat.example.com", "/ws/v2", "chat.example.com/ws/v2/*"),
            ("chat.example.com", "/ws/v2x", "chat.example.com/ws/*"),
            ("chat.example.com", "/ws", "chat.example.com/ws/*"),
            ("chat.example.com", "/ws/", "chat.example.com/ws/*"),
            ("chat.example.com", "/wsx", "*.example.com/*"),
            ("chat.example.com", "/any", "*.example.com/*"),
            ("a.b.eu.example.com", "/ws/1", "*.eu.example.com/ws/*"),
            ("a.b.eu.example.com", "/other", "*.example.com/*"),
            ("example.com", "/ws/1", "/*"),
            ("example.com", "/any", "/any"),
            ("notexample.com", "/", "/*"),
        ] {
            assert_eq!(table.find(host, path).unwrap(), expected, "{host}{path}");
        }
    }

    #[test]
    fn without_a_match_there_is_no_route() {
        let table = table(&[("chat.example.com", "/ws/*"), ("*.example.com", "/only")]);
        for (host, path) in [
            ("chat.example.com", "/"),
            ("chat.example.com", ""),
            ("chat.example.com", "*"),
            ("chat.example.com", "/WS/1"),
            ("example.com", "/only"),
            ("", "/ws/1"),
        ] {
            assert!(table.find(host, path).is_none(), "{host}{path}");
        }
    }

    #[test]
    fn a_hostile_path_or_host_costs_few_lookups() {
        let table = table(&[("*.example.com", "/ws/*"), ("", "/a/b/*")]);
        let path = "/".repeat(30_000);
        let host = "a.".repeat(15_000);
        assert!(table.find("x.example.com", &path).is_none());
        assert!(table.find(&host, &path).is_none());
        for start in ["", "/", "/é", "/aé", "/abé", "/ab/é", "/a/b", "/a/bé"] {
            let path = start.to_string() + &path;
            assert!(table.any.parts(&path).count() <= 5, "{start}");
            assert!(table.any.parts(&path).all(|part| part.len() <= "/a/b".len()), "{start}");
        }
    }
}
