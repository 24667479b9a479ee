//! One plain request to a backend, on a kept connection or a new one.
//!
//! A kept connection may have died unnoticed, or be closed just as the request comes. Then the request is sent again on a
//! new one, where that cannot make it happen twice: when nothing of it was sent, or when its method is idempotent (RFC
//! 9110 9.2.2), not a byte of an answer came, and its body is still whole.

use std::time::Duration;

use http::request::Parts;
use http::{Request, Response};
use hyper::body::Incoming;

use super::backend::Lease;
use super::retry::Search;
use super::reuse::{self, Connection};
use super::upload::{Progress, Sent, Upload};
use crate::config::Limits;
use crate::net::line::Failure;
use crate::outcome::Refusal;

/// A request that is ready to be sent.
pub struct Outgoing {
    /// Its head.
    pub head: Parts,
    /// Its body, still with the client.
    pub body: Upload,
    /// Bytes that the body may have.
    pub body_bytes_max: u64,
}

/// A backend's answer.
pub struct Answer {
    /// Its body is on its way.
    pub response: Response<Incoming>,
    /// To be given back when the body has ended; `None` when the connection must not be kept.
    pub connection: Option<Box<Connection>>,
}

/// Why there is no answer.
pub struct Unanswered {
    /// Its name.
    pub refusal: Refusal,
    /// The request, when it may be sent again on a new connection.
    pub again: Option<Box<Outgoing>>,
}

/// A connection to a backend, and the lease on it: one that was kept, if the backend that is picked has one, else a new
/// one.
///
/// # Errors
/// As [`Search::connect`].
pub async fn connect(search: &mut Search<'_>, limits: &Limits) -> Result<(Lease, Box<Connection>), Refusal> {
    let lease = search.pick()?;
    match reuse::take(lease.backend(), search.pool) {
        Some(connection) => {
            search.pool.metrics.reused.increment();
            Ok((lease, connection))
        }
        None => connect_anew(search, lease, limits).await,
    }
}

/// The same, without a look at what was kept, and first to the backend of `lease`.
///
/// # Errors
/// As [`Search::connect`].
pub async fn connect_anew(
    search: &mut Search<'_>,
    mut lease: Lease,
    limits: &Limits,
) -> Result<(Lease, Box<Connection>), Refusal> {
    let stream = loop {
        match search.dial(lease.backend()).await? {
            Some(stream) => break stream,
            None => lease = search.pick()?,
        }
    };
    search.pool.metrics.opened.increment();
    let connection = Connection::begin(stream, lease.backend(), search.pool, limits).await?;
    Ok((lease, connection))
}

impl Outgoing {
    /// Sends the request and waits for the head of its answer; the backend may be silent for `response_timeout`.
    ///
    /// # Errors
    /// As [`Connection::send`]; [`Refusal::BackendTimeout`], [`Refusal::RequestBody`] or [`Refusal::BodyTooLarge`].
    pub async fn send(
        self,
        mut connection: Box<Connection>,
        response_timeout: Duration,
    ) -> Result<Answer, Unanswered> {
        let Outgoing { head, body, body_bytes_max } = self;
        let is_used = connection.is_used();
        let spare = (is_used && head.method.is_idempotent()).then(|| head.clone());
        let progress = Progress::begin();
        let request = Request::from_parts(head, Sent::new(body, body_bytes_max, progress.clone()));
        let sent = tokio::select! {
            sent = connection.send(request) => sent,
            refusal = progress.stalled(response_timeout) => {
                return Err(Unanswered { refusal, again: None });
            }
        };
        match sent {
            Ok(response) => {
                let (head, body) = response.into_parts();
                // An answer before the end of its request leaves the two sides in doubt about what comes next.
                let connection = if progress.is_sent() { connection.after(&head) } else { None };
                Ok(Answer { response: Response::from_parts(head, body), connection })
            }
            Err(failure) => {
                let head = if is_used { head_again(&failure, spare) } else { None };
                let again = head.zip(progress.take_untouched());
                let again = again.map(|(head, body)| Box::new(Outgoing { head, body, body_bytes_max }));
                Err(Unanswered { refusal: progress.refusal().unwrap_or(failure.refusal), again })
            }
        }
    }
}

/// The head of a request that a kept connection did not take, if it may be sent again.
fn head_again(failure: &Failure, spare: Option<Parts>) -> Option<Parts> {
    let has_died = matches!(failure.refusal, Refusal::BackendClosed | Refusal::BackendAlert(_));
    match &failure.unsent {
        Some(head) => Some((**head).clone()),
        None => spare.filter(|_| has_died && failure.is_silent),
    }
}
