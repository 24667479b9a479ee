//! The admin address: live tunnels, orders, and who is let in.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::kit::{Backend, Client, DEADLINE, Proxy, WebSocket, plain, within};

const TUNNELS: &str = "/api/v1/tunnels";
const RELOAD: &str = "/api/v1/reload";

async fn open(proxy: &Proxy) -> WebSocket<Client> {
    let (mut socket, _) = proxy.connect("plain").await.open("/ws", "example.com", "").await;
    assert_eq!(socket.receive_text().await, "one");
    socket
}

/// The live table, as soon as it is as `wanted`.
async fn table(proxy: &Proxy, wanted: impl Fn(&Value) -> bool) -> Value {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    loop {
        let (status, table) = proxy.admin("GET", TUNNELS).await;
        assert_eq!(status, 200);
        if wanted(&table) {
            return table;
        }
        assert!(tokio::time::Instant::now() < deadline, "{table}");
    }
}

fn total(table: &Value) -> u64 {
    table["total"].as_u64().expect("a number")
}

fn ids(table: &Value) -> Vec<String> {
    let tunnels = table["tunnels"].as_array().expect("a list");
    tunnels.iter().map(|tunnel| tunnel["id"].as_str().expect("an id").to_string()).collect()
}

#[tokio::test]
async fn a_live_tunnel_is_told_with_all_that_it_is_and_does() {
    let (backend, mut calls) = Backend::by_hand().await;
    let proxy = Proxy::start(&plain(&[backend.address])).await;
    assert_eq!(proxy.admin("GET", TUNNELS).await, (200, json!({ "tunnels": [], "next": null, "total": 0 })));
    let offered = "Sec-WebSocket-Protocol: other, chat\r\n";
    let agreed = "Sec-WebSocket-Protocol: chat\r\n";
    let (mut client, mut behind) = calls.tunnel(proxy.connect("plain").await, offered, agreed).await;
    for _ in 0..3 {
        client.send(&crate::kit::Message::text("hello")).await;
        assert_eq!(behind.receive_text().await, "hello");
    }
    behind.send(&crate::kit::Message::text("well")).await;
    assert_eq!(client.receive_text().await, "well");

    let counted = |table: &Value| table["tunnels"][0]["messages_to_client"] == 1;
    let mut tunnel = table(&proxy, counted).await["tunnels"][0].clone();
    let take = |tunnel: &mut Value, name: &str| tunnel.as_object_mut().expect("an object").remove(name);
    let number = |value: Option<Value>| value.as_ref().and_then(Value::as_u64).expect("a number");
    let (age, idle) = (number(take(&mut tunnel, "age_ms")), number(take(&mut tunnel, "idle_ms")));
    assert!(idle <= age, "idle for {idle} ms, open for {age} ms");
    let expected = json!({
        "id": proxy.record("open").await["id"],
        "client": "127.0.0.1",
        "route": "all",
        "backend": backend.address.to_string(),
        "http": "1.1",
        "subprotocol": "chat",
        "bytes_to_backend": 3 * (6 + 5),
        "bytes_to_client": 2 + 4,
        "messages_to_backend": 3,
        "messages_to_client": 1,
        "client_round_trip_ms": null,
        "backend_round_trip_ms": null,
        "asked_to_go": null,
        "close_initiator": null,
        "to_backend": {
            "bytes": 3 * (6 + 5), "text_messages": 3, "binary_messages": 0, "pings": 0, "pongs": 0,
            "closed": false, "close_code": null,
        },
        "to_client": {
            "bytes": 2 + 4, "text_messages": 1, "binary_messages": 0, "pings": 0, "pongs": 0,
            "closed": false, "close_code": null,
        },
    });
    assert_eq!(tunnel, expected);

    let later = |table: &Value| table["tunnels"][0]["idle_ms"].as_u64() > Some(idle + 20);
    let aged = number(table(&proxy, later).await["tunnels"][0].get("age_ms").cloned());
    assert!(aged >= age + 20, "{age} ms, then {aged} ms");
    // Who closes first, and with what.
    behind.send(&crate::kit::Message::close(1000, "")).await;
    assert_eq!(client.receive().await, crate::kit::Message::close(1000, ""));
    let closed = table(&proxy, |table| table["tunnels"][0]["to_client"]["closed"] == true).await;
    client.send(&crate::kit::Message::close(4001, "")).await;
    assert_eq!(behind.receive().await, crate::kit::Message::close(4001, ""));
    let answered = table(&proxy, |table| table["tunnels"][0]["to_backend"]["closed"] == true).await;
    for table in [closed, answered] {
        let tunnel = &table["tunnels"][0];
        assert_eq!(
            (&tunnel["close_initiator"], &tunnel["to_client"]["close_code"]),
            (&json!("backend"), &json!(1000))
        );
    }
    drop((client, behind));
    table(&proxy, |table| total(table) == 0).await;
}

#[tokio::test]
async fn tunnels_come_in_pages_the_oldest_first() {
    let backend = Backend::echo("one").await;
    let proxy = Proxy::start(&("[server]\nworkers = 2\n".to_string() + &plain(&[backend.address]))).await;
    let mut tunnels = Vec::new();
    for _ in 0..5 {
        tunnels.push(open(&proxy).await);
    }
    let all = ids(&table(&proxy, |table| total(table) == 5).await);
    // The log may be a moment behind.
    proxy
        .wait_for("the last record", |line| {
            line["message"] == "open" && all.last().is_some_and(|last| line["id"] == *last)
        })
        .await;
    let opened: Vec<Value> =
        proxy.log().iter().filter(|line| line["message"] == "open").map(|line| line["id"].clone()).collect();
    assert_eq!(opened, all);
    let page = async |query: &str| {
        let (status, page) = proxy.admin("GET", &format!("{TUNNELS}?{query}")).await;
        assert_eq!((status, total(&page)), (200, 5), "{page}");
        (ids(&page), page["next"].as_str().map(str::to_string))
    };
    for limit in 1..=6 {
        let (mut seen, mut query) = (Vec::new(), format!("limit={limit}"));
        loop {
            let (ids, next) = page(&query).await;
            assert!(ids.len() <= limit);
            seen.extend(ids);
            match next {
                Some(next) => query = format!("after={next}&limit={limit}"),
                None => break,
            }
        }
        assert_eq!(seen, all, "limit={limit}");
    }
    assert_eq!(page(&format!("limit=2&after={}", all[1])).await.0, all[2..4]);

    // Where a page ended is known even when that tunnel is gone.
    tunnels.remove(1).close(1000).await;
    table(&proxy, |table| total(table) == 4).await;
    let (_, page) = proxy.admin("GET", &format!("{TUNNELS}?limit=2&after={}", all[1])).await;
    assert_eq!(ids(&page), all[2..4]);
}

#[tokio::test]
async fn wrong_parameters_are_told() {
    let backend = Backend::echo("one").await;
    let proxy = Proxy::start(&plain(&[backend.address])).await;
    for (query, said) in [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=", "limit"),
        ("limit=-1", "limit"),
        ("after=", "after"),
        ("after=xyz", "after"),
        ("after=1&limit=ten", "limit"),
        ("page=2", "parameters"),
        ("limit", "limit"),
    ] {
        let (status, answer) = proxy.admin("GET", &format!("{TUNNELS}?{query}")).await;
        assert_eq!(status, 400, "{query}");
        assert!(answer["error"].as_str().is_some_and(|error| error.contains(said)), "{query}: {answer}");
    }
    for query in ["", "limit=1", "limit=1000&", "after=0"] {
        assert_eq!(proxy.admin("GET", &format!("{TUNNELS}?{query}")).await.0, 200, "{query}");
    }
}

#[tokio::test]
async fn a_reload_answers_with_the_change() {
    let backend = Backend::echo("one").await;
    let base = plain(&[backend.address]);
    let proxy = Proxy::start(&base).await;
    assert_eq!(proxy.admin("POST", RELOAD).await, (200, json!({ "result": "unchanged", "generation": 1 })));
    let mut generation = 1;
    // On a machine that rests, the watch over the file may be first; then the answer is that nothing is left to do.
    let accepted = loop {
        generation += 1;
        let keys = format!("name = \"all\"\nidle_timeout = \"{generation}h\"\n");
        proxy.rewrite(&base.replacen("name = \"all\"\n", &keys, 1));
        let (status, answer) = proxy.admin("POST", RELOAD).await;
        assert_eq!((status, &answer["generation"]), (200, &generation.into()), "{answer}");
        assert!(generation < 20, "never accepted: {answer}");
        if answer["result"] == "accepted" {
            break answer;
        }
        assert_eq!(answer["result"], "unchanged");
    };
    let change = "routes ~1 (all)";
    assert_eq!(accepted, json!({ "result": "accepted", "generation": generation, "change": change }));
    let said = |line: &Value| line["generation"] == generation && line["change"] == change;
    assert_eq!(proxy.wait_for("the log", said).await["asked_by"], "operator");
}

#[tokio::test]
async fn a_reload_answers_with_every_problem() {
    let backend = Backend::echo("one").await;
    let base = plain(&[backend.address]);
    let proxy = Proxy::start(&base).await;
    let wrong = base
        .replace("pool = \"all\"", "pool = \"none\"\nidle_timeout = \"10\"")
        .replace("backends", "balance = \"fair\"\nbackends");
    proxy.rewrite(&wrong);
    let (status, answer) = proxy.admin("POST", RELOAD).await;
    assert_eq!((status, &answer["result"]), (422, &"rejected".into()));
    let problems = answer["problems"].as_array().expect("a list");
    let file = proxy.file().display().to_string();
    let places: Vec<_> =
        problems.iter().map(|problem| (&problem["file"], &problem["line"], &problem["column"])).collect();
    let at = |line: u32, column: u32| (Value::from(&*file), Value::from(line), Value::from(column));
    let expected = [at(6, 8), at(7, 16), at(9, 11)];
    assert_eq!(places, expected.iter().map(|(a, b, c)| (a, b, c)).collect::<Vec<_>>());
    for (problem, word) in problems.iter().zip(["none", "10", "fair"]) {
        assert!(problem["message"].as_str().is_some_and(|message| message.contains(word)), "{problem}");
        assert!(problem["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()), "{problem}");
    }
    assert_eq!(proxy.generation().await, 1);

    // A problem of the machine has its place in the file, too.
    proxy.rewrite(&base.replace("127.0.0.1:0", "192.0.2.1:80"));
    let (status, answer) = proxy.admin("POST", RELOAD).await;
    assert_eq!(status, 422);
    let problem = &answer["problems"][0];
    assert_eq!((&problem["line"], &problem["column"]), (&3.into(), &11.into()), "{answer}");
    open(&proxy).await.round_trip("as before").await;
}

#[tokio::test]
async fn only_what_is_here_is_here() {
    let backend = Backend::echo("one").await;
    let proxy = Proxy::start(&plain(&[backend.address])).await;
    for (method, path, status) in [
        ("POST", TUNNELS, 405),
        ("DELETE", TUNNELS, 405),
        ("HEAD", RELOAD, 405),
        ("GET", RELOAD, 405),
        ("PUT", RELOAD, 405),
        ("GET", "/", 404),
        ("GET", "/api/v1", 404),
        ("GET", "/api/v1/tunnels/", 404),
        ("POST", "/api/v2/reload", 404),
        ("GET", "/metrics", 404),
    ] {
        let answered = match method {
            // It has no body.
            "HEAD" => {
                let line = proxy.record("admin").await;
                let address = line["address"].as_str().and_then(|at| at.parse().ok()).expect("an address");
                let request = format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
                Client::connect(address).await.request(request).await.0.status()
            }
            _ => {
                let (answered, body) = proxy.admin(method, path).await;
                assert!(body["error"].is_string(), "{method} {path}: {body}");
                answered
            }
        };
        assert_eq!(answered, status, "{method} {path}");
    }
    // One is the watch's first look at the files.
    assert!(proxy.reloads("unchanged").await <= 1);
    // What faces the network takes no orders.
    assert_eq!(proxy.scrape(TUNNELS).await.0, 404);
}

/// A page in a browser could reach a loopback address: by its address, or by a name of its own that leads there.
#[tokio::test]
async fn web_pages_are_refused() {
    let backend = Backend::echo("one").await;
    let proxy = Proxy::start(&plain(&[backend.address])).await;
    // The watch has its first look at the files.
    proxy.wait_metric("longhaul_config_reloads_total{result=\"unchanged\"}", 1.0).await;
    for (fields, status) in [
        ("Host: localhost\r\n", 200),
        ("Host: LOCALHOST:9900\r\n", 200),
        ("Host: 127.0.0.1:9900\r\n", 200),
        ("Host: 127.1.2.3\r\n", 200),
        ("Host: [::1]:9900\r\n", 200),
        ("Host: localhost\r\nUser-Agent: curl\r\n", 200),
        ("Host: example.com\r\n", 403),
        ("Host: localhost.example.com\r\n", 403),
        ("Host: 127.0.0.1.example.com\r\n", 403),
        ("Host: 192.0.2.1\r\n", 403),
        ("Host: 0.0.0.0\r\n", 403),
        ("Host: localhost\r\nHost: localhost\r\n", 403),
        ("Host: \r\n", 403),
        ("", 403),
        ("Host: localhost\r\nOrigin: http://example.com\r\n", 403),
        ("Host: localhost\r\nOrigin: http://localhost\r\n", 403),
        ("Host: localhost\r\nOrigin: null\r\n", 403),
    ] {
        for (method, path) in [("GET", TUNNELS), ("POST", RELOAD)] {
            let (answered, body) = proxy.admin_with(method, path, fields).await;
            assert_eq!(answered, status, "{method} {path} {fields:?}: {body}");
            assert_eq!(status == 403, body["error"].is_string(), "{body}");
        }
    }
    let (status, _) = proxy.admin("GET", "http://example.com/api/v1/tunnels").await;
    assert_eq!(status, 403, "the target's host counts");
    assert_eq!(proxy.reloads("unchanged").await, 1 + 6);
}

/// The status and the body that the socket at `path` answers with.
async fn over_unix(path: &Path, request: String) -> (u16, Value) {
    let path = path.to_path_buf();
    let answer = tokio::task::spawn_blocking(move || {
        let mut socket = UnixStream::connect(path).expect("somebody listens");
        socket.write_all(request.as_bytes()).expect("a reader");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("an answer");
        answer
    });
    let answer = within("an answer", answer).await.expect("a thread");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, serde_json::from_str(body).expect("JSON"))
}

#[tokio::test]
async fn a_unix_socket_serves_owner_and_group_and_replaces_one_that_was_left_behind() {
    let (backend, folder) = (Backend::echo("one").await, tempfile::tempdir().expect("a folder"));
    let path = folder.path().join("admin.sock");
    let config = format!("[admin]\naddress = \"unix:{}\"\n{}", path.display(), plain(&[backend.address]));
    // The first proxy finds what a dead process has left, the second what a killed one has.
    drop(UnixListener::bind(&path).expect("a free path"));
    for _ in 0..2 {
        let proxy = Proxy::start(&config).await;
        assert_eq!(proxy.record("admin").await["address"], format!("unix:{}", path.display()));
        let mode = std::fs::metadata(&path).expect("a socket").permissions().mode();
        assert_eq!(mode & 0o777, 0o660, "{mode:o}");
        let _tunnel = open(&proxy).await;
        proxy.wait_metric("longhaul_tunnels_active{route=\"all\"}", 1.0).await;
        for (method, path_asked, fields, status) in [
            ("GET", TUNNELS, "", 200),
            ("GET", TUNNELS, "Host: whoever\r\n", 200),
            ("POST", RELOAD, "", 200),
            ("POST", RELOAD, "Origin: http://localhost\r\n", 403),
        ] {
            let request = format!("{method} {path_asked} HTTP/1.1\r\n{fields}Connection: close\r\n\r\n");
            let (answered, body) = over_unix(&path, request).await;
            assert_eq!(answered, status, "{method} {path_asked} {fields:?}: {body}");
            assert!(path_asked == RELOAD || total(&body) == 1, "{body}");
        }
    }
}

/// Runs longhaul on a configuration that it should refuse; its status and what it says.
async fn refused_to_run(folder: &Path, admin: &str) -> (Option<i32>, String) {
    let file = folder.join("longhaul.toml");
    let address = "127.0.0.1:1".parse().expect("an address");
    std::fs::write(&file, format!("[admin]\naddress = \"{admin}\"\n{}", plain(&[address])))
        .expect("a writable folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_longhaul"));
    command.arg("run").arg("--config").arg(file);
    let run = tokio::task::spawn_blocking(move || command.output().expect("longhaul starts"));
    let output = within("the end of longhaul", run).await.expect("a thread");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test]
async fn what_others_use_is_not_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    let (used, file) = (folder.path().join("used.sock"), folder.path().join("file"));
    let _listener = UnixListener::bind(&used).expect("a free path");
    std::fs::write(&file, "precious").expect("a writable folder");
    for path in [&used, &file, &folder.path().join("none/admin.sock")] {
        let (status, said) = refused_to_run(folder.path(), &format!("unix:{}", path.display())).await;
        assert_eq!(status, Some(1), "{said}");
        assert!(said.contains("cannot listen on") && said.contains("longhaul.toml:2:11"), "{said}");
    }
    assert_eq!(std::fs::read_to_string(file).expect("it is still there"), "precious");
    UnixStream::connect(used).expect("it is still there");
}

#[tokio::test]
async fn other_machines_are_kept_out_by_the_configuration() {
    let folder = tempfile::tempdir().expect("a folder");
    for address in ["0.0.0.0:9900", "[::]:9900", "192.0.2.1:9900", "[2001:db8::1]:9900"] {
        let (status, said) = refused_to_run(folder.path(), address).await;
        assert_eq!(status, Some(78), "{said}");
        assert!(said.contains("other machines") && said.contains("longhaul.toml:2:11"), "{said}");
    }
}
