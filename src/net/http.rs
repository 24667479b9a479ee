//! HTTP/1 towards backends: hyper's client on a connection of our own.

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::stream::Stream;
use crate::config::Limits;
use crate::outcome::Refusal;

/// Sends one request on a fresh connection and waits for the head of its answer. Dropping the future, or the answer's
/// body before its end, closes the connection.
///
/// # Errors
/// [`Refusal::BackendClosed`], [`Refusal::BackendSpeech`] or [`Refusal::RequestBody`].
pub async fn send<B>(
    tcp: TcpStream,
    limits: &Limits,
    request: Request<B>,
) -> Result<Response<Incoming>, Refusal>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let io = TokioIo::new(Stream::Tcp(tcp));
    let mut builder = http1::Builder::new();
    builder.max_buf_size(limits.head_bytes_max.max(MIN_BUFFER_BYTES));
    builder.max_headers(limits.head_fields_max);
    let (mut sender, connection) = builder.handshake(io).await.map_err(|error| classify(&error))?;
    // The connection works until the answer's body has been read or dropped, or its socket became a tunnel.
    tokio::spawn(async move {
        let _ = connection.with_upgrades().await;
    });
    sender.send_request(request).await.map_err(|error| classify(&error))
}

/// hyper takes no smaller limit.
pub const MIN_BUFFER_BYTES: usize = 8192;

fn classify(error: &hyper::Error) -> Refusal {
    if error.is_parse() || error.is_parse_too_large() {
        Refusal::BackendSpeech
    } else if error.is_user() || error.is_body_write_aborted() {
        Refusal::RequestBody
    } else {
        Refusal::BackendClosed
    }
}
