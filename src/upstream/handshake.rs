//! The WebSocket handshake with a backend (RFC 6455 4.1, as the client).
//!
//! Only a 101 that answers this very offer opens a tunnel. Any other status is an ordinary answer, which the client
//! gets whole; and a connection that carried a handshake is never used again.

use std::mem;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use super::backend::{Backend, Seat};
use super::ejection;
use super::retry::Search;
use crate::config::{Limits, Retry};
use crate::net::http::{Changed, change};
use crate::net::stream::Stream;
use crate::net::watched::Signs;
use crate::outcome::{Refusal, RetryCause};
use crate::proto::handshake::{Answer, Offer};

/// What a backend made of an offer.
pub enum Reply {
    /// It speaks WebSocket now.
    Switched(Switched),
    /// It answered something else.
    Declined(Response<Incoming>),
}

/// A backend's side of a new tunnel.
pub struct Switched {
    /// The stream behind the 101.
    pub stream: Stream,
    /// What came together with the 101.
    pub early: Vec<u8>,
    /// What the backend agreed to.
    pub answer: Answer,
    /// The 101 as it came.
    pub head: http::response::Parts,
}

/// Offers a handshake to a backend of the search's pool, and to others after it where the pool's rules say so. `head` is
/// complete, and taken where they do not; `told` hears who gets it. What comes is the last answer that there was: it outlives failures behind it.
///
/// All offers together may take the pool's `handshake_timeout`, from the first one on.
///
/// # Errors
/// As [`Search::connect`] and [`offer`]; [`Refusal::BackendTimeout`].
pub async fn ask(
    search: &mut Search<'_>,
    limits: &Limits,
    head: &mut Parts,
    offer: &Offer,
    mut told: impl FnMut(&Arc<Backend>),
) -> Result<(Seat, Reply), Refusal> {
    let (seat, stream) = search.connect().await?;
    told(seat.backend());
    let terms = Terms { limits, offer, deadline: Instant::now() + search.pool.handshake_timeout };
    let (reply, next) = terms.one(search, &seat, stream, head).await;
    let last = reply.map(|reply| (seat, reply));
    match next {
        None => last,
        // Few handshakes come here: the others need no room for it.
        Some(next) => Box::pin(terms.others(search, next, head, last, told)).await,
    }
}

/// What all offers of one handshake have in common.
struct Terms<'a> {
    limits: &'a Limits,
    offer: &'a Offer,
    deadline: Instant,
}

impl Terms<'_> {
    /// Offers it to the backend of `seat`. What that made of it, and the seat at the next one, if it goes on.
    async fn one(
        &self,
        search: &mut Search<'_>,
        seat: &Seat,
        stream: Stream,
        head: &mut Parts,
    ) -> (Result<Reply, Refusal>, Option<Seat>) {
        let rules = search.rules();
        let signs = rules.map(|_| Arc::<Signs>::default());
        let is_silent = || signs.as_ref().is_some_and(|signs| !signs.heard());
        // By the rules it may go out again.
        let head = if rules.is_some() { head.clone() } else { take(head) };
        let request = Request::from_parts(head, Empty::new());
        let mut reply = pin!(offer(stream, self.limits, request, self.offer, signs.clone()));
        let (mut known, mut next) = (None, None);
        if let Some(patience) = rules.and_then(|rules| rules.try_timeout) {
            known = timeout_at(self.deadline.min(Instant::now() + patience), &mut reply).await.ok();
            if known.is_none() && is_silent() {
                // Who takes his time is given up only when there is another.
                next = search.go_on_seated(RetryCause::Timeout, self.deadline).await;
            }
        }
        let reply = match known {
            Some(reply) => reply,
            None if next.is_some() => Err(Refusal::BackendTimeout),
            None => timeout_at(self.deadline, reply).await.unwrap_or(Err(Refusal::BackendTimeout)),
        };
        ejection::answered(search.pool, seat.backend(), &reply, search.metrics);
        if next.is_none()
            && let Some(cause) = rules.and_then(|rules| cause(rules, &reply, is_silent()))
        {
            next = search.go_on_seated(cause, self.deadline).await;
        }
        (reply, next)
    }

    /// Offers it to the backend of `next`, and goes on as long as it should. `last` is what the client gets if nothing
    /// better comes.
    async fn others(
        &self,
        search: &mut Search<'_>,
        mut next: Seat,
        head: &mut Parts,
        mut last: Result<(Seat, Reply), Refusal>,
        mut told: impl FnMut(&Arc<Backend>),
    ) -> Result<(Seat, Reply), Refusal> {
        loop {
            let reached = timeout_at(self.deadline, search.reach(next)).await;
            let (seat, stream) = match reached.unwrap_or(Err(Refusal::BackendTimeout)) {
                Ok(reached) => reached,
                Err(refusal) => return last.or(Err(refusal)),
            };
            told(seat.backend());
            let (reply, onward) = self.one(search, &seat, stream, head).await;
            last = match reply {
                Ok(reply) => Ok((seat, reply)),
                Err(refusal) => last.or(Err(refusal)),
            };
            match onward {
                Some(onward) => next = onward,
                None => return last,
            }
        }
    }
}

/// Leaves an empty head.
fn take(head: &mut Parts) -> Parts {
    mem::replace(head, Request::new(()).into_parts().0)
}

/// Why a handshake goes on to another backend, if it does; `is_silent`: not a byte came from this one.
fn cause(rules: &Retry, reply: &Result<Reply, Refusal>, is_silent: bool) -> Option<RetryCause> {
    match reply {
        Ok(Reply::Declined(answer)) if rules.statuses.contain(answer.status()) => Some(RetryCause::Status),
        Err(Refusal::BackendClosed | Refusal::BackendAlert(_)) if is_silent => Some(RetryCause::Reset),
        _ => None,
    }
}

/// Sends the offer and checks the answer. `request` is complete and has no body: that it ends with its head is why no 101
/// can arrive too early. `signs` learn whether anything came.
///
/// # Errors
/// [`Refusal::Answer`], or as [`change`].
pub async fn offer(
    stream: Stream,
    limits: &Limits,
    request: Request<Empty<Bytes>>,
    offer: &Offer,
    signs: Option<Arc<Signs>>,
) -> Result<Reply, Refusal> {
    match change(stream, limits, request, signs).await? {
        Changed::No(response) => Ok(Reply::Declined(response)),
        Changed::Yes(head, stream, early) => {
            let answer = offer.check_answer(&head).map_err(Refusal::Answer)?;
            Ok(Reply::Switched(Switched { stream, early, answer, head }))
        }
    }
}
