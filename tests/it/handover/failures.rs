//! What goes wrong in the new process, or on the socket, changes nothing for the one that runs.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use super::{ANSWER, GET, Sockets, take_over};
use crate::kit::{Backend, Proxy, plain, within};

/// Runs a process that is to take over, and fails; its status, and what it says.
async fn fails_to_take_over(config: String) -> (Option<i32>, String) {
    let run = move || {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("longhaul.toml");
        std::fs::write(&file, config).expect("a writable folder");
        let mut command = Command::new(env!("CARGO_BIN_EXE_longhaul"));
        command.args(["run", "--takeover", "--config"]).arg(&file).output().expect("longhaul starts")
    };
    let Output { status, stderr, .. } =
        within("the end of a new process", tokio::task::spawn_blocking(run)).await.expect("an end");
    (status.code(), String::from_utf8(stderr).expect("text"))
}

/// It serves, and another process may still take over.
async fn assert_unmoved(mut old: Proxy, config: &str, failures: f64) {
    assert_eq!(old.connect("plain").await.request(GET).await.0.status(), 200);
    old.wait_metric("longhaul_handovers_failed_total", failures).await;
    assert_eq!(old.scrape("/readyz").await.0, 200);
    let new = take_over(config).await;
    assert_eq!(new.connect("plain").await.request(GET).await.0.status(), 200);
    assert_eq!(old.ended().await.code(), Some(0));
}

async fn setting() -> (Sockets, String, Proxy, Backend) {
    let backend = Backend::answers(ANSWER).await;
    let sockets = Sockets::new();
    let config = sockets.config(&plain(&[backend.address]));
    let old = Proxy::start(&config).await;
    (sockets, config, old, backend)
}

#[tokio::test]
async fn a_wrong_configuration_never_asks() {
    let (_sockets, config, old, _backend) = setting().await;
    let (status, said) = fails_to_take_over(config.replace("pool = \"all\"", "pool = \"al\"")).await;
    assert_eq!(status, Some(78), "{said}");
    assert!(said.contains("did you mean `all`"), "{said}");
    assert_unmoved(old, &config, 0.0).await;
}

#[tokio::test]
async fn an_address_that_is_taken_is_told_on_both_sides() {
    let (_sockets, config, old, _backend) = setting().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    let more = format!("{config}\n[[listeners]]\nname = \"taken\"\naddress = \"{address}\"\n");
    let (status, said) = fails_to_take_over(more).await;
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("stop what listens there"), "{said}");
    let record = old.record("not handed over: this process goes on").await;
    assert!(record["error"].as_str().unwrap().contains(&address.to_string()), "{record}");
    assert_unmoved(old, &config, 1.0).await;
}

/// Its first probe hangs, so it is not ready yet when it dies.
#[tokio::test]
async fn a_process_that_dies_before_it_serves_changes_nothing() {
    let (sockets, config, old, backend) = setting().await;
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent = (silent.local_addr().expect("an address"), silent);
    let health = "health = { kind = \"http\", path = \"/\", timeout = \"1m\" }\n";
    let slow = sockets.config(&(plain(&[backend.address, silent.0]) + health));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("longhaul.toml");
    std::fs::write(&file, slow).expect("a writable folder");
    for kill in [true, false] {
        let skipped = old.log_length();
        let mut command = Command::new(env!("CARGO_BIN_EXE_longhaul"));
        command
            .args(["run", "--takeover", "--config"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut new = command.spawn().expect("longhaul starts");
        let asks = "another process asks to take over";
        old.wait_after(skipped, asks, |line| line["message"] == asks).await;
        if kill {
            new.kill().expect("it runs");
        } else {
            let pid = rustix::process::Pid::from_child(&new);
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
        }
        let goes_on = "not handed over: this process goes on";
        old.wait_after(skipped, goes_on, |line| line["message"] == goes_on).await;
        let status = tokio::task::spawn_blocking(move || new.wait()).await.expect("an end").expect("a child");
        assert_eq!(status.code(), (!kill).then_some(1));
    }
    assert_unmoved(old, &config, 2.0).await;
}

#[tokio::test]
async fn whoever_says_something_else_is_turned_away() {
    let (sockets, config, old, _backend) = setting().await;
    let path = sockets.handover();
    let empty = b"\0\0\0\x02{}";
    for said in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 64], empty, b"\0\0"] {
        let skipped = old.log_length();
        let mut stranger = UnixStream::connect(&path).await.expect("the socket is there");
        stranger.write_all(said).await.expect("it reads");
        stranger.shutdown().await.expect("it reads");
        let away = "not handed over: who asked is no longhaul that may";
        old.wait_after(skipped, away, |line| line["message"] == away).await;
    }
    // A later version is told which ones there are.
    let hello = br#"{"newest":9,"oldest":8,"program":"7.0.0"}"#;
    let mut message = (hello.len() as u32).to_be_bytes().to_vec();
    message.extend_from_slice(hello);
    let mut stranger = UnixStream::connect(&path).await.expect("the socket is there");
    stranger.write_all(&message).await.expect("it reads");
    let mut answer = String::new();
    within("an answer", stranger.read_to_string(&mut answer)).await.expect("text");
    assert!(answer.ends_with(r#"{"newest":1,"oldest":1,"program":"0.1.0"}"#), "{answer:?}");
    old.wait_for("versions", |line| {
        line["error"].as_str().is_some_and(|error| error.contains("longhaul 7.0.0 speaks versions 8 to 9"))
    })
    .await;
    // Who says nothing keeps others waiting for a few seconds, and not for ever.
    let _silent = UnixStream::connect(&path).await.expect("the socket is there");
    assert_unmoved(old, &config, 0.0).await;
}

/// Answers every connection with a message.
async fn pretend(path: &Path, message: &'static [u8]) {
    let listener = UnixListener::bind(path).expect("a free path");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut hello = [0; 64];
            let _ = stream.read(&mut hello).await;
            let _ = stream.write_all(&(message.len() as u32).to_be_bytes()).await;
            let _ = stream.write_all(message).await;
        }
    });
}

#[tokio::test]
async fn a_new_process_says_why_it_cannot_take_over() {
    let backend = Backend::answers(ANSWER).await;
    for (answer, said) in [
        (
            &br#"{"newest":9,"oldest":8,"program":"7.0.0"}"#[..],
            "longhaul 7.0.0 speaks versions 8 to 9 of the handover, and longhaul 0.1.0 speaks versions 1 to 1 of the \
             handover\n  help: stop the running one, and start this one without --takeover",
        ),
        (b"hello", "not a message of a handover"),
        (br#"{"sockets":["a"],"program":""}"#, "unexpected end of file"),
    ] {
        let sockets = Sockets::new();
        pretend(&sockets.handover(), answer).await;
        let (status, errors) = fails_to_take_over(sockets.config(&plain(&[backend.address]))).await;
        assert_eq!(status, Some(1), "{errors}");
        assert!(errors.contains(said), "{errors}");
    }
}

#[tokio::test]
async fn without_anybody_to_take_over_from_it_starts_and_without_a_path_it_does_not() {
    let backend = Backend::answers(ANSWER).await;
    let sockets = Sockets::new();
    let proxy = take_over(&sockets.config(&plain(&[backend.address]))).await;
    proxy.record("nobody to take over from: this is a start").await;
    assert_eq!(proxy.connect("plain").await.request(GET).await.0.status(), 200);
    let (status, errors) = fails_to_take_over(plain(&[backend.address])).await;
    assert_eq!(status, Some(78), "{errors}");
    assert!(errors.contains("`--takeover` needs `server.handover`"), "{errors}");
}

/// A start without --takeover finds the socket in use.
#[tokio::test]
async fn a_second_start_beside_one_that_runs_is_told_how_to_take_over() {
    let (_sockets, config, old, _backend) = setting().await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("longhaul.toml");
    std::fs::write(&file, &config).expect("a writable folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_longhaul"));
    let output = command.args(["run", "--config"]).arg(&file).output().expect("longhaul starts");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("take over from it with --takeover"), "{said}");
    assert_unmoved(old, &config, 0.0).await;
}
