//! What a client sends on a stream: taken from h2 as it arrives, kept until somebody wants it.
//!
//! h2 ends the whole connection when small frames are left with it, so frames are taken out even when nobody wants their
//! bytes yet. They are kept in one buffer, which the stream's window bounds: it is given back only for bytes that have
//! gone on.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes, BytesMut};
use h2::RecvStream;
use http::HeaderMap;
use hyper::body::{Body, Frame, SizeHint};
use tokio::io::ReadBuf;

use super::{gone, io_error};

/// The receiving half of a stream.
pub struct Inlet {
    stream: RecvStream,
    /// Taken from h2 and not yet wanted; usually empty, and then without memory.
    kept: BytesMut,
    /// Bytes that were handed out: their window is given back when more is wanted, because then they have gone on.
    lent: usize,
    end: End,
}

enum End {
    Open,
    /// END_STREAM.
    Ended,
    Trailers(HeaderMap),
    Failed(io::ErrorKind),
}

impl Inlet {
    /// Nothing is taken yet.
    fn new(stream: RecvStream) -> Inlet {
        Inlet { stream, kept: BytesMut::new(), lent: 0, end: End::Open }
    }

    /// Takes from h2 all that has arrived. Ready when the client's end has: without it the caller is woken for more.
    ///
    /// # Errors
    /// The stream was reset, or its connection is gone.
    pub fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(bytes) = ready!(self.poll_frame(context))? {
            self.kept.extend_from_slice(&bytes);
        }
        Poll::Ready(Ok(()))
    }

    /// Hands out what has arrived; nothing means that the client has ended its side.
    ///
    /// # Errors
    /// As [`Inlet::poll_fill`].
    pub fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.release();
        let before = buffer.filled().len();
        let count = self.kept.len().min(buffer.remaining());
        buffer.put_slice(&self.kept.split_to(count));
        if self.kept.is_empty() {
            self.kept = BytesMut::new();
        }
        // Small frames leave together.
        while buffer.remaining() > 0 {
            match self.poll_frame(context) {
                Poll::Ready(Ok(Some(mut bytes))) => {
                    let count = bytes.len().min(buffer.remaining());
                    buffer.put_slice(&bytes.split_to(count));
                    self.kept.extend_from_slice(&bytes);
                }
                Poll::Ready(Err(error)) if buffer.filled().len() == before => {
                    return Poll::Ready(Err(error));
                }
                Poll::Pending if buffer.filled().len() == before => return Poll::Pending,
                // An end or a failure is told when it is asked for again.
                _ => break,
            }
        }
        self.lent = buffer.filled().len() - before;
        Poll::Ready(Ok(()))
    }

    /// Whether the client has ended its side, or the stream has failed.
    fn has_ended(&self) -> bool {
        !matches!(self.end, End::Open)
    }

    /// All that is kept.
    fn take(&mut self) -> Bytes {
        self.lent = self.kept.len();
        std::mem::take(&mut self.kept).freeze()
    }

    /// Gives the window of what was handed out back to the client.
    fn release(&mut self) {
        if self.lent > 0 {
            // It fails only for more than was received.
            let _ = self.stream.flow_control().release_capacity(self.lent);
            self.lent = 0;
        }
    }

    /// The next frame's bytes, of which there is at least one; `None` at the end.
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        match self.end {
            End::Open => {}
            End::Ended | End::Trailers(_) => return Poll::Ready(Ok(None)),
            End::Failed(kind) => return Poll::Ready(Err(kind.into())),
        }
        loop {
            match ready!(self.stream.poll_data(context)) {
                Some(Ok(bytes)) if !bytes.has_remaining() => {}
                Some(Ok(bytes)) => return Poll::Ready(Ok(Some(bytes))),
                Some(Err(error)) => return Poll::Ready(Err(self.fail(error))),
                None => break,
            }
        }
        self.end = match ready!(self.stream.poll_trailers(context)) {
            Ok(Some(trailers)) => End::Trailers(trailers),
            Ok(None) => End::Ended,
            Err(error) => return Poll::Ready(Err(self.fail(error))),
        };
        Poll::Ready(Ok(None))
    }

    fn fail(&mut self, error: h2::Error) -> io::Error {
        let error = io_error(error);
        self.end = End::Failed(error.kind());
        error
    }
}

/// The stream's task keeps this: it empties h2, whoever wants the bytes, and ends what is still wanted when it goes.
pub struct Pump(Arc<Shared>);

/// A request's body, for whoever sends it on.
pub struct Received(Arc<Shared>);

struct Shared(Mutex<State>);

struct State {
    /// Gone when it was taken for a tunnel, or when the stream's task has ended.
    inlet: Option<Inlet>,
    /// Of who waits for more of the body.
    reader: Option<Waker>,
    /// Of who waits for that.
    watcher: Option<Waker>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The two ends of a request's body.
pub fn body(stream: RecvStream) -> (Pump, Received) {
    let state = State { inlet: Some(Inlet::new(stream)), reader: None, watcher: None };
    let shared = Arc::new(Shared(Mutex::new(state)));
    (Pump(shared.clone()), Received(shared))
}

impl Pump {
    /// Takes from h2 all that has arrived. Ready when the stream has failed.
    pub fn poll(&self, context: &mut Context<'_>) -> Poll<io::Error> {
        let mut state = self.0.lock();
        let State { inlet: Some(inlet), reader, .. } = &mut *state else { return Poll::Pending };
        let (before, had_ended) = (inlet.kept.len(), inlet.has_ended());
        let filled = inlet.poll_fill(context);
        if (inlet.kept.len(), inlet.has_ended()) != (before, had_ended)
            && let Some(reader) = reader.take()
        {
            reader.wake();
        }
        match filled {
            Poll::Ready(Err(error)) => Poll::Ready(error),
            _ => Poll::Pending,
        }
    }

    /// Ready when somebody waits for more of the body than has come.
    pub fn poll_awaited(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.lock();
        if state.reader.is_some() {
            return Poll::Ready(());
        }
        state.watcher = Some(context.waker().clone());
        Poll::Pending
    }

    /// The receiving half, for a tunnel.
    pub fn into_inlet(self) -> Option<Inlet> {
        self.0.lock().inlet.take()
    }
}

impl Drop for Pump {
    /// Nobody will fill the body any more: whoever waits for it learns that it broke off.
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.inlet = None;
        if let Some(reader) = state.reader.take() {
            reader.wake();
        }
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let mut state = self.0.lock();
        let State { inlet: Some(inlet), reader, watcher } = &mut *state else {
            return Poll::Ready(Some(Err(gone())));
        };
        inlet.release();
        if !inlet.kept.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(inlet.take()))));
        }
        match std::mem::replace(&mut inlet.end, End::Ended) {
            End::Open => {
                inlet.end = End::Open;
                *reader = Some(context.waker().clone());
                if let Some(watcher) = watcher.take() {
                    watcher.wake();
                }
                Poll::Pending
            }
            End::Ended => Poll::Ready(None),
            End::Trailers(trailers) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            End::Failed(kind) => {
                inlet.end = End::Failed(kind);
                Poll::Ready(Some(Err(kind.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let state = self.0.lock();
        let ended = |inlet: &Inlet| match inlet.end {
            End::Open => inlet.kept.is_empty() && inlet.stream.is_end_stream(),
            End::Ended => inlet.kept.is_empty(),
            End::Trailers(_) | End::Failed(_) => false,
        };
        state.inlet.as_ref().is_some_and(ended)
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_end_stream() { SizeHint::with_exact(0) } else { SizeHint::default() }
    }
}
