//! The WebSocket handshake with a backend (RFC 6455 4.1, as the client).
//!
//! Only a 101 that answers this very offer opens a tunnel. Any other status is an ordinary answer, which the client
//! gets whole; and a connection that carried a handshake is never used again.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use tokio::time::timeout;

use crate::config::Limits;
use crate::net::http::{Changed, change};
use crate::net::stream::Stream;
use crate::outcome::Refusal;
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

/// Sends the offer and checks the answer, within `deadline`. `request` is complete and has no body: that it ends with
/// its head is why no 101 can arrive too early.
///
/// # Errors
/// [`Refusal::BackendTimeout`], [`Refusal::Answer`], or as [`change`].
pub async fn offer(
    stream: Stream,
    limits: &Limits,
    request: Request<Empty<Bytes>>,
    offer: &Offer,
    deadline: Duration,
) -> Result<Reply, Refusal> {
    let exchange = async {
        match change(stream, limits, request).await? {
            Changed::No(response) => Ok(Reply::Declined(response)),
            Changed::Yes(head, stream, early) => {
                let answer = offer.check_answer(&head).map_err(Refusal::Answer)?;
                Ok(Reply::Switched(Switched { stream, early, answer, head }))
            }
        }
    };
    timeout(deadline, exchange).await.unwrap_or(Err(Refusal::BackendTimeout))
}
