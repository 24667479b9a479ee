//! One direction of a tunnel: from one stream, past the scanner, into the other.
//!
//! Nothing is read while something is kept: a reader that stops its side stops the other side's writer, and a direction
//! holds at most one scratch buffer's worth ([`SCRATCH_BYTES`](super::scratch::SCRATCH_BYTES)). When the source ends,
//! what is kept still goes out, and then the end itself (FIN, or close_notify and FIN).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::tap::Watch;
use crate::proto::scan::{Scanner, Step};

/// What one poll of a direction moves, at most, before other tunnels get their turn.
pub const POLL_BYTES_MAX: usize = 256 * 1024;

/// One direction.
#[derive(Debug)]
pub struct Flow {
    /// Reads frame headers as they pass.
    scanner: Scanner,
    /// Bytes that the reader would not take yet; usually empty, and then without memory.
    kept: Kept,
    stage: Stage,
    /// Whether the writer may hold bytes inside (TLS does) that only a flush brings out.
    unflushed: bool,
    /// Whether the source's end was not announced by close_notify.
    truncated: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Moving,
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
}

impl Flow {
    /// A direction that first passes on `early`, bytes that arrived together with the handshake. `watch` is told of
    /// them as it will be of all others.
    pub fn new(scanner: Scanner, early: Vec<u8>, watch: &mut impl Watch) -> Flow {
        let kept = Kept::default();
        let mut flow = Flow { scanner, kept, stage: Stage::Moving, unflushed: false, truncated: false };
        if !early.is_empty() {
            flow.look(&early, watch);
        }
        flow.kept = Kept { bytes: early, passed: 0 };
        flow
    }

    /// What has been seen of the frames in this direction.
    pub fn scanner(&self) -> &Scanner {
        &self.scanner
    }

    /// Whether the reader has taken all that was read for it.
    pub fn is_passed_on(&self) -> bool {
        self.kept.rest().is_none()
    }

    /// Whether the source has ended.
    pub fn source_ended(&self) -> bool {
        self.stage != Stage::Moving
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
            ready!(self.poll_kept(context, reader))?;
            match self.stage {
                Stage::Moving => {}
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
            let mut buffer = ReadBuf::new(scratch);
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
            let bytes = buffer.filled();
            if bytes.is_empty() {
                self.stage = Stage::Ending;
                continue;
            }
            moved_bytes += bytes.len();
            self.look(bytes, watch);
            self.pass(context, reader, bytes)?;
        }
    }

    /// Reads the headers in what was taken from the source.
    fn look(&mut self, bytes: &[u8], watch: &mut impl Watch) {
        watch.taken(bytes.len());
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.scanner.step(&mut rest) {
                Step::Frame(frame) => watch.frame(frame, &self.scanner),
                Step::More => break,
                Step::Violation(violation) => {
                    watch.violation(violation);
                    break;
                }
            }
        }
    }

    /// Writes straight from the scratch buffer, and keeps what the reader does not take.
    fn pass<R: AsyncWrite + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        reader: &mut R,
        mut bytes: &[u8],
    ) -> Result<(), Fault> {
        self.unflushed = true;
        while !bytes.is_empty() {
            match poll_write(context, reader, bytes) {
                Poll::Ready(count) => bytes = bytes.get(count?..).unwrap_or_default(),
                Poll::Pending => {
                    self.kept = Kept { bytes: bytes.to_vec(), passed: 0 };
                    break;
                }
            }
        }
        Ok(())
    }

    fn poll_kept<R: AsyncWrite + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        reader: &mut R,
    ) -> Poll<Result<(), Fault>> {
        while let Some(bytes) = self.kept.rest() {
            self.kept.passed += ready!(poll_write(context, reader, bytes))?;
            self.unflushed = true;
        }
        self.kept = Kept::default();
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

#[derive(Debug, Default)]
struct Kept {
    bytes: Vec<u8>,
    passed: usize,
}

impl Kept {
    fn rest(&self) -> Option<&[u8]> {
        self.bytes.get(self.passed..).filter(|rest| !rest.is_empty())
    }
}
