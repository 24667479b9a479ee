//! Counts that do not depend on how fast the machine is: system calls, heap blocks and bytes, instructions.
//!
//! `cargo bench --bench counts` prints them, of a release build, as Markdown. `cargo test` holds those of a dev build
//! against [`bounds`] and fails when one has grown: a count that has become smaller should take its bound along. Either
//! takes a part of a section's name to count that section alone. `strace` and `valgrind` must be installed.
//!
//! What is counted is the path of a message, from a client through longhaul to a backend and back, and the life of a
//! tunnel, from its connection to the end of both sockets. The proxy has one worker and no access log; only what its
//! worker does is counted.
//!
//! * [`calls`]: the real program under `strace`. Calls that depend on time are left out: what the worker's clock does
//!   ten times a second, and what the allocator gives back.
//! * [`heap`]: the library in this program, which starts itself again with an allocator that counts. With
//!   `cargo bench --bench counts -- heap --sites` it also tells where each block comes from.
//! * [`endpoints`]: the library in this program, on one thread.
//! * [`instructions`]: [`loops`] that need no socket, in this program again, under `valgrind`.

mod allocator;
mod bounds;
mod calls;
mod endpoints;
mod heap;
mod instructions;
#[path = "../../it/kit/mod.rs"]
#[allow(dead_code, unused_imports)]
mod kit;
mod loops;
mod report;
mod router;
mod sites;
mod trace;
mod traffic;

use std::env;
use std::process::ExitCode;

use report::Report;

#[global_allocator]
static ALLOCATOR: allocator::Counting = allocator::Counting;

/// The variable of the environment that says what the program is for, when it has started itself.
pub const ROLE: &str = "LONGHAUL_COUNTS_ROLE";

fn main() -> ExitCode {
    match env::var(ROLE).as_deref() {
        Ok(heap::SERVER) => heap::serve(),
        Ok(loops::LOOPS) => loops::run(),
        _ => count(),
    }
}

fn count() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    if has("--list") {
        bounds::BOUNDS.iter().flat_map(bounds::Section::tests).for_each(|test| println!("{test}: test"));
        return ExitCode::SUCCESS;
    }
    let mut report = Report::new(!has("--bench"), filter(&arguments));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        if report.wants(&["calls per message", "calls per tunnel"]) {
            calls::measure(&mut report).await;
        }
        if report.wants(&["heap per message", "heap per tunnel", "heap of an idle tunnel"]) {
            heap::measure(&mut report, has("--sites")).await;
        }
    });
    if report.wants(&["heap of endpoints"]) {
        endpoints::measure(&mut report);
    }
    if report.wants(&["instructions", "growth"]) {
        instructions::measure(&mut report);
    }
    report.finish()
}

/// What the tests' names must contain: the argument that is no option and belongs to none of libtest's.
fn filter(arguments: &[String]) -> Option<String> {
    const WITH_VALUE: &[&str] = &["--skip", "--test-threads", "--format", "--color", "--logfile", "-Z"];
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        if WITH_VALUE.contains(&argument.as_str()) {
            arguments.next();
        } else if !argument.starts_with('-') {
            return Some(argument.clone());
        }
    }
    None
}
