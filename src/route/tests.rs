//! Which route wins, by routes as an operator writes them.

mod conditions;
mod random;

use std::path::Path;

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::*;
use crate::config::Config;

/// A request that a test writes.
#[derive(Clone, Debug)]
struct Asked {
    host: String,
    path: String,
    query: String,
    method: Method,
    headers: HeaderMap,
    client: Option<std::net::IpAddr>,
    offered: Option<Vec<String>>,
    certificate: Option<(String, String)>,
}

impl Asked {
    fn get(host: &str, target: &str) -> Asked {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Asked {
            host: host.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            method: Method::GET,
            headers: HeaderMap::new(),
            client: None,
            offered: None,
            certificate: None,
        }
    }

    /// `-H 'Name: value'`, as often as wanted.
    fn with(mut self, name: &str, value: &str) -> Asked {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        self.headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        self
    }

    fn from(mut self, client: &str) -> Asked {
        self.client = Some(client.parse().unwrap());
        self
    }

    fn offering(mut self, names: &[&str]) -> Asked {
        self.offered = Some(names.iter().map(|name| (*name).to_owned()).collect());
        self
    }

    fn showing(mut self, subject: &str, names: &str) -> Asked {
        self.certificate = Some((subject.to_owned(), names.to_owned()));
        self
    }

    fn by(mut self, method: &str) -> Asked {
        self.method = Method::from_bytes(method.as_bytes()).unwrap();
        self
    }

    fn request(&self) -> Request<'_> {
        Request {
            host: &self.host,
            path: &self.path,
            query: &self.query,
            method: &self.method,
            headers: &self.headers,
            client: self.client,
            offered: self.offered.as_deref(),
            certificate: self
                .certificate
                .as_ref()
                .map(|(subject, names)| Certificate { subject: subject.as_bytes(), names: names.as_bytes() }),
        }
    }
}

/// A table of routes, each a name and its keys as in a configuration; what is found is the name.
fn table<S: AsRef<str>>(routes: &[(S, S)]) -> Table<String> {
    let mut text =
        "[[listeners]]\nname = \"l\"\naddress = \"[::]:1\"\n[pools.p]\nbackends = [\"a:1\"]\n".to_owned();
    for (name, keys) in routes {
        text += &format!("[[routes]]\nname = \"{}\"\npool = \"p\"\n{}\n", name.as_ref(), keys.as_ref());
    }
    let config =
        Config::parse("a.toml", &text, Path::new("/")).unwrap_or_else(|problems| panic!("{problems}"));
    let named = |route: &crate::config::Route| route.name.value.clone();
    config.routes.iter().map(|route| (named(route).into(), route.matches.clone(), named(route))).collect()
}

/// The name of the route that a request takes, or nothing.
fn found(table: &Table<String>, asked: &Asked) -> String {
    let found = table.find(&asked.request()).cloned();
    let explanation = table.explain(&asked.request());
    assert_eq!(explanation.winner().map(|winner| winner.name), found.as_deref(), "{asked:?}");
    found.unwrap_or_default()
}

#[test]
fn the_host_comes_before_the_path() {
    let table = table(&[
        ("any", ""),
        ("any-exact", "path = '/any'"),
        ("wildcard", "host = '*.example.com'"),
        ("deep", "host = '*.eu.example.com'\npath = '/ws/*'"),
        ("chat", "host = 'chat.example.com'\npath = '/ws/*'"),
        ("chat-v2", "host = 'chat.example.com'\npath = '/ws/v2/*'"),
        ("chat-exact", "host = 'chat.example.com'\npath = '/ws/v2/exact'"),
    ]);
    for (host, path, expected) in [
        ("chat.example.com", "/ws/v2/exact", "chat-exact"),
        ("chat.example.com", "/ws/v2/exact/", "chat-v2"),
        ("chat.example.com", "/ws/v2", "chat-v2"),
        ("chat.example.com", "/ws/v2x", "chat"),
        ("chat.example.com", "/ws", "chat"),
        ("chat.example.com", "/ws/", "chat"),
        ("chat.example.com", "/wsx", "wildcard"),
        ("chat.example.com", "/any", "wildcard"),
        ("a.b.eu.example.com", "/ws/1", "deep"),
        ("a.b.eu.example.com", "/other", "wildcard"),
        ("example.com", "/ws/1", "any"),
        ("example.com", "/any", "any-exact"),
        ("notexample.com", "/", "any"),
    ] {
        assert_eq!(found(&table, &Asked::get(host, path)), expected, "{host}{path}");
    }
}

#[test]
fn without_a_match_there_is_no_route() {
    let table = table(&[
        ("chat", "host = 'chat.example.com'\npath = '/ws/*'"),
        ("only", "host = '*.example.com'\npath = '/only'"),
    ]);
    for (host, path) in [
        ("chat.example.com", "/"),
        ("chat.example.com", ""),
        ("chat.example.com", "*"),
        ("chat.example.com", "/WS/1"),
        ("example.com", "/only"),
        ("", "/ws/1"),
    ] {
        assert_eq!(found(&table, &Asked::get(host, path)), "", "{host}{path}");
    }
    let hostile = "a.".repeat(15_000);
    assert_eq!(found(&table, &Asked::get(&hostile, "/only")), "");
}

#[test]
fn expressions_stand_before_any_host_and_any_path_alone() {
    let table = table(&[
        ("any", ""),
        ("name", r"host = '~[a-z]+\.example\.com'"),
        ("longer", r"host = '~chat-[0-9]+\.example\.com'"),
        ("below", "host = '*.example.org'"),
        ("org", "host = '~.*'"),
        ("paths", "host = 'paths.example.org'"),
        ("prefix", "host = 'paths.example.org'\npath = '/a/*'"),
        ("expression", "host = 'paths.example.org'\npath = '~/[a-z]/[0-9]+'"),
        ("digits", "host = 'paths.example.org'\npath = '~/[a-z]/[0-9][0-9]'"),
    ]);
    for (host, path, expected) in [
        ("chat.example.com", "/", "name"),
        ("chat-7.example.com", "/", "longer"),
        ("chat-7.example.com.evil", "/", "org"),
        ("x.example.org", "/", "below"),
        ("paths.example.org", "/", "paths"),
        ("paths.example.org", "/a/12", "prefix"),
        ("paths.example.org", "/b/12", "digits"),
        ("paths.example.org", "/b/123", "expression"),
        ("paths.example.org", "/b/12/", "paths"),
        ("paths.example.org", "*", ""),
    ] {
        assert_eq!(found(&table, &Asked::get(host, path)), expected, "{host}{path}");
    }
}

/// Conditions that do not differ in kind leave it to the names, not to the order in the file.
#[test]
fn the_order_in_the_file_never_matters() {
    let routes = [("beta", "headers = { y = '1' }"), ("alpha", "headers = { x = '1' }")];
    let asked = Asked::get("a", "/").with("x", "1").with("y", "1");
    assert_eq!(found(&table(&routes), &asked), "alpha");
    let [beta, alpha] = routes;
    assert_eq!(found(&table(&[alpha, beta]), &asked), "alpha");
}

#[test]
fn a_route_whose_conditions_fail_hides_none() {
    let table = table(&[
        ("any", "path = '/ws/*'"),
        ("wildcard", "host = '*.example.com'\nheaders = { x = '1' }"),
        ("exact", "host = 'a.example.com'\npath = '/ws/room'\nheaders = { x = '2' }"),
        ("prefix", "host = 'a.example.com'\npath = '/ws/*'\nquery = { q = true }"),
    ]);
    let get = |target: &str| Asked::get("a.example.com", target);
    assert_eq!(found(&table, &get("/ws/room").with("x", "2")), "exact");
    assert_eq!(found(&table, &get("/ws/room?q")), "prefix");
    assert_eq!(found(&table, &get("/ws/room").with("x", "1")), "wildcard");
    assert_eq!(found(&table, &get("/ws/room")), "any");
    assert_eq!(found(&table, &get("/")), "");
}

#[test]
fn an_explanation_says_what_is_missing_and_what_decided() {
    let table = table(&[
        ("all", ""),
        ("news", "path = '/news'"),
        ("canary", "headers = { x-canary = '1' }\nsource = ['10.0.0.0/8']"),
        ("room", r"query = { room = '~\d+' }"),
        ("other", "host = 'other.example'"),
    ]);
    let asked = Asked::get("a", "/?room=%31").with("X-Canary", "2").with("X-Canary", "3\"").from("11.0.0.1");
    let explanation = table.explain(&asked.request());
    let told: Vec<String> = explanation
        .candidates
        .iter()
        .map(|candidate| {
            let check = |check: &Check| match &check.instead {
                Some(instead) => format!("{} but {instead}", check.wanted),
                None => check.wanted.clone(),
            };
            let checks: Vec<_> = candidate.checks.iter().map(check).collect();
            format!("{} {:?}: {}", candidate.name, candidate.verdict, checks.join("; "))
        })
        .collect();
    let expected = [
        "news Fails: any host; path = \"/news\" but it is \"/\"",
        "canary Fails: any host; any path; source = [\"10.0.0.0/8\"] but the client is 11.0.0.1; \
         headers.x-canary = \"1\" but it is \"2\" and \"3\\\"\"",
        "room Wins: any host; any path; query.room = '~\\d+'",
        "all Later(Count): any host; any path",
    ];
    assert_eq!(told, expected);
    assert_eq!(explanation.elsewhere, 1);
}
