//! An allocator that counts, thread by thread: mimalloc, which the program has too, with numbers beside it.
//!
//! It sees what Rust allocates. The cryptography is C and has the C library's allocator, which can only be asked how
//! much it has given out.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI32, AtomicI64, AtomicUsize, Ordering::Relaxed};

use mimalloc::MiMalloc;

use crate::sites;

/// Threads that are told apart; those that come later share the last place.
const THREADS_MAX: usize = 32;
/// Larger blocks are one class in the histogram.
const BYTES_MAX: usize = 32 * 1024;

/// Counts, and leaves the work to mimalloc.
pub struct Counting;

struct Thread {
    id: AtomicI32,
    allocations: AtomicI64,
    allocated_bytes: AtomicI64,
    live_bytes: AtomicI64,
    /// Blocks by size.
    live: [AtomicI64; BYTES_MAX + 1],
}

static THREADS: [Thread; THREADS_MAX] = [const { Thread::new() }; THREADS_MAX];
static THREADS_USED: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    // Neither is allocated nor dropped, so the allocator may use them at any time.
    static OWN: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// What a thread has allocated until now, and what of it is still there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heap {
    /// Blocks that were asked for, or asked to become larger or smaller.
    pub allocations: i64,
    /// What was asked for.
    pub allocated_bytes: i64,
    /// What is left of it. Blocks that another thread frees count as left.
    pub live_bytes: i64,
    /// Blocks that are left, by their size in bytes.
    pub live: BTreeMap<usize, i64>,
    /// What all threads have from the C library.
    pub c_bytes: i64,
}

impl Heap {
    /// Of the thread with this id.
    pub fn of(thread: i32) -> Option<Heap> {
        let thread = THREADS.iter().find(|known| known.id.load(Relaxed) == thread)?;
        let blocks = thread.live.iter().map(|blocks| blocks.load(Relaxed)).enumerate();
        Some(Heap {
            allocations: thread.allocations.load(Relaxed),
            allocated_bytes: thread.allocated_bytes.load(Relaxed),
            live_bytes: thread.live_bytes.load(Relaxed),
            live: blocks.filter(|(_, blocks)| *blocks != 0).collect(),
            c_bytes: c_bytes(),
        })
    }
}

/// `uordblks` of glibc's `mallinfo2`: bytes in use, in all arenas. Another C library does not tell.
#[cfg(target_env = "gnu")]
fn c_bytes() -> i64 {
    const IN_USE: usize = 7;
    #[repr(C)]
    struct Mallinfo2([usize; 10]);
    unsafe extern "C" {
        // SAFETY: it takes nothing, gives a value, and may be called by any thread.
        safe fn mallinfo2() -> Mallinfo2;
    }
    mallinfo2().0[IN_USE] as i64
}

#[cfg(not(target_env = "gnu"))]
fn c_bytes() -> i64 {
    0
}

impl Thread {
    const fn new() -> Thread {
        Thread {
            id: AtomicI32::new(0),
            allocations: AtomicI64::new(0),
            allocated_bytes: AtomicI64::new(0),
            live_bytes: AtomicI64::new(0),
            live: [const { AtomicI64::new(0) }; BYTES_MAX + 1],
        }
    }

    /// The calling one.
    fn own() -> &'static Thread {
        let mut index = OWN.get();
        if index == usize::MAX {
            index = THREADS_USED.fetch_add(1, Relaxed).min(THREADS_MAX - 1);
            OWN.set(index);
            THREADS[index].id.store(rustix::thread::gettid().as_raw_nonzero().get(), Relaxed);
        }
        &THREADS[index]
    }

    fn add(&self, bytes: usize, blocks: i64) {
        self.live[bytes.min(BYTES_MAX)].fetch_add(blocks, Relaxed);
        self.live_bytes.fetch_add(blocks * bytes as i64, Relaxed);
    }

    fn ask(&self, bytes: usize) {
        self.allocations.fetch_add(1, Relaxed);
        self.allocated_bytes.fetch_add(bytes as i64, Relaxed);
        self.add(bytes, 1);
    }
}

// SAFETY: each method hands its arguments on to mimalloc's method of the same contract and returns what that returns.
// The counting beside it allocates nothing, unwinds never, and touches no memory that is being managed; what
// `sites` allocates while it remembers comes back here, and is not remembered.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Thread::own().ask(layout.size());
        // SAFETY: the caller keeps the contract.
        let block = unsafe { MiMalloc.alloc(layout) };
        sites::taken(block, layout.size());
        block
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Thread::own().ask(layout.size());
        // SAFETY: the caller keeps the contract.
        let block = unsafe { MiMalloc.alloc_zeroed(layout) };
        sites::taken(block, layout.size());
        block
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        let thread = Thread::own();
        thread.add(layout.size(), -1);
        thread.ask(bytes);
        sites::given_back(block);
        // SAFETY: the caller keeps the contract.
        let block = unsafe { MiMalloc.realloc(block, layout, bytes) };
        sites::taken(block, bytes);
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        Thread::own().add(layout.size(), -1);
        sites::given_back(block);
        // SAFETY: the caller keeps the contract.
        unsafe { MiMalloc.dealloc(block, layout) }
    }
}
