//! Whether an HTTP/2 connection is still of use: the clocks of its first request, of its idleness, and of PING.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::config::Limits;
use crate::telemetry::labels::ConnectionFault;

/// What the clocks say.
pub enum Verdict {
    /// Goes on.
    Alive,
    /// No stream for long enough: the client is to be told (GOAWAY).
    Idle,
    /// The client was told so, and has had time to go.
    Gone,
    /// Nobody asks for anything, or answers.
    Dead(ConnectionFault),
}

/// The clocks of one connection, with one timer for the nearest of them.
pub struct Liveness {
    pings: Option<PingPong>,
    timer: Pin<Box<Sleep>>,
    limits: Limits,
    /// There was a request.
    has_asked: bool,
    /// When there was last seen to be a stream, or the beginning.
    active: Instant,
    next_ping: Option<Instant>,
    /// By when the PING that was sent must be answered.
    pong: Option<Instant>,
    /// By when a client that was told to go must have gone.
    farewell: Option<Instant>,
}

impl Liveness {
    /// Begins now.
    pub fn new(pings: Option<PingPong>, limits: &Limits) -> Liveness {
        let now = Instant::now();
        let mut liveness = Liveness {
            pings,
            timer: Box::pin(sleep_until(now)),
            limits: limits.clone(),
            has_asked: false,
            active: now,
            next_ping: limits.http2_ping_interval.map(|interval| now + interval),
            pong: None,
            farewell: None,
        };
        liveness.wind();
        liveness
    }

    /// The client has opened a stream.
    pub fn asked(&mut self) {
        self.has_asked = true;
        self.active = Instant::now();
    }

    /// Waits until [`Liveness::judge`] is to be asked. Cancel-safe.
    pub async fn due(&mut self) {
        poll_fn(|context| self.poll_due(context)).await;
    }

    /// Looks at the clocks.
    pub fn judge(&mut self, has_streams: bool) -> Verdict {
        let now = Instant::now();
        if self.pong.is_some_and(|deadline| deadline <= now) {
            return Verdict::Dead(ConnectionFault::PingTimeout);
        }
        if has_streams {
            self.active = now;
        }
        if self.farewell.is_some_and(|deadline| deadline <= now) {
            return Verdict::Gone;
        }
        if self.farewell.is_none() && self.idle_deadline() <= now {
            if !self.has_asked {
                return Verdict::Dead(ConnectionFault::HeadTimeout);
            }
            self.farewell = Some(now + self.limits.http2_ping_timeout);
            self.wind();
            return Verdict::Idle;
        }
        if self.next_ping.is_some_and(|due| due <= now) {
            self.next_ping = None;
            let sent = self.pings.as_mut().map(|pings| pings.send_ping(Ping::opaque()));
            if let Some(Ok(())) = sent {
                self.pong = Some(now + self.limits.http2_ping_timeout);
            }
        }
        self.wind();
        Verdict::Alive
    }

    fn idle_deadline(&self) -> Instant {
        self.active + if self.has_asked { self.limits.http2_idle_timeout } else { self.limits.head_timeout }
    }

    fn poll_due(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.pong.is_some()
            && let Some(pings) = &mut self.pings
            && let Poll::Ready(Ok(_)) = pings.poll_pong(context)
        {
            self.pong = None;
            self.next_ping = self.limits.http2_ping_interval.map(|interval| Instant::now() + interval);
            self.wind();
        }
        self.timer.as_mut().poll(context)
    }

    /// Sets the timer for the nearest clock.
    fn wind(&mut self) {
        let idle = self.farewell.unwrap_or_else(|| self.idle_deadline());
        let nearest = [self.next_ping, self.pong].into_iter().flatten().fold(idle, Instant::min);
        self.timer.as_mut().reset(nearest);
    }
}
