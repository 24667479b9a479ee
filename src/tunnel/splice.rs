//! The loop that joins two streams: both directions, the deadlines, and the name of the end.
//!
//! When one side is gone without a Close, the other gets one that says so, if it stands between two frames; then it may
//! answer, and then comes the end ([`super::parting`]). Else, and where nothing is known of frames, a reset travels as a
//! reset, and an end as an end (FIN). After an end the other direction may go on for a while (`half_close_timeout`).

mod beginning;
mod deadlines;
mod ending;
mod facts;
mod pinging;
mod stalling;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep};

use super::care::Care;
use super::flow::{Fault, Flow};
use super::parting::Parting;
use super::sessions::{Registration, Session};
use super::tap::{Farewell, Tap};
use super::{Terms, clock, scratch};
use crate::net::stream::Stream;
use crate::outcome::{EndReason, Ending, Party};
use crate::proto::scan::Scanner;
use crate::telemetry::labels::Direction;

/// A tunnel at work, until [`Splice::poll`] tells its ending.
pub struct Splice {
    /// Gone once the tunnel has ended.
    streams: Option<Streams>,
    up: Flow,
    down: Flow,
    /// Who sent the first Close frame.
    closer: Option<Party>,
    /// Whose stream ended first.
    ended_by: Option<Party>,
    /// And when.
    ended_at: Instant,
    /// Fires at the nearest deadline that was known when it was last set; later bytes only move the deadline.
    timer: Pin<Box<Sleep>>,
    /// The timer was set, and the runtime must be told.
    timer_set: bool,
    /// A side that was still there has got nothing that it could understand.
    was_cut: bool,
    /// The end has begun, and somebody is still to be heard.
    parting: Option<Box<Parting>>,
    /// There once there is something to look after.
    care: Option<Box<Care>>,
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
    /// The tunnel is to be over by `deadline`.
    pub fn expire(&mut self, deadline: Instant) {
        self.care.get_or_insert_default().expires = Some(deadline);
        self.set_timer(deadline);
    }

    /// The tunnel's entry in the live table.
    pub fn session(&self) -> &Session {
        self.registration.session()
    }

    /// The tunnel's terms.
    pub fn terms(&self) -> &Terms {
        &self.session().terms
    }

    /// Goes on with the tunnel; ready when it has ended. `leaves` says whether longhaul or the backend is about to stop.
    pub fn poll(&mut self, context: &mut Context<'_>, leaves: &dyn Fn() -> bool) -> Poll<Ending> {
        let mut ending = self.poll_flows(context, leaves);
        if ending.is_pending() {
            self.look_after(clock::now);
        }
        // The timer is asked when it may have something to say: when it was set, and when nothing else woke the task.
        if ending.is_pending() && (self.timer_set || self.timer.is_elapsed()) {
            self.timer_set = false;
            self.session().listen(context.waker());
            ending = self.poll_deadlines(context);
        }
        if ending.is_pending() && self.parting.is_none() {
            ending = self.poll_goodbye(context, leaves);
        }
        if ending.is_pending() && self.session().is_cut() {
            ending = Poll::Ready(Ending { by: Party::Proxy, reason: EndReason::DrainDeadline });
        }
        if let Poll::Ready(ending) = &ending {
            self.close(*ending, context);
        }
        ending
    }

    fn poll_flows(&mut self, context: &mut Context<'_>, leaves: &dyn Fn() -> bool) -> Poll<Ending> {
        loop {
            let Some(Streams { client, backend }) = &mut self.streams else { return Poll::Pending };
            let session = self.registration.session();
            let (up, down) = scratch::lend(|scratch| {
                let goodbye = self.parting.as_deref().and_then(Parting::code);
                let farewell = |to: &Flow| Farewell { close: to.weave().scanner().close(), goodbye, leaves };
                let mut recorder = self.care.as_deref_mut().and_then(|care| care.recorder.as_deref_mut());
                let tap = Tap::new(session, Direction::ToBackend).recording(recorder.as_deref_mut());
                let mut tap = tap.telling(farewell(&self.down));
                let up = self.up.poll(context, client, backend, scratch, &mut tap);
                let tap = Tap::new(session, Direction::ToClient).recording(recorder);
                let mut tap = tap.telling(farewell(&self.up));
                let down = self.down.poll(context, backend, client, scratch, &mut tap);
                (up, down)
            });
            self.note_order();
            let fault = match (up, down) {
                (Poll::Ready(Err(fault)), _) => Some((fault, Party::Client)),
                (_, Poll::Ready(Err(fault))) => Some((fault, Party::Backend)),
                (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(self.both_ended()),
                _ => self.poll_unread(context).map(|error| (Fault::Source(error), Party::Client)),
            };
            match fault {
                Some((fault, source)) => {
                    if let Some(ending) = self.broken(fault, source) {
                        return Poll::Ready(ending);
                    }
                }
                None if self.move_on() => {}
                None => return self.parted(),
            }
        }
    }

    /// While the client is not read, what it sends must not be in the way of others.
    fn poll_unread(&mut self, context: &mut Context<'_>) -> Option<io::Error> {
        let is_read = !self.up.is_held_back() && !self.up.source_ended();
        match self.streams.as_mut().filter(|_| !is_read)?.client.poll_unread(context) {
            Poll::Ready(error) => Some(error),
            Poll::Pending => None,
        }
    }

    /// Remembers who closed and who ended first. Where both show up in the same poll, the client is taken to be first:
    /// its bytes were looked at first.
    fn note_order(&mut self) {
        if self.closer.is_none() {
            let closed = |flow: &Flow| flow.weave().scanner().close().is_some();
            let told = |flow: &Flow| flow.weave().own_close().is_some();
            self.closer = if closed(&self.up) {
                Some(Party::Client)
            } else if closed(&self.down) {
                Some(Party::Backend)
            } else {
                (told(&self.up) || told(&self.down)).then_some(Party::Proxy)
            };
            if self.closer.is_some() {
                self.set_timer(clock::now() + self.terms().close_timeout);
            }
        }
        if self.ended_by.is_none() {
            let ender = match (self.up.source_ended(), self.down.source_ended()) {
                (true, _) => Some(Party::Client),
                (false, true) => Some(Party::Backend),
                (false, false) => None,
            };
            // The exact time, once: how young a tunnel died is compared with its opening.
            if ender.is_some() {
                (self.ended_by, self.ended_at) = (ender, Instant::now());
                let Terms { half_close_timeout, close_timeout, .. } = self.terms();
                self.set_timer(self.ended_at + *half_close_timeout.min(close_timeout));
            }
        }
    }

    /// Sets the timer to a deadline that is nearer than what it is set to.
    fn set_timer(&mut self, deadline: Instant) {
        if deadline < self.timer.deadline() {
            self.timer.as_mut().reset(deadline);
        }
        self.timer_set = true;
    }

    /// Lets ends follow that have waited for an answer, or for one that will not come. Whether there are any.
    fn move_on(&mut self) -> bool {
        let Splice { up, down, parting, .. } = self;
        if let Some(parting) = parting {
            parting.advance(up, down, self.registration.session().terms.close_timeout);
        }
        let has_answered = |flow: &Flow| flow.weave().scanner().close().is_some() || flow.source_ended();
        let may_end =
            |flow: &Flow, other: &Flow| flow.is_silent() && flow.is_passed_on() && has_answered(other);
        let ends = (may_end(up, down), may_end(down, up));
        if ends.0 {
            up.release();
        }
        if ends.1 {
            down.release();
        }
        ends.0 || ends.1
    }

    fn parted(&self) -> Poll<Ending> {
        match &self.parting {
            Some(parting) if parting.is_over(&self.up, &self.down) => Poll::Ready(parting.ending),
            _ => Poll::Pending,
        }
    }

    /// Begins what was ordered.
    fn poll_goodbye(&mut self, context: &mut Context<'_>, leaves: &dyn Fn() -> bool) -> Poll<Ending> {
        let Some(goodbye) = self.session().goodbye() else { return Poll::Pending };
        // The order has used up the waker.
        self.session().listen(context.waker());
        match self.part(goodbye) {
            None => self.poll_flows(context, leaves),
            Some(ending) => Poll::Ready(ending),
        }
    }
}
