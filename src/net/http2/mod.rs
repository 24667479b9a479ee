//! HTTP/2 towards clients: the `h2` crate's server, with every bound set.
//!
//! h2 itself ends floods: more than `PENDING_RESETS_MAX` streams that were reset before they were looked at, more than
//! `ERROR_RESETS_MAX` streams that it had to refuse, or to reset for their errors, header blocks without end, and small
//! DATA frames that nobody takes. Which of them it was, and floods of what h2 just answers, [`watched`] sees. What a client sends is therefore always taken from h2 at once, into an [`inlet::Inlet`]; its
//! window is given back only when the bytes have gone on. The window of a connection is the sum of its streams', so that
//! a stream that nobody reads stops none of the others.

pub mod duplex;
pub mod inlet;
pub mod outlet;
pub mod watched;

use std::io;

use bytes::Bytes;
use h2::server::{Builder, Connection};
use http::request::Parts;

use self::watched::{Grounds, Watched};
use super::stream::Stream;
use crate::config::Limits;

/// What a client may send on one stream before any of it has gone on, in bytes.
pub const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// What h2 may hold of a stream's outgoing bytes.
const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// Streams that a client may have reset before longhaul has looked at them (CVE-2023-44487).
const PENDING_RESETS_MAX: usize = 20;
/// Streams that h2 may have to reset in a connection's life for the client's errors (CVE-2025-8671).
const ERROR_RESETS_MAX: usize = 1024;
/// What h2 may spend on DATA frames smaller than 256 bytes that nobody has taken yet, the missing bytes of each counted:
/// enough for a stream's whole window in frames of one byte, which may all arrive before any task gets its turn.
const SMALL_FRAMES_BUDGET: usize = STREAM_WINDOW_BYTES as usize * 256;

/// How much larger than `limits.head_bytes_max` a head may be for h2, which answers what is over its own limit unseen;
/// what is over four times that ends the connection.
const HEAD_BYTES_FACTOR: usize = 2;

/// Reads the client's preface and sends the settings; `connect` allows extended CONNECT (RFC 8441 3). `grounds` learns why
/// the connection ends.
///
/// # Errors
/// When the client says something else, or leaves.
pub async fn handshake(
    stream: Stream,
    limits: &Limits,
    connect: bool,
    grounds: Grounds,
) -> Result<Connection<Watched, Bytes>, h2::Error> {
    let streams = limits.http2_streams_max;
    let head_bytes_max = limits.head_bytes_max.saturating_mul(HEAD_BYTES_FACTOR);
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(streams)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(streams.saturating_mul(STREAM_WINDOW_BYTES))
        .max_header_list_size(u32::try_from(head_bytes_max).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .max_local_error_reset_streams(Some(ERROR_RESETS_MAX))
        .data_frame_budget(SMALL_FRAMES_BUDGET);
    if connect {
        builder.enable_connect_protocol();
    }
    builder.handshake(Watched::new(stream, grounds)).await
}

/// What `:protocol` a CONNECT names (RFC 8441 4).
pub fn protocol(head: &Parts) -> Option<&str> {
    head.extensions.get::<h2::ext::Protocol>().map(h2::ext::Protocol::as_str)
}

/// A stream's failure as a socket would tell it: RST_STREAM and the end of the connection under it are resets.
fn io_error(error: h2::Error) -> io::Error {
    match error.get_io().map(io::Error::kind) {
        // On a stream of bytes this would be an end; of a stream inside a connection it is a cut.
        Some(io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe) | None => {
            io::Error::new(io::ErrorKind::ConnectionReset, error)
        }
        Some(kind) => io::Error::new(kind, error),
    }
}

/// The stream is gone, and nobody said why.
fn gone() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}
