//! What each condition asks for, which comes before which, and how many are told apart.

use super::{Asked, found, table};

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
