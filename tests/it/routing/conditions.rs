//! What routes ask of a request beyond exact hosts, wildcards and prefixes: each condition, alone and with others, for
//! WebSockets and for plain requests.

use rustls::ALL_VERSIONS;

use super::telling;
use crate::kit::{Backend, Client, Http2, Pki, Proxy, Resumption, handshake, secure, within};

const PLAIN: &str = "[[listeners]]\nname = \"plain\"\naddress = \"127.0.0.1:0\"\n";

/// A proxy with these listeners and routes, each a name and its keys; a backend tells the name.
async fn start(listeners: &str, routes: &[(&'static str, &str)]) -> (Proxy, Vec<Backend>) {
    let (mut config, mut backends) = (listeners.to_string(), Vec::new());
    for (name, keys) in routes {
        let backend = telling(name).await;
        config += &format!("[[routes]]\nname = \"{name}\"\npool = \"{name}\"\n{keys}\n");
        config += &format!("[pools.{name}]\nbackends = [\"{}\"]\n", backend.address);
        backends.push(backend);
    }
    (Proxy::start(&config).await, backends)
}

/// The route that a plain request takes, or the status that it is refused with.
async fn asked(client: Client, line: &str, host: &str, lines: &str) -> String {
    let request = format!("{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{lines}\r\n");
    let (head, body) = client.request(request).await;
    if head.status() == 200 { body } else { head.status().to_string() }
}

/// The same of a WebSocket handshake.
async fn opened(mut client: Client, target: &str, host: &str, lines: &str) -> String {
    client.send(handshake(target, host, lines)).await;
    let head = client.head().await;
    if head.status() != 101 {
        return head.status().to_string();
    }
    crate::kit::WebSocket::client(client, head.rest.clone()).receive_text().await
}

/// Targets, and lines of the head.
type Requests = &'static [(&'static str, &'static str)];

/// Each has a host of its own; what does not meet the condition falls to a route of any host.
#[tokio::test]
async fn fields_parameters_and_cookies() {
    const CASES: &[(&str, &str, Requests, Requests)] = &[
        (
            "field",
            "headers = { X-Canary = '1' }",
            &[("/", "X-Canary: 1\r\n"), ("/", "x-canary: 0\r\nX-CANARY: 1\r\n")],
            &[("/", ""), ("/", "X-Canary: 10\r\n"), ("/?X-Canary=1", "Cookie: X-Canary=1\r\n")],
        ),
        ("field-there", "headers = { X-Debug = true }", &[("/", "X-Debug:\r\n")], &[("/", "")]),
        ("field-absent", "headers = { X-Old = false }", &[("/", "")], &[("/", "X-Old: 1\r\n")]),
        (
            "field-expression",
            "headers = { User-Agent = '~.*Firefox/[0-9]+.*' }",
            &[("/", "User-Agent: Mozilla/5.0 Firefox/150 x\r\n")],
            &[("/", "User-Agent: Mozilla/5.0\r\n"), ("/", "")],
        ),
        (
            "parameter",
            "query = { room = 'a b' }",
            &[("/?room=a+b", ""), ("/x?y=1&room=%61%20b", "")],
            &[("/", ""), ("/?room=a", ""), ("/room=a+b", "")],
        ),
        ("parameter-there", "query = { room = true }", &[("/?room", "")], &[("/?rooms=1", "")]),
        ("parameter-absent", "query = { room = false }", &[("/?a=1", "")], &[("/?a=1&room=", "")]),
        ("parameter-expression", "query = { room = '~[0-9]+' }", &[("/?room=42", "")], &[("/?room=4x", "")]),
        (
            "cookie",
            "cookies = { beta = 'yes' }",
            &[("/", "Cookie: a=1; beta=yes\r\n"), ("/", "Cookie: a=1\r\nCookie: beta=yes\r\n")],
            &[("/", ""), ("/", "Cookie: beta=yes!\r\n"), ("/", "Cookie: Beta=yes\r\n")],
        ),
        ("cookie-there", "cookies = { s = true }", &[("/", "Cookie: s=\r\n")], &[("/", "Cookie: t=s\r\n")]),
        (
            "cookie-absent",
            "cookies = { s = false }",
            &[("/", "Cookie: t=s\r\n")],
            &[("/", "Cookie: s=1\r\n")],
        ),
        (
            "cookie-expression",
            "cookies = { s = '~v2\\..*' }",
            &[("/", "Cookie: s=v2.x\r\n")],
            &[("/", "Cookie: s=v1.x\r\n")],
        ),
    ];
    let own: Vec<_> =
        CASES.iter().map(|(name, keys, ..)| (*name, format!("host = '{name}.example'\n{keys}"))).collect();
    let mut routes: Vec<_> = own.iter().map(|(name, keys)| (*name, keys.as_str())).collect();
    routes.push(("rest", ""));
    let (proxy, _backends) = start(PLAIN, &routes).await;
    for (name, _, meet, fail) in CASES {
        let host = format!("{name}.example");
        let all =
            meet.iter().map(|request| (request, *name)).chain(fail.iter().map(|request| (request, "rest")));
        for ((target, lines), expected) in all {
            let plain = asked(proxy.connect("plain").await, &format!("GET {target}"), &host, lines).await;
            assert_eq!(plain, expected, "{name} {target} {lines}");
            let tunnel = opened(proxy.connect("plain").await, target, &host, lines).await;
            assert_eq!(tunnel, expected, "{name} {target} {lines}");
        }
    }
}

#[tokio::test]
async fn kinds_methods_and_subprotocols() {
    let routes = [
        ("page", "kind = 'http'"),
        ("form", "methods = ['POST', 'PUT']"),
        ("socket", "kind = 'websocket'"),
        ("graphql", "subprotocols = ['graphql-transport-ws', 'graphql-ws']"),
        ("get", "host = 'get.example'\nmethods = ['GET']"),
    ];
    let (proxy, _backends) = start(PLAIN, &routes).await;
    for (line, host, expected) in [
        ("GET /", "a.example", "page"),
        ("DELETE /", "a.example", "page"),
        ("POST /", "a.example", "form"),
        ("PUT /", "get.example", "form"),
        ("GET /", "get.example", "get"),
    ] {
        let lines = if line.starts_with('P') { "Content-Length: 0\r\n" } else { "" };
        assert_eq!(asked(proxy.connect("plain").await, line, host, lines).await, expected, "{line} {host}");
    }
    // What only looks like an offer is none.
    let lines = "Sec-WebSocket-Protocol: graphql-ws\r\n";
    assert_eq!(asked(proxy.connect("plain").await, "GET /", "a.example", lines).await, "page");
    for (lines, host, expected) in [
        ("", "a.example", "socket"),
        ("Sec-WebSocket-Protocol: mqtt, graphql-ws\r\n", "a.example", "graphql"),
        (
            "Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Protocol: graphql-transport-ws\r\n",
            "a.example",
            "graphql",
        ),
        ("Sec-WebSocket-Protocol: GraphQL-ws\r\n", "a.example", "socket"),
        ("Sec-WebSocket-Protocol: graphql-ws\r\n", "get.example", "get"),
    ] {
        assert_eq!(opened(proxy.connect("plain").await, "/", host, lines).await, expected, "{lines}");
    }
}

#[tokio::test]
async fn without_a_kind_that_fits_it_is_404() {
    let (proxy, backends) = start(PLAIN, &[("socket", "kind = 'websocket'")]).await;
    assert_eq!(asked(proxy.connect("plain").await, "GET /", "a.example", "").await, "404");
    assert_eq!(backends[0].called(), 0);
    let (proxy, backends) = start(PLAIN, &[("page", "kind = 'http'")]).await;
    assert_eq!(opened(proxy.connect("plain").await, "/", "a.example", "").await, "404");
    assert_eq!(backends[0].called(), 0);
    proxy.wait_metric("longhaul_handshakes_total{route=\"\",result=\"no_route\"}", 1.0).await;
}

/// The client's address is what the one rule says: the socket's, a PROXY header's, or what a trusted proxy forwards.
#[tokio::test]
async fn the_source_is_the_client() {
    let listeners = PLAIN.to_string()
        + "[[listeners]]\nname = \"trusting\"\naddress = \"127.0.0.1:0\"\ntrusted_networks = [\"127.0.0.0/8\"]\n\
           [[listeners]]\nname = \"behind\"\naddress = \"127.0.0.1:0\"\nproxy_protocol = { trusted_networks = [\"127.0.0.0/8\"] }\n";
    let routes = [
        ("office", "source = ['203.0.113.0/24', '2001:db8::/32']"),
        ("desk", "source = ['203.0.113.7']"),
        ("local", "source = ['127.0.0.0/8']"),
        ("rest", ""),
    ];
    let (proxy, _backends) = start(&listeners, &routes).await;
    let forwarded = |address: &str| format!("X-Forwarded-For: {address}\r\n");
    for (listener, header, lines, expected) in [
        ("plain", "", String::new(), "local"),
        ("plain", "", forwarded("203.0.113.7"), "local"),
        ("trusting", "", String::new(), "local"),
        ("trusting", "", forwarded("203.0.113.7"), "desk"),
        ("trusting", "", forwarded("203.0.113.8"), "office"),
        ("trusting", "", forwarded("203.0.113.7, 198.51.100.1"), "rest"),
        ("trusting", "", forwarded("2001:db8::1"), "office"),
        ("behind", "PROXY TCP4 203.0.113.7 192.0.2.1 1 2\r\n", String::new(), "desk"),
        ("behind", "PROXY TCP6 ::ffff:203.0.113.9 ::1 1 2\r\n", String::new(), "office"),
        ("behind", "PROXY UNKNOWN\r\n", String::new(), "local"),
    ] {
        let connect = || async {
            let mut client = proxy.connect(listener).await;
            client.send(header).await;
            client
        };
        let case = format!("{listener} {header} {lines}");
        assert_eq!(asked(connect().await, "GET /", "a", &lines).await, expected, "{case}");
        assert_eq!(opened(connect().await, "/", "a", &lines).await, expected, "{case}");
    }
}

#[tokio::test]
async fn expressions_match_the_whole_host_and_the_whole_path() {
    let routes = [
        ("rest", ""),
        ("rooms", r"path = '~/rooms/[0-9]+'"),
        ("shard", r"host = '~chat-[0-9]+\.example\.com'"),
        ("shard-rooms", "host = '~chat-[0-9]+\\.example\\.com'\npath = '~/rooms/[0-9]+'"),
        ("below", "host = '*.example.com'\npath = '/below/*'"),
    ];
    let (proxy, _backends) = start(PLAIN, &routes).await;
    for (host, path, expected) in [
        ("a", "/rooms/42", "rooms"),
        ("a", "/rooms/42/", "rest"),
        ("a", "/x/rooms/42", "rest"),
        ("chat-1.example.com", "/", "shard"),
        ("CHAT-1.example.com.:8080", "/", "shard"),
        ("chat-1.example.com", "/rooms/1?x", "shard-rooms"),
        ("chat-1.example.com.evil", "/", "rest"),
        ("chat-1xexample.com", "/", "rest"),
        ("chat-1.example.com", "/below/1", "below"),
    ] {
        let line = format!("GET {path}");
        assert_eq!(asked(proxy.connect("plain").await, &line, host, "").await, expected, "{host}{path}");
        assert_eq!(opened(proxy.connect("plain").await, path, host, "").await, expected, "{host}{path}");
    }
}

/// The order: host, path, number of conditions, kind of conditions, name.
#[tokio::test]
async fn combinations_are_more_specific_and_hide_nothing() {
    let routes = [
        ("any-host", "headers = { X-A = '1', X-B = '1' }\nquery = { q = true }"),
        ("chat", "host = 'chat.example'"),
        ("chat-b", "host = 'chat.example'\nheaders = { X-B = '1' }"),
        ("chat-a", "host = 'chat.example'\nheaders = { X-A = '1' }"),
        ("chat-cookie", "host = 'chat.example'\ncookies = { c = true }"),
        ("chat-both", "host = 'chat.example'\nheaders = { X-A = '1', X-B = '1' }"),
        ("chat-ws", "host = 'chat.example'\npath = '/ws/*'\nkind = 'websocket'"),
        (
            "chat-all",
            "host = 'chat.example'\nheaders = { X-A = '1' }\nquery = { q = true }\nsource = ['127.0.0.1']",
        ),
    ];
    let (proxy, _backends) = start(PLAIN, &routes).await;
    let (a, b, c) = ("X-A: 1\r\n", "X-B: 1\r\n", "Cookie: c=1\r\n");
    for (host, target, lines, plain, socket) in [
        ("chat.example", "/", String::new(), "chat", "chat"),
        ("chat.example", "/", a.to_string(), "chat-a", "chat-a"),
        ("chat.example", "/", b.to_string(), "chat-b", "chat-b"),
        ("chat.example", "/", [a, b].concat(), "chat-both", "chat-both"),
        ("chat.example", "/?q", [a, b].concat(), "chat-all", "chat-all"),
        ("chat.example", "/", [a, c].concat(), "chat-cookie", "chat-cookie"),
        ("chat.example", "/ws/1?q", [a, b].concat(), "chat-all", "chat-ws"),
        ("chat.example", "/ws/1", String::new(), "chat", "chat-ws"),
        ("other.example", "/?q", [a, b].concat(), "any-host", "any-host"),
        ("other.example", "/?q", a.to_string(), "404", "404"),
    ] {
        let line = format!("GET {target}");
        let case = format!("{host}{target} {lines}");
        assert_eq!(asked(proxy.connect("plain").await, &line, host, &lines).await, plain, "{case}");
        assert_eq!(opened(proxy.connect("plain").await, target, host, &lines).await, socket, "{case}");
    }
}

#[tokio::test]
async fn over_http2_the_same_is_asked() {
    let pki = Pki::new();
    let listener = secure(&[&pki.issue(&["chat.example.com"])]) + "extended_connect = true\n";
    let routes = [
        ("page", "kind = 'http'"),
        ("socket", "kind = 'websocket'\nmethods = ['GET']"),
        ("mqtt", "subprotocols = ['mqtt']\nmethods = ['GET']"),
        ("both", "cookies = { a = '1', b = '2' }"),
        ("room", "kind = 'websocket'\nquery = { room = '7' }\nheaders = { X-Canary = '1' }"),
    ];
    let (proxy, _backends) = start(&listener, &routes).await;
    let mut client = Http2::connect(proxy.address("secure"), &pki).await;
    for (target, fields, plain, socket) in [
        ("/", &[][..], "page", "socket"),
        ("/", &[("sec-websocket-protocol", "x, mqtt")], "page", "mqtt"),
        ("/", &[("cookie", "a=1"), ("cookie", "b=2")], "both", "both"),
        ("/?room=7", &[("x-canary", "1")], "page", "room"),
    ] {
        let reply = client.request("GET", target, fields, "").await;
        assert_eq!((reply.status, reply.body.as_str()), (200, plain), "{target} {fields:?}");
        let (mut tunnel, _) = client.open(target, fields).await;
        assert_eq!(tunnel.receive_text().await, socket, "{target} {fields:?}");
    }
}

#[tokio::test]
async fn certificates_of_clients_choose_routes() {
    let (pki, clients) = (Pki::new(), Pki::new());
    let listener = PLAIN.to_string()
        + &secure(&[&pki.issue(&["chat.example.com"])])
        + &format!(
            "client_certificates = {{ ca = \"{}\", mode = \"optional\" }}\n",
            clients.authority_file().display()
        );
    let routes = [
        ("nobody", "client_certificate = false"),
        ("somebody", "client_certificate = true"),
        ("devices", r"client_certificate = '~DNS:.*\.devices\.example'"),
        ("alice", "client_certificate = 'CN=alice'"),
    ];
    let (proxy, _backends) = start(&listener, &routes).await;
    let subject = |name: &'static str| {
        move |params: &mut rcgen::CertificateParams| {
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
        }
    };
    let alice = clients.issue_with(&["alice.devices.example"], subject("alice"));
    let lamp = clients.issue_with(&["lamp.devices.example"], subject("lamp"));
    let bob = clients.issue_with(&["bob.example"], subject("bob"));
    // Whoever writes what backends are told is not believed.
    let forged =
        "X-Client-Certificate-Subject: CN=alice\r\nX-Client-Certificate-Names: DNS:x.devices.example\r\n";
    for (shown, expected) in
        [(None, "nobody"), (Some(&alice), "alice"), (Some(&lamp), "devices"), (Some(&bob), "somebody")]
    {
        let visitor = match shown {
            Some(certificate) => Resumption::showing(&pki, ALL_VERSIONS, certificate),
            None => Resumption::new(&pki, ALL_VERSIONS),
        };
        let connect = || async {
            let connect = visitor.connect(proxy.address("secure"), "chat.example.com");
            within("a TLS connection", connect).await.expect("the handshake succeeds")
        };
        for lines in ["", forged] {
            assert_eq!(asked(connect().await, "GET /", "a", lines).await, expected);
            assert_eq!(opened(connect().await, "/", "a", lines).await, expected);
        }
    }
    assert_eq!(asked(proxy.connect("plain").await, "GET /", "a", forged).await, "nobody");
}
