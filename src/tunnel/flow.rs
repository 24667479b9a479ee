//! One direction of a tunnel: from one stream, past the scanner, into the other.
//!
//! Nothing is read while something is kept: a reader that stops its side stops the other side's writer, and a direction
//! holds at most one scratch buffer's worth ([`SCRATCH_BYTES`](super::scratch::SCRATCH_BYTES)), and what the proxy adds to
//! it. When the source ends, what is kept still goes out, and then the end itself (FIN, or close_notify and FIN). Where the
//! reader is told by a Close that no more will come, the end waits until it may follow ([`Flow::release`]).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::proto::frame::HEADER_BYTES_MAX;
use crate::proto::weave::{Next, Offence, Watch, Weave};

/// What one poll of a direction moves, at most, before other tunnels get their turn.
pub const POLL_BYTES_MAX: usize = 256 * 1024;

/// One direction.
#[derive(Debug)]
pub struct Flow {
    /// Reads frame headers as they pass, and knows what is to go between them.
    weave: Weave,
    /// Bytes that the reader would not take yet; usually empty, and then without memory.
    kept: Vec<u8>,
    /// How many of those it has taken since.
    passed: u32,
    stage: Stage,
    /// Whether the writer may hold bytes inside (TLS does) that only a flush brings out.
    unflushed: bool,
    /// Whether the source's end was not announced by close_notify.
    truncated: bool,
    /// Whether the reader has taken something, or been given something to take, since that was last asked.
    is_stirred: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Moving,
    /// The source has ended, and the reader has a Close of the proxy's; the end waits.
    Silent,
    /// The source has ended; the reader does not know yet.
    Ending,
    Ended,
}

/// A direction cannot go on.
#[derive(Debug)]
pub enum Fault {
    /// Its source failed.
    Source(io::Error),
    /// Its reader failed.
    Reader(io::Error),
    /// Its source broke the rules of frames, and they are enforced; or it went over a limit.
    Offence(Offence),
}

impl Flow {
    /// A direction that first passes on `early`, bytes that arrived together with the handshake. `watch` is told of
    /// them as it will be of all others.
    ///
    /// # Errors
    /// An offence in them, where that ends the tunnel. What came before it still passes.
    pub fn new(weave: Weave, early: &[u8], watch: &mut impl Watch) -> (Flow, Result<(), Offence>) {
        let mut flow = Flow {
            weave,
            kept: Vec::new(),
            passed: 0,
            stage: Stage::Moving,
            unflushed: false,
            truncated: false,
            is_stirred: true,
        };
        let mut outcome = Ok(());
        if !early.is_empty() {
            watch.taken(early.len());
            let Flow { weave, kept, .. } = &mut flow;
            weave.read(early.len(), watch);
            match weave.take(early, watch, |bytes| kept.extend_from_slice(bytes)) {
                Ok(taken) => weave.give_back(early.to_vec(), taken),
                Err(offence) => outcome = Err(offence),
            }
        }
        (flow, outcome)
    }

    /// What has been seen of the frames in this direction, and what was added.
    pub fn weave(&self) -> &Weave {
        &self.weave
    }

    /// To add something.
    pub fn weave_mut(&mut self) -> &mut Weave {
        &mut self.weave
    }

    /// Whether the reader has taken all that was read for it, and all that the proxy had to add.
    pub fn is_passed_on(&self) -> bool {
        self.rest().is_empty()
    }

    /// Whether the same has left longhaul, as far as the reader's stream can tell.
    pub fn is_flushed(&self) -> bool {
        self.is_passed_on() && !self.unflushed
    }

    /// Whether the source is not read for now, because of its reader, or because it sends too fast.
    pub fn is_held_back(&self) -> bool {
        !self.is_passed_on() || self.weave.is_held()
    }

    /// Whether the reader has taken something, or been given something to take, since this was last asked.
    pub fn take_stir(&mut self) -> bool {
        std::mem::take(&mut self.is_stirred)
    }

    /// Whether the source has ended.
    pub fn source_ended(&self) -> bool {
        self.stage != Stage::Moving
    }

    /// Whether the source has ended, and its end has been passed on.
    pub fn is_over(&self) -> bool {
        self.stage == Stage::Ended
    }

    /// Whether the source has ended, and the reader knows it by a Close alone.
    pub fn is_silent(&self) -> bool {
        self.stage == Stage::Silent
    }

    /// Lets the end follow the Close.
    pub fn release(&mut self) {
        if self.stage == Stage::Silent {
            self.stage = Stage::Ending;
        }
    }

    /// Whether the source ended without TLS' close_notify.
    pub fn truncated(&self) -> bool {
        self.truncated
    }

    /// Moves what can be moved; ready when the source has ended and its end has been passed on. `watch` is told
    /// of all that is taken from the source.
    ///
    /// # Errors
    /// The fault of either stream.
    pub fn poll<S: AsyncRead + Unpin, R: AsyncWrite + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        source: &mut S,
        reader: &mut R,
        scratch: &mut [u8],
        watch: &mut impl Watch,
    ) -> Poll<Result<(), Fault>> {
        let mut moved_bytes = 0;
        loop {
            if self.weave.is_busy() && matches!(self.stage, Stage::Moving | Stage::Silent) {
                let Flow { weave, kept, .. } = self;
                weave.speak(|bytes| kept.extend_from_slice(bytes));
            }
            if !self.kept.is_empty() {
                ready!(self.poll_kept(context, reader))?;
            }
            match self.stage {
                Stage::Moving => {}
                Stage::Silent => return self.poll_flush(context, reader),
                Stage::Ending => {
                    ready!(Pin::new(&mut *reader).poll_shutdown(context)).map_err(Fault::Reader)?;
                    self.stage = Stage::Ended;
                    return Poll::Ready(Ok(()));
                }
                Stage::Ended => return Poll::Ready(Ok(())),
            }
            if moved_bytes >= POLL_BYTES_MAX {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let mut bytes_max = usize::MAX;
            if self.weave.is_busy() {
                match self.weave.next(watch) {
                    Next::Read(most) => bytes_max = most,
                    Next::Nothing => return self.poll_flush(context, reader),
                    Next::Again(bytes, start) => {
                        let again = bytes.get(start..).unwrap_or_default();
                        let taken = self.pass(context, reader, again, watch)?;
                        self.weave.give_back(bytes, start + taken);
                        moved_bytes += taken;
                        continue;
                    }
                }
            }
            // What was held of a frame's start goes in front of what follows it.
            let Some((held, room)) = scratch.split_at_mut_checked(HEADER_BYTES_MAX) else {
                return Poll::Pending;
            };
            let room_bytes = room.len().min(bytes_max);
            let mut buffer = ReadBuf::new(room.get_mut(..room_bytes).unwrap_or_default());
            match Pin::new(&mut *source).poll_read(context, &mut buffer) {
                Poll::Pending => return self.poll_flush(context, reader),
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    // TCP ended where TLS should have said so first: as an end it is passed on, as a cut remembered.
                    self.truncated = true;
                    buffer.clear();
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Fault::Source(error))),
            }
            let read_bytes = buffer.filled().len();
            if read_bytes == 0 {
                self.end(watch);
                continue;
            }
            moved_bytes += read_bytes;
            watch.taken(read_bytes);
            let mut held_bytes = 0;
            if self.weave.is_busy() {
                self.weave.read(read_bytes, watch);
                held_bytes = self.weave.resume(held);
            }
            let bytes = scratch.get(HEADER_BYTES_MAX - held_bytes..HEADER_BYTES_MAX + read_bytes);
            let bytes = bytes.unwrap_or_default();
            let taken = self.pass(context, reader, bytes, watch)?;
            if let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
                self.weave.give_back(rest.to_vec(), 0);
            }
        }
    }

    /// The source has ended. Who has not been told by a Close is told by one of the proxy's own, if it can be.
    fn end(&mut self, watch: &mut impl Watch) {
        self.weave.end();
        if self.weave.may_close()
            && let Some((code, frame)) = watch.farewell()
        {
            self.weave.say_close(code, &frame);
        }
        let has_word = self.weave.can_speak() || self.weave.own_close().is_some();
        self.stage = if has_word { Stage::Silent } else { Stage::Ending };
    }

    /// Writes straight from `bytes`, and keeps what the reader does not take. How many could pass.
    fn pass<R: AsyncWrite + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        reader: &mut R,
        bytes: &[u8],
        watch: &mut impl Watch,
    ) -> Result<usize, Fault> {
        self.unflushed = true;
        let Flow { weave, kept, .. } = self;
        let mut written = Ok(());
        let taken = weave.take(bytes, watch, |mut bytes| {
            while kept.is_empty() && written.is_ok() && !bytes.is_empty() {
                match poll_write(context, reader, bytes) {
                    Poll::Ready(Ok(count)) => bytes = bytes.get(count..).unwrap_or_default(),
                    Poll::Ready(Err(fault)) => written = Err(fault),
                    Poll::Pending => break,
                }
            }
            if !bytes.is_empty() {
                kept.extend_from_slice(bytes);
            }
        });
        self.is_stirred = true;
        written.and(taken.map_err(Fault::Offence))
    }

    fn rest(&self) -> &[u8] {
        let passed = usize::try_from(self.passed).unwrap_or(usize::MAX);
        self.kept.get(passed..).unwrap_or_default()
    }

    fn poll_kept<R: AsyncWrite + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        reader: &mut R,
    ) -> Poll<Result<(), Fault>> {
        while !self.rest().is_empty() {
            let count = ready!(poll_write(context, reader, self.rest()))?;
            self.passed += u32::try_from(count).unwrap_or(u32::MAX);
            (self.unflushed, self.is_stirred) = (true, true);
        }
        (self.kept, self.passed) = (Vec::new(), 0);
        Poll::Ready(Ok(()))
    }

    /// Nothing more to read for now: whatever the writer holds inside must go out.
    fn poll_flush<R: AsyncWrite + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        reader: &mut R,
    ) -> Poll<Result<(), Fault>> {
        if self.unflushed && Pin::new(reader).poll_flush(context).map_err(Fault::Reader)?.is_ready() {
            self.unflushed = false;
        }
        Poll::Pending
    }
}

fn poll_write<R: AsyncWrite + Unpin>(
    context: &mut Context<'_>,
    reader: &mut R,
    bytes: &[u8],
) -> Poll<Result<usize, Fault>> {
    match ready!(Pin::new(reader).poll_write(context, bytes)) {
        Ok(0) => Poll::Ready(Err(Fault::Reader(io::ErrorKind::WriteZero.into()))),
        Ok(count) => Poll::Ready(Ok(count)),
        Err(error) => Poll::Ready(Err(Fault::Reader(error))),
    }
}

#[cfg(test)]
mod tests;
