//! How a tunnel parts that does not end by itself: who is still there gets a Close of the proxy's own, then so much time to
//! answer it, and then the end.
//!
//! That is so when one side is gone, when it broke the rules that are enforced, and when the proxy says
//! [goodbye](super::goodbye).

use std::time::Duration;

use tokio::time::Instant;

use super::flow::Flow;
use super::goodbye::Goodbye;
use super::inject;
use crate::outcome::{Ending, Party};
use crate::telemetry::labels::Direction;

/// What the tunnel will have ended by, and how long the present step may take.
#[derive(Debug)]
pub struct Parting {
    /// What is told of it in the end.
    pub ending: Ending,
    /// Of the present step.
    pub deadline: Instant,
    /// A deadline has passed: who has not taken what there is for it is cut.
    pub is_late: bool,
    step: Step,
}

/// How far it has come; each step has its deadline.
#[derive(Debug)]
enum Step {
    /// Close frames are on their way to all who are still there, and theirs are awaited.
    Answers,
    /// A goodbye waits for the place where it fits.
    Goodbye(Goodbye),
    /// The client has it; its own Close is awaited.
    Client(Goodbye),
    /// The backend has a Close, too; its own is awaited.
    Backend,
}

impl Parting {
    /// Everybody who is still there was told, or is about to be.
    pub fn of_peers(ending: Ending, timeout: Duration) -> Parting {
        Parting { ending, deadline: Instant::now() + timeout, is_late: false, step: Step::Answers }
    }

    /// The client is to be told `goodbye`; `down` leads to it. `None` where it cannot be.
    pub fn by_goodbye(goodbye: Goodbye, down: &mut Flow, timeout: Duration) -> Option<Parting> {
        if down.weave().scanner().is_blind() {
            return None;
        }
        let ending = Ending { by: Party::Proxy, reason: goodbye.why().ending() };
        let frame = inject::close(Direction::ToClient, goodbye.code(), goodbye.reason());
        down.weave_mut().say_close(goodbye.code(), &frame);
        let deadline = Instant::now() + timeout;
        Some(Parting { ending, deadline, is_late: false, step: Step::Goodbye(goodbye) })
    }

    /// Whether this is about a side that the proxy did not ask to go.
    pub fn is_loss(&self) -> bool {
        matches!(self.step, Step::Answers)
    }

    /// By which code the client is asked to go, and the backend if the client does not answer.
    pub fn code(&self) -> Option<u16> {
        match &self.step {
            Step::Goodbye(goodbye) | Step::Client(goodbye) => Some(goodbye.code()),
            Step::Answers | Step::Backend => None,
        }
    }

    /// Goes as many steps on as have been made.
    pub fn advance(&mut self, up: &Flow, down: &Flow, timeout: Duration) {
        let (client_closed, client_ended) = (up.weave().scanner().close().is_some(), up.source_ended());
        loop {
            let next = match &self.step {
                Step::Goodbye(goodbye) if is_told(down) => Step::Client(goodbye.clone()),
                Step::Client(_) if client_closed || client_ended => Step::Backend,
                _ => return,
            };
            (self.step, self.deadline) = (next, Instant::now() + timeout);
        }
    }

    /// The deadline has passed. Whether there is another step to make: the backend of a client that does not answer, or cannot
    /// be asked because the backend's own frame does not end, is told.
    pub fn overdue(&mut self, up: &mut Flow, timeout: Duration) -> bool {
        self.is_late = true;
        match &self.step {
            Step::Goodbye(goodbye) | Step::Client(goodbye) if up.weave().may_close() => {
                let frame = inject::close(Direction::ToBackend, goodbye.code(), goodbye.reason());
                up.weave_mut().say_close(goodbye.code(), &frame);
                (self.step, self.deadline) = (Step::Backend, Instant::now() + timeout);
                true
            }
            _ => false,
        }
    }

    /// Whether all has been said: each side has what there is for it, and has closed or is gone.
    pub fn is_over(&self, up: &Flow, down: &Flow) -> bool {
        let has_closed = |from: &Flow| {
            let weave = from.weave();
            from.source_ended() || weave.scanner().close().is_some() || weave.is_cut_off()
        };
        match self.step {
            Step::Goodbye(_) | Step::Client(_) => false,
            Step::Answers => [up, down].into_iter().all(|flow| is_settled(flow) && has_closed(flow)),
            Step::Backend => is_settled(up) && has_closed(down),
        }
    }
}

/// Whether the reader has all that there is for it.
fn is_settled(flow: &Flow) -> bool {
    flow.is_passed_on() && !flow.weave().owes()
}

/// Whether the reader has a Close, be it the proxy's or the source's.
fn is_told(flow: &Flow) -> bool {
    let weave = flow.weave();
    flow.is_passed_on() && (weave.own_close().is_some() || weave.scanner().close().is_some())
}

/// Whether `from` sent a Close, and got one.
fn leg_is_clean(from: &Flow, to: &Flow) -> bool {
    from.weave().scanner().close().is_some() && is_told(to)
}

/// Whether each side sent a Close and got one (RFC 6455 7.1.4).
pub fn is_clean(up: &Flow, down: &Flow) -> bool {
    leg_is_clean(up, down) && leg_is_clean(down, up)
}
