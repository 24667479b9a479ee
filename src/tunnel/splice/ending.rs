//! How the loop ends: what a failure is, who is still to be told, and how the streams are let go.

use std::io;
use std::mem;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use tokio::io::AsyncWrite;

use super::{Splice, Streams};
use crate::net::stream::{Boxed, Stream};
use crate::outcome::{EndReason, Ending, Party};
use crate::proto::weave::Offence;
use crate::telemetry::labels::Direction;
use crate::tunnel::flow::{Fault, Flow};
use crate::tunnel::goodbye::Goodbye;
use crate::tunnel::inject::{self, code};
use crate::tunnel::parting::Parting;

impl Splice {
    pub(super) fn both_ended(&self) -> Ending {
        if let Some(parting) = &self.parting {
            return parting.ending;
        }
        let ender = self.ended_by.unwrap_or(Party::Proxy);
        let reason = if self.is_clean() {
            EndReason::Closed
        } else if (if ender == Party::Client { &self.up } else { &self.down }).truncated() {
            EndReason::Truncated
        } else {
            EndReason::Ended
        };
        Ending { by: self.closer.filter(|closer| *closer != Party::Proxy).unwrap_or(ender), reason }
    }

    /// A stream failed, or the `source` of the flow broke the rules. `None` if somebody is still there to be told.
    /// After the Close frames of both sides a failure is only an untidy end.
    pub(super) fn broken(&mut self, fault: Fault, source: Party) -> Option<Ending> {
        let (by, error) = match fault {
            Fault::Offence(offence) => {
                self.end_for_offence(source, offence);
                return None;
            }
            Fault::Source(error) => (source, error),
            Fault::Reader(error) => {
                (if source == Party::Client { Party::Backend } else { Party::Client }, error)
            }
        };
        if self.parting.is_none() && self.is_clean() {
            let by = self.closer.filter(|closer| *closer != Party::Proxy).unwrap_or(by);
            return Some(Ending { by, reason: EndReason::Closed });
        }
        let to_it = if by == Party::Client { &self.down } else { &self.up };
        if self.parting.is_none() && to_it.weave().own_close().is_some() {
            // It knew that the other side had ended.
            return Some(self.both_ended());
        }
        self.lose(self.loss(by, &error), false)
    }

    /// A side is lost; if it `is_there`, it is cut. `None` if somebody is still there to be told.
    pub(super) fn lose(&mut self, ending: Ending, is_there: bool) -> Option<Ending> {
        let by = ending.by;
        let let_go = |stream: Stream| {
            if is_there {
                stream.reset()
            }
        };
        if self.parting.is_some() || self.can_be_told(by) {
            if let Some(Streams { client, backend }) = &mut self.streams {
                let lost = if by == Party::Client { client } else { backend };
                let_go(mem::replace(lost, Stream::Boxed(Boxed::Gone)));
            }
            self.begin(|timeout| Parting::of_peers(ending, timeout));
            return None;
        }
        if let Some(Streams { client, backend }) = self.streams.take() {
            let (lost, other) = if by == Party::Client { (client, backend) } else { (backend, client) };
            let_go(lost);
            other.reset();
            self.was_cut = true;
        }
        Some(ending)
    }

    /// What the failure of a side's stream is: after an end of which the other was told, only that end.
    fn loss(&self, by: Party, error: &io::Error) -> Ending {
        let flow = if by == Party::Client { &self.up } else { &self.down };
        let was_told = flow.source_ended() && flow.weave().own_close().is_some();
        let reason = match error.kind() {
            _ if was_told && flow.truncated() => EndReason::Truncated,
            _ if was_told => EndReason::Ended,
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

    /// Whether the other side of `gone` can be told by a Close that it is, or has been.
    fn can_be_told(&self, gone: Party) -> bool {
        let (to_other, from_other) =
            if gone == Party::Client { (&self.up, &self.down) } else { (&self.down, &self.up) };
        to_other.weave().own_close().is_some() || !from_other.source_ended() && to_other.weave().may_close()
    }

    /// Says goodbye; the ending, where the client cannot be told.
    pub(super) fn part(&mut self, goodbye: Goodbye) -> Option<Ending> {
        let (why, timeout) = (goodbye.why(), self.terms().close_timeout);
        match Parting::by_goodbye(goodbye, &mut self.down, timeout) {
            Some(parting) => {
                self.begin(|_| parting);
                None
            }
            None => Some(Ending { by: Party::Proxy, reason: why.ending() }),
        }
    }

    pub(super) fn begin(&mut self, parting: impl FnOnce(Duration) -> Parting) {
        if self.parting.is_none() {
            let parting = parting(self.terms().close_timeout);
            self.set_timer(parting.deadline);
            self.parting = Some(Box::new(parting));
            // What is left is to go on at once.
            self.up.weave_mut().lift_rates();
            self.down.weave_mut().lift_rates();
        }
    }

    /// Both are told; what comes of the frame in question has not passed, and nothing will.
    pub(super) fn end_for_offence(&mut self, by: Party, offence: Offence) {
        let (code, reason) = match offence {
            Offence::Violation(_) => (code::PROTOCOL_ERROR, EndReason::Violation),
            Offence::Over(limit) if limit.is_size() => (code::TOO_BIG, EndReason::Over(limit)),
            Offence::Over(limit) => (code::POLICY, EndReason::Over(limit)),
        };
        self.tell(code, code);
        self.begin(|timeout| Parting::of_peers(Ending { by, reason }, timeout));
    }

    /// Who takes nothing of what there is for it is told so, if it does after all, and the other side that it is gone; the
    /// ending, where nobody can be told.
    pub(super) fn end_for_slowness(&mut self, by: Party) -> Option<Ending> {
        let ending = Ending { by, reason: EndReason::SlowConsumer };
        if self.up.weave().scanner().is_blind() && self.down.weave().scanner().is_blind() {
            return self.lose(ending, true);
        }
        let (slow, gone) = (code::TRY_AGAIN_LATER, code::INTERNAL_ERROR);
        let (client, backend) = if by == Party::Client { (slow, gone) } else { (gone, slow) };
        self.tell(client, backend);
        self.begin(|timeout| Parting::of_peers(ending, timeout));
        None
    }

    /// Who has closed is answered in place of the other side, which does not.
    pub(super) fn end_for_silence(&mut self) {
        let closes = [&self.down, &self.up].map(|flow| flow.weave().scanner().close());
        let legs = [(Direction::ToBackend, &mut self.up), (Direction::ToClient, &mut self.down)];
        for ((direction, flow), close) in legs.into_iter().zip(closes) {
            if let Some(code) = close.map(inject::answer) {
                flow.weave_mut().say_close(code, &inject::close(direction, code, ""));
            }
        }
        let ending = Ending { by: Party::Proxy, reason: EndReason::HalfCloseTimeout };
        self.begin(|timeout| Parting::of_peers(ending, timeout));
    }

    /// Each gets a Close with its code, as soon as there is a place for it.
    fn tell(&mut self, client: u16, backend: u16) {
        let legs =
            [(Direction::ToBackend, &mut self.up, backend), (Direction::ToClient, &mut self.down, client)];
        for (direction, flow, code) in legs {
            flow.weave_mut().say_close(code, &inject::close(direction, code, ""));
        }
    }

    /// Lets go of the streams. Where the proxy itself makes the end, each peer is still told (FIN, and close_notify over
    /// TLS, RFC 8446 6.1), if its socket takes that at once. After a clean end the client may not have ended its side yet.
    pub(super) fn close(&mut self, ending: Ending, context: &mut Context<'_>) {
        let Some(Streams { client, backend }) = self.streams.take() else { return };
        let is_parting = self.parting.is_some();
        let is_late = self.parting.as_ref().is_some_and(|parting| parting.is_late);
        let has_own_close = self.closer == Some(Party::Proxy);
        self.was_cut |= ending.by == Party::Proxy && !has_own_close && !self.is_clean();
        let mut end = |mut stream: Stream, to: &Flow, was_cut: &mut bool| {
            let is_there = !matches!(stream, Stream::Boxed(Boxed::Gone));
            *was_cut |= is_parting && is_there && to.weave().is_within_frame();
            if is_late && (!to.is_passed_on() || to.weave().owes()) {
                *was_cut = true;
                stream.reset();
                return None;
            }
            if ending.by == Party::Proxy || is_parting || ending.reason == EndReason::Closed && !to.is_over()
            {
                let _ = Pin::new(&mut stream).poll_shutdown(context);
            }
            Some(stream)
        };
        let client = end(client, &self.down, &mut self.was_cut);
        drop(end(backend, &self.up, &mut self.was_cut));
        if let Some(client) = client.filter(|_| is_parting || ending.reason == EndReason::Closed) {
            client.leave(self.terms().half_close_timeout);
        }
    }
}
