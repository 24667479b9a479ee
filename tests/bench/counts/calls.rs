//! System calls of the worker for each message, and for each tunnel that opens and closes: the real program under
//! strace, between two marks in the trace. A mark is a message of a size that nothing else has.

use tempfile::TempDir;

use crate::kit::{Client, WebSocket};
use crate::report::Report;
use crate::trace::{Call, Calls, Kind, Trace};
use crate::traffic::{Access, Batch, HANDSHAKES, MESSAGES, Stage, round};

/// Payload of a mark, and what a client sends for it: header and mask are 8 bytes more (RFC 6455 5.2).
const MARK: Batch = Batch { messages: 1, bytes: 4_321 };
const MARK_TAKEN: u64 = 4_321 + 8;

/// The columns that both tables begin with.
const MOVING: &[Kind] =
    &[Kind::Read, Kind::EmptyRead, Kind::Write, Kind::FullWrite, Kind::Wait, Kind::EmptyWait];
/// Those that nothing but a tunnel's beginning and end needs.
const PASSING: &[Kind] = &[Kind::Open, Kind::Option, Kind::Register, Kind::Close, Kind::Other];

/// Counts all cases.
pub async fn measure(report: &mut Report) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut marked = Marked::start(folder).await;
    let mark = marked.calls().await;
    report.section("calls per message");
    for (name, access, tunnels, batch, rounds) in MESSAGES {
        let mut sockets = marked.stage.open_many(*access, *tunnels).await;
        marked.begin().await;
        for _ in 0..*rounds {
            round(&mut sockets, *batch).await;
        }
        let calls = marked.calls().await.less(&mark, (rounds * tunnels * batch.messages) as f64);
        report.row(name, &[of_each(&calls, MOVING), vec![of_all(&calls, PASSING)]].concat());
        marked.stage.close(sockets).await;
    }
    report.section("calls per tunnel");
    for (name, access, count) in HANDSHAKES {
        // The allocator and the table of tunnels take what they will have taken after that.
        marked.stage.open_and_close(*access, 5).await;
        marked.begin().await;
        marked.stage.open_and_close(*access, *count).await;
        let calls = marked.calls().await.less(&mark, *count as f64);
        report.row(name, &[of_each(&calls, MOVING), of_each(&calls, PASSING)].concat());
        let names: Vec<String> = calls.by_name().map(|(name, calls)| format!("{name} {calls:.2}")).collect();
        report.remark(format!("{name}: {}", names.join(", ")));
    }
}

fn of_each(calls: &Calls, kinds: &[Kind]) -> Vec<f64> {
    kinds.iter().map(|kind| calls.of(*kind)).collect()
}

fn of_all(calls: &Calls, kinds: &[Kind]) -> f64 {
    of_each(calls, kinds).iter().fold(0.0, |sum, calls| sum + calls)
}

/// A proxy under strace, and the tunnel that marks go through.
struct Marked {
    stage: Stage,
    trace: Trace,
    mark: [WebSocket<Client>; 1],
    _folder: TempDir,
}

impl Marked {
    async fn start(folder: TempDir) -> Marked {
        let mut stage = Stage::start(|command| Trace::attach(command, folder.path())).await;
        let trace = Trace::of_worker(&stage.proxy, folder.path());
        let mark = [stage.open(Access::Plain).await];
        let mut marked = Marked { stage, trace, mark, _folder: folder };
        marked.begin().await;
        marked
    }

    /// Leaves a mark in the trace.
    async fn begin(&mut self) {
        round(&mut self.mark, MARK).await;
    }

    /// Leaves a mark; what was called since the one before, which is what a mark costs and what came after it.
    async fn calls(&mut self) -> Calls {
        self.begin().await;
        let calls = self.trace.calls();
        let is_mark = |call: &Call| call.took(MARK_TAKEN);
        // Nothing else has the descriptor of the first one.
        let descriptor = calls.iter().find_map(is_mark).expect("a mark");
        let mut marks = calls.iter().enumerate().rev().filter(|(_, call)| is_mark(call) == Some(descriptor));
        let (end, _) = marks.next().expect("a mark");
        let (begin, _) = marks.next().expect("two marks");
        Calls::count(&calls[begin..end])
    }
}
