//! The `longhaul` program: everything is in the library.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // With huge pages resident memory grows in steps of 2 MiB, whatever is in use; many small tunnels gain nothing by it.
    // A kernel that cannot turn them off for one process only costs that memory.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    longhaul::cli::main()
}
