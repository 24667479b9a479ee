//! One client connection, from its socket to its requests: a PROXY header and TLS if the listener has them, then
//! HTTP/1.1, or HTTP/2 where ALPN chose it ([`http2`]).
//!
//! Every wait has a deadline: the PROXY header, the TLS handshake, each request's head, and the rest between two requests
//! ([`Pace`]). Bodies and tunnels have their own.

use std::sync::Arc;

use futures_util::TryFutureExt;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::admit::Arrival;
use super::front::Front;
use super::http2;
use super::pace::{Overrun, Pace, Paced};
use crate::config::Limits;
use crate::lifecycle::{Phase, reached};
use crate::net::http::MIN_BUFFER_BYTES;
use crate::net::proxy_header::{self, HeaderFault};
use crate::net::stream::{Boxed, Stream};
use crate::net::tls::{Agreed, HandshakeError};
use crate::proto::peer::{Connection, Peer};
use crate::proto::proxy_header::{Header, ProxyHeaderError};
use crate::proxy::body::Upload;
use crate::proxy::exchange::exchange;
use crate::proxy::websocket::Switch;
use crate::proxy::{Caller, Plane};
use crate::state::{Listener, Snapshot};
use crate::telemetry::labels::{ConnectionFault, TlsResult};

/// Serves a connection to its end. A tunnel that it becomes goes on without it, and takes the presence along.
pub async fn serve(plane: Arc<Plane>, arrival: Arrival) {
    let Arrival { socket, peer, listener, presence } = arrival;
    let snapshot = plane.snapshot.load_full();
    let Ok(mut tcp) = TcpStream::from_std(socket) else { return };
    let Some(connection) = introduce(&plane, &snapshot, &listener, peer, &mut tcp).await else { return };
    let Some((stream, tls)) = secure(&plane, &snapshot, &listener, tcp).await else { return };
    let limits = snapshot.config.limits.clone();
    drop(snapshot);
    let is_http2 = tls.as_ref().is_some_and(|agreed| agreed.http2);
    let caller = Arc::new(Caller { listener, connection, tls, presence: Arc::new(presence) });
    if is_http2 {
        // On the heap, so that the task of an HTTP/1.1 connection is no larger for it.
        Box::pin(http2::serve(plane, stream, caller, limits)).await;
    } else {
        serve_http1(plane, stream, caller, &limits).await;
    }
}

/// Learns who is there: from the socket and, where the listener expects it, from a PROXY header. `None` if the connection
/// is not to be served.
async fn introduce(
    plane: &Plane,
    snapshot: &Snapshot,
    listener: &Listener,
    socket: Peer,
    tcp: &mut TcpStream,
) -> Option<Connection> {
    let destination = tcp.local_addr().ok();
    let Some(senders) = &listener.proxy_senders else {
        return Some(Connection { socket, proxied: None, destination });
    };
    let told = async {
        // To serve it as it is would be a way around the proxy in front.
        if !socket.is_trusted(senders) {
            return Err(Some(ConnectionFault::ProxyHeaderUntrusted));
        }
        let deadline = snapshot.config.limits.proxy_header_timeout;
        let header = timeout(deadline, proxy_header::receive(tcp)).await;
        header.map_err(|_| Some(ConnectionFault::ProxyHeaderTimeout))?.map_err(header_fault)
    };
    match told.await {
        Ok(Header::Proxied { source, destination }) => {
            Some(Connection { socket, proxied: Some(source), destination: Some(destination) })
        }
        Ok(Header::Unknown | Header::Local) => Some(Connection { socket, proxied: None, destination }),
        Err(fault) => {
            if let Some(fault) = fault {
                plane.metrics.connection_fault(&listener.name, fault);
                tracing::debug!(listener = %listener.name, peer = %socket, ?fault, "no PROXY header");
            }
            None
        }
    }
}

/// What a lack of a header is counted as; who says nothing at all, such as a probe that only connects, is no fault.
fn header_fault(fault: HeaderFault) -> Option<ConnectionFault> {
    match fault {
        HeaderFault::Gone => None,
        HeaderFault::Unended => Some(ConnectionFault::ProxyHeaderUnended),
        HeaderFault::Wrong(ProxyHeaderError::Missing) => Some(ConnectionFault::ProxyHeaderMissing),
        HeaderFault::Wrong(ProxyHeaderError::Malformed) => Some(ConnectionFault::ProxyHeaderMalformed),
    }
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

async fn serve_http1(plane: Arc<Plane>, stream: Stream, caller: Arc<Caller>, limits: &Limits) {
    let (asked, switch, pace) = (Notify::new(), Switch::default(), Pace::begin(limits));
    let service = service_fn(|request: Request<Incoming>| {
        asked.notify_one();
        let turn = pace.answering();
        let request = request.map(Upload::Http1);
        let answer = exchange(plane.clone(), caller.clone(), request, switch.clone());
        answer.map_ok(|answer| answer.map(|body| Paced { body, turn }))
    });
    let mut builder = http1::Builder::new();
    // The clock of hyper would run between requests, too.
    builder.header_read_timeout(None);
    builder.max_header_size(limits.head_bytes_max);
    builder.max_buf_size(limits.head_bytes_max.max(MIN_BUFFER_BYTES));
    builder.max_headers(limits.head_fields_max);
    let mut connection = builder.serve_connection(TokioIo::new(Front::new(stream, pace.clone())), service);
    let mut phase = plane.phase.clone();
    let last_request = async {
        reached(&mut phase, Phase::Draining).await;
        // A client that has not asked for anything yet believes that it is connected, and may ask once. `asked` remembers
        // requests of the past: for everybody else the request in hand, if there is one, is the last.
        asked.notified().await;
    };
    let served = async {
        tokio::select! {
            biased;
            ended = &mut connection => ended,
            () = last_request => {
                Pin::new(&mut connection).graceful_shutdown();
                (&mut connection).await
            }
        }
    };
    let ended = tokio::select! {
        biased;
        ended = served => ended,
        overrun = pace.overrun() => {
            if overrun == Overrun::Head {
                plane.metrics.connection_fault(&caller.listener.name, ConnectionFault::HeadTimeout);
            }
            return;
        }
        () = switch.overdue() => return,
    };
    match ended {
        Ok(()) => {
            if let Some(tunnel) = switch.take() {
                let parts = connection.into_parts();
                let (stream, early) = parts.io.into_inner().into_parts(&parts.read_buf);
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
    if error.is_parse_too_large() {
        Some(ConnectionFault::HeadTooLarge)
    } else if error.is_parse_version_h2() {
        Some(ConnectionFault::Http2Preface)
    } else if error.is_parse() {
        Some(ConnectionFault::Malformed)
    } else if error.is_canceled() || error.is_closed() || error.is_shutdown() {
        None
    } else {
        Some(ConnectionFault::Broken)
    }
}
