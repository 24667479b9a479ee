//! Where blocks come from: `cargo bench --bench counts -- --sites`. While it remembers, the allocator takes a backtrace
//! of each block that the worker asks for; slow, and therefore off unless asked for.

use std::backtrace::Backtrace;
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// The thread that is watched; none has id 0.
static WATCHED: AtomicI32 = AtomicI32::new(0);
static BLOCKS: Mutex<Option<Blocks>> = Mutex::new(None);

thread_local! {
    // What this module allocates itself is not remembered.
    static BUSY: Cell<bool> = const { Cell::new(false) };
}

/// What has been asked for since the watch began.
#[derive(Default)]
struct Blocks {
    all: Vec<(usize, Backtrace)>,
    /// Indices into `all`, by address.
    live: HashMap<usize, usize>,
}

/// One place that blocks come from.
pub struct Site {
    /// Bytes of each block.
    pub bytes: usize,
    /// How many were asked for.
    pub taken: usize,
    /// How many of them are left.
    pub live: usize,
    /// The callers, innermost first, without those between the allocator and the first that means something.
    pub callers: String,
}

/// Watches this thread from now on.
pub fn watch(thread: i32) {
    BUSY.set(true);
    *BLOCKS.lock().unwrap_or_else(PoisonError::into_inner) = Some(Blocks::default());
    BUSY.set(false);
    WATCHED.store(thread, Relaxed);
}

/// Ends the watch; what was seen, sorted by place.
pub fn end() -> Vec<Site> {
    WATCHED.store(0, Relaxed);
    BUSY.set(true);
    let blocks = BLOCKS.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
    let mut sites: BTreeMap<(String, usize), (usize, usize)> = BTreeMap::new();
    let mut live = vec![0; blocks.all.len()];
    for index in blocks.live.into_values() {
        live[index] = 1;
    }
    for ((bytes, trace), live) in blocks.all.iter().zip(live) {
        let site = sites.entry((callers(trace), *bytes)).or_default();
        site.0 += 1;
        site.1 += live;
    }
    let site = |((callers, bytes), (taken, live))| Site { bytes, taken, live, callers };
    let sites = sites.into_iter().map(site).collect();
    BUSY.set(false);
    sites
}

/// A block has been taken.
#[inline]
pub fn taken(block: *mut u8, bytes: usize) {
    if is_watched() {
        BUSY.set(true);
        let trace = Backtrace::force_capture();
        if let Some(blocks) = BLOCKS.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            blocks.live.insert(block as usize, blocks.all.len());
            blocks.all.push((bytes, trace));
        }
        BUSY.set(false);
    }
}

/// A block has been given back.
#[inline]
pub fn given_back(block: *mut u8) {
    if is_watched() {
        BUSY.set(true);
        if let Some(blocks) = BLOCKS.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            blocks.live.remove(&(block as usize));
        }
        BUSY.set(false);
    }
}

fn is_watched() -> bool {
    let watched = WATCHED.load(Relaxed);
    watched != 0 && !BUSY.get() && watched == rustix::thread::gettid().as_raw_nonzero().get()
}

/// The two innermost callers outside of the allocator and the standard library, and the innermost that is longhaul's.
fn callers(trace: &Backtrace) -> String {
    let text = trace.to_string();
    let mut lines = text.lines().map(str::trim).peekable();
    let mut callers: Vec<String> = Vec::new();
    while let Some(line) = lines.next() {
        let Some((_, function)) = line.split_once(": ") else { continue };
        let place = lines.next_if(|line| line.starts_with("at ")).unwrap_or_default();
        let is_own = place.starts_with("at ./src/");
        let is_inner = ["/rustc/", "/library/", "/counts/"].iter().any(|part| place.contains(part));
        if place.is_empty() || is_inner || (callers.len() >= 2 && !is_own) {
            continue;
        }
        callers.push(format!("{} ({})", without_parameters(function), shortened(place)));
        if is_own && callers.len() >= 2 {
            break;
        }
    }
    callers.join(" < ")
}

/// `at /somewhere/hyper-1.12.0/src/upgrade.rs:5:1` without what is before the crate and behind the line.
fn shortened(place: &str) -> &str {
    let place = place.trim_start_matches("at ").trim_start_matches("./");
    let place = place.rsplit_once(':').map_or(place, |(place, _)| place);
    let Some(source) = place.rfind("/src/") else { return place };
    place.get(..source).and_then(|krate| krate.rfind('/')).map_or(place, |slash| &place[slash + 1..])
}

/// `name<a, b>` without what is between the angles, which may fill a page.
fn without_parameters(function: &str) -> String {
    let mut depth = 0;
    let is_outside = |character: &char| {
        depth += i32::from(*character == '<');
        let outside = depth == 0;
        depth -= i32::from(*character == '>');
        outside
    };
    function.chars().filter(is_outside).collect()
}
