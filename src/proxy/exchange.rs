//! One request, from its head to its answer or its tunnel.

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::sync::Arc;

use http::{Request, Response, Version};

use super::account::Account;
use super::body::Body;
use super::inbound::{self, Inbound};
use super::websocket::{self, Switch};
use super::{Caller, Plane, http as plain, own, refuse};
use crate::filter::header::Changes;
use crate::filter::origin;
use crate::outcome::Refusal;
use crate::state::Route;
use crate::upstream::upload::Upload;

/// Answers one request. Never fails: what goes wrong is an answer, too. A tunnel that begins behind the answer is left in
/// `switch`.
///
/// The future may be dropped at any time, when the client leaves: whatever was begun with a backend ends with it.
pub async fn exchange(
    plane: Arc<Plane>,
    caller: Arc<Caller>,
    request: Request<Upload>,
    switch: Switch,
) -> Result<Response<Body>, Infallible> {
    let mut account = Account::open(plane.clone(), caller.clone(), &request);
    let version = request.version();
    match answer(&plane, caller, request, &switch, &mut account).await {
        Ok(response) => Ok(response),
        Err(refusal) => {
            account.refused(&refusal);
            Ok(refuse::response(&refusal, version))
        }
    }
}

async fn answer(
    plane: &Arc<Plane>,
    caller: Arc<Caller>,
    request: Request<Upload>,
    switch: &Switch,
    account: &mut Account,
) -> Result<Response<Body>, Refusal> {
    let snapshot = plane.snapshot.load_full();
    let mut inbound = inbound::read(request, &caller.listener, &snapshot.config.limits)?;
    if inbound.offer.is_some() {
        account.wants_tunnel();
    }
    let route = snapshot.routes.find(&inbound.wanted(&caller, account.client())).ok_or(Refusal::NoRoute)?;
    account.routed(route);
    let for_client = match prepare(&mut inbound, &caller, route, account)? {
        ControlFlow::Break(answer) => return Ok(answer),
        ControlFlow::Continue(for_client) => for_client,
    };
    let mut answer = match &inbound.offer {
        None => {
            let client = caller.introduces(account.client());
            plain::forward(plane, &snapshot, route, &client, inbound.head, inbound.body, account).await?
        }
        Some(offer) => {
            // A handshake in flight counts as the tunnel that it may become.
            let permit = plane.tunnels.take().ok_or(Refusal::TunnelLimit)?;
            let _waiting = plane.handshakes.take().ok_or(Refusal::HandshakeLimit)?;
            let Inbound { version, ref mut head, .. } = inbound;
            let handshake = websocket::Handshake { offer, version, head, permit, caller };
            websocket::open(plane, &snapshot, route, handshake, switch, account).await?
        }
    };
    for_client.apply(answer.headers_mut());
    Ok(answer)
}

/// Makes a request ready for a backend, and tells what to change of the answer; unless the route answers by itself. This is
/// apart, so that nothing of it is held while a backend is asked.
fn prepare<'a>(
    inbound: &mut Inbound,
    caller: &Caller,
    route: &'a Route,
    account: &mut Account,
) -> Result<ControlFlow<Response<Body>, Changes<'a>>, Refusal> {
    inbound.rewrite(caller, route)?;
    let origins = route.origins.as_deref().filter(|_| inbound.offer.is_some());
    if origins.is_some_and(|origins| !origin::admits(origins, &inbound.head.headers)) {
        return Err(Refusal::Origin);
    }
    let facts = inbound.facts(caller, route, account);
    let changes =
        [&route.request_headers, &route.response_headers].map(|edits| Changes::new(edits.as_ref(), &facts));
    let [for_backend, for_client] = changes;
    let is_extended = inbound.offer.is_some() && inbound.version == Version::HTTP_2;
    if let Some(mut answer) = own::answer(&route.action, &facts, is_extended, account)? {
        for_client.apply(answer.headers_mut());
        return Ok(ControlFlow::Break(answer));
    }
    for_backend.apply(&mut inbound.head.headers);
    Ok(ControlFlow::Continue(for_client))
}
