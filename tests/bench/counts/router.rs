//! How a request finds its route, among few and among many.

use std::hint::black_box;
use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use ipnet::IpNet;
use longhaul::config::{Condition, HostMatch, Match, PathMatch, ValueMatch};
use longhaul::route::{self, Table};

use crate::loops::{measure, thousands};

/// What [`find`] sends of a request.
struct Asked {
    host: String,
    path: String,
    query: String,
    headers: HeaderMap,
    client: Option<IpAddr>,
}

impl Asked {
    fn of(host: String, path: String) -> Asked {
        Asked { host, path, query: String::new(), headers: HeaderMap::new(), client: None }
    }
}

/// A third each of exact hosts, wildcards, and prefixes of paths.
pub fn hosts_and_paths(routes: usize) {
    let mut matches = Vec::new();
    let mut requests = [const { Vec::new() }; 3];
    for index in 0..routes {
        let below = |name: String| PathMatch::Prefix(name);
        let (kind, host, path) = match index % 3 {
            0 => (0, HostMatch::Exact(format!("chat-{index}.example.com")), below("/ws/".into())),
            1 => (1, HostMatch::Below(format!("team-{index}.example.com")), below("/ws/".into())),
            _ => (2, HostMatch::Any, below(format!("/app-{index}/"))),
        };
        matches.push(Match::new(host, path, Vec::new()));
        let host = ["chat", "x.team", "any"][kind];
        let host = format!("{host}-{index}.example.com");
        let path = if kind == 2 { format!("/app-{index}/room/1") } else { "/ws/room/1".into() };
        requests[kind].push((Asked::of(host, path), index));
    }
    let table = table(matches);
    for (kind, name) in ["exact host", "wildcard", "prefix"].into_iter().enumerate() {
        find(name, &table, &requests[kind]);
    }
}

/// Routes of one host and one path, which differ in what they ask for: one condition each, but for the last route.
pub fn conditions(routes: usize) {
    for name in ["field", "parameter", "source"] {
        let new = |conditions| Match::new(HostMatch::Any, PathMatch::Prefix("/ws/".to_owned()), conditions);
        let (asked, own): (Vec<_>, Vec<_>) = (0..routes - 1).map(|index| distinct(name, index)).unzip();
        let conditions = own.into_iter().map(|condition| vec![condition]).chain([Vec::new()]);
        let table = table(conditions.map(new).collect());
        find(name, &table, &asked.into_iter().zip(0..).collect::<Vec<_>>());
    }
}

/// A request, and what tells it from all others.
fn distinct(name: &str, index: usize) -> (Asked, Condition) {
    let tenant = format!("tenant-{index}");
    let mut asked = Asked::of("chat.example.com".to_owned(), "/ws/room/1".to_owned());
    let condition = match name {
        "field" => {
            let name = HeaderName::from_static("x-tenant");
            asked.headers.insert(&name, HeaderValue::try_from(&tenant).expect("a value"));
            Condition::Header(name, ValueMatch::Exact(tenant))
        }
        "parameter" => {
            asked.query = format!("v=1&tenant={tenant}");
            Condition::Query("tenant".to_owned(), ValueMatch::Exact(tenant))
        }
        _ => {
            let client = IpAddr::from([10, (index >> 8) as u8, (index & 255) as u8, 1]);
            asked.client = Some(client);
            Condition::Source(vec![IpNet::new(client, 24).expect("a network").trunc()])
        }
    };
    (asked, condition)
}

fn table(matches: Vec<Match>) -> Table<usize> {
    let named = |(index, matches): (usize, Match)| (Arc::from(format!("route-{index}")), matches, index);
    matches.into_iter().enumerate().map(named).collect()
}

/// Looks up requests whose routes are known.
fn find(name: &str, table: &Table<usize>, requests: &[(Asked, usize)]) {
    let routes = if requests.len() < 100 { 10 } else { 10_000 };
    measure(&format!("router, {name}, {} routes", thousands(routes)), |round| {
        let (asked, route) = &requests[round % requests.len()];
        let request = route::Request {
            host: black_box(&asked.host),
            path: black_box(&asked.path),
            query: &asked.query,
            method: &Method::GET,
            headers: &asked.headers,
            client: asked.client,
            offered: Some(&[]),
            certificate: None,
        };
        assert_eq!(table.find(&request), Some(route));
    });
}
