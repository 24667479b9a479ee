//! Why a request takes the route that it takes.

use super::order::{Step, compare};
use super::request::Request;
use super::{Entry, Table};
use crate::config::{Condition, HostMatch, Match, PathMatch};
use crate::proto::{cookie, query};

/// The routes of a request's host, the most specific first, and what becomes of each.
pub struct Explanation<'t, T> {
    /// Those whose host matches.
    pub candidates: Vec<Candidate<'t, T>>,
    /// How many routes serve other hosts.
    pub elsewhere: usize,
}

/// A route whose host matches.
pub struct Candidate<'t, T> {
    /// Its name.
    pub name: &'t str,
    /// Where it leads.
    pub target: &'t T,
    /// The host, the path and the conditions.
    pub checks: Vec<Check>,
    /// What becomes of it.
    pub verdict: Verdict,
}

/// One thing that a route asks for.
pub struct Check {
    /// As it is written in a configuration.
    pub wanted: String,
    /// What the request has instead; `None` if it is what is asked for.
    pub instead: Option<String>,
}

/// What becomes of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The request takes it.
    Wins,
    /// It matches, too; this is what the one that wins has ahead of it.
    Later(Step),
    /// It does not match.
    Fails,
}

impl<T> Table<T> {
    /// What each route makes of a request.
    pub fn explain(&self, request: &Request<'_>) -> Explanation<'_, T> {
        let winner = self.first(request).and_then(|rank| self.route(rank));
        let here = |route: &&Entry<T>| serves_host(&route.matches.host, request.host);
        let candidates: Vec<_> =
            self.routes.iter().filter(here).map(|route| candidate(route, winner, request)).collect();
        Explanation { elsewhere: self.routes.len() - candidates.len(), candidates }
    }
}

impl<'t, T> Explanation<'t, T> {
    /// The route that the request takes.
    pub fn winner(&self) -> Option<&Candidate<'t, T>> {
        self.candidates.iter().find(|candidate| candidate.verdict == Verdict::Wins)
    }
}

fn candidate<'t, T>(
    route: &'t Entry<T>,
    winner: Option<&Entry<T>>,
    request: &Request<'_>,
) -> Candidate<'t, T> {
    let Match { host, path, .. } = &route.matches;
    let mut checks = vec![Check { wanted: host.to_string(), instead: None }];
    let serves = serves_path(path, request.path);
    checks.push(Check {
        wanted: path.to_string(),
        instead: (!serves).then(|| format!("it is {}", quoted(request.path.as_bytes()))),
    });
    checks.extend(route.matches.conditions().iter().map(|condition| Check {
        wanted: condition.to_string(),
        instead: (!request.holds(condition)).then(|| found(condition, request)),
    }));
    let verdict = match winner {
        Some(winner) if winner.name == route.name => Verdict::Wins,
        Some(winner) if checks.iter().all(|check| check.instead.is_none()) => {
            Verdict::Later(compare(winner.key(), route.key()).1)
        }
        _ => Verdict::Fails,
    };
    Candidate { name: &route.name, target: &route.target, checks, verdict }
}

fn serves_host(wanted: &HostMatch, host: &str) -> bool {
    match wanted {
        HostMatch::Exact(name) => name == host,
        HostMatch::Below(name) => super::parents(host).any(|parent| parent == name),
        HostMatch::Pattern(pattern) => pattern.matches(host.as_bytes()),
        HostMatch::Any => true,
    }
}

fn serves_path(wanted: &PathMatch, path: &str) -> bool {
    match wanted {
        PathMatch::Exact(exact) => exact == path,
        PathMatch::Prefix(prefix) => path.starts_with(prefix) || prefix.strip_suffix('/') == Some(path),
        PathMatch::Pattern(pattern) => pattern.matches(path.as_bytes()),
    }
}

/// What a request has where a condition looks.
fn found(condition: &Condition, request: &Request<'_>) -> String {
    let all = |values: Vec<String>| match values.as_slice() {
        [] => "it is not there".to_owned(),
        values => format!("it is {}", values.join(" and ")),
    };
    match condition {
        Condition::ClientCertificate(_) if request.certificate.is_none() => "none was shown".to_owned(),
        Condition::ClientCertificate(_) => all(request.certificate_names().map(quoted).collect()),
        Condition::Source(_) => match request.client {
            Some(client) => format!("the client is {client}"),
            None => "the client has no address".to_owned(),
        },
        Condition::Subprotocols(_) if request.subprotocols().next().is_none() => "none is offered".to_owned(),
        Condition::Subprotocols(_) => {
            let offered: Vec<_> = request.subprotocols().map(|name| quoted(name.as_bytes())).collect();
            format!("offered {}", offered.join(" and "))
        }
        Condition::Cookie(name, _) => all(cookie::values(request.headers, name).map(quoted).collect()),
        Condition::Header(name, _) => {
            all(request.headers.get_all(name).iter().map(|value| quoted(value.as_bytes())).collect())
        }
        Condition::Query(name, _) => {
            all(query::values(request.query, name).map(|value| quoted(&value.decode())).collect())
        }
        Condition::Methods(_) => format!("it is {}", quoted(request.method.as_str().as_bytes())),
        Condition::Kind(_) if request.offered.is_some() => "it is a WebSocket handshake".to_owned(),
        Condition::Kind(_) => "it is no WebSocket handshake".to_owned(),
    }
}

fn quoted(bytes: &[u8]) -> String {
    format!("\"{}\"", bytes.escape_ascii())
}
