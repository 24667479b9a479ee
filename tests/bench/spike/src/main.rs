//! Relays in plain text that longhaul might be built on, and is not: measured beside it and beside the floor, so that it is
//! known what they would bring. Each is one thread that takes connections, opens one to the backend for each, and copies
//! both ways, each way to its own end, as the floor does. Nobody but the bench starts them:
//!
//! ```text
//! cargo build --release --manifest-path tests/bench/spike/Cargo.toml --target-dir target
//! tests/bench/run --relay epoll=target/release/relay --relay pipe=target/release/relay \
//!     --relay uring=target/release/relay --case small-plain --peer longhaul --peer floor
//! ```
//!
//! `epoll` does what the floor does without its runtime; `pipe` is the same loop, which moves what is large by splice(2);
//! `uring` leaves reading and writing to io_uring. What the kernel's threads of a ring do counts for its process, as the
//! work of any other thread does: /proc/PID/stat, which the bench reads, has all of them.

#![deny(unsafe_code)]

mod bare;
mod sockets;
mod uring;

use std::io;
use std::net::SocketAddr;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> io::Result<()> {
    // As longhaul: memory is given out in small pages.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mode, listen, backend] = arguments.as_slice() else {
        return Err(io::Error::other("usage: relay epoll|pipe|uring LISTEN BACKEND"));
    };
    let address = |text: &str| text.parse::<SocketAddr>().map_err(io::Error::other);
    let (listen, backend) = (address(listen)?, address(backend)?);
    match mode.as_str() {
        "epoll" => bare::run(listen, backend, bare::Large::Copied),
        "pipe" => bare::run(listen, backend, bare::Large::Spliced),
        "uring" => uring::run(listen, backend),
        _ => Err(io::Error::other(format!("there is no relay {mode}"))),
    }
}
