//! The buffer that all tunnels of a worker move their bytes through. A tunnel has it during one poll, so an idle tunnel
//! owns none.

use std::cell::RefCell;

use crate::proto::frame::HEADER_BYTES_MAX;

/// The most that one read takes, and that a direction keeps when its reader takes none of it.
///
/// Large, so that bulk takes few calls, but less than the 65,483 bytes of a TCP segment over loopback (its MTU is 64 KiB):
/// 64 KiB would leave as a full segment and one of 53 bytes, which costs a third more CPU time.
pub const SCRATCH_BYTES: usize = 60 * 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; HEADER_BYTES_MAX + SCRATCH_BYTES].into_boxed_slice());
}

/// Lends the calling thread's buffer, in front of which there is room for the start of a frame, to `work`, which must not ask for it again.
pub fn lend<R>(work: impl FnOnce(&mut [u8]) -> R) -> R {
    SCRATCH.with_borrow_mut(|scratch| work(scratch))
}
