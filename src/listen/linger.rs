//! The end of a connection whose client may still be sending: what it sends is thrown away for a while.
//!
//! A socket that is closed with something unread in it is reset, and a reset can overtake the answer that says why (RFC
//! 9112 9.6). So this side ends first, and then waits for the client's end.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::net::stream::{Boxed, Stream};

/// How long a client has to read its answer and to leave.
const LINGER_MAX: Duration = Duration::from_secs(5);
/// What is thrown away at once.
const LOOK_BYTES: usize = 16 * 1024;

/// Ends this side of a connection, and waits until the client ends its own.
pub async fn linger(mut stream: Stream) {
    let drained = async {
        stream.shutdown().await?;
        match &mut stream {
            Stream::Tcp(tcp) => drain(tcp).await,
            // Nobody wants it decrypted.
            Stream::Boxed(Boxed::Tls(tls)) => drain(tls.socket_mut()).await,
            Stream::Boxed(Boxed::Http2(_) | Boxed::Gone) => Ok(()),
        }
    };
    let _ = timeout(LINGER_MAX, drained).await;
}

async fn drain(socket: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    let mut space = vec![0; LOOK_BYTES];
    while socket.read(&mut space).await? > 0 {}
    Ok(())
}
