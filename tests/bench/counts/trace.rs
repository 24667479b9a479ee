//! What `strace` writes about the proxy's worker, read: a line per system call.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::kit::Proxy;
use crate::report::require;

/// Calls by kind. How many there are of [`Kind::Tick`], [`Kind::Wake`] and [`Kind::Memory`] depends on how long a case
/// takes: they are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Took bytes, or an end, from a socket.
    Read,
    /// Asked a socket that had nothing.
    EmptyRead,
    /// Gave bytes to a socket.
    Write,
    /// Asked a socket that had no room.
    FullWrite,
    /// Waited until something happened. The wait that a [`Kind::Wake`] ends is left out with it.
    Wait,
    /// Looked whether something had happened, and nothing had.
    EmptyWait,
    /// Waited until time had passed.
    Tick,
    /// Woke itself: a timer was set that is nearer than all others, as the worker's clock does at every tick.
    Wake,
    /// The first half of a connection's life: `accept4`, `socket`, `connect`.
    Open,
    /// Options and names of sockets.
    Option,
    /// What the poller is told.
    Register,
    /// The second half: `shutdown`, `close`.
    Close,
    /// What the allocator asks of the kernel.
    Memory,
    /// All others. A dev build looks after its descriptors with `fcntl`.
    Other,
}

/// The calls of one case.
#[derive(Clone, Debug, Default)]
pub struct Calls(BTreeMap<(Kind, String), f64>);

/// The worker's calls, as far as they have been made.
pub struct Trace {
    file: PathBuf,
}

impl Trace {
    /// Makes `command` run under strace, which writes into `folder`, a file for each thread. The process stays the
    /// caller's child, so that its end is the end of strace.
    pub fn attach<'c>(command: &'c mut Command, folder: &Path) -> &'c mut Command {
        require("strace");
        let mut strace = Command::new("strace");
        strace
            .args(["-D", "-ff", "-qq", "-e", "signal=none", "-e", "raw=all", "-o"])
            .arg(folder.join("calls"));
        strace.arg("--").arg(command.get_program()).args(command.get_args());
        strace.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        *command = strace;
        command
    }

    /// Finds the worker of `proxy`, which runs under [`Trace::attach`].
    pub fn of_worker(proxy: &Proxy, folder: &Path) -> Trace {
        let tasks = format!("/proc/{}/task", proxy.pid().as_raw_nonzero());
        let mut tasks = std::fs::read_dir(tasks).expect("longhaul runs").map_while(Result::ok);
        let is_worker =
            |path: &Path| std::fs::read_to_string(path.join("comm")).is_ok_and(|name| name == "worker-0\n");
        let worker = tasks.find(|task| is_worker(&task.path())).expect("a worker").file_name();
        Trace { file: folder.join(format!("calls.{}", worker.display())) }
    }

    /// All calls that have returned.
    pub fn calls(&self) -> Vec<Call> {
        let text = std::fs::read_to_string(&self.file).expect("strace writes a file for each thread");
        text.lines().filter_map(Call::read).collect()
    }
}

/// A call that has returned.
#[derive(Clone, Debug)]
pub struct Call {
    name: String,
    arguments: Vec<u64>,
    /// `None` for an error.
    result: Option<u64>,
    error: String,
}

impl Call {
    /// Reads `name(0x1, 0x2) = 0x3` or `name(0x1) = -1 EAGAIN (...)`.
    fn read(line: &str) -> Option<Call> {
        let (name, rest) = line.split_once('(')?;
        let (arguments, result) = rest.rsplit_once(" = ").map(|(left, right)| (left.trim_end(), right))?;
        // The explanation of an error has an equals sign now and then.
        let arguments = arguments.split_once(')').map_or(arguments, |(arguments, _)| arguments);
        let number = |word: &str| u64::from_str_radix(word.trim().trim_start_matches("0x"), 16).ok();
        let mut words = result.split(' ');
        let result = words.next().and_then(number);
        Some(Call {
            name: name.to_string(),
            arguments: arguments.split(',').filter_map(number).collect(),
            result,
            error: words.next().unwrap_or_default().to_string(),
        })
    }

    /// Whether it took exactly this many bytes from a socket; which.
    pub fn took(&self, bytes: u64) -> Option<u64> {
        let took = self.kind() == Kind::Read && self.result == Some(bytes);
        took.then(|| self.arguments.first().copied())?
    }

    /// Its name, and whether it was in vain.
    fn title(&self) -> String {
        match self.kind() {
            Kind::EmptyWait => format!("{} (0 ms)", self.name),
            _ if self.error == "EAGAIN" => format!("{} (EAGAIN)", self.name),
            _ => self.name.clone(),
        }
    }

    fn kind(&self) -> Kind {
        let again = self.error == "EAGAIN";
        match &*self.name {
            "read" | "readv" | "recvfrom" | "recvmsg" if again => Kind::EmptyRead,
            "read" | "readv" | "recvfrom" | "recvmsg" => Kind::Read,
            "writev" | "sendto" | "sendmsg" if again => Kind::FullWrite,
            "writev" | "sendto" | "sendmsg" => Kind::Write,
            // Nothing but the event that wakes the poller is written to like a file.
            "write" => Kind::Wake,
            "epoll_wait" | "epoll_pwait" | "epoll_pwait2" => match (self.result, self.arguments.get(3)) {
                (Some(0), Some(0)) => Kind::EmptyWait,
                (Some(0) | None, _) => Kind::Tick,
                _ => Kind::Wait,
            },
            "accept" | "accept4" | "socket" | "connect" => Kind::Open,
            "setsockopt" | "getsockopt" | "getsockname" | "getpeername" | "ioctl" | "bind" => Kind::Option,
            "epoll_ctl" => Kind::Register,
            "shutdown" | "close" => Kind::Close,
            "mmap" | "munmap" | "madvise" | "mprotect" | "mremap" | "brk" => Kind::Memory,
            _ => Kind::Other,
        }
    }
}

impl Calls {
    /// Counts `calls`.
    pub fn count(calls: &[Call]) -> Calls {
        let mut counted = Calls::default();
        for call in calls {
            *counted.0.entry((call.kind(), call.title())).or_default() += 1.0;
        }
        counted
    }

    /// These without those that `other` has, for each of `count` things.
    pub fn less(mut self, other: &Calls, count: f64) -> Calls {
        for (key, calls) in &other.0 {
            *self.0.entry(key.clone()).or_default() -= calls;
        }
        for calls in self.0.values_mut() {
            *calls /= count;
        }
        self.0.retain(|_, calls| *calls != 0.0);
        self
    }

    /// How many there are of a kind.
    pub fn of(&self, kind: Kind) -> f64 {
        // A sum over nothing would be -0.
        let sum =
            |kind| self.0.iter().filter(|((of, _), _)| *of == kind).fold(0.0, |sum, (_, calls)| sum + calls);
        if kind == Kind::Wait { sum(Kind::Wait) - sum(Kind::Wake) } else { sum(kind) }
    }

    /// How many there are of each name.
    pub fn by_name(&self) -> impl Iterator<Item = (&str, f64)> {
        let counted = |kind: Kind| !matches!(kind, Kind::Tick | Kind::Wake | Kind::Memory);
        self.0.iter().filter(move |((kind, _), _)| counted(*kind)).map(|((_, name), calls)| (&**name, *calls))
    }
}
