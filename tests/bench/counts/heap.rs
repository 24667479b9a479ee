//! Heap: what the worker allocates for each message and for each tunnel that opens and closes, and what an idle tunnel
//! holds. The proxy is the library in a process of this very program, started again in another role, whose allocator
//! counts; it is asked through its standard input and answers in its log.

use std::collections::BTreeMap;
use std::io::{BufRead, PipeWriter, Write};
use std::process::{Command, ExitCode};

use longhaul::cli;
use serde_json::{Value, json};

use crate::allocator::Heap;
use crate::report::Report;
use crate::traffic::{Access, HANDSHAKES, MESSAGES, Stage, answer_pings, round};
use crate::{ROLE, sites};

/// What [`serve`] is called by.
pub const SERVER: &str = "heap";

/// Opened before the first reading, so that what is allocated once is not counted.
const WARM_UP: usize = 64;
/// Opened between the readings.
const TUNNELS: usize = 256;

/// Counts all cases; `with_sites` tells where the blocks come from.
pub async fn measure(report: &mut Report, with_sites: bool) {
    let mut counted = Counted::start().await;
    report.section("heap per message");
    for (name, access, tunnels, batch, rounds) in MESSAGES {
        let mut sockets = counted.stage.open_many(*access, *tunnels).await;
        round(&mut sockets, *batch).await;
        let before = counted.heap().await;
        for _ in 0..*rounds {
            round(&mut sockets, *batch).await;
        }
        let used = counted.heap().await.since(&before, rounds * tunnels * batch.messages);
        report.row(name, &[used.allocations, used.allocated_bytes]);
        counted.stage.close(sockets).await;
    }
    report.section("heap per tunnel");
    for (name, access, count) in HANDSHAKES {
        counted.stage.open_and_close(*access, 5).await;
        let before = counted.heap().await;
        counted.stage.open_and_close(*access, *count).await;
        let used = counted.heap().await.since(&before, *count);
        report.row(name, &[used.allocations, used.allocated_bytes]);
        if with_sites {
            counted.ask("watch").await;
            counted.stage.open_and_close(*access, *count).await;
            report.remark(format!("{name}: where it comes from\n\n{}", counted.sites(*count, false).await));
        }
    }
    report.section("heap of an idle tunnel");
    for (name, access) in [("plain", Access::Plain), ("TLS", Access::Tls), ("TLS resumed", Access::Resumed)] {
        let mut sockets = counted.stage.open_many(access, WARM_UP).await;
        let before = counted.heap().await;
        sockets.extend(counted.stage.open_many(access, TUNNELS).await);
        counted.heap().await.since(&before, TUNNELS).report_idle(report, name);
        if with_sites {
            counted.ask("watch").await;
            sockets.extend(counted.stage.open_many(access, TUNNELS).await);
            report.remark(format!("{name}, what they are\n\n{}", counted.sites(TUNNELS, true).await));
        }
        counted.stage.close(sockets).await;
    }
    let mut sockets = counted.stage.open_many(Access::Plain, WARM_UP).await;
    let before = counted.heap().await;
    let mut pinged = counted.stage.open_many(Access::Pinged, TUNNELS).await;
    answer_pings(&mut pinged).await;
    counted.stage.answered(TUNNELS).await;
    counted.heap().await.since(&before, TUNNELS).report_idle(report, "plain, pinged");
    sockets.extend(pinged);
    counted.stage.close(sockets).await;
    for (name, connections, tunnels) in [("HTTP/2", TUNNELS, 1), ("HTTP/2, 100 a connection", 4, 100)] {
        let mut opened = counted.stage.open_shared(connections.min(WARM_UP), tunnels).await;
        let before = counted.heap().await;
        opened.extend(counted.stage.open_shared(connections, tunnels).await);
        counted.heap().await.since(&before, connections * tunnels).report_idle(report, name);
        if with_sites {
            counted.ask("watch").await;
            opened.extend(counted.stage.open_shared(connections, tunnels).await);
            let sites = counted.sites(connections * tunnels, true).await;
            report.remark(format!("{name}, what they are\n\n{sites}"));
        }
        counted.stage.drop_shared(opened).await;
    }
}

impl Share {
    /// Of what is idle.
    fn report_idle(&self, report: &mut Report, name: &'static str) {
        report.row(name, &[self.live.values().sum(), self.live_bytes, self.c_bytes]);
        let blocks = self.live.iter().rev().map(|(bytes, blocks)| format!("{blocks:.2} of {bytes}"));
        report.remark(format!("{name}, blocks by size: {}", blocks.collect::<Vec<_>>().join(", ")));
    }
}

/// A proxy whose allocator counts, and the way to ask it.
struct Counted {
    stage: Stage,
    questions: PipeWriter,
    asked: u64,
}

/// [`Heap`] for each of many.
struct Share {
    allocations: f64,
    allocated_bytes: f64,
    live_bytes: f64,
    live: BTreeMap<usize, f64>,
    c_bytes: f64,
}

impl Counted {
    async fn start() -> Counted {
        let (answers, questions) = std::io::pipe().expect("a pipe");
        let stage = Stage::start(|command| {
            let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
            let mut own = Command::new(std::env::current_exe().expect("this program"));
            own.args(arguments).env(ROLE, SERVER).stdin(answers);
            own.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
            *command = own;
            command
        });
        Counted { stage: stage.await, questions, asked: 0 }
    }

    async fn ask(&mut self, question: &str) -> Value {
        self.asked += 1;
        let number = self.asked;
        writeln!(self.questions, "{question} {number}").expect("the proxy lives");
        self.stage.proxy.wait_for("an answer", |line| line["answer"] == number).await
    }

    async fn heap(&mut self) -> Heap {
        let answer = self.ask("count").await;
        let number = |name: &str| answer[name].as_i64().expect("a number");
        let live = answer["live"].as_object().expect("an object");
        let blocks = |(bytes, blocks): (&String, &Value)| Some((bytes.parse().ok()?, blocks.as_i64()?));
        Heap {
            allocations: number("allocations"),
            allocated_bytes: number("allocated_bytes"),
            live_bytes: number("live_bytes"),
            live: live.iter().filter_map(blocks).collect(),
            c_bytes: number("c_bytes"),
        }
    }

    /// Ends the watch and tells its sites as a table, for each of `count` things.
    async fn sites(&mut self, count: usize, live: bool) -> String {
        let answer = self.ask("sites").await;
        let mut table = String::from("| blocks | bytes | from |\n|---:|---:|---|\n");
        for site in answer["sites"].as_array().expect("an array") {
            let blocks = site[if live { "live" } else { "taken" }].as_f64().expect("a number") / count as f64;
            if blocks > 0.0 {
                let from = site["callers"].as_str().expect("text");
                table += &format!("| {blocks:.2} | {} | {from} |\n", site["bytes"]);
            }
        }
        table
    }
}

impl Heap {
    /// What has come since `before`, for each of `count` things.
    fn since(&self, before: &Heap, count: usize) -> Share {
        let share = |now: i64, before: i64| (now - before) as f64 / count as f64;
        let mut live = BTreeMap::new();
        for bytes in self.live.keys().chain(before.live.keys()) {
            let blocks = |heap: &Heap| heap.live.get(bytes).copied().unwrap_or_default();
            live.insert(*bytes, share(blocks(self), blocks(before)));
        }
        live.retain(|_, blocks| *blocks != 0.0);
        Share {
            allocations: share(self.allocations, before.allocations),
            allocated_bytes: share(self.allocated_bytes, before.allocated_bytes),
            live_bytes: share(self.live_bytes, before.live_bytes),
            live,
            c_bytes: share(self.c_bytes, before.c_bytes),
        }
    }
}

/// The other role: longhaul as its own command line says, with a thread that answers questions.
pub fn serve() -> ExitCode {
    std::thread::spawn(|| {
        for question in std::io::stdin().lock().lines().map_while(Result::ok) {
            let (question, number) = question.split_once(' ').expect("a number");
            let mut answer = answer(question);
            answer["answer"] = number.parse::<u64>().expect("a number").into();
            println!("{answer}");
        }
        // Nobody asks any more.
        std::process::exit(0);
    });
    cli::main()
}

fn answer(question: &str) -> Value {
    match question {
        "count" => {
            let heap = Heap::of(worker()).expect("the worker has allocated something");
            let live: serde_json::Map<String, Value> =
                heap.live.iter().map(|(bytes, blocks)| (bytes.to_string(), (*blocks).into())).collect();
            json!({
                "allocations": heap.allocations,
                "allocated_bytes": heap.allocated_bytes,
                "live_bytes": heap.live_bytes,
                "live": live,
                "c_bytes": heap.c_bytes,
            })
        }
        "watch" => {
            sites::watch(worker());
            json!({})
        }
        "sites" => {
            let mut sites = sites::end();
            sites.sort_by_key(|site| std::cmp::Reverse(site.bytes));
            let site = |site: &sites::Site| json!({ "bytes": site.bytes, "taken": site.taken, "live": site.live, "callers": site.callers });
            json!({ "sites": sites.iter().map(site).collect::<Vec<_>>() })
        }
        other => panic!("nobody asks {other}"),
    }
}

/// The id of the worker's thread.
fn worker() -> i32 {
    let tasks = std::fs::read_dir("/proc/self/task").expect("a list of threads");
    let is_worker = |task: &std::fs::DirEntry| {
        std::fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name == "worker-0\n")
    };
    let worker = tasks.map_while(Result::ok).find(is_worker).expect("a worker").file_name();
    worker.to_string_lossy().parse().expect("a number")
}
