//! A process of longhaul, started from a configuration file, read by its log and its metrics.

mod reload;

use std::fmt::Debug;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::ops::RangeBounds;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Map, Value};
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::{Client, DEADLINE, Issued, within};

pub use reload::Reloaded;

/// A running longhaul; killed with its value.
pub struct Proxy {
    child: Child,
    log: Arc<Log>,
    /// While it lives, whoever stopped reading the log keeps the pipe open.
    pipe: Option<Sender<()>>,
    /// How long the log was when a reload was last answered.
    answered: AtomicUsize,
    /// Where its configuration file is.
    pub folder: TempDir,
}

#[derive(Default)]
struct Log {
    lines: Mutex<Vec<Value>>,
    raw: Mutex<Vec<String>>,
    more: Notify,
    /// Nobody reads any more.
    unread: AtomicBool,
}

impl Proxy {
    /// Starts longhaul on `config`, to which a log in JSON and metrics and admin on free ports are added, and waits until
    /// it serves.
    pub async fn start(config: &str) -> Proxy {
        Proxy::start_with(config, |command| command).await
    }

    /// The same, with a command line that the test may change.
    pub async fn start_with(config: &str, change: impl FnOnce(&mut Command) -> &mut Command) -> Proxy {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("longhaul.toml");
        std::fs::write(&file, complete(config)).expect("a writable folder");
        let mut command = Command::new(env!("CARGO_BIN_EXE_longhaul"));
        command.arg("run").arg("--config").arg(&file).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = change(&mut command).spawn().expect("longhaul starts");
        let log = Arc::new(Log::default());
        let (stdout, reader) = (child.stdout.take().expect("a pipe"), log.clone());
        let (pipe, held) = channel();
        std::thread::spawn(move || {
            let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
            for line in &mut lines {
                let value = read_line(&line);
                reader.raw.lock().unwrap().push(line);
                reader.push(value);
                if reader.unread.load(Relaxed) {
                    let _ = held.recv();
                    break;
                }
            }
            reader.push(Value::Null);
        });
        let mut proxy = Proxy { child, log, pipe: Some(pipe), answered: AtomicUsize::new(0), folder };
        if proxy
            .wait_for("serving or an end", |line| line.is_null() || line["message"] == "serving")
            .await
            .is_null()
        {
            let mut errors = String::new();
            let _ = proxy.child.stderr.take().expect("a pipe").read_to_string(&mut errors);
            panic!("longhaul did not start:\n{errors}");
        }
        proxy
    }

    /// The address of a listener; the last one, if it has changed.
    pub fn address(&self, listener: &str) -> SocketAddr {
        let lines = self.log.lines.lock().unwrap();
        let line =
            lines.iter().rev().find(|line| line["message"] == "listening" && line["listener"] == listener);
        let address = line.and_then(|line| line["address"].as_str()).expect("the listener is announced");
        address.parse().expect("an address")
    }

    /// A plain connection to a listener.
    pub async fn connect(&self, listener: &str) -> Client {
        Client::connect(self.address(listener)).await
    }

    /// Waits for a line of the log, past and future, that `wanted` accepts.
    #[track_caller]
    pub fn wait_for(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> impl Future<Output = Value> {
        self.wait_after(0, what, wanted)
    }

    /// The same, leaving out the first `skipped` lines.
    #[track_caller]
    pub fn wait_after(
        &self,
        skipped: usize,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> impl Future<Output = Value> {
        let log = self.log.clone();
        within(what, async move {
            loop {
                let more = log.more.notified();
                tokio::pin!(more);
                more.as_mut().enable();
                let found = log.lines.lock().unwrap().iter().skip(skipped).find(|line| wanted(line)).cloned();
                if let Some(line) = found {
                    return line;
                }
                more.await;
            }
        })
    }

    /// Waits for a line with this message.
    pub async fn record(&self, message: &str) -> Value {
        self.wait_for(message, |line| line["message"] == message).await
    }

    /// Waits for the record of the refusal of a request for `path`; its reason.
    pub async fn refusal(&self, path: &str) -> String {
        let refused = |line: &Value| line["message"] == "refused" && line["path"] == path;
        let record = self.wait_for("the record of a refusal", refused).await;
        record["reason"].as_str().expect("a reason").to_string()
    }

    /// Stops reading the log: one more line is read, then the pipe fills.
    pub fn leave_log_unread(&mut self) {
        self.log.unread.store(true, Relaxed);
    }

    /// Stops reading the log: one more line is read, then the pipe is closed.
    pub fn close_log(&mut self) {
        self.pipe = None;
        self.log.unread.store(true, Relaxed);
    }

    /// How many lines there are so far.
    pub fn log_length(&self) -> usize {
        self.log.lines.lock().unwrap().len()
    }

    /// All lines so far.
    pub fn log(&self) -> Vec<Value> {
        self.log_behind(0)
    }

    /// All lines so far but for the first ones, so many of them.
    pub fn log_behind(&self, lines: usize) -> Vec<Value> {
        self.log.lines.lock().unwrap()[lines..].to_vec()
    }

    /// The answer of the metrics address to `GET path`.
    pub async fn scrape(&self, path: &str) -> (u16, String) {
        let line = self.record("metrics").await;
        let address = line["address"].as_str().and_then(|address| address.parse().ok()).expect("an address");
        let request = format!("GET {path} HTTP/1.1\r\nHost: metrics\r\nConnection: close\r\n\r\n");
        let (head, body) = Client::connect(address).await.request(request).await;
        (head.status(), body)
    }

    /// The value of one series, written as in the exposition format; 0 if it is not there. Of series that have more
    /// labels than those that are written, the sum.
    pub async fn metric(&self, series: &str) -> f64 {
        let (status, text) = self.scrape("/metrics").await;
        assert_eq!(status, 200);
        text.lines().filter_map(|line| value(line, series)).fold(0.0, |sum, value| sum + value)
    }

    /// Waits until a series has a value.
    pub async fn wait_metric(&self, series: &str, wanted: f64) {
        self.wait_metric_in(series, wanted..=wanted).await;
    }

    /// Waits until the value of a series is in a range.
    pub async fn wait_metric_in(&self, series: &str, wanted: impl RangeBounds<f64> + Debug) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let value = self.metric(series).await;
            if wanted.contains(&value) {
                return;
            }
            assert!(Instant::now() < deadline, "{series} is {value}, not {wanted:?}");
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// All lines so far, as they were written.
    pub fn raw_log(&self) -> Vec<String> {
        self.log.raw.lock().unwrap().clone()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("longhaul runs");
    }

    /// The process id.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Ends the process; what it wrote to stderr.
    pub fn errors(mut self) -> String {
        let mut errors = String::new();
        self.child.kill().expect("longhaul runs");
        let _ = self.child.stderr.take().expect("a pipe").read_to_string(&mut errors);
        errors
    }

    /// Waits for the end of the process.
    pub async fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + DEADLINE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                break status;
            }
            assert!(Instant::now() < deadline, "the process does not end");
            sleep(Duration::from_millis(5)).await;
        };
        if !self.log.unread.load(Relaxed) {
            self.wait_for("the end of the log", Value::is_null).await;
        }
        status
    }
}

impl Log {
    fn push(&self, line: Value) {
        self.lines.lock().unwrap().push(line);
        self.more.notify_waiters();
    }
}

/// The value on a line of metrics, if that is of `series`, or of one with more labels.
fn value(line: &str, series: &str) -> Option<f64> {
    let (found, value) = line.rsplit_once(' ')?;
    let (name, wanted) =
        series.strip_suffix('}').and_then(|series| series.split_once('{')).unwrap_or((series, ""));
    let labels = found.strip_prefix(name)?;
    let labels = match labels {
        "" => "",
        labels => labels.strip_prefix('{')?.strip_suffix('}')?,
    };
    // No label's value in the tests has a quote and a comma in it.
    let has = |label: &str| labels.split_inclusive("\",").any(|own| own.trim_end_matches(',') == label);
    let all = wanted.split_inclusive("\",").map(|label| label.trim_end_matches(',')).all(has);
    all.then(|| value.parse().expect("a number"))
}

/// A line as an object: JSON as it is; of `timestamp LEVEL message key=value` the message, the pairs that have no
/// quotes, and the whole as `line`.
fn read_line(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|_| {
        let words = || line.split_whitespace().skip(2);
        let message: Vec<&str> = words().take_while(|word| !word.contains('=')).collect();
        let mut fields: Map<String, Value> = words()
            .filter_map(|word| word.split_once('='))
            .map(|(key, value)| (key.into(), value.into()))
            .collect();
        fields.insert("message".into(), message.join(" ").into());
        fields.insert("line".into(), line.into());
        Value::Object(fields)
    })
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A configuration with a log in JSON, and with metrics and admin on free ports, unless it says otherwise.
fn complete(config: &str) -> String {
    let mut text = config.to_string();
    for (table, addition) in [
        ("[log]", "[log]\nformat = \"json\"\nlevel = \"debug\"\n"),
        ("[metrics]", "[metrics]\naddress = \"127.0.0.1:0\"\n"),
        ("[admin]", "[admin]\naddress = \"127.0.0.1:0\"\n"),
    ] {
        if !config.contains(table) {
            text += "\n";
            text += addition;
        }
    }
    text
}

/// A further listener, `secure`, with TLS; `certificates` as in the configuration, the first is the default.
pub fn secure(certificates: &[&Issued]) -> String {
    let entries: Vec<String> = certificates.iter().map(|issued| issued.entry()).collect();
    format!(
        "[[listeners]]\nname = \"secure\"\naddress = \"127.0.0.1:0\"\n[listeners.tls]\ncertificates = [{}]\n",
        entries.join(", ")
    )
}

/// A listener `plain`, a route `all` and a pool `all` with these backends.
pub fn plain(backends: &[SocketAddr]) -> String {
    let backends: Vec<String> = backends.iter().map(|address| format!("\"{address}\"")).collect();
    format!(
        "[[listeners]]\nname = \"plain\"\naddress = \"127.0.0.1:0\"\n\
         [[routes]]\nname = \"all\"\npool = \"all\"\n[pools.all]\nbackends = [{}]\n",
        backends.join(", ")
    )
}
