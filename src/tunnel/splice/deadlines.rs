//! What the loop does when time has passed. One timer stands at the nearest deadline that was known when it was set; whatever
//! has moved a deadline since is seen when it fires.

use std::task::{Context, Poll};

use tokio::time::Instant;

use super::Splice;
use crate::config::MaxAge;
use crate::outcome::{EndReason, Ending, Party};
use crate::tunnel::goodbye::{Goodbye, Why};
use crate::tunnel::inject::code;
use crate::tunnel::sessions::Session;
use crate::tunnel::{Terms, lifetime};

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
    [super::pinging::first(session), old(session)].into_iter().flatten().fold(idle, Instant::min)
}

/// When a tunnel is as old as it may become.
fn old(session: &Session) -> Option<Instant> {
    let MaxAge { age, jitter_percent } = session.terms.max_age?;
    Some(session.opened() + lifetime::age(age, jitter_percent, session.id.number()))
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
        let mut nearest = self.pass_lifetime(now)?;
        let deadlines = [
            self.pass_closing(now, context)?,
            self.pass_half_close(now, context)?,
            self.pass_pings(now, context)?,
            self.pass_stalls(now, context)?,
            self.pass_waits(now, context),
        ];
        for deadline in deadlines {
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

    /// Says goodbye when nobody has anything to say, or when the tunnel's time is over.
    fn pass_lifetime(&self, now: Instant) -> Result<Instant, Due> {
        let (session, expires) = (self.session(), self.care.as_ref().and_then(|care| care.expires));
        let mut idle = session.active() + session.terms.idle_timeout;
        if idle <= now && self.is_held_back() {
            // It is longhaul that reads nothing; how long that may last, others say.
            idle = now + session.terms.idle_timeout;
        }
        let deadlines = [
            (expires, code::POLICY, Why::Deadline, "expired"),
            (old(session), code::SERVICE_RESTART, Why::MaxAge, "too old"),
            (Some(idle), code::GOING_AWAY, Why::Idle, "idle"),
        ];
        let mut nearest = idle;
        for (deadline, code, why, reason) in deadlines {
            let Some(deadline) = deadline else { continue };
            if deadline > now {
                nearest = nearest.min(deadline);
                continue;
            }
            // An order like any other: the loop looks for one next.
            if let Some(goodbye) = Goodbye::new(code, reason.into(), why) {
                session.part(goodbye);
            }
            return Err(Due::Parting(now + session.terms.close_timeout));
        }
        Ok(nearest)
    }

    /// What has just been begun is to go on at once.
    fn parting_due(&self, now: Instant, context: &mut Context<'_>) -> Due {
        context.waker().wake_by_ref();
        let close_timeout = self.terms().close_timeout;
        Due::Parting(self.parting.as_ref().map_or(now + close_timeout, |parting| parting.deadline))
    }

    /// After both Close frames nothing more may be said (RFC 6455 5.5.1), and the backend is to end its connection, then the
    /// client (7.1.1). After one of them the other is to come. Who does nothing is not waited for.
    fn pass_closing(&mut self, now: Instant, context: &mut Context<'_>) -> Result<Option<Instant>, Due> {
        if self.closer.is_none() {
            return Ok(None);
        }
        let (is_clean, Terms { close_timeout, half_close_timeout, .. }) = (self.is_clean(), self.terms());
        let nearest = self.session().active() + if is_clean { *close_timeout } else { *half_close_timeout };
        if nearest > now {
            return Ok(Some(nearest));
        }
        if is_clean {
            return Err(Due::End(self.both_ended()));
        }
        if self.ended_by.is_some() {
            return Ok(None);
        }
        self.end_for_silence();
        Err(self.parting_due(now, context))
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

    /// Ends the tunnel for who does not read.
    fn pass_stalls(&mut self, now: Instant, context: &mut Context<'_>) -> Result<Option<Instant>, Due> {
        let by = match self.stalled(now) {
            Ok(nearest) => return Ok(nearest),
            Err(by) => by,
        };
        Err(self.end_for_slowness(by).map_or_else(|| self.parting_due(now, context), Due::End))
    }

    /// Lets senders go on that have waited for their turn.
    fn pass_waits(&mut self, now: Instant, context: &mut Context<'_>) -> Option<Instant> {
        let until = self.held_until()?;
        if until <= now {
            context.waker().wake_by_ref();
            return None;
        }
        Some(until)
    }

    /// Sends the Pings that are due, and ends the tunnel for who has not answered one.
    fn pass_pings(&mut self, now: Instant, context: &mut Context<'_>) -> Result<Option<Instant>, Due> {
        let (nearest, lost) = self.ping(now, context);
        let Some(by) = lost else { return Ok(nearest) };
        let ending = Ending { by, reason: EndReason::PingTimeout };
        Err(self.lose(ending, true).map_or_else(|| self.parting_due(now, context), Due::End))
    }
}
