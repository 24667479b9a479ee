//! One client connection, from its socket to its requests: a PROXY header and TLS if the listener has them, then
//! HTTP/1.1, or HTTP/2 where ALPN chose it.

use std::sync::Arc;

use tokio::net::TcpStream;

use super::admit::Arrival;
use super::introduce::introduce;
use super::secure::secure;
use super::{http1, http2};
use crate::proxy::{Caller, Plane};

/// Serves a connection to its end. A tunnel that it becomes goes on without it, as does all that is HTTP/2, and takes the
/// presence along.
pub async fn serve(plane: Arc<Plane>, arrival: Arrival) {
    let Arrival { socket, peer, listener, presence } = arrival;
    let snapshot = plane.snapshot.load_full();
    let Ok(mut tcp) = TcpStream::from_std(socket) else { return };
    let Some(connection) = introduce(&plane, &snapshot, &listener, peer, &mut tcp).await else { return };
    let Some((stream, tls)) = secure(&plane, &snapshot, &listener, tcp).await else { return };
    let limits = snapshot.config.limits.clone();
    drop(snapshot);
    let is_http2 = tls.as_ref().is_some_and(|agreed| agreed.http2);
    let carrier = if is_http2 { plane.carriers.number() } else { 0 };
    let caller = Arc::new(Caller { listener, connection, tls, carrier, presence: Arc::new(presence) });
    if is_http2 {
        // A task of its own: this one had to have room for two handshakes, and this connection may stay.
        tokio::spawn(http2::serve(plane, stream, caller, limits));
    } else {
        http1::serve(plane, stream, caller, &limits).await;
    }
}
