//! How a test changes a running longhaul, and what longhaul says to it.

use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;

use rustix::process::Signal;
use serde_json::Value;

use super::{Client, Proxy, complete};

/// What came of a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reloaded {
    /// A new generation is in force: its number, and what is different, as the log says it.
    Changed(u64, String),
    /// The old generation means the same.
    Unchanged,
    /// The file is wrong: what, where and what would be right, each on a line.
    Rejected(String),
}

impl Proxy {
    /// The configuration's file.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("longhaul.toml")
    }

    /// Writes another configuration the way an editor does: a new file beside the old one, renamed over it. What
    /// [`Proxy::start`] adds is added.
    pub fn rewrite(&self, config: &str) {
        self.rewrite_as_it_is(complete(config));
    }

    /// The same with bytes that are taken as they are.
    pub fn rewrite_as_it_is(&self, bytes: impl AsRef<[u8]>) {
        let new = self.folder.path().join(".longhaul.toml.new");
        std::fs::write(&new, bytes).expect("a writable folder");
        std::fs::rename(new, self.file()).expect("a writable folder");
    }

    /// Sends SIGHUP and waits for what comes of it. Whether the signal or the watch over the files was first to find
    /// what has changed since the last time makes no difference. Of a wrong file the first problem is told.
    pub async fn reload(&self) -> Reloaded {
        let sent = self.log_length();
        self.signal(Signal::HUP);
        let answers = |line: &Value| line["asked_by"] == "signal" && read(line).is_some();
        let answer = self.wait_after(sent, "an answer to SIGHUP", answers).await;
        let since = self.answered.swap(self.log_length(), Relaxed);
        match read(&answer).expect("an answer") {
            Reloaded::Unchanged => {
                let lines = self.log();
                let mut new = lines.iter().skip(since);
                let changed = new.find(|line| line["message"] == "configuration changed");
                changed.and_then(read).unwrap_or(Reloaded::Unchanged)
            }
            other => other,
        }
    }

    /// Puts `config`, which must be good and different, into force; what has changed.
    pub async fn change_to(&self, config: &str) -> String {
        self.rewrite(config);
        match self.reload().await {
            Reloaded::Changed(_, change) => change,
            other => panic!("not a change: {other:?}"),
        }
    }

    /// The number of the configuration in force.
    pub async fn generation(&self) -> u64 {
        self.metric("longhaul_config_generation").await as u64
    }

    /// How many reloads have had this result.
    pub async fn reloads(&self, result: &str) -> u64 {
        self.metric(&format!("longhaul_config_reloads_total{{result=\"{result}\"}}")).await as u64
    }

    /// What the admin address answers.
    pub async fn admin(&self, method: &str, path: &str) -> (u16, Value) {
        self.admin_with(method, path, "Host: localhost\r\n").await
    }

    /// The same, with all fields but `Connection` as the test writes them.
    pub async fn admin_with(&self, method: &str, path: &str, fields: &str) -> (u16, Value) {
        let line = self.record("admin").await;
        let address = line["address"].as_str().and_then(|address| address.parse().ok()).expect("an address");
        let request = format!("{method} {path} HTTP/1.1\r\n{fields}Connection: close\r\n\r\n");
        let (head, body) = Client::connect(address).await.request(request).await;
        let value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error} in {body:?}"));
        (head.status(), value)
    }
}

/// What a line of the log says of a reload.
fn read(line: &Value) -> Option<Reloaded> {
    let text = |name: &str| line[name].as_str().unwrap_or_default().to_string();
    let message = text("message");
    match (&*message, message.strip_prefix("configuration rejected: ")) {
        ("configuration changed", _) => {
            Some(Reloaded::Changed(line["generation"].as_u64().expect("a number"), text("change")))
        }
        ("configuration unchanged", _) => Some(Reloaded::Unchanged),
        (_, Some(problem)) => {
            Some(Reloaded::Rejected(format!("{problem}\n{}\n{}", text("place"), text("remedy"))))
        }
        _ => None,
    }
}
