//! One HTTP/2 connection: its streams become requests and tunnels, each in a task of its own.
//!
//! The connection lives until its last stream has ended; its task moves the bytes of all of them. When the process stops,
//! GOAWAY tells the client to ask elsewhere: at once if there is no tunnel, else when its tunnels are asked to go. Streams
//! that are open go on, tunnels that are asked for later are refused. A client that resets many more streams than
//! it waits for, or demands answers without end, is sent away with all it has.

mod liveness;
mod stream;

use std::future::poll_fn;
use std::sync::Arc;

use h2::Reason;
use h2::ext::Protocol;
use tokio::time::timeout;

use self::liveness::{Liveness, Verdict};
use self::stream::{HeadBounds, Resets, Visit};
use crate::config::Limits;
use crate::net::http2::{
    self,
    watched::{Call, Grounds},
};
use crate::net::stream::Stream;
use crate::proxy::{Caller, Plane};
use crate::telemetry::labels::ConnectionFault;

/// Serves a connection to its end, that of its tunnels included.
pub async fn serve(plane: Arc<Plane>, stream: Stream, caller: Arc<Caller>, limits: Limits) {
    if let Err(Some(fault)) = drive(&plane, stream, &caller, limits).await {
        plane.metrics.connection_fault(&caller.listener.name, fault);
    }
}

async fn drive(
    plane: &Arc<Plane>,
    stream: Stream,
    caller: &Arc<Caller>,
    limits: Limits,
) -> Result<(), Option<ConnectionFault>> {
    let grounds = Grounds::default();
    let connect = caller.listener.extended_connect;
    let handshake = http2::handshake(stream, &limits, connect, grounds.clone());
    let mut connection = match timeout(limits.head_timeout, handshake).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return Err(fault(&error, &grounds, false)),
        Err(_) => return Err(Some(ConnectionFault::HeadTimeout)),
    };
    let mut liveness = Liveness::new(connection.ping_pong(), &limits);
    let (resets, bounds) = (Resets::new(grounds.clone()), HeadBounds::of(&limits));
    let _carrier = plane.carriers.enter(caller.carrier, grounds.clone());
    let mut leaving = false;
    // Before h2 looked at the socket: when the connection fails it lets go of all streams.
    let mut had_streams = false;
    loop {
        tokio::select! {
            biased;
            // First: who sends without end may leave no time for what comes later.
            call = grounds.called() => {
                if call == Call::Go {
                    leaving = true;
                    connection.graceful_shutdown();
                    continue;
                }
                connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                // What is left is to tell the client.
                let told = poll_fn(|context| connection.poll_closed(context));
                let _ = timeout(limits.http2_ping_timeout, told).await;
                return Err(grounds.fault());
            }
            asked = poll_fn(|context| {
                had_streams = connection.has_streams();
                connection.poll_accept(context)
            }) => match asked {
                Some(Ok((request, mut respond))) => {
                    liveness.asked();
                    if leaving && request.extensions().get::<Protocol>().is_some() {
                        // Safe to ask for elsewhere (RFC 9113 8.7).
                        respond.send_reset(Reason::REFUSED_STREAM);
                        continue;
                    }
                    let (plane, caller) = (plane.clone(), caller.clone());
                    let visit = Visit { plane, caller, resets: resets.clone(), respond, bounds };
                    tokio::spawn(visit.serve(request));
                }
                Some(Err(error)) => return Err(fault(&error, &grounds, had_streams)),
                None => return Ok(()),
            },
            () = liveness.due() => match liveness.judge(connection.has_streams()) {
                Verdict::Alive => {}
                Verdict::Idle => connection.graceful_shutdown(),
                Verdict::Gone => return Ok(()),
                Verdict::Dead(fault) => return Err(Some(fault)),
            },
        }
    }
}

/// What the end of the connection is counted as; a client that just left while there was no stream is none, however it did.
fn fault(error: &h2::Error, grounds: &Grounds, has_streams: bool) -> Option<ConnectionFault> {
    let told = || match error.reason() {
        _ if !error.is_library() => has_streams.then_some(ConnectionFault::Broken),
        // For a head that goes on where nothing of it is kept any more; what cannot be decompressed has another code.
        Some(Reason::COMPRESSION_ERROR) => Some(ConnectionFault::HeadTooLarge),
        _ => Some(ConnectionFault::Malformed),
    };
    grounds.fault().or_else(told)
}
