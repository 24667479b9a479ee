//! Files and keys of pools that change: what takes effect, what is refused, and which sessions live on.

use std::fs;
use std::process::{Command, Output};

use serde_json::Value;

use super::{PAGE, open, refused};
use crate::kit::{Backend, Calls, Pki, Proxy, Reloaded, Secure, Tls, plain, pool_tls, within};

/// Waits for a line of the watch behind the first `skipped` ones.
async fn noticed(proxy: &Proxy, skipped: usize, message: &str) -> Value {
    let wanted = |line: &Value| {
        line["asked_by"] == "watch" && line["message"].as_str().is_some_and(|text| text.starts_with(message))
    };
    proxy.wait_after(skipped, "the change to be noticed", wanted).await
}

/// Starts longhaul, and waits until the watch has had its first look.
async fn start(config: &str) -> Proxy {
    let proxy = Proxy::start(config).await;
    proxy.wait_metric("longhaul_config_reloads_total{result=\"unchanged\"}", 1.0).await;
    proxy
}

/// The authority moves: backends have new certificates, and the file that vouches for them changes under its name.
#[tokio::test]
async fn a_file_of_authorities_that_changes_is_noticed() {
    let (old, new, folder) = (Pki::new(), Pki::new(), tempfile::tempdir().expect("a folder"));
    let ca = folder.path().join("ca.pem");
    fs::copy(old.authority_file(), &ca).expect("a writable folder");
    let (first, _) = Backend::tls_echo(&Tls::new(&old.issue(&["127.0.0.1"])), "old").await;
    let (second, _) = Backend::tls_echo(&Tls::new(&new.issue(&["127.0.0.1"])), "new").await;
    let config =
        plain(&[first.address, second.address]) + &format!("tls = {{ ca = \"{}\" }}\n", ca.display());
    let proxy = start(&config).await;
    let (mut tunnel, name) = open(&proxy).await;
    assert_eq!(name, "old");

    let seen = proxy.log_length();
    fs::copy(new.authority_file(), &ca).expect("a writable folder");
    assert_eq!(noticed(&proxy, seen, "configuration changed").await["change"], "certificates");
    assert_eq!(open(&proxy).await.1, "new");
    tunnel.round_trip("still here").await;

    // What is no authority changes nothing, and is said at its place.
    for (wrong, message) in [
        ("not a certificate", "no certificate in this file"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot be an authority"),
        ("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", "is not valid PEM"),
    ] {
        let seen = proxy.log_length();
        fs::write(&ca, wrong).expect("a writable folder");
        let line = noticed(&proxy, seen, "configuration rejected: ").await;
        assert!(line["message"].as_str().is_some_and(|text| text.contains(message)), "{line}");
        assert!(line["place"].as_str().is_some_and(|place| place.ends_with("longhaul.toml:9:14")), "{line}");
        assert!(line["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()), "{line}");
        assert_eq!(open(&proxy).await.1, "new");
    }
    let both = fs::read_to_string(old.authority_file()).expect("a file")
        + &fs::read_to_string(new.authority_file()).expect("a file");
    let seen = proxy.log_length();
    fs::write(&ca, both).expect("a writable folder");
    noticed(&proxy, seen, "configuration changed").await;
    let mut open_ones = vec![open(&proxy).await];
    within("both to be picked", async {
        while ["old", "new"].iter().any(|name| open_ones.iter().all(|(_, other)| other != name)) {
            open_ones.push(open(&proxy).await);
        }
    })
    .await;
}

/// Sends a request; whether its connection resumed a session.
async fn resumed(proxy: &Proxy, calls: &mut Calls<Secure>) -> bool {
    let mut client = proxy.connect("plain").await;
    client.send(PAGE).await;
    let call = calls.next().await;
    let resumed = call.is_resumed();
    call.answer("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(client.head().await.status(), 204);
    resumed
}

#[tokio::test]
async fn sessions_outlive_a_reload_that_leaves_tls_as_it_is() {
    let pki = Pki::new();
    let (backend, mut calls) = Backend::tls_by_hand(&Tls::new(&pki.issue(&["127.0.0.1"]))).await;
    let base = plain(&[backend.address]);
    let proxy = Proxy::start(&(base.clone() + &pool_tls(&pki, ""))).await;
    assert!(!resumed(&proxy, &mut calls).await);
    for (config, keys, resumes) in [
        (base.clone(), "", true),
        (base.replace("name = \"all\"\n", "name = \"all\"\nidle_timeout = \"7m\"\n"), "", true),
        (base.clone() + "response_timeout = \"9s\"\n", "", true),
        (base.clone(), "min_version = \"1.3\"", false),
        (base.clone(), "min_version = \"1.3\"", true),
        // Who believed others may have talked to others.
        (base.clone(), "", false),
    ] {
        proxy.rewrite(&(config + &pool_tls(&pki, keys)));
        assert!(!matches!(proxy.reload().await, Reloaded::Rejected(_)));
        assert_eq!(resumed(&proxy, &mut calls).await, resumes, "{keys}");
    }
}

#[tokio::test]
async fn tls_comes_and_goes_with_the_next_connection() {
    let pki = Pki::new();
    let (secure, _) = Backend::tls_echo(&Tls::new(&pki.issue(&["127.0.0.1"])), "secure").await;
    let base = plain(&[secure.address]);
    let proxy = Proxy::start(&base).await;
    assert_eq!(refused(&proxy, "/plain").await.0, 502);
    assert_eq!(proxy.change_to(&(base.clone() + &pool_tls(&pki, ""))).await, "pools ~1 (all)");
    let (mut tunnel, name) = open(&proxy).await;
    assert_eq!(name, "secure");
    assert_eq!(proxy.change_to(&base).await, "pools ~1 (all)");
    assert_eq!(refused(&proxy, "/again").await.0, 502);
    tunnel.round_trip("still here").await;
}

#[tokio::test]
async fn a_pool_whose_files_cannot_be_used_is_refused() {
    let (pki, other) = (Pki::new(), Pki::new());
    let backend = Backend::echo("one").await;
    let base = plain(&[backend.address]);
    let proxy = Proxy::start(&base).await;
    let [one, two] = [pki.issue(&["one"]), other.issue(&["two"])];
    let key =
        |key: &std::path::Path| format!("cert = \"{}\", key = \"{}\"", one.cert.display(), key.display());
    for (keys, message) in [
        (key(&two.key), "the private key does not belong to the certificate"),
        (key(&one.cert), "no private key in this file"),
        ("cert = \"none.pem\", key = \"none.key\"".to_string(), "cannot read "),
    ] {
        proxy.rewrite(&(base.clone() + &pool_tls(&pki, &keys)));
        let Reloaded::Rejected(told) = proxy.reload().await else { panic!("{keys}") };
        assert!(told.starts_with(message), "{told}");
        assert!(told.contains("longhaul.toml:9:"), "{told}");
    }
    assert_eq!(proxy.generation().await, 1);
}

/// Runs `longhaul` on a file.
fn longhaul(command: &str, config: &str, authorities: &str) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("longhaul.toml");
    fs::write(&file, config).expect("a writable folder");
    let file = file.to_str().expect("UTF-8");
    let arguments = if command == "run" { vec!["run", "--config", file] } else { vec!["check", file] };
    Command::new(env!("CARGO_BIN_EXE_longhaul"))
        .args(arguments)
        .env("SSL_CERT_FILE", authorities)
        .env_remove("SSL_CERT_DIR")
        .output()
        .expect("longhaul starts")
}

#[test]
fn a_system_without_authorities_is_no_secret() {
    let address = "127.0.0.1:1".parse().expect("an address");
    let config = plain(&[address]) + "tls = { server_name = \"a.example\" }\n";
    for command in ["run", "check"] {
        for authorities in ["/nowhere/at/all.pem", "/dev/null"] {
            let output = longhaul(command, &config, authorities);
            let told = String::from_utf8(output.stderr).expect("UTF-8");
            assert_eq!(output.status.code(), Some(78), "{told}");
            assert!(told.contains("error: no authorities are known that this system trusts"), "{told}");
            assert!(told.contains("longhaul.toml:9:7") && told.contains("name a PEM file of"), "{told}");
        }
    }
    // Who does not need them is not asked for them.
    let config = plain(&[address]) + "tls = { verify = \"none\" }\n";
    assert_eq!(longhaul("check", &config, "/nowhere/at/all.pem").status.code(), Some(0));
}

#[test]
fn check_warns_of_what_is_not_verified() {
    let config = plain(&["127.0.0.1:1".parse().expect("an address")]) + "tls = { verify = \"none\" }\n";
    let output = longhaul("check", &config, "");
    assert_eq!(output.status.code(), Some(0));
    let (told, good) = (String::from_utf8(output.stderr), String::from_utf8(output.stdout));
    let told = told.expect("UTF-8");
    assert!(told.starts_with("warning: the certificates of these backends are not verified"), "{told}");
    assert!(told.contains("longhaul.toml:9:18") && told.contains("1 warning in"), "{told}");
    assert!(good.expect("UTF-8").ends_with("is good: 1 listener, 1 route, 1 pool\n"));

    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("a.toml"), config).expect("a writable folder");
    let output = Command::new(env!("CARGO_BIN_EXE_longhaul"))
        .args(["check", "a.toml", "--format", "json"])
        .current_dir(folder.path())
        .output()
        .expect("longhaul starts");
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
    let warnings: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&warnings[0]["level"], &warnings[0]["line"]), (&"warning".into(), &9.into()));
}
