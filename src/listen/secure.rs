//! TLS, where the listener has it.

use tokio::net::TcpStream;

use crate::net::stream::{Boxed, Stream};
use crate::net::tls::{Agreed, HandshakeError};
use crate::proxy::Plane;
use crate::state::{Listener, Snapshot};
use crate::telemetry::labels::TlsResult;

/// Performs the TLS handshake where the listener asks for one; `None` if there is nobody to talk to.
pub async fn secure(
    plane: &Plane,
    snapshot: &Snapshot,
    listener: &Listener,
    tcp: TcpStream,
) -> Option<(Stream, Option<Agreed>)> {
    let Some(terminator) = &listener.tls else { return Some((Stream::Tcp(tcp), None)) };
    let name = &listener.name;
    let limits = &snapshot.config.limits;
    match terminator.accept(tcp, limits.tls_handshake_timeout, limits.tls_handshakes_max).await {
        Ok((stream, agreed)) => {
            let result = if agreed.resumed { TlsResult::Resumed } else { TlsResult::Full };
            plane.metrics.tls_handshake(name, result, agreed.version);
            Some((Stream::Boxed(Boxed::Tls(stream)), Some(agreed)))
        }
        Err(error) => {
            let (result, error) = match error {
                HandshakeError::Timeout => (TlsResult::Timeout, None),
                HandshakeError::UnknownName => (TlsResult::UnknownName, None),
                HandshakeError::ClientCertificate(error) => (TlsResult::ClientCertificate, Some(error)),
                HandshakeError::Failed(error) => (TlsResult::Failed, Some(error)),
            };
            plane.metrics.tls_handshake(name, result, "");
            if let Some(error) = error {
                tracing::debug!(listener = %name, %error, "TLS handshake failed");
            }
            None
        }
    }
}
