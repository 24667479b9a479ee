//! HTTP/1 towards backends: hyper's client on a connection of our own.

use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Empty;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::stream::Stream;
use super::tls::connect::rustls_error;
use super::watched::{Signs, Watched};
use crate::config::Limits;
use crate::outcome::Refusal;
use crate::proto::handshake::AnswerError;

/// Sends one request on a fresh connection and waits for the head of its answer. Dropping the future, or the answer's
/// body before its end, closes the connection.
///
/// # Errors
/// [`Refusal::BackendClosed`], [`Refusal::BackendAlert`], [`Refusal::BackendSpeech`], [`Refusal::RequestBody`], or
/// [`Refusal::Answer`] for a 101 that nobody asked for.
pub async fn send<B>(
    stream: Stream,
    limits: &Limits,
    request: Request<B>,
) -> Result<Response<Incoming>, Refusal>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let (mut sender, connection) = begin(TokioIo::new(stream), limits).await?;
    // The connection works until the answer's body has been read or dropped.
    let connection = tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(|error| classify(&error))?;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        // Else it would go on waiting for what is left of the request's body.
        connection.abort();
        return Err(Refusal::Answer(AnswerError::NotWebSocket));
    }
    Ok(answer)
}

/// What became of a request to change the protocol.
pub enum Changed {
    /// The backend speaks the new one: the 101, the stream behind it, and what came together with it.
    Yes(http::response::Parts, Stream, Vec<u8>),
    /// It answered something else.
    No(Response<Incoming>),
}

/// As [`send`], for a request that asks for another protocol (RFC 9110 7.8). The calling task drives the connection
/// itself, so that a 101 costs no task and no channel. `signs` learn whether anything came.
///
/// # Errors
/// [`Refusal::BackendClosed`], [`Refusal::BackendAlert`] or [`Refusal::BackendSpeech`].
pub async fn change(
    stream: Stream,
    limits: &Limits,
    request: Request<Empty<Bytes>>,
    signs: Option<Arc<Signs>>,
) -> Result<Changed, Refusal> {
    let watched = Watched::new(stream, signs);
    let (mut sender, mut connection) = begin(TokioIo::new(watched), limits).await?;
    let mut answer = pin!(sender.send_request(request));
    let mut ended = None;
    let answer = poll_fn(|context| {
        if ended.is_none()
            && let Poll::Ready(result) = connection.poll_without_shutdown(context)
        {
            ended = Some(result);
        }
        answer.as_mut().poll(context)
    });
    let answer = answer.await.map_err(|error| classify(&error))?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        if ended.is_none() {
            tokio::spawn(connection);
        }
        return Ok(Changed::No(answer));
    }
    let end = match ended {
        Some(end) => end,
        None => poll_fn(|context| connection.poll_without_shutdown(context)).await,
    };
    end.map_err(|error| classify(&error))?;
    let parts = connection.into_parts();
    let (stream, early) = take_back(parts.io, &parts.read_buf);
    Ok(Changed::Yes(answer.into_parts().0, stream, early))
}

/// A stream back from hyper, and what hyper had read ahead. The read-ahead is copied: it would keep the whole 8 KiB read
/// buffer alive, even when it is empty.
fn take_back(io: TokioIo<Watched>, read_ahead: &[u8]) -> (Stream, Vec<u8>) {
    (io.into_inner().into_inner(), read_ahead.to_vec())
}

pub(super) async fn begin<B, S>(
    io: TokioIo<S>,
    limits: &Limits,
) -> Result<(SendRequest<B>, Connection<TokioIo<S>, B>), Refusal>
where
    S: AsyncRead + AsyncWrite + Unpin,
    B: Body + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let mut builder = Builder::new();
    builder.max_buf_size(limits.head_bytes_max.max(MIN_BUFFER_BYTES));
    builder.max_headers(limits.head_fields_max);
    builder.handshake(io).await.map_err(|error| classify(&error))
}

/// hyper takes no smaller limit.
pub const MIN_BUFFER_BYTES: usize = 8192;

pub(super) fn classify(error: &hyper::Error) -> Refusal {
    if error.is_parse() || error.is_parse_too_large() {
        Refusal::BackendSpeech
    } else if error.is_user() || error.is_body_write_aborted() {
        Refusal::RequestBody
    } else if let Some(alert) = alert(error) {
        Refusal::BackendAlert(alert)
    } else {
        Refusal::BackendClosed
    }
}

/// The name of the TLS alert that ended the connection, if one did.
fn alert(error: &hyper::Error) -> Option<&'static str> {
    match rustls_error(error.source()?.downcast_ref::<io::Error>()?)? {
        rustls::Error::AlertReceived(alert) => alert.as_str().or(Some("unknown")),
        _ => None,
    }
}
