//! What a client gets for a body: a backend's, streamed and watched, or a line of longhaul's own.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::account::RequestEnd;
use crate::proto::hop;
use crate::upstream::reuse::Connection;

/// What a client gets: a backend's body, or a line of longhaul's own.
pub type Body = Either<Relayed, Full<Bytes>>;

/// A backend's body on its way to the client.
///
/// Silence ends it after a while: a backend may hang in the middle, and a client may have gone unnoticed (hyper does not
/// look at a socket from which it has unread bytes).
pub struct Relayed {
    body: Incoming,
    end: RequestEnd,
    /// Goes back when the body has ended; until then a drop of the body is the end of it.
    connection: Option<Box<Connection>>,
    idle_timeout: Duration,
    moved: Instant,
    /// Fires at the deadline that was known when it was last set; later bytes only move the deadline.
    timer: Pin<Box<Sleep>>,
}

/// Why a backend's body did not come to its end.
#[derive(Debug)]
pub enum BodyError {
    /// The backend broke off.
    Backend(hyper::Error),
    /// Nothing moved for the route's `idle_timeout`.
    Idle,
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BodyError::Backend(error) => error.fmt(f),
            BodyError::Idle => f.write_str("nothing moved for idle_timeout"),
        }
    }
}

impl Error for BodyError {}

/// A line of longhaul's own cannot fail.
impl From<Infallible> for BodyError {
    fn from(never: Infallible) -> BodyError {
        match never {}
    }
}

impl Relayed {
    /// Passes `body` on, unless nothing moves for `idle_timeout`; `end` is told what passes, and learns the end by being
    /// dropped. `connection` is what it comes on, if that can be kept.
    pub fn new(
        body: Incoming,
        idle_timeout: Duration,
        connection: Option<Box<Connection>>,
        end: RequestEnd,
    ) -> Relayed {
        let moved = Instant::now();
        let timer = Box::pin(sleep_until(moved + idle_timeout));
        let mut relayed = Relayed { body, end, connection, idle_timeout, moved, timer };
        if relayed.body.is_end_stream() {
            relayed.has_ended();
        }
        relayed
    }

    /// The whole body has come: the connection is free.
    fn has_ended(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.give_back();
        }
    }

    /// The longest pause.
    pub fn idle_timeout(&self) -> Duration {
        self.idle_timeout
    }

    /// Ready when nothing has moved for too long.
    fn poll_idle(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.timer.as_mut().poll(context));
            let deadline = self.moved + self.idle_timeout;
            if deadline <= Instant::now() {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(deadline);
        }
    }
}

impl hyper::body::Body for Relayed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let relayed = self.get_mut();
        match Pin::new(&mut relayed.body).poll_frame(context) {
            Poll::Ready(Some(Ok(mut frame))) => {
                if let Some(trailers) = frame.trailers_mut() {
                    hop::strip_trailers(trailers);
                }
                relayed.moved = Instant::now();
                relayed.end.passed(frame.data_ref().map_or(0, Bytes::len));
                // Who knows that it was the last one does not ask for another.
                if frame.is_trailers() || relayed.body.is_end_stream() {
                    relayed.has_ended();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                relayed.end.broke_off("backend_broke_off");
                Poll::Ready(Some(Err(BodyError::Backend(error))))
            }
            Poll::Ready(None) => {
                relayed.has_ended();
                Poll::Ready(None)
            }
            Poll::Pending => {
                ready!(relayed.poll_idle(context));
                relayed.end.broke_off("idle_timeout");
                Poll::Ready(Some(Err(BodyError::Idle)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
