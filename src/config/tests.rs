//! The whole way from text to [`Config`]: the examples, the wrong files, and text that is neither.

mod include;
mod random;

use std::collections::BTreeSet;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::file::FileWords;
use super::reader::Word;
use super::shape::{Key, Need, Shape};
use super::*;
use crate::proto::rate::Rate;

const FULL: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/config/full.toml"));
const MINIMAL: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/config/minimal.toml"));

const LISTENER: &str = "[[listeners]]\nname = \"l\"\naddress = \"127.0.0.1:1\"\n";
const ROUTE: &str = "[[routes]]\nname = \"r\"\npool = \"p\"\n";
const POOL: &str = "[pools.p]\nbackends = [\"127.0.0.1:2\"]\n";

fn parse(text: &str) -> Result<Config, Problems> {
    Config::parse("longhaul.toml", text, Path::new("/etc/longhaul"))
}

/// What is wrong, as the expectations write it.
fn described(problems: &Problems) -> Vec<String> {
    let describe = |problem: &Problem| {
        let (line, column) = problems.sources().line_column(&problem.place);
        format!("{line}:{column} {} => {}", problem.message, problem.remedy)
    };
    problems.iter().map(describe).collect()
}

#[test]
fn wrong_files_are_explained() {
    let cases = include_str!("tests/wrong.txt").split("\n--- ").skip(1);
    let mut count = 0;
    for case in cases {
        let (rest, case) = case.split_once('\n').unwrap();
        let mut text = String::new();
        let mut expected = Vec::new();
        for line in case.lines() {
            match line.strip_prefix("=> ") {
                Some(problem) => expected.push(problem),
                None => text.extend([line, "\n"]),
            }
        }
        for part in rest.split_whitespace() {
            text.push_str(match part {
                "nothing" => "",
                "listener" => LISTENER,
                "route" => ROUTE,
                "pool" => POOL,
                other => panic!("{other} is not a part of a file"),
            });
        }
        assert_eq!(described(&parse(&text).unwrap_err()), expected, "in\n{text}");
        count += 1;
    }
    assert!(count > 60, "only {count} cases were read");
}

#[test]
fn a_file_that_is_only_short_is_right() {
    assert!(parse(&[LISTENER, ROUTE, POOL].concat()).is_ok());
}

#[test]
fn every_problem_is_reported_at_once_and_in_order() {
    let text = r#"[server]
workers = 0
[[listeners]]
name = "public"
adress = "0.0.0.0:80"
[[routes]]
name = "chat"
pool = "chta"
idle_timeout = 60
[pools.chat]
backends = ["ws://10.0.0.1:8080"]
"#;
    let expected = r#"error: `workers` cannot be 0
 --> longhaul.toml:2:11
  |
2 | workers = 0
  |           ^
  |
  = help: write a whole number from 1 to 1024, or "auto"

error: `[[listeners]]` has no `address`
 --> longhaul.toml:3:1
  |
3 | [[listeners]]
  | ^^^^^^^^^^^^^
  |
  = help: add `address`: the IP address and port to bind, port 0 takes any free one; or `unix:` and the path of a socket

error: `adress` is not a key of `[[listeners]]`
 --> longhaul.toml:5:1
  |
5 | adress = "0.0.0.0:80"
  | ^^^^^^
  |
  = help: did you mean `address`?

error: there is no pool `chta`
 --> longhaul.toml:8:8
  |
8 | pool = "chta"
  |        ^^^^^^
  |
  = help: did you mean `chat`?

error: `idle_timeout` = 60 has no unit
 --> longhaul.toml:9:16
  |
9 | idle_timeout = 60
  |                ^^
  |
  = help: write "60s"

error: "ws://10.0.0.1:8080" is a URL
  --> longhaul.toml:11:13
   |
11 | backends = ["ws://10.0.0.1:8080"]
   |             ^^^^^^^^^^^^^^^^^^^^
   |
   = help: write "10.0.0.1:8080"

6 problems in longhaul.toml"#;
    assert_eq!(parse(text).unwrap_err().to_string(), expected);
}

#[test]
fn every_example_loads() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut count = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            Config::load(&path).unwrap_or_else(|problems| panic!("{problems}"));
            count += 1;
        }
    }
    assert!(count >= 2);
}

/// A drain for which there is no time is warned of; what holds when nothing is written has time.
#[test]
fn drains_without_time_are_warned_of() {
    let warnings_at = |drain: &str, limits: &str| {
        let head = format!("[server]\ndrain = {{ {drain} }}\n[limits]\n{limits}\n");
        let config = parse(&[&head, LISTENER, ROUTE, POOL].concat()).unwrap();
        let said: Vec<_> = config.warnings.iter().map(|warning| warning.message.clone()).collect();
        (config.server.drain.window.as_millis(), said.join("; "))
    };
    let warnings = |drain: &str| warnings_at(drain, "tunnels_max = 6001");
    assert_eq!(warnings(""), (30_000, String::new()));
    assert_eq!(warnings("deadline = \"10s\""), (5_000, String::new()));
    assert_eq!(warnings("deadline = \"1m\", window = \"1m\", rate = 101"), (60_000, String::new()));
    assert!(
        warnings("deadline = \"1m\", window = \"61s\"").1.contains("and cuts those that are left after 1m")
    );
    assert!(warnings("deadline = \"1m\", rate = 100").1.contains("at 100 a second not all of"));
    for limits in ["", "tunnels_max = \"auto\""] {
        assert_eq!(warnings_at("deadline = \"10s\", rate = 100", limits).1, "");
        let said = warnings_at("deadline = \"10s\", rate = 99", limits).1;
        assert!(said.contains("at 99 a second no more than 990 tunnels"), "{said}");
    }
}

/// What is not written means what `full.toml` writes out.
#[test]
fn the_full_example_shows_the_defaults() {
    let full = parse(FULL).unwrap();
    let minimal = parse(MINIMAL).unwrap();
    assert_eq!(full.server.workers, minimal.server.workers);
    // Two that have no default, and whether the window is written.
    let drain = Drain { rate: None, reason: "".into(), window_shrinks: true, ..full.server.drain.clone() };
    assert_eq!(drain, minimal.server.drain);
    assert_eq!(full.limits, minimal.limits);
    assert_eq!(full.tcp, minimal.tcp);
    assert_eq!(full.log, minimal.log);
    let (written, default) = (&full.routes[0], &minimal.routes[0]);
    assert_eq!(written.idle_timeout, default.idle_timeout);
    assert_eq!(written.half_close_timeout, default.half_close_timeout);
    assert_eq!(written.close_timeout, default.close_timeout);
    assert_eq!(written.inspect, default.inspect);
    assert_eq!(written.pings, default.pings);
    assert_eq!(written.write_timeout, default.write_timeout);
    let (written, default) = (&full.pools["chat"], &minimal.pools["app"]);
    assert_eq!(written.balance, default.balance);
    assert_eq!(written.connect_timeout, default.connect_timeout);
    assert_eq!(written.handshake_timeout, default.handshake_timeout);
    assert_eq!(written.response_timeout, default.response_timeout);
    assert_eq!(full.pools["site"].keepalive, default.keepalive);

    let tls = "tls = { certificates = [{ cert = \"a\", key = \"b\" }] }\n";
    let health = "health = { kind = \"http\", path = \"/health\" }\nejection = {}\nretry = {}\n";
    let short = parse(&[LISTENER, tls, ROUTE, POOL, health].concat()).unwrap();
    let min_version = |config: &Config| config.listeners[0].tls.as_ref().unwrap().min_version;
    assert_eq!(min_version(&full), min_version(&short));
    let [full_tls, short_tls] = [&full, &short].map(|config| config.listeners[0].tls.as_ref().unwrap());
    assert_eq!(full_tls.unknown_name, short_tls.unknown_name);
    assert_eq!(full_tls.client_certificates.as_ref().unwrap().mode, defaults::CLIENT_CERTIFICATE_MODE);
    assert_eq!((&short_tls.client_certificates, &short_tls.ciphers), (&None, &None));
    let all = full_tls.ciphers.as_ref().unwrap();
    assert!(matches!(<Cipher as Word>::SHAPE, Shape::Choice(known) if known.len() == all.len()));
    let health = |config: &Config, pool: &str| {
        let mut health = config.pools[pool].health.clone().unwrap();
        let HealthKind::Http(probe) = &mut health.kind else { panic!("an HTTP probe") };
        (probe.body, probe.target.headers) = Default::default();
        health
    };
    assert_eq!(health(&full, "chat"), health(&short, "p"));
    assert_eq!(full.pools["chat"].ejection, short.pools["p"].ejection);
    let retry = |config: &Config, pool: &str| {
        let retry = config.pools[pool].retry.clone().unwrap();
        // None by default, which a list cannot say.
        Retry { statuses: Statuses(Vec::new()), ..retry }
    };
    assert_eq!(retry(&full, "chat"), retry(&short, "p"));
    let tls = parse(&[LISTENER, ROUTE, POOL, "tls = {}\n"].concat()).unwrap();
    let [full, short] = [&full.pools["chat"], &tls.pools["p"]].map(|pool| &pool.tls.as_ref().unwrap().value);
    assert_eq!(full.min_version, short.min_version);
    assert_eq!(short.trust, Trust::System);
    assert!(matches!(full.trust, Trust::Authorities(_)));
}

#[test]
fn the_full_example_means_what_it_says() {
    let config = parse(FULL).unwrap();
    let listener = &config.listeners[0];
    assert_eq!(listener.name.value, "public");
    assert_eq!(listener.address.value.to_string(), "0.0.0.0:8443");
    let networks: Vec<_> = listener.trusted_networks.iter().map(IpNet::to_string).collect();
    assert_eq!(networks, ["10.0.0.0/8", "192.0.2.7/32", "fd00::/8"]);
    let certificates = &listener.tls.as_ref().unwrap().certificates;
    assert_eq!(certificates[0].cert.value, Pem::File("/etc/longhaul/certs/chat.pem".into()));
    assert!(config.listeners[1].tls.is_none());

    let [chat, canary, .., everything] = config.routes.as_slice() else { panic!("more routes") };
    assert_eq!(chat.matches.host, HostMatch::Exact("chat.example.com".to_owned()));
    assert_eq!(chat.matches.path, PathMatch::Prefix("/ws/".to_owned()));
    let below = OriginMatch::Below {
        scheme: "https".to_owned(),
        domain: "chat.example.com".to_owned(),
        port: Some(8443),
    };
    let exact = OriginMatch::Exact("https://chat.example.com".to_owned());
    assert_eq!(chat.origins, Some(vec![exact, below, OriginMatch::Absent]));
    assert_eq!(everything.matches, Match::new(HostMatch::Any, PathMatch::any(), Vec::new()));
    assert_eq!(everything.origins, None);
    let conditions: Vec<_> = canary.matches.conditions().iter().map(Condition::to_string).collect();
    let expected = [
        r"client_certificate = '~DNS:[a-z]+\.devices\.example'",
        r#"source = ["10.0.0.0/8", "2001:db8::/32"]"#,
        r#"subprotocols = ["graphql-transport-ws", "graphql-ws"]"#,
        r#"cookies.beta = "yes""#,
        r#"headers.x-canary = "1""#,
        "headers.user-agent = '~.*Firefox.*'",
        "headers.x-debug = false",
        "query.room = '~[0-9]+'",
        "query.embed = true",
        r#"methods = ["GET"]"#,
        r#"kind = "websocket""#,
    ];
    assert_eq!(conditions, expected);

    let Action::Split(split) = &canary.action else { panic!("several pools") };
    let shares: Vec<_> = split.shares.iter().map(|share| (share.pool.value.as_str(), share.weight)).collect();
    assert_eq!(shares, [("site", 95), ("site-next", 5)]);
    assert_eq!(split.by, Some(HashKey::Query("room".to_owned())));
    assert_eq!(canary.action.to_string(), "to pool `site` (95%) or `site-next` (5%), by query:room");

    let backends = &config.pools["chat"].backends;
    let addresses: Vec<_> = backends.iter().map(|backend| backend.address.value.to_string()).collect();
    assert_eq!(addresses, ["10.0.0.11:8080", "chat.internal:8080", "[fd00::12]:8080"]);
    let host = "fd00::12".to_owned();
    assert_eq!(backends[2].address.value, BackendAddress::Tcp { host, port: 8080 });
    assert_eq!(backends.iter().map(|backend| backend.weight).collect::<Vec<_>>(), [1, 1, 2]);
    let others = |backend: &Backend| (backend.state, backend.rank);
    assert!(backends.iter().all(|backend| others(backend) == (defaults::STATE, 0)));
    let bounds: Vec<_> = backends.iter().map(|backend| backend.max_tunnels).collect();
    assert_eq!((config.pools["chat"].max_tunnels, bounds), (Some(10_000), vec![None, None, Some(20_000)]));
    let queue = Queue { waiting_max: defaults::WAITING_MAX, timeout: defaults::QUEUE_TIMEOUT };
    assert_eq!(config.pools["chat"].queue, queue);
    assert_eq!((config.pools["site"].queue, config.pools["site"].backends[0].max_tunnels), (queue, None));

    let rate = |per_second, burst| {
        Some(HandshakeRate { rate: Rate::new(per_second, burst), wait: defaults::HANDSHAKE_WAIT })
    };
    assert_eq!((chat.handshake_rate, config.pools["chat"].handshake_rate), (rate(500, 1000), rate(200, 200)));
    assert_eq!((everything.handshake_rate, config.pools["site"].handshake_rate), (None, None));

    let hash = Hash { key: HashKey::Query("room".to_owned()), load_max: defaults::LOAD_MAX };
    assert_eq!(config.pools["rooms"].balance, Balance::Hash(hash));

    let short = parse(&[LISTENER, ROUTE, POOL, "sticky = {}\n"].concat()).unwrap();
    let [full, short] =
        [&config.pools["rooms"], &short.pools["p"]].map(|pool| pool.sticky.clone().expect("a cookie"));
    assert_eq!(full.keys.as_ref().unwrap().value.to_str(), Some("/etc/longhaul/certs/cookies.keys"));
    assert_eq!(
        (full.domain.as_deref(), full.max_age),
        (Some("example.com"), Some(Duration::from_secs(86_400)))
    );
    assert_eq!(Sticky { keys: None, domain: None, max_age: None, ..full }, short);
}

#[test]
fn what_a_pool_hashes() {
    let hashed = |written: &str| {
        let balance = format!("balance = {{ hash = \"{written}\", load_max = \"125%\" }}\n");
        let mut config = parse(&[LISTENER, ROUTE, POOL, &balance].concat()).unwrap();
        let Balance::Hash(hash) = config.pools.remove("p").unwrap().balance else { panic!("a hash") };
        assert_eq!(hash.load_max, Some(125));
        hash.key
    };
    assert_eq!(hashed("client"), HashKey::Client);
    assert_eq!(hashed("path"), HashKey::Path);
    assert_eq!(hashed("header:X-Room"), HashKey::Header("x-room".parse().unwrap()));
    assert_eq!(hashed("cookie:Sid"), HashKey::Cookie("Sid".to_owned()));
    assert_eq!(hashed("query:the room"), HashKey::Query("the room".to_owned()));
}

#[test]
fn splits_are_kept_in_one_form() {
    let action = |split: &str| {
        let route = format!("[[routes]]\nname = \"r\"\nsplit = {split}\n");
        let other = "[pools.q]\nbackends = [\"127.0.0.1:3\"]\n";
        let config = parse(&[LISTENER, &route, POOL, other].concat());
        config.unwrap_or_else(|problems| panic!("{problems}")).routes.remove(0).action
    };
    let one = action("[{ pool = 'q', weight = 2 }, { pool = 'p' }]");
    assert_eq!(one, action("[{ pool = 'p', weight = 1 }, { pool = 'q', weight = 2 }]"));
    assert_ne!(one, action("[{ pool = 'p', weight = 2 }, { pool = 'q', weight = 4 }]"));
    assert_eq!(one.to_string(), "to pool `p` (33.33%) or `q` (66.67%)");
    assert_eq!(
        action("[{ pool = 'p' }, { pool = 'q', weight = 0 }]").to_string(),
        "to pool `p` (100%) or `q` (0%)"
    );
}

#[test]
fn tls_to_backends() {
    let pool = |tls: &str| {
        let mut config = parse(&[LISTENER, ROUTE, POOL, tls, "\n"].concat()).unwrap();
        (config.pools.remove("p").unwrap().tls, config.warnings, config.watched.files)
    };
    let file =
        |name: &str| At { value: Pem::File(Path::new("/etc/longhaul").join(name)), place: Place::default() };
    let (tls, warnings, watched) =
        pool(r#"tls = { ca = "ca.pem", cert = "own/a.pem", key = "/a.key", server_name = "A.Example." }"#);
    let tls = tls.unwrap().value;
    assert_eq!(tls.trust, Trust::Authorities(file("ca.pem")));
    assert_eq!(tls.certificate, Some(Certificate { cert: file("own/a.pem"), key: file("/a.key") }));
    assert_eq!(tls.server_name.as_deref(), Some("a.example"));
    assert!(warnings.is_empty());
    let expected = ["/a.key", "/etc/longhaul/ca.pem", "/etc/longhaul/own/a.pem"];
    assert!(watched.iter().map(|path| path.to_str().unwrap()).eq(expected));

    let (tls, ..) = pool(r#"tls = { server_name = "[::1]", min_version = "1.3" }"#);
    let tls = tls.unwrap().value;
    assert_eq!((tls.server_name.as_deref(), tls.min_version), (Some("::1"), TlsVersion::V1_3));

    let (tls, warnings, _) = pool(r#"tls = { verify = "none" }"#);
    assert_eq!(tls.unwrap().value.trust, Trust::Anyone);
    let [warning] = warnings.iter().as_slice() else { panic!("{warnings}") };
    assert_eq!(warnings.sources().line_column(&warning.place), (9, 18));
    assert!(warning.message.contains("not verified"), "{}", warning.message);
}

#[test]
fn connections_are_kept_unless_each_names_its_client() {
    let keepalive = |text: &str| {
        let mut config = parse(&[LISTENER, ROUTE, POOL, text, "\n"].concat()).unwrap();
        config.pools.remove("p").unwrap().keepalive
    };
    let default = keepalive("").unwrap();
    assert_eq!(keepalive("keepalive = {}"), Some(default));
    let own = Keepalive { idle_max: 7, timeout: Duration::from_millis(50), ..default };
    assert_eq!(keepalive("keepalive = { idle_max = 7, timeout = \"50ms\" }"), Some(own));
    for off in
        ["keepalive = \"off\"", "proxy_protocol = \"v2\"", "proxy_protocol = \"v1\"\nkeepalive = \"off\""]
    {
        assert_eq!(keepalive(off), None, "{off}");
    }
}

#[test]
fn admin_addresses() {
    let admin = |address: &str| {
        let text = format!("[admin]\naddress = \"{address}\"\n");
        parse(&[&text, LISTENER, ROUTE, POOL].concat()).unwrap().admin.unwrap().value
    };
    for (text, address) in [
        ("127.0.0.1:9900", ListenAddress::Tcp("127.0.0.1:9900".parse().unwrap())),
        ("[::1]:0", ListenAddress::Tcp("[::1]:0".parse().unwrap())),
        ("unix:/run/longhaul.sock", ListenAddress::Unix("/run/longhaul.sock".into())),
    ] {
        assert_eq!(admin(text), address);
        assert_eq!(address.to_string(), text);
    }
    assert_eq!(admin("unix:admin.sock"), ListenAddress::Unix("/etc/longhaul/admin.sock".into()));
}

#[test]
fn off_and_auto_mean_none() {
    let text = "server = { workers = \"auto\" }\ntcp = { keepalive = \"off\", user_timeout = \"1s\", unsent_max = \"off\" }\n";
    let config = parse(&[text, LISTENER, ROUTE, POOL].concat()).unwrap();
    assert_eq!(config.server.workers, None);
    let user_timeout = Some(Duration::from_secs(1));
    assert_eq!(config.tcp, Tcp { keepalive: None, user_timeout, unsent_max: None });
    let text = "server = { workers = 3 }\n";
    let config = parse(&[text, LISTENER, ROUTE, POOL].concat()).unwrap();
    assert_eq!(config.server.workers, Some(3));
}

#[test]
fn hosts_paths_and_origins_are_kept_in_one_form() {
    let text = r#"
[[routes]]
name = "a"
pool = "p"
host = "*.Chat.Example.COM."
path = "/a%20b"
origins = ["HTTPS://Chat.Example.com:443", "http://a:443", "capacitor://localhost", "null", "http://[0:0::1]:80"]
[[routes]]
name = "b"
pool = "p"
host = "[0::1]"
"#;
    let config = parse(&[text, LISTENER, POOL].concat()).unwrap();
    let [a, b] = config.routes.as_slice() else { panic!("two routes") };
    assert_eq!(a.matches.host, HostMatch::Below("chat.example.com".to_owned()));
    assert_eq!(a.matches.path, PathMatch::Exact("/a%20b".to_owned()));
    let exact = |text: &str| OriginMatch::Exact(text.to_owned());
    let expected = [
        exact("https://chat.example.com"),
        exact("http://a:443"),
        exact("capacitor://localhost"),
        OriginMatch::Null,
        exact("http://[::1]"),
    ];
    assert_eq!(a.origins.as_deref(), Some(expected.as_slice()));
    assert_eq!(b.matches.host, HostMatch::Exact("::1".to_owned()));
}

#[test]
fn matches_are_kept_in_one_form() {
    let route = |keys: &str| {
        let mut config =
            parse(&[LISTENER, POOL, ROUTE, keys].concat()).unwrap_or_else(|problems| panic!("{problems}"));
        config.routes.remove(0).matches
    };
    for (one, other) in [
        ("path = '/*'", ""),
        ("methods = ['POST', 'GET', 'GET']", "methods = ['GET', 'POST']"),
        ("subprotocols = ['b', 'a', 'b']", "subprotocols = ['a', 'b']"),
        ("source = ['10.1.0.0/16', '::ffff:10.0.0.0/104', '10.2.3.4']", "source = ['10.0.0.0/8']"),
        ("source = ['10.0.0.0/9', '10.128.0.0/9']", "source = ['10.0.0.0/8']"),
        ("headers = { B = '1', A = true }", "headers = { a = true, b = '1' }"),
        ("kind = 'http'\nquery = { q = false }", "query = { q = false }\nkind = 'http'"),
    ] {
        assert_eq!(route(one), route(other));
    }
    for (one, other) in [
        ("headers = { a = '~1' }", "headers = { a = '1' }"),
        ("headers = { a = '1' }", "cookies = { a = '1' }"),
        ("headers = { a = true }", "headers = { a = false }"),
        ("host = '~a'", "host = 'a'"),
        ("path = '~/a'", "path = '/a'"),
    ] {
        assert_ne!(route(one), route(other));
    }
}

#[test]
fn the_full_example_names_every_key() {
    let mut written = BTreeSet::new();
    let table = DeTable::parse(FULL).unwrap();
    written_paths(&DeValue::Table(table.into_inner()), "", &mut written);
    let known = known_paths(FileWords::KEYS, "");
    let missing: Vec<_> = known.difference(&written).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

fn known_paths(keys: &[Key], above: &str) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for key in keys {
        let path = format!("{above}.{}", key.name);
        let below = match key.shape {
            Shape::Map { .. } => format!("{path}.NAME"),
            _ => path.clone(),
        };
        paths.extend(known_paths(key.shape.keys(), &below));
        paths.insert(path);
    }
    paths
}

fn written_paths(value: &DeValue<'_>, above: &str, paths: &mut BTreeSet<String>) {
    match value {
        DeValue::Array(entries) => {
            entries.iter().for_each(|entry| written_paths(entry.get_ref(), above, paths));
        }
        // The operator's names are not part of the language.
        DeValue::Table(pools) if above == ".pools" => {
            for pool in pools.values() {
                written_paths(pool.get_ref(), ".pools.NAME", paths);
            }
        }
        DeValue::Table(table) => {
            for (key, value) in table.iter() {
                let path = format!("{above}.{}", key.get_ref());
                written_paths(value.get_ref(), &path, paths);
                paths.insert(path);
            }
        }
        _ => {}
    }
}

#[test]
fn every_key_is_documented() {
    assert!(keys(FileWords::KEYS).count() > 50);
    for key in keys(FileWords::KEYS) {
        let summary = key.doc.lines().next().unwrap_or_default().trim();
        assert!(summary.len() > 8 && summary.ends_with('.'), "{}: {summary}", key.name);
        let default_is_told =
            ["default", "absent", "required with"].iter().any(|word| key.doc.contains(word));
        let table = matches!(key.shape, Shape::Table { .. });
        assert!(key.need != Need::Optional || table || default_is_told, "{}: {summary}", key.name);
    }
}

/// These keys and those of all tables below.
fn keys(own: &'static [Key]) -> Box<dyn Iterator<Item = &'static Key>> {
    Box::new(own.iter().flat_map(|key| std::iter::once(key).chain(keys(key.shape.keys()))))
}

#[test]
fn a_file_of_problems_is_bounded() {
    let text = "x = 1\n".repeat(5_000) + &"[[routes]]\nname = 1\nyz = 2\n".repeat(5_000);
    let problems = parse(&text).unwrap_err();
    assert_eq!(problems.iter().count(), problem::LISTED_MAX);
    assert!(problems.len() > 15_000);
    assert!(problems.render(false).len() < 100_000);
    let long = format!("{} = \"{}\"", "k".repeat(100_000), "v".repeat(100_000));
    assert!(parse(&long).unwrap_err().render(true).len() < 10_000);
}

#[test]
fn what_a_pool_can_never_have_is_warned_of() {
    let one = POOL;
    let two = &POOL.replace("\"]", "\", \"127.0.0.2:2\"]");
    let off = "[pools.p]\nbackends = [{ address = \"127.0.0.1:1\", state = \"disabled\" }]\n";
    for (pool, keys, expected) in [
        (one, "retry = {}\n", "has no retries"),
        (one, "ejection = {}\n", "has no ejections"),
        (one, "balance = \"least-connections\"\nrebalance = {}\n", "nothing to rebalance"),
        (two, "retry = {}\nejection = {}\nbalance = \"least-connections\"\nrebalance = {}\n", ""),
        (off, "", "all backends of this pool are disabled"),
        (two, "source_addresses = [\"127.0.0.3\", \"::1\"]\n", ""),
        (two, "source_addresses = [\"::1\"]\n", "of another family"),
    ] {
        let warnings = parse(&[LISTENER, ROUTE, pool, keys].concat()).unwrap().warnings;
        let messages: Vec<_> = warnings.iter().map(|warning| warning.message.clone()).collect();
        assert_eq!(messages.len(), usize::from(!expected.is_empty()), "{keys}: {messages:?}");
        assert!(messages.iter().all(|message| message.contains(expected)), "{messages:?}");
    }
}

#[test]
fn what_a_route_can_never_have_is_warned_of() {
    let bytes = |frame_max: u64, over: &str| {
        let bytes = "bytes = { per_second = \"1KiB\", burst = \"100B\" }";
        format!("frames.to_client = {{ frame_max = \"{frame_max}B\", {bytes}, over = \"{over}\" }}\n")
    };
    for (keys, expected) in [
        ("max_age_jitter = \"5%\"\n".to_string(), "without `max_age`"),
        ("max_age_jitter = \"5%\"\nmax_age = \"1h\"\n".into(), ""),
        (bytes(99, "close"), ""),
        (bytes(100, "close"), "larger than the burst of `bytes` never passes"),
        (bytes(100, "wait"), ""),
        // Half of all handshakes that there may be, and more.
        ("handshake_rate = { per_second = 50, wait = \"1s\" }\n".into(), ""),
        ("handshake_rate = { per_second = 51, wait = \"1s\" }\n".into(), "as many as 51 handshakes may wait"),
        ("handshake_rate = { per_second = 1, wait = \"7d\" }\n".into(), "as many as 604800 handshakes"),
    ] {
        let limits = "[limits]\nhandshakes_max = 100\n";
        let warnings = parse(&[limits, LISTENER, ROUTE, &keys, POOL].concat()).unwrap().warnings;
        let messages: Vec<_> = warnings.iter().map(|warning| warning.message.clone()).collect();
        assert_eq!(messages.len(), usize::from(!expected.is_empty()), "{keys}: {messages:?}");
        assert!(messages.iter().all(|message| message.contains(expected)), "{messages:?}");
    }
}

#[test]
fn a_try_leaves_time_for_others() {
    for (handshake_timeout, expected) in [("10s", 3_000), ("3s", 1_000), ("600ms", 200), ("9s", 3_000)] {
        let keys = format!("retry = {{}}\nhandshake_timeout = \"{handshake_timeout}\"\n");
        let mut config = parse(&[LISTENER, ROUTE, POOL, &keys].concat()).unwrap();
        let retry = config.pools.remove("p").unwrap().retry.unwrap();
        assert_eq!(
            retry.try_timeout,
            Some(std::time::Duration::from_millis(expected)),
            "{handshake_timeout}"
        );
    }
}
