//! The loop that joins two streams: both directions, the deadlines, and the name of the end.
//!
//! A reset travels as a reset: when one side's connection breaks, the other side's is reset too. An end travels as an
//! end (FIN), and the other direction may go on for a while (`half_close_timeout`).

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use tokio::time::{Instant, Sleep, sleep_until};

use super::flow::{Fault, Flow};
use super::sessions::{Cut, Registration, Session};
use super::tap::Tap;
use super::{Terms, scratch};
use crate::net::stream::Stream;
use crate::outcome::{CloseCode, Closing, EndReason, Ending, Party};
use crate::proto::frame::Violation;
use crate::proto::scan::Scanner;
use crate::telemetry::labels::Direction;

/// A tunnel at work. As a future it ends with the tunnel.
pub struct Splice {
    /// Gone once the tunnel has ended.
    streams: Option<Streams>,
    up: Flow,
    down: Flow,
    /// Who sent the first Close frame.
    closer: Option<Party>,
    /// Whose stream ended first, and when.
    ended: Option<(Party, Instant)>,
    /// Fires at the nearest deadline that was known when it was last set; later bytes only move the deadline.
    timer: Pin<Box<Sleep>>,
    /// The timer was set, and the runtime must be told.
    timer_set: bool,
    registration: Registration,
}

struct Streams {
    client: Stream,
    backend: Stream,
}

/// One end of a tunnel: a stream, and what arrived on it together with the handshake.
pub struct Leg {
    /// The stream.
    pub stream: Stream,
    /// To be passed on before anything that the stream still brings.
    pub early: Vec<u8>,
    /// For what the stream sends.
    pub scanner: Scanner,
}

impl Splice {
    /// Joins `client` and `backend`.
    pub fn new(client: Leg, backend: Leg, registration: Registration) -> Splice {
        let session = registration.session();
        let tap = |direction| Tap::new(session, direction);
        let up = Flow::new(client.scanner, client.early, &mut tap(Direction::ToBackend));
        let down = Flow::new(backend.scanner, backend.early, &mut tap(Direction::ToClient));
        let timer = Box::pin(sleep_until(session.opened() + session.terms.idle_timeout));
        Splice {
            streams: Some(Streams { client: client.stream, backend: backend.stream }),
            up,
            down,
            closer: None,
            ended: None,
            timer,
            timer_set: true,
            registration,
        }
    }

    /// The tunnel's entry in the live table.
    pub fn session(&self) -> &Session {
        self.registration.session()
    }

    /// The tunnel's terms.
    pub fn terms(&self) -> &Terms {
        &self.session().terms
    }

    /// What became of the Close frames.
    pub fn closing(&self) -> Closing {
        let first = self.closer.and_then(|by| {
            let flow = if by == Party::Client { &self.up } else { &self.down };
            let close = flow.scanner().close()?;
            Some((by, close.code.map_or(CloseCode::Empty, CloseCode::Number)))
        });
        let (by, code) = first.map_or((None, CloseCode::None), |(by, code)| (Some(by), code));
        Closing { by, code, clean: self.closed_by_both() }
    }

    /// How the sender of `direction` broke the rules of frames, if it did.
    pub fn violation(&self, direction: Direction) -> Option<Violation> {
        let flow = if direction == Direction::ToBackend { &self.up } else { &self.down };
        flow.scanner().violation()
    }

    /// When the backend ended the tunnel out of the blue, if it did: nobody had sent a Close frame, none could have passed
    /// unseen, and the client's stream had not ended before.
    pub fn backend_died(&self, ending: Ending) -> Option<Instant> {
        let is_blind = self.up.scanner().is_blind() || self.down.scanner().is_blind();
        if self.closer.is_some() || is_blind {
            return None;
        }
        match self.ended {
            Some((Party::Client, _)) => None,
            // However the client took it.
            Some((_, at)) => Some(at),
            None => (ending.by == Party::Backend).then(Instant::now),
        }
    }

    fn poll_flows(&mut self, context: &mut Context<'_>) -> Poll<Ending> {
        let Some(streams) = &mut self.streams else { return Poll::Pending };
        let Streams { client, backend } = streams;
        let session = self.registration.session();
        let (up, down) = scratch::lend(|scratch| {
            let mut tap = Tap::new(session, Direction::ToBackend);
            let up = self.up.poll(context, client, backend, scratch, &mut tap);
            let mut tap = Tap::new(session, Direction::ToClient);
            let down = self.down.poll(context, backend, client, scratch, &mut tap);
            (up, down)
        });
        self.note_order();
        let is_read = self.up.is_passed_on() && !self.up.source_ended();
        if !is_read
            && let Some(streams) = &mut self.streams
            && let Poll::Ready(error) = streams.client.poll_unread(context)
        {
            return Poll::Ready(self.broken(Fault::Source(error), Party::Client, Party::Backend));
        }
        match (up, down) {
            (Poll::Ready(Err(fault)), _) => Poll::Ready(self.broken(fault, Party::Client, Party::Backend)),
            (_, Poll::Ready(Err(fault))) => Poll::Ready(self.broken(fault, Party::Backend, Party::Client)),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(self.both_ended()),
            _ => Poll::Pending,
        }
    }

    /// Remembers who closed and who ended first. Where both show up in the same poll, the client is taken to be first:
    /// its bytes were looked at first.
    fn note_order(&mut self) {
        if self.closer.is_none() {
            self.closer = match (self.up.scanner().close(), self.down.scanner().close()) {
                (Some(_), _) => Some(Party::Client),
                (None, Some(_)) => Some(Party::Backend),
                (None, None) => None,
            };
        }
        if self.ended.is_none() {
            let ender = match (self.up.source_ended(), self.down.source_ended()) {
                (true, _) => Some(Party::Client),
                (false, true) => Some(Party::Backend),
                (false, false) => None,
            };
            // The exact time, once: how young a tunnel died is compared with its opening.
            self.ended = ender.map(|party| (party, Instant::now()));
            if let Some((_, at)) = self.ended {
                let nearer = (at + self.terms().half_close_timeout).min(self.timer.deadline());
                self.timer.as_mut().reset(nearer);
                self.timer_set = true;
            }
        }
    }

    /// Whether each side has the other's Close frame.
    fn closed_by_both(&self) -> bool {
        let delivered = |flow: &Flow| flow.scanner().close().is_some() && flow.is_passed_on();
        delivered(&self.up) && delivered(&self.down)
    }

    fn both_ended(&self) -> Ending {
        let ender = self.ended.map_or(Party::Proxy, |(party, _)| party);
        let reason = if self.closed_by_both() {
            EndReason::Closed
        } else if self.up.truncated() || self.down.truncated() {
            EndReason::Truncated
        } else {
            EndReason::Ended
        };
        Ending { by: self.closer.unwrap_or(ender), reason }
    }

    /// A stream failed. After the Close frames of both sides it is only an untidy end.
    fn broken(&mut self, fault: Fault, source: Party, reader: Party) -> Ending {
        let (by, error) = match fault {
            Fault::Source(error) => (source, error),
            Fault::Reader(error) => (reader, error),
        };
        if self.closed_by_both() {
            return Ending { by: self.closer.unwrap_or(by), reason: EndReason::Closed };
        }
        if let Some(Streams { client, backend }) = self.streams.take() {
            let other = if by == Party::Client { backend } else { client };
            other.reset();
        }
        let reason = match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
                EndReason::Reset
            }
            io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                EndReason::Vanished
            }
            _ => EndReason::Broken,
        };
        Ending { by, reason }
    }

    /// Lets go of the streams. Where the proxy itself makes the end, each peer is still told (FIN, and close_notify over
    /// TLS, RFC 8446 6.1), if its socket takes that at once. After a clean end the client may not have ended its side yet.
    fn close(&mut self, ending: Ending, context: &mut Context<'_>) {
        let Some(Streams { mut client, mut backend }) = self.streams.take() else { return };
        if ending.by == Party::Proxy {
            let _ = Pin::new(&mut client).poll_shutdown(context);
            let _ = Pin::new(&mut backend).poll_shutdown(context);
        }
        if ending.reason == EndReason::Closed {
            client.leave(self.terms().half_close_timeout);
        }
    }

    /// Looks at the clock when the timer fires: bytes that have moved since have moved the deadline.
    fn poll_deadlines(&mut self, context: &mut Context<'_>) -> Poll<Ending> {
        while self.timer.as_mut().poll(context).is_ready() {
            let now = Instant::now();
            let idle = self.session().active() + self.terms().idle_timeout;
            let half_close = self.ended.map(|(_, at)| at + self.terms().half_close_timeout);
            let by = Party::Proxy;
            if half_close.is_some_and(|deadline| deadline <= now) {
                return Poll::Ready(Ending { by, reason: EndReason::HalfCloseTimeout });
            }
            if idle <= now {
                return Poll::Ready(Ending { by, reason: EndReason::IdleTimeout });
            }
            let nearest = half_close.map_or(idle, |half_close| half_close.min(idle));
            self.timer.as_mut().reset(nearest);
        }
        Poll::Pending
    }
}

impl Future for Splice {
    type Output = Ending;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Ending> {
        let splice = self.get_mut();
        let mut ending = splice.poll_flows(context);
        // The timer is asked when it may have something to say: when it was set, and when nothing else woke the task.
        if ending.is_pending() && (splice.timer_set || splice.timer.is_elapsed()) {
            splice.timer_set = false;
            splice.session().listen(context.waker());
            ending = splice.poll_deadlines(context);
        }
        if ending.is_pending()
            && let Some(cut) = splice.session().cut()
        {
            let reason = match cut {
                Cut::Drain => EndReason::DrainDeadline,
                Cut::BackendDown => EndReason::BackendDown,
                Cut::BackendRemoved => EndReason::BackendRemoved,
            };
            ending = Poll::Ready(Ending { by: Party::Proxy, reason });
        }
        if let Poll::Ready(ending) = &ending {
            splice.close(*ending, context);
        }
        ending
    }
}
