//! Pipes, lent while data moves.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Result;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

/// Kept for later. A user without privileges may have 64 MiB of pipes in all (`pipe-user-pages-soft`), so that more than
/// 64 of this size, over all workers, would be cut down to two pages each.
const POOL_MAX: usize = 16;
/// The most that `pipe-max-size` allows at its default: room for 256 pieces of a page or more.
const PIPE_BYTES: usize = 1024 * 1024;
/// The most that is put into one at a time: longhaul moves no more for a tunnel before it looks at the others.
const FILL_BYTES: usize = 256 * 1024;

const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

/// Those that nobody has.
#[derive(Default)]
pub struct Pipes(Vec<Pipe>);

/// One of them.
pub struct Pipe {
    output: OwnedFd,
    input: OwnedFd,
    /// What is in it, in bytes.
    pub held: usize,
}

impl Pipes {
    /// None when there are no descriptors.
    pub fn borrow(&mut self) -> Option<Pipe> {
        self.0.pop().or_else(|| Pipe::new().ok())
    }

    /// It is empty.
    pub fn give_back(&mut self, pipe: Option<Pipe>) {
        if self.0.len() < POOL_MAX {
            self.0.extend(pipe);
        }
    }
}

impl Pipe {
    fn new() -> Result<Pipe> {
        let (output, input) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        fcntl_setpipe_size(&input, PIPE_BYTES)?;
        Ok(Pipe { output, input, held: 0 })
    }

    /// Takes what there is, or what there is room for; 0 at the end. Only when it is empty: else nobody could tell a full
    /// pipe from a socket that has nothing.
    pub fn fill(&mut self, source: impl AsFd) -> Result<usize> {
        self.held = splice(source, None, &self.input, None, FILL_BYTES, FLAGS)?;
        Ok(self.held)
    }

    /// Passes on what the reader takes at once.
    pub fn empty(&mut self, reader: impl AsFd) -> Result<()> {
        self.held -= splice(&self.output, None, reader, None, self.held, FLAGS)?;
        Ok(())
    }
}
