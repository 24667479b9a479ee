//! A list in a file: how it is noticed, what is taken from it, and what becomes of those that are no longer in it.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{REMOVED, answers, backends, config, echoes, load, one_each, open};
use crate::health::{ONCE, PASSES, probed, probes, up};
use crate::kit::{Backend, Client, Proxy, Reloaded, SOME_DAY, WebSocket, plain};

/// The text of a list.
pub fn list(backends: &[SocketAddr]) -> String {
    let entries: Vec<String> = backends.iter().map(|address| format!("\"{address}\"")).collect();
    format!("backends = [{}]\n", entries.join(", "))
}

fn path(proxy: &Proxy) -> PathBuf {
    proxy.folder.path().join("list.toml")
}

/// Renames a new list over the old one.
pub fn write(proxy: &Proxy, text: &str) {
    let new = proxy.folder.path().join("list.toml.new");
    fs::write(&new, text).expect("a writable folder");
    fs::rename(new, path(proxy)).expect("a writable folder");
}

/// Starts longhaul on a list, and waits for the first look at it.
pub async fn start(keys: &str, pool: &str, text: &str) -> Proxy {
    let proxy = start_arranged(keys, pool, |folder| {
        fs::write(folder.join("list.toml"), text).expect("a writable folder");
    })
    .await;
    proxy.wait_metric(&answers("unchanged"), 1.0).await;
    proxy
}

/// Starts longhaul after `arrange` has changed its folder.
async fn start_arranged(keys: &str, pool: &str, arrange: impl FnOnce(&Path)) -> Proxy {
    let discovery = format!("kind = \"file\", path = \"list.toml\"{keys}");
    Proxy::start_with(&config(&discovery, pool), |command: &mut Command| {
        let file = command.get_args().last().map(PathBuf::from).expect("the file is the last argument");
        arrange(file.parent().expect("a folder"));
        command
    })
    .await
}

#[tokio::test]
async fn who_is_added_serves_and_the_configuration_is_the_same() {
    let (_backends, [one, two]) = echoes(["one", "two"]).await;
    let proxy = start("", "", &list(&[one])).await;
    let (mut first, name) = open(&proxy).await;
    assert_eq!(name, "one");
    write(&proxy, &list(&[two, one]));
    proxy.wait_metric(&backends("named"), 2.0).await;
    // It has nothing to carry yet.
    let (mut second, name) = open(&proxy).await;
    assert_eq!(name, "two");
    assert_eq!(proxy.metric(&load(one)).await, 1.0);
    assert_eq!(proxy.metric(&load(two)).await, 1.0);
    assert_eq!(proxy.metric(&up(two)).await, 1.0);
    assert_eq!(proxy.generation().await, 1);
    let change = proxy.record("backends changed").await;
    assert_eq!(
        (&change["added"], &change["removed"], &change["backends"]),
        (&1.into(), &0.into(), &2.into())
    );
    for socket in [&mut first, &mut second] {
        socket.round_trip("still here").await;
    }
}

#[tokio::test]
async fn weights_are_those_of_the_list() {
    let (_backends, [one, two]) = echoes(["one", "two"]).await;
    let text = format!("backends = [{{ address = \"{one}\", weight = 3 }}, \"{two}\"]");
    let proxy = start("", "", &text).await;
    let mut tunnels = Vec::new();
    for _ in 0..8 {
        tunnels.push(open(&proxy).await);
    }
    assert_eq!(proxy.metric(&load(one)).await, 6.0);
    write(&proxy, &list(&[one, two]));
    proxy.wait_metric(&answers("changed"), 1.0).await;
    for _ in 0..4 {
        let (socket, name) = open(&proxy).await;
        assert_eq!(name, "two");
        tunnels.push((socket, name));
    }
}

/// Another pool, whose backends have no grace: when a tunnel there is cut, all that leave have been looked at.
struct Brief {
    folder: tempfile::TempDir,
    _backends: [Backend; 2],
    addresses: [SocketAddr; 2],
}

impl Brief {
    async fn new() -> Brief {
        let (backends, addresses) = echoes(["leaves", "other"]).await;
        let brief = Brief { folder: tempfile::tempdir().expect("a folder"), _backends: backends, addresses };
        brief.name(&addresses[..1]);
        brief
    }

    fn name(&self, backends: &[SocketAddr]) {
        let new = self.folder.path().join("new");
        fs::write(&new, list(backends)).expect("a writable folder");
        fs::rename(new, self.folder.path().join("list.toml")).expect("a writable folder");
    }

    fn config(&self) -> String {
        let path = self.folder.path().join("list.toml");
        format!(
            "[[routes]]\nname = \"brief\"\npath = \"/brief\"\npool = \"brief\"\n[pools.brief]\n\
             discovery = {{ kind = \"file\", path = \"{}\", removal_grace = \"0s\" }}",
            path.display()
        )
    }

    async fn open(&self, proxy: &Proxy) -> WebSocket<Client> {
        let (mut socket, _) = proxy.connect("plain").await.open("/brief", "example.com", "").await;
        assert_eq!(socket.receive_text().await, "leaves");
        socket
    }

    /// Lets the backend of a tunnel leave, and waits for its end.
    async fn is_left(&self, tunnel: WebSocket<Client>) {
        self.name(&self.addresses[1..]);
        tunnel.parts(1012).await;
    }
}

/// A backend that left is let go when its grace is over; one that came back before that has never been away.
#[tokio::test]
async fn who_is_removed_keeps_its_tunnels_for_the_grace_unless_it_comes_back() {
    let (_backends, [one, two, three]) = echoes(["one", "two", "three"]).await;
    let brief = Brief::new().await;
    let proxy = start(", removal_grace = \"5s\"", &brief.config(), &list(&[one, two, three])).await;
    let [mut back, mut gone, mut stays] = one_each(&proxy, ["one", "two", "three"]).await;

    let witness = brief.open(&proxy).await;
    write(&proxy, &list(&[two, three]));
    proxy.wait_metric(&backends("leaving"), 1.0).await;
    // It was looked at, and its time was not over.
    brief.is_left(witness).await;
    back.round_trip("left, and served").await;
    assert_eq!(proxy.metric(REMOVED).await, 0.0);
    write(&proxy, &list(&[one, two, three]));
    proxy.wait_metric(&backends("leaving"), 0.0).await;
    // The other one leaves later than the first did, so when it is gone the first would have been.
    write(&proxy, &list(&[one, three]));
    proxy.wait_metric(&backends("leaving"), 1.0).await;
    for _ in 0..2 {
        let (socket, name) = open(&proxy).await;
        assert_ne!(name, "two");
        socket.close(1000).await;
    }
    gone.round_trip("not yet").await;
    assert_eq!(proxy.metric(REMOVED).await, 0.0);

    gone.parts(1012).await;
    let removed = |line: &serde_json::Value| {
        line["message"] == "close" && line["reason"] == "backend_removed" && line["route"] == "all"
    };
    let close = proxy.wait_for("the record of the end", removed).await;
    assert_eq!(close["initiator"], "proxy");
    assert_eq!(close["backend"], two.to_string());
    proxy.wait_metric(&backends("leaving"), 0.0).await;
    for socket in [&mut back, &mut stays] {
        socket.round_trip("still here").await;
    }
    assert_eq!(proxy.metric(REMOVED).await, 1.0);
    assert_eq!((proxy.metric(&load(one)).await, proxy.metric(&load(three)).await), (1.0, 1.0));
    assert!(!proxy.scrape("/metrics").await.1.contains(&load(two)), "nobody holds it");
}

#[tokio::test]
async fn with_the_grace_off_tunnels_stay() {
    let (_backends, [one, two, three]) = echoes(["one", "two", "three"]).await;
    let proxy = start(", removal_grace = \"off\"", "", &list(&[one, two])).await;
    let [mut first, second] = one_each(&proxy, ["one", "two"]).await;
    write(&proxy, &list(&[three]));
    proxy.wait_metric(&backends("leaving"), 2.0).await;
    // Whoever carries nothing is let go; the other was looked at in the same moment.
    second.close(1000).await;
    proxy.wait_metric(&backends("leaving"), 1.0).await;
    first.round_trip("still here").await;
    assert_eq!(proxy.metric(REMOVED).await, 0.0);
    first.close(1000).await;
    proxy.wait_metric(&backends("leaving"), 0.0).await;
}

#[tokio::test]
async fn what_is_no_list_changes_nothing_and_is_told() {
    let (_backends, [one, two]) = echoes(["one", "two"]).await;
    let proxy = start("", "", &list(&[one])).await;
    let (mut tunnel, _) = open(&proxy).await;
    let rejected = async |result: &str, word: &str, place: &str| {
        proxy.wait_metric(&answers(result), 1.0).await;
        let told = |line: &serde_json::Value| {
            let message = line["message"].as_str().unwrap_or_default();
            message.starts_with("list of backends rejected: ") && message.contains(word)
        };
        let line = proxy.wait_for("the log", told).await;
        assert!(line["place"].as_str().expect("a place").ends_with(place), "{line}");
        assert_eq!(line["pool"], "all");
    };
    // As a writer leaves it that has not come to the end.
    let text = list(&[two, one]);
    fs::write(path(&proxy), text.trim_end_matches("]\n")).expect("a writable folder");
    rejected("malformed", "not closed", "list.toml:1:12").await;
    assert_eq!(proxy.metric(&backends("named")).await, 1.0);
    fs::remove_file(path(&proxy)).expect("a file");
    rejected("unreadable", "cannot read", "list.toml").await;
    write(&proxy, "backends = []\n");
    proxy.wait_metric(&answers("empty"), 1.0).await;
    assert_eq!(proxy.metric(&backends("named")).await, 1.0);
    tunnel.round_trip("still here").await;
    assert_eq!(open(&proxy).await.1, "one");

    write(&proxy, &text);
    proxy.wait_metric(&backends("named"), 2.0).await;
    assert_eq!(proxy.metric(&answers("changed")).await, 1.0);
}

#[tokio::test]
async fn the_same_list_in_other_words_is_no_change() {
    let (_backends, [one, two]) = echoes(["one", "two"]).await;
    let proxy = start("", "", &list(&[one, two])).await;
    for (looks, text) in [(2.0, list(&[two, one])), (3.0, format!("# Sorted.\n{}", list(&[one, two])))] {
        write(&proxy, &text);
        proxy.wait_metric(&answers("unchanged"), looks).await;
    }
    assert_eq!(proxy.metric(&answers("changed")).await, 0.0);
}

#[tokio::test]
async fn a_mounted_volume_that_swaps_its_symbolic_link() {
    let (_backends, [one, two]) = echoes(["one", "two"]).await;
    let volume = |folder: &Path, version: &str, backends: &[SocketAddr]| {
        fs::create_dir_all(folder.join(version)).expect("a writable folder");
        fs::write(folder.join(version).join("list.toml"), list(backends)).expect("a writable folder");
        symlink(version, folder.join("..data_tmp")).expect("a writable folder");
        fs::rename(folder.join("..data_tmp"), folder.join("..data")).expect("a writable folder");
    };
    let proxy = start_arranged("", "", |folder| {
        volume(folder, "..one", &[one]);
        symlink("..data/list.toml", folder.join("list.toml")).expect("a writable folder");
    })
    .await;
    proxy.wait_metric(&answers("unchanged"), 1.0).await;
    volume(proxy.folder.path(), "..two", &[two]);
    fs::remove_dir_all(proxy.folder.path().join("..one")).expect("a writable folder");
    proxy.wait_metric(&answers("changed"), 1.0).await;
    assert_eq!(open(&proxy).await.1, "two");
}

#[tokio::test]
async fn at_the_start_a_list_is_there_and_right_and_may_be_empty() {
    let folder = tempfile::tempdir().expect("a folder");
    let check = |text: Option<&str>| {
        let list = folder.path().join("list.toml");
        let _ = text.map(|text| fs::write(&list, text).expect("a writable folder"));
        let file = folder.path().join("longhaul.toml");
        fs::write(&file, config("kind = \"file\", path = \"list.toml\"", "")).expect("a writable folder");
        let command = Command::new(env!("CARGO_BIN_EXE_longhaul")).arg("check").arg(&file).output();
        let output = command.expect("longhaul runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, error) = check(None);
    assert_eq!(code, Some(78), "{error}");
    assert!(error.contains("cannot read ") && error.contains("longhaul.toml:10:"), "{error}");
    let (code, error) = check(Some("backends = [\n  \"a\",\n]"));
    assert_eq!(code, Some(78), "{error}");
    assert!(error.contains("\"a\" has no port") && error.contains("list.toml:2:3"), "{error}");
    assert_eq!(check(Some("backends = [\"a:1\"]")).0, Some(0));

    let (_backends, [one]) = echoes(["one"]).await;
    let proxy = start_arranged("", "", |folder| {
        fs::write(folder.join("list.toml"), "backends = []").expect("a writable folder");
    })
    .await;
    let mut client = proxy.connect("plain").await;
    client.send(crate::kit::handshake("/early", "example.com", "")).await;
    let head = client.head().await;
    assert_eq!((head.status(), head.get("retry-after")), (503, Some("2")));
    assert_eq!(proxy.refusal("/early").await, "no_backend_yet");
    assert_eq!(proxy.scrape("/readyz").await.0, 200);
    proxy.wait_metric(&answers("empty"), 1.0).await;
    write(&proxy, &list(&[one]));
    proxy.wait_metric(&backends("named"), 1.0).await;
    assert_eq!(open(&proxy).await.1, "one");
}

/// The next probe would come in an hour, so what is known afterwards was known before.
#[tokio::test]
async fn counts_and_health_survive_reloads_and_other_lists() {
    let (one, two) = (probed("one", || Some(PASSES)).await, probed("two", || Some(PASSES)).await);
    let health = format!("health = {{ {ONCE} }}");
    let proxy = start("", &health, &list(&[one.address])).await;
    proxy.wait_metric(&up(one.address), 1.0).await;
    let (mut tunnel, _) = open(&proxy).await;
    write(&proxy, &list(&[one.address, two.address]));
    proxy.wait_metric(&up(two.address), 1.0).await;
    let (mut second, name) = open(&proxy).await;
    assert_eq!(name, "two");

    let discovery = "kind = \"file\", path = \"list.toml\"";
    for keys in
        [format!("{health}\nconnect_timeout = \"1s\""), format!("{health}\nbalance = \"round-robin\"")]
    {
        assert_eq!(proxy.change_to(&config(discovery, &keys)).await, "pools ~1 (all)");
        assert_eq!(
            (proxy.metric(&load(one.address)).await, proxy.metric(&load(two.address)).await),
            (1.0, 1.0)
        );
        assert_eq!(proxy.metric(&backends("named")).await, 2.0);
    }
    // From here on the configuration lists one of them itself: the other is asked to go as anybody is whom a reload removes,
    // but comes back before its time.
    let listed = SOME_DAY.to_owned() + &plain(&[one.address]) + &health;
    assert_eq!(proxy.change_to(&listed).await, "pools ~1 (all), backends +1, drain");
    assert_eq!((proxy.metric(&load(one.address)).await, proxy.metric(&load(two.address)).await), (1.0, 1.0));
    assert!(!proxy.scrape("/metrics").await.1.contains("longhaul_discovery_backends{"));
    assert_eq!(proxy.change_to(&config(discovery, &health)).await, "pools ~1 (all), backends -1, drain");
    assert_eq!(proxy.metric(&backends("named")).await, 2.0);
    assert_eq!(proxy.metric(&probes(one.address, "passed")).await, 1.0);
    for socket in [&mut tunnel, &mut second] {
        socket.round_trip("still here").await;
    }
}

#[tokio::test]
async fn a_reload_to_a_list_that_is_wrong_is_rejected_and_waits_for_it() {
    let (_backends, [one, two]) = echoes(["one", "two"]).await;
    let proxy = Proxy::start(&plain(&[one])).await;
    proxy.rewrite(&config("kind = \"file\", path = \"list.toml\"", ""));
    let Reloaded::Rejected(problem) = proxy.reload().await else { panic!("there is no list") };
    assert!(problem.contains("cannot read") && problem.contains("longhaul.toml:10:"), "{problem}");
    write(&proxy, "backends = [\"a\"]");
    let told = |line: &serde_json::Value| {
        line["place"].as_str().is_some_and(|place| place.ends_with("list.toml:1:13"))
    };
    proxy.wait_for("the wrong list to be noticed", told).await;
    assert_eq!(open(&proxy).await.1, "one");
    write(&proxy, &list(&[two]));
    proxy.wait_metric(&backends("named"), 1.0).await;
    assert_eq!(open(&proxy).await.1, "two");
}

#[tokio::test]
async fn however_often_the_list_changes_no_tunnel_of_who_is_named_is_lost() {
    let (all, addresses) = echoes(["a", "b", "c", "d"]).await;
    let proxy = start(", removal_grace = \"0s\"", "balance = \"round-robin\"", &list(&addresses)).await;
    let mut tunnels = Vec::new();
    for round in 1..=12 {
        // One of the last three is away at a time; the tunnels of the first live through it all.
        let away = 1 + round % 3;
        let named: Vec<_> = addresses.iter().copied().filter(|address| *address != addresses[away]).collect();
        write(&proxy, &list(&named));
        proxy.wait_metric(&answers("changed"), round as f64).await;
        for _ in 0..4 {
            tunnels.push(open(&proxy).await);
        }
        tunnels.retain(|(_, name)| name == "a");
    }
    assert!(tunnels.len() > 5, "{}", tunnels.len());
    for (socket, _) in &mut tunnels {
        socket.round_trip("still here").await;
    }
    drop(all);
}

/// What a pool leaves behind is forgotten with it.
#[tokio::test]
async fn a_pool_that_goes_takes_its_source_with_it() {
    let (_backends, [one]) = echoes(["one"]).await;
    let proxy = start("", "", &list(&[one])).await;
    let other = Backend::echo("other").await;
    let rest = plain(&[other.address]).replace("\"all\"", "\"rest\"").replace("pools.all", "pools.rest");
    proxy.change_to(&rest).await;
    assert!(!proxy.scrape("/metrics").await.1.contains("longhaul_discovery_"));
}
