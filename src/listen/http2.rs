//! One HTTP/2 connection: its streams become requests and tunnels, each in a task of its own.
//!
//! The connection lives until its last stream has ended; its task moves the bytes of all of them. When the process stops,
//! GOAWAY tells the client to ask elsewhere, and streams that are open go on. A client that resets many more streams than
//! it waits for is sent away with all it has.

mod liveness;
mod stream;

use std::future::poll_fn;
use std::sync::Arc;

use h2::Reason;
use tokio::task::yield_now;
use tokio::time::timeout;

use self::liveness::{Liveness, Verdict};
use self::stream::{Resets, Visit};
use crate::config::Limits;
use crate::lifecycle::{Phase, reached};
use crate::net::http2::{self, Grounds};
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
    let handshake = http2::handshake(stream, &limits, caller.listener.extended_connect);
    let mut connection = match timeout(limits.head_timeout, handshake).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return Err(fault(&error, &grounds).await),
        Err(_) => return Err(Some(ConnectionFault::HeadTimeout)),
    };
    let mut liveness = Liveness::new(connection.ping_pong(), &limits);
    let (resets, fields_max) = (Resets::default(), limits.head_fields_max);
    let (mut phase, mut leaving) = (plane.phase.clone(), false);
    loop {
        tokio::select! {
            biased;
            asked = connection.accept() => match asked {
                Some(Ok((request, respond))) => {
                    liveness.asked();
                    let (plane, caller) = (plane.clone(), caller.clone());
                    let (resets, grounds) = (resets.clone(), grounds.clone());
                    let visit = Visit { plane, caller, resets, grounds, respond, fields_max };
                    tokio::spawn(visit.serve(request));
                }
                Some(Err(error)) => return Err(fault(&error, &grounds).await),
                None => return Ok(()),
            },
            () = reached(&mut phase, Phase::Draining), if !leaving => {
                leaving = true;
                connection.graceful_shutdown();
            }
            () = resets.too_many() => {
                connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                // What is left is to tell the client.
                let told = poll_fn(|context| connection.poll_closed(context));
                let _ = timeout(limits.http2_ping_timeout, told).await;
                return Err(Some(ConnectionFault::ResetFlood));
            }
            () = liveness.due() => match liveness.judge(connection.has_streams()) {
                Verdict::Alive => {}
                Verdict::Idle => connection.graceful_shutdown(),
                Verdict::Gone => return Ok(()),
                Verdict::Dead(fault) => return Err(Some(fault)),
            },
        }
    }
}

/// What the end of the connection is counted as; a client that just left is none, however it did.
async fn fault(error: &h2::Error, grounds: &Grounds) -> Option<ConnectionFault> {
    if !error.is_library() {
        return grounds.concern_streams().then_some(ConnectionFault::Broken);
    }
    // The streams have been woken; once they have had their turn they know more.
    yield_now().await;
    grounds.fault().or(Some(match error.reason() {
        Some(Reason::ENHANCE_YOUR_CALM) => ConnectionFault::Flood,
        _ => ConnectionFault::Malformed,
    }))
}
