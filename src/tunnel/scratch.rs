//! The buffer that all tunnels of a worker move their bytes through. A tunnel has it during one poll, so an idle tunnel
//! owns none.

use std::cell::RefCell;

/// The most that one read takes, and that a direction keeps when its reader takes none of it.
pub const SCRATCH_BYTES: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice());
}

/// Lends the calling thread's buffer to `work`, which must not ask for it again.
pub fn lend<R>(work: impl FnOnce(&mut [u8]) -> R) -> R {
    SCRATCH.with_borrow_mut(|scratch| work(scratch))
}
