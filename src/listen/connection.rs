//! One client connection, from its socket to its requests: TLS if the listener has it, then HTTP/1.1.
//!
//! Every wait has a deadline: the TLS handshake, and each request's head, the first byte of it included, which makes
//! `limits.head_timeout` the longest pause between two requests, too. Bodies and tunnels have their own.

use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::admit::Arrival;
use crate::config::Limits;
use crate::lifecycle::{Phase, reached};
use crate::net::http::{MIN_BUFFER_BYTES, take_back};
use crate::net::stream::Stream;
use crate::net::tls::{Agreed, HandshakeError};
use crate::proxy::exchange::exchange;
use crate::proxy::websocket::Switch;
use crate::proxy::{Caller, Plane};
use crate::state::{Listener, Snapshot};
use crate::telemetry::labels::{ConnectionFault, TlsResult};

/// Serves a connection to its end. A tunnel that it becomes goes on without it, and takes the presence along.
pub async fn serve(plane: Arc<Plane>, arrival: Arrival) {
    let Arrival { socket, peer, listener, presence } = arrival;
    let snapshot = plane.snapshot.load_full();
    let Ok(tcp) = TcpStream::from_std(socket) else { return };
    let Some((stream, tls)) = secure(&plane, &snapshot, &listener, tcp).await else { return };
    let limits = snapshot.config.limits.clone();
    drop(snapshot);
    let caller = Arc::new(Caller { listener, peer, tls, presence: Arc::new(presence) });
    serve_http1(plane, stream, caller, &limits).await;
}

/// Performs the TLS handshake where the listener asks for one; `None` if there is nobody to talk to.
async fn secure(
    plane: &Plane,
    snapshot: &Snapshot,
    listener: &Listener,
    tcp: TcpStream,
) -> Option<(Stream, Option<Agreed>)> {
    let Some(terminator) = &listener.tls else { return Some((Stream::Tcp(tcp), None)) };
    let name = &listener.name;
    match terminator.accept(tcp, snapshot.config.limits.tls_handshake_timeout).await {
        Ok((stream, agreed)) => {
            let result = if agreed.resumed { TlsResult::Resumed } else { TlsResult::Full };
            plane.metrics.tls_handshake(name, result, agreed.version);
            Some((Stream::Tls(stream), Some(agreed)))
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

async fn serve_http1(plane: Arc<Plane>, stream: Stream, caller: Arc<Caller>, limits: &Limits) {
    let (asked, switch) = (Notify::new(), Switch::default());
    let service = service_fn(|request| {
        asked.notify_one();
        exchange(plane.clone(), caller.clone(), request, switch.clone())
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.head_timeout);
    builder.max_header_size(limits.head_bytes_max);
    builder.max_buf_size(limits.head_bytes_max.max(MIN_BUFFER_BYTES));
    builder.max_headers(limits.head_fields_max);
    let mut connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut phase = plane.phase.clone();
    let last_request = async {
        reached(&mut phase, Phase::Draining).await;
        // A client that has not asked for anything yet believes that it is connected, and may ask once. `asked` remembers
        // requests of the past: for everybody else the request in hand, if there is one, is the last.
        asked.notified().await;
    };
    let ended = tokio::select! {
        biased;
        ended = &mut connection => ended,
        () = last_request => {
            Pin::new(&mut connection).graceful_shutdown();
            (&mut connection).await
        }
        () = switch.overdue() => return,
    };
    match ended {
        Ok(()) => {
            if let Some(tunnel) = switch.take() {
                let parts = connection.into_parts();
                let (stream, early) = take_back(parts.io, &parts.read_buf);
                tunnel.spawn(stream, early);
            }
        }
        Err(error) => {
            if let Some(fault) = fault(&error) {
                plane.metrics.connection_fault(&caller.listener.name, fault);
            }
        }
    }
}

/// What a failure of the connection is counted as; a client that just left is none.
fn fault(error: &hyper::Error) -> Option<ConnectionFault> {
    if error.is_timeout() {
        Some(ConnectionFault::HeadTimeout)
    } else if error.is_parse_too_large() {
        Some(ConnectionFault::HeadTooLarge)
    } else if error.is_parse() {
        Some(ConnectionFault::Malformed)
    } else if error.is_canceled() || error.is_closed() || error.is_shutdown() {
        None
    } else {
        Some(ConnectionFault::Broken)
    }
}
