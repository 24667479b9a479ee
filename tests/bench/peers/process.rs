//! A proxy as a tree of processes: started on its core, its CPU time and memory read from /proc, killed with its value.

use std::fs;
use std::io::{Error, ErrorKind};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::thread::{CpuSet, sched_setaffinity};

/// Where the proxy runs.
pub const PROXY_CORE: usize = 0;
/// Where clients and the backend run.
pub const LOAD_CORE: usize = 1;

/// Moves the calling thread, and those that it will start, to one core.
pub fn stay_on_core(core: usize) {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).expect("a second core");
}

/// A process and all that it started.
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts `command` on these cores; what it says goes to files in `folder`.
    pub fn start(command: &mut Command, cores: &str, folder: &Path, name: &str) -> Process {
        let log = |kind| fs::File::create(folder.join(format!("{name}.{kind}"))).expect("a writable folder");
        let mut pinned = Command::new("taskset");
        pinned.args(["--cpu-list", cores]).arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            pinned.env(key, value.unwrap_or_default());
        }
        pinned.stdin(Stdio::null()).stdout(log("out")).stderr(log("err"));
        Process { child: pinned.spawn().expect("taskset, of the package util-linux") }
    }

    /// Whether it is still there.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// User and system time of all processes of the tree so far. The kernel counts in steps of 10 ms.
    pub fn cpu(&self) -> Duration {
        let ticks: u64 = self.members().iter().map(|member| member.ticks).sum();
        Duration::from_millis(ticks * 10)
    }

    /// Resident bytes of all processes of the tree. Pages that several share count for their part.
    pub fn resident_bytes(&self) -> f64 {
        let proportional = |pid| {
            let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
            line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok()
        };
        self.members().iter().filter_map(|member| proportional(member.pid)).sum::<f64>() * 1024.0
    }

    fn members(&self) -> Vec<Member> {
        let mut all: Vec<Member> = fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter_map(|pid| Member::read(pid).ok())
            .collect();
        let mut members: Vec<Member> = Vec::new();
        let mut wanted = vec![self.child.id()];
        while let Some(pid) = wanted.pop() {
            let (found, rest) = all.into_iter().partition(|member: &Member| member.pid == pid);
            all = rest;
            wanted.extend(all.iter().filter(|member| member.parent == pid).map(|member| member.pid));
            members.extend::<Vec<_>>(found);
        }
        members
    }
}

struct Member {
    pid: u32,
    parent: u32,
    ticks: u64,
}

impl Member {
    /// From `/proc/PID/stat`, whose second field is a name in parentheses that may hold anything.
    fn read(pid: u32) -> Result<Member, Error> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let fields: Vec<&str> =
            text.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
        let number = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok());
        let read = || Some(Member { pid, parent: number(1)? as u32, ticks: number(11)? + number(12)? });
        read().ok_or_else(|| ErrorKind::InvalidData.into())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Children first: a master whose worker dies would start another, but it is killed a moment later.
        for member in self.members() {
            let pid = rustix::process::Pid::from_raw(member.pid as i32).expect("a process id");
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        let _ = self.child.wait();
    }
}
