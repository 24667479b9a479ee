//! A WebSocket that opens (RFC 6455 4.1, as the client), and answers a ping if it is asked to.

use std::time::{Duration, Instant};

use http::{HeaderValue, Method, header};
use http_body_util::Empty;
use tokio::time::timeout;

use super::talk::Talk;
use super::{Unwell, parting, request};
use crate::config::{Limits, WebSocketProbe};
use crate::net::dial::{self, DialError, Way};
use crate::net::tls;
use crate::outcome::{ConnectError, Refusal};
use crate::proto::handshake::Offer;
use crate::upstream::backend::Backend;
use crate::upstream::handshake::{Reply, offer};

/// Opens a WebSocket as a client would, with a key of its own and no extension, and closes it with 1000. Whether the
/// backend closes it, too, does not matter to the verdict.
pub async fn probe(
    backend: &Backend,
    way: &Way<'_>,
    probe: &WebSocketProbe,
    deadline: Duration,
    limits: &Limits,
) -> Result<(), Unwell> {
    let begun = Instant::now();
    let mut request = request::begin(backend, &probe.target, Method::GET).ok_or("path")?;
    let nonce = tls::random().ok_or(DialError::from(ConnectError::Exhausted))?;
    let offered = Offer::new(nonce, probe.subprotocol.iter().cloned().collect());
    offered.write(request.headers_mut());
    if let Some(subprotocol) = &probe.subprotocol {
        let value = HeaderValue::from_str(subprotocol).map_err(|_| "subprotocol")?;
        request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, value);
    }
    let stream = dial::connect(&backend.address, way, deadline).await?;
    let request = request.map(|()| Empty::new());
    let reply = timeout(deadline, offer(stream, limits, request, &offered, None)).await;
    let switched = match reply.unwrap_or(Err(Refusal::BackendTimeout))? {
        Reply::Switched(switched) => switched,
        Reply::Declined(answer) => return Err(request::status(answer.status())),
    };
    let mut talk = Talk::begin(switched.stream, switched.early);
    let verdict = look(probe, switched.answer.subprotocol.is_some(), &mut talk).await;
    let _ = timeout(parting::bound(begun, deadline), talk.end()).await;
    verdict
}

/// What an open WebSocket must do.
async fn look(probe: &WebSocketProbe, has_subprotocol: bool, talk: &mut Talk) -> Result<(), Unwell> {
    if probe.subprotocol.is_some() && !has_subprotocol {
        return Err("subprotocol".into());
    }
    match probe.ping_timeout {
        Some(bound) => timeout(bound, talk.ping()).await.unwrap_or_else(|_| Err("pong_timeout".into())),
        None => Ok(()),
    }
}
