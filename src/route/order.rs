//! Which of two routes is the more specific. The module's page has the rule in words.

use std::cmp::{Ordering, Reverse};

use crate::config::{Condition, HostMatch, Match, PathMatch, Pattern};

/// What decides between two routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The more specific host.
    Host,
    /// The more specific path.
    Path,
    /// More conditions.
    Count,
    /// More particular conditions.
    Conditions,
    /// The first name.
    Name,
}

/// Compares two routes, each a match and a name; [`Ordering::Less`] is the more specific. Equal only with one name.
pub fn compare(one: (&Match, &str), other: (&Match, &str)) -> (Ordering, Step) {
    let ((a, a_name), (b, b_name)) = (one, other);
    let ranks = |matches: &Match| matches.conditions().iter().map(Condition::rank).collect::<Vec<_>>();
    let steps: [(Step, &dyn Fn() -> Ordering); 4] = [
        (Step::Host, &|| host(&a.host).cmp(&host(&b.host))),
        (Step::Path, &|| path(&a.path).cmp(&path(&b.path))),
        (Step::Count, &|| b.conditions().len().cmp(&a.conditions().len())),
        (Step::Conditions, &|| ranks(a).cmp(&ranks(b))),
    ];
    let decided = steps.into_iter().map(|(step, compare)| (compare(), step)).find(|(order, _)| order.is_ne());
    decided.unwrap_or((a_name.cmp(b_name), Step::Name))
}

/// Kinds in their order; within one, the longer first. The text tells apart what no request could meet both.
fn host(host: &HostMatch) -> (u8, Reverse<usize>, &str) {
    match host {
        HostMatch::Exact(name) => (0, Reverse(0), name),
        HostMatch::Below(name) => (1, Reverse(name.split('.').count()), name),
        HostMatch::Pattern(pattern) => expression(2, pattern),
        HostMatch::Any => (3, Reverse(0), ""),
    }
}

fn path(path: &PathMatch) -> (u8, Reverse<usize>, &str) {
    match path {
        PathMatch::Exact(path) => (0, Reverse(0), path),
        PathMatch::Prefix(path) if path == "/" => (3, Reverse(0), ""),
        PathMatch::Prefix(path) => (1, Reverse(path.len()), path),
        PathMatch::Pattern(pattern) => expression(2, pattern),
    }
}

fn expression(kind: u8, pattern: &Pattern) -> (u8, Reverse<usize>, &str) {
    (kind, Reverse(pattern.text().len()), pattern.text())
}
