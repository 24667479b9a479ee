//! Receives the PROXY header of a connection, and not a byte more: what follows belongs to TLS or HTTP.

use std::io;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::proto::proxy_header::{self, Header, LINE_BYTES_MAX, ProxyHeaderError};

/// How much is looked at in one step: a header without large TLVs.
const STEP_BYTES: usize = 512;
const _: () = assert!(STEP_BYTES > LINE_BYTES_MAX);

/// Why there is no header.
#[derive(Debug)]
pub enum HeaderFault {
    /// The connection ended before its first byte.
    Gone,
    /// The connection ended or broke within the header.
    Unended,
    /// What came is no header.
    Wrong(ProxyHeaderError),
}

/// Waits for the header, without a deadline, and takes it from `stream`.
///
/// Bytes are looked at before they are taken: those of a header that is not complete all belong to it, of the last step
/// only those before its end are taken.
///
/// # Errors
/// [`HeaderFault`]; the connection is of no more use then.
pub async fn receive(stream: &mut TcpStream) -> Result<Header, HeaderFault> {
    let mut received = Vec::new();
    loop {
        let before = received.len();
        let fault = |_: io::Error| if before == 0 { HeaderFault::Gone } else { HeaderFault::Unended };
        let mut step = [0; STEP_BYTES];
        let seen = stream.peek(&mut step).await.map_err(fault)?;
        if seen == 0 {
            return Err(fault(io::ErrorKind::UnexpectedEof.into()));
        }
        received.extend_from_slice(step.get(..seen).unwrap_or_default());
        let header = proxy_header::read(&received).map_err(HeaderFault::Wrong)?;
        let end = header.map_or(received.len(), |(_, end)| end);
        let taken = step.get_mut(..end.saturating_sub(before)).unwrap_or_default();
        stream.read_exact(taken).await.map_err(fault)?;
        if let Some((header, _)) = header {
            return Ok(header);
        }
    }
}
