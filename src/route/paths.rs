//! The routes of one host, by path.

use std::collections::HashMap;

use super::choices::{Choices, Rank};
use crate::config::{Match, PathMatch, Pattern};

/// The routes of one host.
#[derive(Default)]
pub struct Paths {
    exact: HashMap<String, Choices>,
    /// Without the final slash: `/ws/*` is `/ws`.
    prefix: HashMap<String, Choices>,
    /// The longest key of `prefix`, in bytes: longer parts of a path need no lookup.
    prefix_bytes_max: usize,
    patterns: Vec<(Pattern, Choices)>,
    /// `/*`
    any: Choices,
}

impl Paths {
    /// Adds a route. They come in their order.
    pub fn add(&mut self, path: &PathMatch, rank: Rank) {
        let choices = match path {
            PathMatch::Exact(path) => self.exact.entry(path.clone()).or_default(),
            PathMatch::Prefix(path) => match path.strip_suffix('/').unwrap_or(path) {
                "" => &mut self.any,
                key => {
                    self.prefix_bytes_max = self.prefix_bytes_max.max(key.len());
                    self.prefix.entry(key.to_owned()).or_default()
                }
            },
            PathMatch::Pattern(pattern) => slot(&mut self.patterns, pattern),
        };
        choices.add(rank);
    }

    /// All routes have come; these are their matches, by rank.
    pub fn seal(&mut self, matches: &[&Match]) {
        let patterns = self.patterns.iter_mut().map(|(_, choices)| choices);
        let named = self.exact.values_mut().chain(self.prefix.values_mut());
        named.chain(patterns).chain([&mut self.any]).for_each(|choices| choices.seal(matches));
    }

    /// What `choose` finds, of the routes of the most specific path for which it finds something.
    pub fn find(&self, path: &str, choose: impl Fn(&Choices) -> Option<Rank>) -> Option<Rank> {
        let exact = self.exact.get(path).and_then(&choose);
        let prefix = || self.parts(path).find_map(|part| choose(self.prefix.get(part)?));
        let matching = || self.patterns.iter().filter(|(pattern, _)| pattern.matches(path.as_bytes()));
        let patterns = || matching().find_map(|(_, choices)| choose(choices));
        let any = || if path.starts_with('/') { choose(&self.any) } else { None };
        exact.or_else(prefix).or_else(patterns).or_else(any)
    }

    /// What may be a prefix of `path`: the path itself and all that stands before one of its slashes, longest first,
    /// none of it longer than the longest prefix.
    fn parts<'p>(&self, path: &'p str) -> impl Iterator<Item = &'p str> {
        // A path may hold any UTF-8, so the limit may fall into a character; a slash is never inside one.
        let end = path.floor_char_boundary(self.prefix_bytes_max + 1);
        let slashes = path.get(..end).unwrap_or_default().rmatch_indices('/');
        let parts = slashes.filter_map(|(slash, _)| path.get(..slash)).filter(|part| !part.is_empty());
        let whole = path.len() <= self.prefix_bytes_max && !path.is_empty();
        whole.then_some(path).into_iter().chain(parts)
    }
}

/// What belongs to `pattern`; equal ones come one after the other.
pub fn slot<'s, V: Default>(slots: &'s mut Vec<(Pattern, V)>, pattern: &Pattern) -> &'s mut V {
    if slots.last().is_none_or(|(last, _)| last != pattern) {
        slots.push((pattern.clone(), V::default()));
    }
    let last = slots.len() - 1;
    &mut slots[last].1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_path_costs_few_lookups() {
        let mut paths = Paths::default();
        paths.add(&PathMatch::Prefix("/a/b/".to_owned()), 0);
        let path = "/".repeat(30_000);
        for start in ["", "/", "/é", "/aé", "/abé", "/ab/é", "/a/b", "/a/bé"] {
            let path = start.to_string() + &path;
            assert!(paths.parts(&path).count() <= 5, "{start}");
            assert!(paths.parts(&path).all(|part| part.len() <= "/a/b".len()), "{start}");
        }
    }
}
