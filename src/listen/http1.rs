//! HTTP/1.1: the requests of a connection, one after the other, and the tunnel that it may become.
//!
//! Every wait has a deadline: each request's head, and the rest between two requests ([`Pace`]). Bodies and tunnels have
//! their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use futures_util::TryFutureExt;
use http::Request;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::sync::Notify;

use super::front::Front;
use super::linger::linger;
use super::pace::{Overrun, Pace, Paced};
use crate::config::Limits;
use crate::lifecycle::{Phase, reached};
use crate::net::http::MIN_BUFFER_BYTES;
use crate::net::stream::Stream;
use crate::proxy::exchange::exchange;
use crate::proxy::websocket::Switch;
use crate::proxy::{Caller, Plane};
use crate::telemetry::labels::ConnectionFault;
use crate::upstream::upload::Upload;

/// Serves a connection to its end, or to the tunnel that it becomes.
pub async fn serve(plane: Arc<Plane>, stream: Stream, caller: Arc<Caller>, limits: &Limits) {
    let (asked, switch, pace) = (Notify::new(), Switch::default(), Pace::begin(limits));
    let has_body = AtomicBool::new(false);
    let service = service_fn(|request: Request<Incoming>| {
        asked.notify_one();
        has_body.store(!request.body().is_end_stream(), Relaxed);
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
    let (tunnel, lingers) = match ended {
        Ok(()) => (switch.take(), has_body.load(Relaxed)),
        Err(error) => {
            let fault = fault(&error);
            if let Some(fault) = fault {
                plane.metrics.connection_fault(&caller.listener.name, fault);
            }
            // hyper has answered what it does not take.
            (None, matches!(fault, Some(ConnectionFault::Malformed | ConnectionFault::HeadTooLarge)))
        }
    };
    if tunnel.is_none() && !lingers {
        return;
    }
    let parts = connection.into_parts();
    let (stream, early) = parts.io.into_inner().into_parts(&parts.read_buf);
    match tunnel {
        Some(tunnel) => tunnel.spawn(stream, early),
        // On the heap, so that the task of a connection is no larger for it.
        None => Box::pin(linger(stream)).await,
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
