//! Which route wins, by routes as an operator writes them.

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

/// A route with one condition, and what meets it and what does not.
#[test]
fn each_condition_asks_for_what_it_says() {
    let get = || Asked::get("a", "/");
    let query = |query: &str| Asked::get("a", &format!("/?{query}"));
    let cases: &[(&str, &[Asked], &[Asked])] = &[
        ("kind = 'websocket'", &[get().offering(&[])], &[get()]),
        ("kind = 'http'", &[get(), get().by("POST")], &[get().offering(&["a"])]),
        ("methods = ['POST', 'PATCH']", &[get().by("POST"), get().by("PATCH")], &[get(), get().by("post")]),
        (
            "headers = { X-A = '1' }",
            &[get().with("x-a", "1"), get().with("X-A", "2").with("X-A", "1")],
            &[get(), get().with("x-a", ""), get().with("x-a", "11"), get().with("x-b", "1")],
        ),
        ("headers = { X-A = true }", &[get().with("x-a", "")], &[get()]),
        ("headers = { X-A = false }", &[get()], &[get().with("x-a", "")]),
        (
            "headers = { X-A = '~[0-9]+' }",
            &[get().with("x-a", "12"), get().with("x-a", "a").with("x-a", "1")],
            &[get(), get().with("x-a", "1a"), get().with("x-a", "")],
        ),
        (
            "query = { room = 'a b' }",
            &[query("room=a+b"), query("x&room=%61%20b"), query("room=1&room=a+b"), query("roo%6d=a+b")],
            &[get(), query("room=a"), query("room"), query("Room=a+b"), query("x=room=a+b")],
        ),
        ("query = { room = true }", &[query("room"), query("room=")], &[get(), query("rooms")]),
        ("query = { room = false }", &[get(), query("rooms")], &[query("room")]),
        ("query = { room = '~[0-9]+' }", &[query("room=%31")], &[query("room=%61"), query("room=1x")]),
        (
            "cookies = { v = '2' }",
            &[get().with("cookie", "a=1; v=2"), get().with("cookie", "v=1").with("cookie", "v=2")],
            &[get(), get().with("cookie", "v=22"), get().with("cookie", "V=2"), get().with("v", "2")],
        ),
        ("cookies = { v = true }", &[get().with("cookie", "v=")], &[get().with("cookie", "v")]),
        ("cookies = { v = false }", &[get().with("cookie", "w=1")], &[get().with("cookie", "w=1;v=1")]),
        (
            "source = ['10.0.0.0/8', 'fd00::/8']",
            &[get().from("10.1.2.3"), get().from("fd00::1")],
            &[get(), get().from("11.1.2.3"), get().from("::1")],
        ),
        (
            "subprotocols = ['mqtt', 'stomp']",
            &[get().offering(&["wamp", "stomp"])],
            &[get(), get().offering(&[]), get().offering(&["MQTT"])],
        ),
        ("client_certificate = true", &[get().showing("", "")], &[get()]),
        ("client_certificate = false", &[get()], &[get().showing("CN=a", "")]),
        (
            "client_certificate = 'DNS:a.example'",
            &[get().showing("CN=b", "DNS:b.example, DNS:a.example")],
            &[get(), get().showing("CN=DNS:a.example", "DNS:a.example.org"), get().showing("", "")],
        ),
        (
            "client_certificate = '~CN=[a-z]+,O=A'",
            &[get().showing("CN=eve,O=A", "")],
            &[get().showing("CN=eve,O=AB", "URI:CN=eve,O=A")],
        ),
    ];
    for (condition, meet, fail) in cases {
        let table = table(&[("all", ""), ("one", *condition)]);
        for asked in *meet {
            assert_eq!(found(&table, asked), "one", "{condition} {asked:?}");
        }
        for asked in *fail {
            assert_eq!(found(&table, asked), "all", "{condition} {asked:?}");
        }
    }
}

/// Each route stands before the next, all else being equal; the names would have it the other way round.
#[test]
fn conditions_have_an_order() {
    let routes = [
        "headers = { a = true, b = true, c = false }\nkind = 'http'",
        "headers = { a = '1', b = '1' }",
        "headers = { a = '1', b = true }",
        "headers = { a = '1' }\nquery = { q = '1' }",
        "headers = { a = true, b = true }",
        "client_certificate = '~.*'",
        "client_certificate = true",
        "source = ['10.1.0.0/16']",
        "source = ['10.0.0.0/8']",
        "cookies = { v = '1' }",
        "headers = { a = '1' }",
        "headers = { a = '~.*' }",
        "headers = { a = true }",
        "headers = { c = false }",
        "query = { q = '1' }",
        "methods = ['GET']",
        "methods = ['GET', 'POST']",
        "kind = 'http'",
        "",
    ];
    let named: Vec<_> =
        routes.iter().rev().enumerate().map(|(at, keys)| (format!("r{at:02}"), (*keys).to_owned())).collect();
    let asked = Asked::get("a", "/?q=1").from("10.1.0.1").showing("CN=a", "");
    let asked = asked.with("a", "1").with("b", "1").with("cookie", "v=1");
    for left in 1..=named.len() {
        let (expected, _) = &named[left - 1];
        assert_eq!(found(&table(&named[..left]), &asked), *expected, "{}", named[left - 1].1);
    }
    let websocket = table(&[
        ("a", "kind = 'websocket'"),
        ("b", "subprotocols = ['x', 'y']"),
        ("c", "subprotocols = ['x']"),
    ]);
    assert_eq!(found(&websocket, &Asked::get("a", "/").offering(&["x"])), "c");
    assert_eq!(found(&websocket, &Asked::get("a", "/").offering(&["y"])), "b");
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

/// So many routes of one host and one path that they are looked up.
#[test]
fn many_routes_are_told_apart_by_their_values() {
    let mut routes = vec![("all".to_owned(), String::new())];
    for number in 0..200 {
        let mut add = |kind: &str, keys: String| routes.push((format!("{kind}-{number}"), keys));
        add("header", format!("headers = {{ x-tenant = 't{number}' }}"));
        add("query", format!("query = {{ room = 'r {number}' }}"));
        add("cookie", format!("cookies = {{ v = '{number}' }}"));
        add("source", format!("source = ['10.{number}.0.0/16', '2001:db8:{number}::/48']"));
        add("offer", format!("subprotocols = ['p{number}', 'q{number}']"));
        add("certificate", format!("client_certificate = 'DNS:c{number}.example'"));
        add("both", format!("headers = {{ x-tenant = 't{number}' }}\nkind = 'websocket'"));
    }
    let table = table(&routes);
    let get = |target: &str| Asked::get("a", target);
    for (asked, expected) in [
        (get("/"), "all"),
        (get("/").with("x-tenant", "t7"), "header-7"),
        (get("/").with("x-tenant", "t7").offering(&[]), "both-7"),
        (get("/").with("x-tenant", "t7").offering(&["q9"]), "both-7"),
        (get("/?room=r+9"), "query-9"),
        (get("/?room=x&room=%72%209"), "query-9"),
        (get("/").with("cookie", "a=1; v=199"), "cookie-199"),
        (get("/").from("10.8.1.1"), "source-8"),
        (get("/").from("2001:db8:11::1"), "source-11"),
        (get("/").offering(&["x", "q3"]), "offer-3"),
        (get("/").showing("CN=a", "DNS:b, DNS:c5.example"), "certificate-5"),
        (get("/?room=r+1").with("cookie", "v=2").with("x-tenant", "t3").from("10.4.0.1"), "source-4"),
        (get("/?room=r+1").with("cookie", "v=2").with("x-tenant", "t3"), "cookie-2"),
        (get("/?room=r+1").with("x-tenant", "t300").from("11.0.0.1"), "query-1"),
    ] {
        assert_eq!(found(&table, &asked), expected, "{asked:?}");
    }
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
