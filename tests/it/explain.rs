//! `longhaul check --explain`: which route a request takes, and why; and that the running proxy agrees.

use std::path::Path;
use std::process::{Command, Output};

use crate::kit::{Backend, Proxy};

const ROUTES: &str = r#"
[[routes]]
name = "chat"
host = "chat.example.com"
path = "/ws/*"
origins = ["https://chat.example.com", "absent"]
pool = "all"

[[routes]]
name = "canary"
host = "chat.example.com"
path = "/ws/*"
headers = { X-Canary = "1" }
pool = "all"

[[routes]]
name = "office"
host = "chat.example.com"
source = ["203.0.113.0/24"]
client_certificate = "DNS:a.example"
pool = "all"

[[routes]]
name = "pages"
host = "*.example.com"
kind = "http"
pool = "all"

[[routes]]
name = "other"
host = "other.example"
pool = "all"
"#;

fn config(backend: &str) -> String {
    format!(
        "[[listeners]]\nname = \"plain\"\naddress = \"127.0.0.1:0\"\n{ROUTES}\n[pools.all]\nbackends = [\"{backend}\"]\n"
    )
}

/// Runs `check` on the routes with these further arguments.
fn explain(arguments: &[&str]) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("main.toml"), config("127.0.0.1:1")).expect("a writable folder");
    run(folder.path(), arguments)
}

fn run(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_longhaul"))
        .args(["check", "main.toml"])
        .args(arguments)
        .current_dir(folder)
        .env_remove("LONGHAUL_CONFIG")
        .output()
        .expect("longhaul starts");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn it_says_which_route_wins_and_why() {
    let (status, told, errors) = explain(&[
        "--explain",
        "GET wss://chat.example.com/ws/1?x",
        "-H",
        "X-Canary: 1",
        "--from",
        "198.51.100.1",
    ]);
    let expected = "\
GET wss://chat.example.com/ws/1?x takes route `canary` (main.toml:13:8), to pool `all`.

Routes of this host, the most specific first:
  canary: wins
    yes  host = \"chat.example.com\"
    yes  path = \"/ws/*\"
    yes  headers.x-canary = \"1\"
  chat: matches, too; `canary` has more conditions
    yes  host = \"chat.example.com\"
    yes  path = \"/ws/*\"
  office: does not match
    yes  host = \"chat.example.com\"
    yes  any path
    no   client_certificate = \"DNS:a.example\": none was shown
    no   source = [\"203.0.113.0/24\"]: the client is 198.51.100.1
  pages: does not match
    yes  host = \"*.example.com\"
    yes  any path
    no   kind = \"http\": it is a WebSocket handshake
  and 1 route of other hosts
";
    assert_eq!((status, told.as_str(), errors.as_str()), (Some(0), expected, ""));
}

#[test]
fn it_says_where_a_split_leads() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = config("127.0.0.1:1").replacen(
        "pool = \"all\"",
        "split = [{ pool = \"all\", weight = 39 }, { pool = \"canary\" }]",
        1,
    ) + "[pools.canary]\nbackends = [\"127.0.0.1:2\"]\n";
    std::fs::write(folder.path().join("main.toml"), text).expect("a writable folder");
    let (status, told, errors) = run(folder.path(), &["--explain", "GET wss://chat.example.com/ws"]);
    let first = "GET wss://chat.example.com/ws takes route `chat` (main.toml:6:8), to pool `all` (97.5%) or `canary` \
                 (2.5%).\n";
    assert!(told.starts_with(first), "{told}");
    assert_eq!((status, errors.as_str()), (Some(0), ""));
}

#[test]
fn it_says_what_a_route_answers_by_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    for (action, told) in [
        (
            "redirect = { to = \"https://${host}/${query}\" }",
            "which redirects it to https://${host}/${query} (307)",
        ),
        ("respond = { status = 503 }", "which answers with 503"),
    ] {
        let text = config("127.0.0.1:1").replace("kind = \"http\"\npool = \"all\"", action);
        std::fs::write(folder.path().join("main.toml"), text).expect("a writable folder");
        let (status, text, errors) = run(folder.path(), &["--explain", "GET wss://www.example.com/"]);
        assert_eq!((status, errors.as_str()), (Some(0), ""));
        let first = text.lines().next().expect("a line");
        assert!(first.ends_with(&format!("takes route `pages` (main.toml:27:8), {told}.")), "{first}");
    }
}

#[test]
fn a_websocket_is_a_scheme_or_a_field() {
    let winner = |arguments: &[&str]| {
        let (status, told, errors) = explain(&[&["--explain"], arguments].concat());
        assert_eq!(errors, "");
        let (_, after) = told.split_once(" takes route `").unwrap_or(("", "no route`"));
        (status, after.split_once('`').expect("a name").0.to_owned())
    };
    for (arguments, expected) in [
        (&["GET https://www.example.com/"][..], "pages"),
        (&["GET wss://www.example.com/"], "no route"),
        (&["GET ws://www.example.com:8080"], "no route"),
        (&["GET https://www.example.com/", "-H", "Upgrade: WebSocket"], "no route"),
        (&["GET https://www.example.com/", "-H", "Upgrade: h2c"], "pages"),
        (&["GET https://127.0.0.1/", "-H", "Host: www.example.com"], "pages"),
        (&["GET http://chat.example.com/ws", "-H", "X-Canary:1", "-H", "x-other: 2"], "canary"),
        (
            &[
                "POST https://chat.example.com/",
                "--from=203.0.113.9",
                "--client-certificate=DNS:b.example",
                "--client-certificate=DNS:a.example",
            ],
            "office",
        ),
        (
            &[
                "POST https://chat.example.com/",
                "--from=::ffff:203.0.113.9",
                "--client-certificate",
                "CN=a,O=b",
            ],
            "pages",
        ),
    ] {
        let status = if expected == "no route" { 4 } else { 0 };
        assert_eq!(winner(arguments), (Some(status), expected.to_owned()), "{arguments:?}");
    }
}

#[test]
fn what_is_refused_takes_no_route() {
    for (arguments, expected) in [
        (&["GET https://nowhere.example/"][..], "it is answered with 404, no route serves this request.\n"),
        (
            &["POST wss://chat.example.com/ws"],
            "it is answered with 400, a WebSocket is opened with GET; send GET.\n",
        ),
        (
            &["GET wss://chat.example.com/ws", "-H", "Sec-WebSocket-Version: 8"],
            "it is answered with 426, this version of WebSocket is not spoken here",
        ),
        (&["GET https://user@chat.example.com/"], "it is answered with 400, the host is malformed"),
        (&["CONNECT https://chat.example.com/"], "it is answered with 405"),
    ] {
        let (status, told, errors) = explain(&[&["--explain"], arguments].concat());
        assert_eq!((status, errors.as_str()), (Some(4), ""));
        let start = format!("{} takes no route: {expected}", arguments[0]);
        assert!(told.starts_with(&start), "{told}");
    }
    let (status, told, _) =
        explain(&["--explain", "GET wss://chat.example.com/ws", "-H", "Origin: https://evil.example"]);
    assert_eq!(status, Some(0));
    assert!(told.contains("Its `origins` do not admit this request: it is answered with 403.\n"), "{told}");
}

#[test]
fn wrong_input_is_told_with_what_would_be_right() {
    for (arguments, expected) in [
        (
            &["--explain", "https://a/"][..],
            "write a method and a URL, such as 'GET https://chat.example.com/ws'",
        ),
        (&["--explain", "get https://a/"], "`get` has small letters: write GET"),
        (&["--explain", "G@T https://a/"], "`G@T` is not a method"),
        (&["--explain", "GET /ws"], "`/ws` does not begin with https://, http://, wss:// or ws://"),
        (&["--explain", "GET ftp://a/"], "does not begin with"),
        (&["--explain", "GET https://"], "is not a URL"),
        (
            &["--explain", "GET https://a/", "-H", "X-Canary"],
            "a field has a colon: write one such as 'X-Canary: 1'",
        ),
        (&["--explain", "GET https://a/", "-H", "X Canary: 1"], "`X Canary` is not the name of a field"),
        (&["--explain", "GET https://a/", "--from", "10.0.0.0/8"], "invalid IP address"),
        (
            &["--explain", "GET https://a/", "--client-certificate", "alice"],
            "a subject such as CN=alice,O=Example",
        ),
        (&["-H", "X-Canary: 1"], "--explain <REQUEST>"),
        (&["--from", "10.0.0.1"], "--explain <REQUEST>"),
        (&["--explain", "GET https://a/", "--format", "json"], "cannot be used with"),
    ] {
        let (status, told, errors) = explain(arguments);
        assert_eq!((status, told.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(errors.contains(expected), "{arguments:?}: {errors}");
    }
}

#[test]
fn a_wrong_file_is_told_and_nothing_is_explained() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = config("127.0.0.1:1").replace("kind = \"http\"", "kind = \"htp\"");
    std::fs::write(folder.path().join("main.toml"), text).expect("a writable folder");
    let (status, told, errors) = run(folder.path(), &["--explain", "GET https://a/"]);
    assert_eq!((status, told.as_str()), (Some(78), ""));
    assert!(errors.contains("did you mean \"http\"?"), "{errors}");
}

#[test]
fn of_many_routes_the_first_are_shown_and_the_one_that_wins() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut text = config("127.0.0.1:1");
    for number in 0..200 {
        text += &format!(
            "[[routes]]\nname = \"tenant-{number:03}\"\nheaders = {{ X-Tenant = \"{number:03}\" }}\npool = \"all\"\n"
        );
    }
    std::fs::write(folder.path().join("main.toml"), text).expect("a writable folder");
    let (status, told, _) = run(folder.path(), &["--explain", "GET https://a/", "-H", "X-Tenant: 150"]);
    assert_eq!(status, Some(0));
    assert!(told.contains("\n  tenant-049: does not match\n") && !told.contains("tenant-050"), "{told}");
    assert!(told.contains("\n  tenant-150: wins\n"), "{told}");
    assert!(
        told.ends_with("  and 149 routes of this host not shown\n  and 5 routes of other hosts\n"),
        "{told}"
    );
}

/// What is explained is what happens.
#[tokio::test]
async fn the_running_proxy_agrees() {
    let backend = Backend::answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let proxy = Proxy::start(&config(&backend.address.to_string())).await;
    for (host, path, lines, expected) in [
        ("chat.example.com", "/ws/1", "", "chat"),
        ("chat.example.com", "/ws/2", "X-Canary: 1", "canary"),
        ("chat.example.com", "/other", "", "pages"),
        ("other.example", "/x", "", "other"),
    ] {
        let line = if lines.is_empty() { String::new() } else { format!("{lines}\r\n") };
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{line}\r\n");
        assert_eq!(proxy.connect("plain").await.request(request).await.0.status(), 200);
        let record =
            proxy.wait_for("a record", |line| line["message"] == "request" && line["path"] == path).await;
        assert_eq!(record["route"], expected);
        let url = format!("GET http://{host}{path}");
        let mut arguments = vec!["--explain", &url, "--from", "127.0.0.1"];
        arguments.extend((!lines.is_empty()).then_some(["-H", lines]).into_iter().flatten());
        let (_, told, _) = explain(&arguments);
        assert!(told.contains(&format!(" takes route `{expected}` ")), "{told}");
    }
}

/// Who asks need not be who may read the keys.
#[test]
fn certificates_keys_and_secrets_need_not_be_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let pair = "cert = \"no.pem\", key = \"no.key\"";
    let text = config("127.0.0.1:1").replace("[[routes]]\nname = \"chat\"", &format!(
        "tls = {{ certificates = [{{ {pair} }}], ticket_keys = \"no.keys\" }}\n[[routes]]\nname = \"chat\""
    )) + &format!("tls = {{ ca = \"no.pem\", {pair} }}\nsticky = {{ keys = \"no.keys\" }}\n");
    std::fs::write(folder.path().join("main.toml"), text).expect("a writable folder");
    let (status, told, wrong) = run(folder.path(), &["--explain", "GET https://other.example/"]);
    assert_eq!(status, Some(0), "{wrong}");
    assert!(told.contains("other"), "{told}");
    assert_eq!(run(folder.path(), &[]).0, Some(78));
}
