//! Which route a request takes: the most specific of those that match. The order in the file never matters.
//!
//! A route matches when its host, its path and all its conditions do. Of several that match the first in this order wins:
//!
//! 1. The host: an exact name; a wildcard, one with more labels first; a regular expression, a longer one first; any host.
//! 2. The path: an exact one; a prefix, a longer one first; a regular expression, a longer one first; any path.
//! 3. The conditions: more of them before fewer. Each field, parameter and cookie counts as one.
//! 4. As many conditions are compared one by one, each side's most particular first: by kind (client certificate, source,
//!    subprotocol, cookie, field, parameter, method, websocket or http), then by how narrow they are (an exact value, an
//!    expression, presence, absence; a narrower network; fewer subprotocols or methods).
//! 5. The route's name, in the order of its bytes.
//!
//! A route that does not match hides none: where a host has no route for a request, a less specific one may.
//!
//! # What a lookup costs
//! A hash for each label of the host, one for the path and one for each of its prefixes that are not longer than the
//! longest configured. Where more than a few routes share host and path, those that ask for an exact value, a network or a
//! subprotocol are found by what the request has there: a hash for each of its values under each name that these routes
//! ask for. None of it depends on the number of routes.
//!
//! What does: regular expressions are tried one after the other, those of hosts for requests that no exact name or
//! wildcard takes, those of paths for the routes of one host ([`PATTERNS_MAX`](crate::config::PATTERNS_MAX) bounds them);
//! and so are routes that share host and path and differ in nothing but expressions, presence or absence.
//!
//! A lookup allocates nothing, but for expressions, and for a parameter that is percent-encoded where values are looked up.

mod choices;
mod explain;
mod order;
mod paths;
mod request;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use self::choices::{Choices, Rank};
use self::paths::Paths;
use crate::config::{HostMatch, Match, Pattern};

pub use explain::{Candidate, Check, Explanation, Verdict};
pub use order::Step;
pub use request::{Certificate, Request};

/// Routes by what they match. `T` is what a match leads to.
pub struct Table<T> {
    /// The most specific first. All that is below are places in it.
    routes: Vec<Entry<T>>,
    exact: HashMap<String, Paths>,
    below: HashMap<String, Paths>,
    patterns: Vec<(Pattern, Paths)>,
    any: Paths,
}

struct Entry<T> {
    name: Arc<str>,
    matches: Match,
    target: T,
}

impl<T> FromIterator<(Arc<str>, Match, T)> for Table<T> {
    /// A table of routes by name. The configuration has no two with the same name.
    fn from_iter<I: IntoIterator<Item = (Arc<str>, Match, T)>>(routes: I) -> Table<T> {
        let mut routes: Vec<_> =
            routes.into_iter().map(|(name, matches, target)| Entry { name, matches, target }).collect();
        routes.sort_by(|one, other| order::compare(one.key(), other.key()).0);
        let mut table = Table {
            routes: Vec::new(),
            exact: HashMap::new(),
            below: HashMap::new(),
            patterns: Vec::new(),
            any: Paths::default(),
        };
        for (rank, route) in (0..).zip(&routes) {
            table.paths_of(&route.matches.host).add(&route.matches.path, rank);
        }
        let matches: Vec<_> = routes.iter().map(|route| &route.matches).collect();
        table.all_paths().for_each(|paths| paths.seal(&matches));
        table.routes = routes;
        table
    }
}

impl<T> Table<T> {
    /// The route of a request.
    pub fn find(&self, request: &Request<'_>) -> Option<&T> {
        Some(&self.route(self.first(request)?)?.target)
    }

    /// Where the first route that matches stands.
    fn first(&self, request: &Request<'_>) -> Option<Rank> {
        let holds = |rank| self.route(rank).is_some_and(|route| request.meets(&route.matches));
        let choose = |choices: &Choices| choices.first(request, holds);
        let within = |paths: &Paths| paths.find(request.path, choose);
        let host = request.host;
        let exact = self.exact.get(host).and_then(within);
        let below = || parents(host).find_map(|parent| within(self.below.get(parent)?));
        let matching = || self.patterns.iter().filter(|(pattern, _)| pattern.matches(host.as_bytes()));
        let patterns = || matching().find_map(|(_, paths)| within(paths));
        exact.or_else(below).or_else(patterns).or_else(|| within(&self.any))
    }

    fn route(&self, rank: Rank) -> Option<&Entry<T>> {
        self.routes.get(usize::try_from(rank).ok()?)
    }

    /// The routes of a host, so far none if it is new.
    fn paths_of(&mut self, host: &HostMatch) -> &mut Paths {
        match host {
            HostMatch::Exact(name) => self.exact.entry(name.clone()).or_default(),
            HostMatch::Below(name) => self.below.entry(name.clone()).or_default(),
            HostMatch::Pattern(pattern) => paths::slot(&mut self.patterns, pattern),
            HostMatch::Any => &mut self.any,
        }
    }

    fn all_paths(&mut self) -> impl Iterator<Item = &mut Paths> {
        let patterns = self.patterns.iter_mut().map(|(_, paths)| paths);
        let named = self.exact.values_mut().chain(self.below.values_mut());
        named.chain(patterns).chain([&mut self.any])
    }
}

impl<T> Default for Table<T> {
    fn default() -> Table<T> {
        [].into_iter().collect()
    }
}

impl<T> Entry<T> {
    fn key(&self) -> (&Match, &str) {
        (&self.matches, &self.name)
    }
}

/// `a.b.c` has the parents `b.c` and `c`. A host longer than DNS allows (RFC 1035 2.3.4) has none: it is no name.
fn parents(host: &str) -> impl Iterator<Item = &str> {
    let host = if host.len() > HOST_BYTES_MAX { "" } else { host };
    host.match_indices('.').filter_map(|(dot, _)| host.get(dot + 1..))
}

const HOST_BYTES_MAX: usize = 253;
