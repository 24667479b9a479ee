//! Changes that nobody tells of: what is noticed by itself, however it was written, and what is not taken for a change.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tokio::time::Instant;

use crate::kit::{Backend, Client, Pki, Proxy, handshake, plain, secure};

/// Starts longhaul and waits until the watch has had its first look.
async fn start(config: &str) -> Proxy {
    start_arranged(config, |_| {}).await
}

/// Waits until the watch has brought this generation.
async fn noticed(proxy: &Proxy, generation: u64) -> String {
    let changed =
        |line: &Value| line["message"] == "configuration changed" && line["generation"] == generation;
    let line = proxy.wait_for("the change to be noticed", changed).await;
    assert_eq!(line["asked_by"], "watch");
    line["change"].as_str().expect("a change").to_string()
}

/// Waits until the watch has brought a file that says this and is wrong; the log's length then.
async fn rejected(proxy: &Proxy, skipped: usize, word: &str) -> usize {
    let rejected = |line: &Value| {
        let message = line["message"].as_str().unwrap_or_default();
        message.starts_with("configuration rejected: ") && message.contains(word)
    };
    let line = proxy.wait_after(skipped, "the wrong file to be noticed", rejected).await;
    assert_eq!(line["asked_by"], "watch");
    proxy.log_length()
}

/// `config`, with this deadline in its first route.
fn with_idle_timeout(config: &str, minutes: usize) -> String {
    config.replacen("name = \"all\"\n", &format!("name = \"all\"\nidle_timeout = \"{minutes}m\"\n"), 1)
}

/// A file with a further route.
fn route(name: &str) -> String {
    format!("[[routes]]\nname = \"{name}\"\npath = \"/{name}\"\npool = \"all\"\n")
}

/// The status of a handshake for `path`.
async fn status(proxy: &Proxy, path: &str) -> u16 {
    let mut client = proxy.connect("plain").await;
    client.send(handshake(path, "example.com", "")).await;
    client.head().await.status()
}

/// A configuration whose routes are all in `routes/`, but for one.
fn with_includes(backend: &Backend) -> String {
    let base = plain(&[backend.address]).replacen("name = \"all\"\n", "name = \"all\"\npath = \"/\"\n", 1);
    format!("include = [\"routes/*.toml\"]\n{base}")
}

/// Starts longhaul after `arrange` has changed its folder.
async fn start_arranged(config: &str, arrange: impl FnOnce(&Path)) -> Proxy {
    let proxy = Proxy::start_with(config, |command: &mut Command| {
        let file = command.get_args().last().map(PathBuf::from).expect("the file is the last argument");
        arrange(file.parent().expect("a folder"));
        command
    })
    .await;
    // What changed while longhaul started would be found by it.
    proxy.wait_metric("longhaul_config_reloads_total{result=\"unchanged\"}", 1.0).await;
    proxy
}

#[tokio::test]
async fn a_file_that_is_renamed_over() {
    let backend = Backend::echo("one").await;
    let base = plain(&[backend.address]);
    let proxy = start(&base).await;
    for generation in 2..5 {
        proxy.rewrite(&with_idle_timeout(&base, generation));
        assert_eq!(noticed(&proxy, generation as u64).await, "routes ~1 (all)");
    }
    assert_eq!(proxy.reloads("accepted").await, 3);
    assert_eq!(proxy.reloads("rejected").await, 0);
}

#[tokio::test]
async fn a_file_that_is_written_in_two_steps() {
    let backend = Backend::echo("one").await;
    let base = plain(&[backend.address]);
    let proxy = start(&base).await;
    let whole = fs::read_to_string(proxy.file()).expect("the file");
    // The first step is no valid file.
    let cut = whole.find("backends").expect("a pool") + 4;
    for (generation, waits) in [(2, false), (3, true), (4, false)] {
        let text = with_idle_timeout(&whole, generation);
        let (first, second) = text.split_at(cut + text.len() - whole.len());
        let (skipped, begun) = (proxy.log_length(), Instant::now());
        let mut file = fs::File::create(proxy.file()).expect("a writable folder");
        file.write_all(first.as_bytes()).expect("room");
        let rejections = proxy.reloads("rejected").await;
        if waits {
            // Whoever takes so long is caught in between, and nothing is lost by it.
            rejected(&proxy, skipped, "").await;
            assert_eq!(proxy.generation().await, generation as u64 - 1);
        }
        file.write_all(second.as_bytes()).expect("room");
        let quick = begun.elapsed().as_millis() < 200;
        noticed(&proxy, generation as u64).await;
        if !waits && quick {
            assert_eq!(proxy.reloads("rejected").await, rejections, "the file was read while it was written");
        }
        proxy.wait_metric("longhaul_config_last_reload_successful", 1.0).await;
    }
}

#[tokio::test]
async fn a_mounted_volume_that_swaps_its_symbolic_link() {
    let backend = Backend::echo("one").await;
    let base = with_includes(&backend);
    // As Kubernetes lays out a ConfigMap: every file leads through `..data`, which is all that is ever exchanged.
    let volume = |folder: &Path, version: &str, name: &str, text: &str| {
        fs::create_dir_all(folder.join(version)).expect("a writable folder");
        fs::write(folder.join(version).join(name), text).expect("a writable folder");
        symlink(version, folder.join("..data_tmp")).expect("a writable folder");
        fs::rename(folder.join("..data_tmp"), folder.join("..data")).expect("a writable folder");
    };
    let proxy = start_arranged(&base, |folder| {
        let text = fs::read_to_string(folder.join("longhaul.toml")).expect("the file");
        fs::remove_file(folder.join("longhaul.toml")).expect("a writable folder");
        volume(folder, "..one", "longhaul.toml", &text);
        symlink("..data/longhaul.toml", folder.join("longhaul.toml")).expect("a writable folder");
        volume(&folder.join("routes"), "..one", "a.toml", &route("a"));
        symlink("..data/a.toml", folder.join("routes/a.toml")).expect("a writable folder");
    })
    .await;
    let text = fs::read_to_string(proxy.file()).expect("the file");
    volume(proxy.folder.path(), "..two", "longhaul.toml", &with_idle_timeout(&text, 7));
    fs::remove_dir_all(proxy.folder.path().join("..one")).expect("a writable folder");
    assert_eq!(noticed(&proxy, 2).await, "routes ~1 (all)");
    assert_eq!(status(&proxy, "/a").await, 101);
    volume(&proxy.folder.path().join("routes"), "..two", "a.toml", &route("b"));
    assert_eq!(noticed(&proxy, 3).await, "routes +1 -1 (added b; removed a)");
    assert_eq!((status(&proxy, "/a").await, status(&proxy, "/b").await), (404, 101));
    assert_eq!(proxy.reloads("rejected").await, 0);
}

#[tokio::test]
async fn included_files_that_come_and_go() {
    let backend = Backend::echo("one").await;
    let proxy = start_arranged(&with_includes(&backend), |folder| {
        fs::create_dir(folder.join("routes")).expect("a writable folder");
        fs::write(folder.join("routes/a.toml"), route("a")).expect("a writable folder");
    })
    .await;
    let routes = proxy.folder.path().join("routes");
    assert_eq!((status(&proxy, "/a").await, status(&proxy, "/b").await), (101, 404));
    fs::write(routes.join("b.toml"), route("b")).expect("a writable folder");
    assert_eq!(noticed(&proxy, 2).await, "routes +1 (b)");
    assert_eq!(status(&proxy, "/b").await, 101);
    fs::write(routes.join("b.toml"), route("c")).expect("a writable folder");
    assert_eq!(noticed(&proxy, 3).await, "routes +1 -1 (added c; removed b)");
    // What editors leave beside it is no file of the configuration.
    for name in [".b.toml.swp", "b.toml~", ".c.toml"] {
        fs::write(routes.join(name), "[wrong").expect("a writable folder");
    }
    fs::remove_file(routes.join("a.toml")).expect("a writable folder");
    assert_eq!(noticed(&proxy, 4).await, "routes -1 (a)");
    assert_eq!((status(&proxy, "/a").await, status(&proxy, "/c").await), (404, 101));
    fs::rename(routes.join("b.toml"), routes.join("renamed.toml")).expect("a writable folder");
    fs::write(routes.join("last.toml"), route("last")).expect("a writable folder");
    assert_eq!(noticed(&proxy, 5).await, "routes +1 (last)");
    assert_eq!(proxy.reloads("rejected").await, 0);
}

#[tokio::test]
async fn a_folder_of_included_files_that_comes_later() {
    let backend = Backend::echo("one").await;
    let proxy = start(&with_includes(&backend)).await;
    let routes = proxy.folder.path().join("routes");
    fs::create_dir(&routes).expect("a writable folder");
    fs::write(routes.join("a.toml"), route("a")).expect("a writable folder");
    assert_eq!(noticed(&proxy, 2).await, "routes +1 (a)");
    fs::write(routes.join("b.toml"), route("b")).expect("a writable folder");
    assert_eq!(noticed(&proxy, 3).await, "routes +1 (b)");
}

#[tokio::test]
async fn a_certificate_and_its_key() {
    let (backend, pki) = (Backend::echo("one").await, Pki::new());
    let first = pki.issue(&["chat.example.com"]);
    let proxy = start(&(plain(&[backend.address]) + &secure(&[&first]))).await;
    let shown = async || {
        let client = Client::connect_tls(proxy.address("secure"), &pki, "chat.example.com").await;
        client.certificate().expect("a certificate")
    };
    let other = pki.issue(&["other.example.com"]);
    fs::copy(&other.key, &first.key).expect("a writable folder");
    rejected(&proxy, 0, "").await;
    proxy.wait_metric("longhaul_config_last_reload_successful", 0.0).await;
    assert!(shown().await == first.der, "the pair in use stays");
    let second = pki.issue(&["chat.example.com"]);
    assert_eq!(noticed(&proxy, 2).await, "certificates");
    assert!(shown().await == second.der);
    proxy.wait_metric("longhaul_config_last_reload_successful", 1.0).await;
}

/// The main file is right from the first moment on; what it names is not.
#[tokio::test]
async fn what_a_wrong_configuration_names_is_watched_until_it_is_right() {
    let (backend, pki) = (Backend::echo("one").await, Pki::new());
    let base = plain(&[backend.address]).replacen("name = \"all\"\n", "name = \"all\"\npath = \"/\"\n", 1);
    let proxy = start(&base).await;
    let extra = proxy.folder.path().join("extra.toml");
    let with_extra = format!("include = [\"extra.toml\"]\n{base}");
    proxy.rewrite(&with_extra);
    let seen = rejected(&proxy, 0, "extra.toml").await;
    fs::write(&extra, route("extra").replace("path", "paht")).expect("a writable folder");
    rejected(&proxy, seen, "paht").await;
    assert_eq!(proxy.generation().await, 1);
    fs::write(&extra, route("extra")).expect("a writable folder");
    assert_eq!(noticed(&proxy, 2).await, "routes +1 (extra)");
    assert_eq!(status(&proxy, "/extra").await, 101);

    // The same with a certificate that comes after its listener, in a folder that nothing else is in.
    let issued = pki.issue(&["chat.example.com"]);
    let waiting = [issued.cert.with_extension("later"), issued.key.with_extension("later.key")];
    for (now, later) in [&issued.cert, &issued.key].into_iter().zip(&waiting) {
        fs::rename(now, later).expect("a writable folder");
    }
    let skipped = proxy.log_length();
    proxy.rewrite(&(with_extra + &secure(&[&issued])));
    rejected(&proxy, skipped, "chat.example.com").await;
    for (then, now) in [&issued.key, &issued.cert].into_iter().zip(waiting.iter().rev()) {
        fs::rename(now, then).expect("a writable folder");
    }
    assert_eq!(noticed(&proxy, 3).await, "listeners +1 (secure)");
    let client = Client::connect_tls(proxy.address("secure"), &pki, "chat.example.com").await;
    assert!(client.certificate().as_ref() == Some(&issued.der));
}

/// The log does not end with an error that has been put right.
#[tokio::test]
async fn a_wrong_file_that_is_taken_back_is_told() {
    let backend = Backend::echo("one").await;
    let base = plain(&[backend.address]);
    let proxy = start(&base).await;
    proxy.rewrite(&base.replace("pool", "pol"));
    rejected(&proxy, 0, "pol").await;
    proxy.rewrite(&base);
    let again = |line: &Value| line["message"] == "the configuration's file is again what is in force";
    let line = proxy.wait_for("word of it", again).await;
    assert_eq!((&line["level"], &line["generation"]), (&"INFO".into(), &1.into()));
    proxy.wait_metric("longhaul_config_last_reload_successful", 1.0).await;
}

/// The change at the end shows that what came before it had been looked at.
#[tokio::test]
async fn reading_and_touching_are_no_change() {
    let backend = Backend::echo("one").await;
    let base = plain(&[backend.address]);
    let proxy = start(&base).await;
    for generation in 2..5 {
        for _ in 0..20 {
            let text = fs::read(proxy.file()).expect("the file");
            fs::File::open(proxy.file())
                .and_then(|file| file.set_modified(std::time::SystemTime::now()))
                .expect("a file");
            proxy.rewrite_as_it_is(text);
            fs::write(proxy.folder.path().join("unrelated"), "x").expect("a writable folder");
        }
        proxy.rewrite(&with_idle_timeout(&base, generation));
        noticed(&proxy, generation as u64).await;
    }
    proxy.wait_metric("longhaul_config_reloads_total{result=\"accepted\"}", 3.0).await;
    assert_eq!(proxy.reloads("unchanged").await, 1, "that of the first look");
    assert_eq!(proxy.reloads("rejected").await, 0);
}

/// The link leads to a folder that is not watched, where the content changes under the same name.
#[tokio::test]
async fn what_sends_no_notice_is_found_by_the_slow_look() {
    let backend = Backend::echo("one").await;
    let elsewhere = tempfile::tempdir().expect("a folder");
    let real = elsewhere.path().join("real.toml");
    let proxy = start_arranged(&plain(&[backend.address]), |folder| {
        fs::copy(folder.join("longhaul.toml"), &real).expect("a writable folder");
        fs::remove_file(folder.join("longhaul.toml")).expect("a writable folder");
        symlink(&real, folder.join("longhaul.toml")).expect("a writable folder");
    })
    .await;
    let text = fs::read_to_string(&real).expect("the file");
    fs::write(&real, with_idle_timeout(&text, 7)).expect("a writable folder");
    assert_eq!(noticed(&proxy, 2).await, "routes ~1 (all)");
}
