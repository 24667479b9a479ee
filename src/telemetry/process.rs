//! The standard `process_*` figures, read from `/proc/self` at scrape time.
//!
//! Not the `prometheus` crate's own collector: it cuts CPU time to whole seconds.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Resource, getrlimit};

/// What the kernel knows about this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// User and system time so far, in seconds.
    pub cpu_seconds: f64,
    /// Resident memory, in bytes.
    pub resident_bytes: f64,
    /// Address space, in bytes.
    pub virtual_bytes: f64,
    /// Descriptors in use.
    pub open_fds: f64,
    /// The soft limit of descriptors.
    pub max_fds: f64,
    /// Threads.
    pub threads: f64,
    /// When the process began, in seconds since 1970.
    pub start_seconds: f64,
}

/// Reads them; `None` where `/proc` is not mounted.
pub fn figures() -> Option<Figures> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in parentheses, which may hold spaces; counting starts behind it.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<f64>().ok();
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let open_fds = std::fs::read_dir("/proc/self/fd").ok()?.count();
    let max_fds = getrlimit(Resource::Nofile).current;
    Some(Figures {
        cpu_seconds: (number(14)? + number(15)?) / ticks,
        resident_bytes: number(24)? * rustix::param::page_size() as f64,
        virtual_bytes: number(23)?,
        // One of them is the directory that is being read.
        open_fds: open_fds.saturating_sub(1) as f64,
        max_fds: max_fds.map_or(f64::INFINITY, |max| max as f64),
        threads: number(20)?,
        start_seconds: boot_time()?.as_secs_f64() + number(22)? / ticks,
    })
}

fn boot_time() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    let boot = UNIX_EPOCH + Duration::from_secs(line.trim().parse().ok()?);
    SystemTime::duration_since(&boot, UNIX_EPOCH).ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn figures_are_plausible() {
        let figures = super::figures().unwrap();
        assert!(figures.resident_bytes > 100_000.0 && figures.virtual_bytes > figures.resident_bytes);
        assert!(figures.open_fds >= 3.0 && figures.max_fds >= figures.open_fds);
        assert!(figures.threads >= 1.0 && figures.cpu_seconds >= 0.0);
        assert!(figures.start_seconds > 1_600_000_000.0);
    }
}
