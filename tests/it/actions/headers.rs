//! Fields that routes change, towards backends and towards clients.

use rustls::ALL_VERSIONS;

use super::get;
use crate::kit::{Backend, Call, Calls, Head, Http2, Pki, Proxy, Resumption, handshake, secure, within};

/// A route for everything with these keys, and its backend.
async fn started(keys: &str) -> (Proxy, Backend, Calls, Pki) {
    let (backend, calls) = Backend::by_hand().await;
    let pki = Pki::new();
    (Proxy::start(&config(keys, "", &backend, &pki)).await, backend, calls, pki)
}

fn config(keys: &str, pool: &str, backend: &Backend, pki: &Pki) -> String {
    format!(
        "[[listeners]]\nname = \"plain\"\naddress = \"127.0.0.1:0\"\n{}extended_connect = true\n\
         [[routes]]\nname = \"all\"\n{keys}\n[pools.all]\nkeepalive = \"off\"\nbackends = [\"{}\"]\n{pool}\n",
        secure(&[&pki.issue(&["chat.example.com"])]),
        backend.address
    )
}

const ANSWER: &str = "HTTP/1.1 404 Not Found\r\nServer: app\r\nX-Powered-By: app\r\nVary: Cookie\r\nContent-Length: 2\r\n\r\nno";

/// What the backend gets of a plain request with these lines, and what the client gets of its answer.
async fn ask(proxy: &Proxy, calls: &mut Calls, target: &str, lines: &str) -> (Head, Head) {
    let mut client = proxy.connect("plain").await;
    client.send(get(target, lines)).await;
    let call = calls.next().await;
    let head = call.head.clone();
    call.answer(ANSWER).await;
    (head, client.head().await)
}

/// The same of a WebSocket.
async fn open(proxy: &Proxy, calls: &mut Calls, target: &str, lines: &str) -> (Head, Head) {
    let opening = proxy.connect("plain").await.open(target, "chat.example.com", lines);
    let ((_, answer), head) = tokio::join!(opening, accepted(calls));
    (head, answer)
}

async fn accepted(calls: &mut Calls) -> Head {
    let call: Call = calls.next().await;
    let head = call.head.clone();
    call.accept("Server: app\r\nX-Powered-By: app\r\nVary: Cookie\r\n").await;
    head
}

const REQUEST: &str = r#"
pool = "all"
[routes.request_headers]
set = { X-Real-IP = "${client.address}", X-Seen = "${listener} ${route} ${scheme} ${host} ${method} ${path}${query}", X-Version = "${tls.version}" }
add = { X-Tag = "by ${authority}" }
remove = ["Cookie", "X-Debug"]
"#;

const FORGED: &str = "X-Real-IP: 6.6.6.6\r\nX-Real-IP: 7.7.7.7\r\nX-Version: 9\r\nX-Tag: mine\r\nCookie: a=b\r\nx-debug: 1\r\nX-Other: kept\r\n";

#[tokio::test]
async fn backends_get_what_the_route_says() {
    let (proxy, _backend, mut calls, pki) = started(REQUEST).await;
    let seen = |head: &Head, scheme: &str, listener: &str| {
        assert_eq!(head.get("x-real-ip"), Some("127.0.0.1"));
        let expected = format!("{listener} all {scheme} chat.example.com GET /a%0Db?c=%0A");
        assert_eq!(head.get("x-seen"), Some(expected.as_str()));
        assert_eq!(head.all("x-tag"), ["mine", "by chat.example.com"]);
        assert_eq!(
            (head.get("cookie"), head.get("x-debug"), head.get("x-other")),
            (None, None, Some("kept"))
        );
        // What has no value is nobody else's either.
        assert_eq!(head.get("x-version"), (scheme == "https").then_some("1.3"));
        assert_eq!(head.all("host"), ["chat.example.com"]);
    };
    let target = "/a%0Db?c=%0A";
    seen(&ask(&proxy, &mut calls, target, FORGED).await.0, "http", "plain");
    seen(&open(&proxy, &mut calls, target, FORGED).await.0, "http", "plain");
    let fields: Vec<(String, String)> = FORGED
        .lines()
        .map(|line| line.split_once(": ").expect("a field"))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut client = Http2::connect(proxy.address("secure"), &pki).await;
    let (reply, head) = tokio::join!(client.request("GET", target, &fields, ""), async {
        let call = calls.next().await;
        let head = call.head.clone();
        call.answer(ANSWER).await;
        head
    });
    assert_eq!(reply.status, 404);
    seen(&head, "https", "secure");
    let (_, head) = tokio::join!(client.open(target, &fields), accepted(&mut calls));
    seen(&head, "https", "secure");
}

const RESPONSE: &str = r#"
[routes.response_headers]
set = { Strict-Transport-Security = "max-age=60", X-Id = "${request.id}", X-For = "${client.address} ${path}", Server = "" }
add = { Vary = "Origin", Set-Cookie = "seen=1" }
remove = ["X-Powered-By"]
"#;

#[tokio::test]
async fn clients_get_what_the_route_says() {
    let (proxy, _backend, mut calls, pki) = started(&format!("pool = \"all\"\n{RESPONSE}")).await;
    let seen = |get: &dyn Fn(&str) -> Vec<String>| {
        assert_eq!(get("strict-transport-security"), ["max-age=60"]);
        assert_eq!(get("x-id")[0].len(), 14);
        assert_eq!(get("x-for"), ["127.0.0.1 /a"]);
        assert_eq!(get("vary"), ["Cookie", "Origin"]);
        assert_eq!(get("set-cookie"), ["seen=1"]);
        assert!(get("server").is_empty() && get("x-powered-by").is_empty());
    };
    let of_head = |head: &Head| {
        let head = head.clone();
        move |name: &str| head.all(name).into_iter().map(str::to_owned).collect()
    };
    let (sent, answer) = ask(&proxy, &mut calls, "/a", "").await;
    seen(&of_head(&answer));
    assert_eq!(sent.get("x-for"), None, "these are for clients");
    let (_, answer) = open(&proxy, &mut calls, "/a", "").await;
    seen(&of_head(&answer));
    let mut client = Http2::connect(proxy.address("secure"), &pki).await;
    let of_map = |headers: &http::HeaderMap| {
        let headers = headers.clone();
        move |name: &str| {
            headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
        }
    };
    let (reply, _) = tokio::join!(client.get("/a"), async {
        calls.next().await.answer(ANSWER).await;
    });
    seen(&of_map(&reply.headers));
    let ((_, head), _) = tokio::join!(client.open("/a", &[]), accepted(&mut calls));
    seen(&of_map(head.headers()));
    // A record of the same name.
    let id = answer.get("x-id").expect("an id").to_owned();
    let open = proxy.wait_for("its record", |line| line["message"] == "open" && line["id"] == id).await;
    assert_eq!(open["route"], "all");
}

#[tokio::test]
async fn answers_of_the_route_itself_have_them_too_and_refusals_do_not() {
    let set = "response_headers = { set = { X-Own = \"${route}\" } }";
    for (action, status) in [("redirect = { to = \"/x\" }", 307), ("respond = { status = 410 }", 410)] {
        let (proxy, ..) = started(&format!("{action}\n{set}")).await;
        let (head, _) = proxy.connect("plain").await.request(get("/", "")).await;
        assert_eq!((head.status(), head.get("x-own")), (status, Some("all")));
    }
    let (proxy, _backend, mut calls, _) =
        started(&format!("pool = \"all\"\nbody_bytes_max = \"1B\"\n{set}")).await;
    let request = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n";
    let (head, _) = proxy.connect("plain").await.request(request).await;
    assert_eq!((head.status(), head.get("x-own")), (413, None));
    let (_, answer) = ask(&proxy, &mut calls, "/", "").await;
    assert_eq!(answer.get("x-own"), Some("all"));
}

/// A page's origin is judged as it was sent, and cookies by which clients come back outlast the changes.
#[tokio::test]
async fn changes_open_no_doors_and_take_no_cookies() {
    let keys = "pool = \"all\"\norigins = [\"https://good.example\"]\n\
                request_headers = { set = { Origin = \"https://good.example\" } }\n\
                response_headers = { set = { X-A = \"b\" }, add = { Set-Cookie = \"seen=1\" } }";
    let (backend, mut calls) = Backend::by_hand().await;
    let pki = Pki::new();
    let proxy = Proxy::start(&config(keys, "sticky = {}", &backend, &pki)).await;
    let mut client = proxy.connect("plain").await;
    client.send(handshake("/", "chat.example.com", "Origin: https://evil.example\r\n")).await;
    assert_eq!(client.head().await.status(), 403);
    let (sent, answer) = open(&proxy, &mut calls, "/", "Origin: HTTPS://good.example\r\n").await;
    assert_eq!(sent.get("origin"), Some("https://good.example"));
    let cookies = answer.all("set-cookie");
    assert!(matches!(cookies[..], [sticky, "seen=1"] if sticky.starts_with("longhaul=")), "{cookies:?}");
    assert_eq!(backend.called(), 1);
    let other = keys.replace("seen=1", "seen=2");
    // Each configuration has a certificate of its own.
    let change = proxy.change_to(&config(&other, "sticky = {}", &backend, &pki)).await;
    assert_eq!(change, "routes ~1 (all), certificates");
    let (_, answer) = ask(&proxy, &mut calls, "/", "").await;
    assert_eq!(answer.all("set-cookie")[1], "seen=2");
}

/// What hyper lets into a target, and what could end a field if it were taken for more than text.
#[tokio::test]
async fn what_comes_from_the_wire_stays_in_its_field() {
    let (proxy, _backend, mut calls, _) = started(REQUEST).await;
    for target in ["/a\"b", "/{x}", "/%0d%0aX-Evil:%201", "/a,b;c=d", "/a\\b", "/~|^", "/\u{e9}"] {
        let mut client = proxy.connect("plain").await;
        client.send(get(target, "")).await;
        let call = calls.next().await;
        assert_eq!(call.head.get("x-evil"), None);
        let expected = format!("plain all http chat.example.com GET {target}");
        assert_eq!(call.head.get("x-seen"), Some(expected.as_str()));
        call.answer(ANSWER).await;
    }
}

/// Whoever shows none has no name, and can give himself none.
#[tokio::test]
async fn certificates_of_clients_have_their_variables() {
    let (backend, mut calls) = Backend::by_hand().await;
    let pki = Pki::new();
    let keys = "pool = \"all\"\nrequest_headers = { set = { X-Who = \"${tls.client.subject}\", \
                X-Names = \"${tls.client.names}\" }, add = { X-All = \"v${tls.version} ${tls.client.subject}\" } }\n\
                response_headers = { set = { X-You = \"${tls.client.subject}\" } }";
    let asks = format!(
        "extended_connect = true\nclient_certificates = {{ ca = \"{}\", mode = \"optional\" }}",
        pki.authority_file().display()
    );
    let text = config(keys, "", &backend, &pki).replace("extended_connect = true", &asks);
    let proxy = Proxy::start(&text).await;
    let alice = pki.issue_with(&["alice.example", "192.0.2.1"], |params| {
        params.distinguished_name.push(rcgen::DnType::CommonName, "alice\r\nX-Admin: yes");
    });
    let forged = "X-Who: CN=admin\r\nX-Names: DNS:admin\r\n";
    for (own, who, names) in [
        (Some(&alice), Some(r"CN=alice\0d\0aX-Admin: yes"), Some("DNS:alice.example, IP:192.0.2.1")),
        (None, None, None),
    ] {
        let visitor = match own {
            Some(own) => Resumption::showing(&pki, ALL_VERSIONS, own),
            None => Resumption::new(&pki, ALL_VERSIONS),
        };
        // The second connection resumes the session of the first.
        for websocket in [false, true] {
            let connect = visitor.connect(proxy.address("secure"), "chat.example.com");
            let mut client = within("TLS", connect).await.expect("a handshake");
            client
                .send(match websocket {
                    true => handshake("/", "chat.example.com", forged),
                    false => get("/", forged),
                })
                .await;
            let call = calls.next().await;
            let seen = call.head.clone();
            assert_eq!((seen.get("x-who"), seen.get("x-names")), (who, names));
            assert_eq!(seen.get("x-all"), Some(format!("v1.3 {}", who.unwrap_or_default()).trim()));
            assert_eq!(seen.get("x-admin"), None);
            call.answer(ANSWER).await;
            assert_eq!(client.head().await.get("x-you"), who);
        }
    }
    let (seen, _) = ask(&proxy, &mut calls, "/", forged).await;
    assert_eq!((seen.get("x-who"), seen.get("x-names"), seen.get("x-all")), (None, None, Some("v")));
}
