//! What the loop does when time has passed. One timer stands at the nearest deadline that was known when it was set; whatever
//! has moved a deadline since is seen when it fires.

use std::task::{Context, Poll};

use tokio::time::Instant;

use super::Splice;
use crate::outcome::{EndReason, Ending, Party};
use crate::tunnel::sessions::Session;

/// What has become of a deadline.
enum Due {
    /// The tunnel ends here and now.
    End(Ending),
    /// Others are to be told; this is when they are to have answered.
    Parting(Instant),
}

/// The nearest deadline of a tunnel that opens.
pub(super) fn first(session: &Session) -> Instant {
    let idle = session.opened() + session.terms.idle_timeout;
    super::pinging::first(session).into_iter().fold(idle, Instant::min)
}

impl Splice {
    /// Looks at the clock when the timer fires.
    pub(super) fn poll_deadlines(&mut self, context: &mut Context<'_>) -> Poll<Ending> {
        while self.timer.as_mut().poll(context).is_ready() {
            let now = Instant::now();
            let nearest = match self.pass_deadlines(now, context) {
                Ok(nearest) | Err(Due::Parting(nearest)) => nearest,
                Err(Due::End(ending)) => return Poll::Ready(ending),
            };
            self.timer.as_mut().reset(nearest);
        }
        Poll::Pending
    }

    /// Does what is due at `now`; the next deadline, if the tunnel goes on.
    fn pass_deadlines(&mut self, now: Instant, context: &mut Context<'_>) -> Result<Instant, Due> {
        if let Some(deadline) = self.pass_parting(now, context)? {
            return Ok(deadline);
        }
        let mut nearest = self.pass_silence(now)?;
        for deadline in [self.pass_half_close(now, context)?, self.pass_pings(now, context)?] {
            nearest = deadline.map_or(nearest, |deadline| nearest.min(deadline));
        }
        Ok(nearest)
    }

    /// While the tunnel parts, no other deadline holds.
    fn pass_parting(&mut self, now: Instant, context: &mut Context<'_>) -> Result<Option<Instant>, Due> {
        let close_timeout = self.terms().close_timeout;
        let Some(parting) = &mut self.parting else { return Ok(None) };
        if parting.deadline <= now {
            if !parting.overdue(&mut self.up, close_timeout) {
                return Err(Due::End(parting.ending));
            }
            context.waker().wake_by_ref();
        }
        Ok(Some(parting.deadline))
    }

    fn pass_silence(&mut self, now: Instant) -> Result<Instant, Due> {
        let deadline = self.session().active() + self.terms().idle_timeout;
        if deadline <= now {
            return Err(Due::End(Ending { by: Party::Proxy, reason: EndReason::IdleTimeout }));
        }
        Ok(deadline)
    }

    /// What there is to be done after one side has ended.
    fn pass_half_close(&mut self, now: Instant, context: &mut Context<'_>) -> Result<Option<Instant>, Due> {
        let Some((_, at)) = self.ended() else { return Ok(None) };
        let nearest = at + self.terms().half_close_timeout;
        if nearest <= now {
            return Err(Due::End(Ending { by: Party::Proxy, reason: EndReason::HalfCloseTimeout }));
        }
        let answer = at + self.terms().close_timeout;
        if answer > now {
            return Ok(Some(nearest.min(answer)));
        }
        if self.up.is_silent() || self.down.is_silent() {
            self.up.release();
            self.down.release();
            context.waker().wake_by_ref();
        }
        Ok(Some(nearest))
    }

    /// Sends the Pings that are due, and ends the tunnel for who has not answered one.
    fn pass_pings(&mut self, now: Instant, context: &mut Context<'_>) -> Result<Option<Instant>, Due> {
        let (nearest, lost) = self.ping(now, context);
        let Some(by) = lost else { return Ok(nearest) };
        let ending = Ending { by, reason: EndReason::PingTimeout };
        if let Some(ending) = self.lose(ending, true) {
            return Err(Due::End(ending));
        }
        context.waker().wake_by_ref();
        let close_timeout = self.terms().close_timeout;
        Err(Due::Parting(self.parting.as_ref().map_or(now + close_timeout, |parting| parting.deadline)))
    }
}
