//! One request, from its head to its answer or its tunnel.

use std::convert::Infallible;
use std::sync::Arc;

use http::request::Parts;
use http::{Request, Response, Version};

use super::account::Account;
use super::body::Body;
use super::inbound::{self, Inbound};
use super::websocket::{self, Switch};
use super::{Caller, Plane, http as plain, own, refuse};
use crate::filter::header::Changes;
use crate::filter::origin;
use crate::outcome::Refusal;
use crate::proto::handshake::Offer;
use crate::state::{Route, Snapshot};
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
    let inbound = inbound::read(request, &caller.listener, &snapshot.config.limits)?;
    if inbound.offer.is_some() {
        account.wants_tunnel();
    }
    let route = snapshot.routes.find(&inbound.wanted(&caller, account.client())).ok_or(Refusal::NoRoute)?;
    account.routed(route);
    let Inbound { offer, head, authority, body } = inbound;
    let version = head.version;
    let mut head = inbound::rewrite(head, &authority, &caller, route)?;
    let origins = route.origins.as_deref().filter(|_| offer.is_some());
    if origins.is_some_and(|origins| !origin::admits(origins, &head.headers)) {
        return Err(Refusal::Origin);
    }
    let facts = inbound::facts(&head, &authority, offer.as_ref(), &caller, route, account);
    let changes =
        [&route.request_headers, &route.response_headers].map(|edits| Changes::new(edits.as_ref(), &facts));
    let [for_backend, for_client] = changes;
    let is_extended = offer.is_some() && version == Version::HTTP_2;
    let mut answer = match own::answer(&route.action, &facts, is_extended, account)? {
        Some(answer) => answer,
        None => {
            for_backend.apply(&mut head.headers);
            let request = Ready { offer, version, head, body };
            pass_on(plane, &snapshot, route, caller, request, switch, account).await?
        }
    };
    for_client.apply(answer.headers_mut());
    Ok(answer)
}

/// A request that is ready for a backend.
struct Ready {
    offer: Option<Offer>,
    version: Version,
    head: Parts,
    body: Upload,
}

/// The answer of a backend.
async fn pass_on(
    plane: &Arc<Plane>,
    snapshot: &Snapshot,
    route: &Arc<Route>,
    caller: Arc<Caller>,
    Ready { offer, version, head, body }: Ready,
    switch: &Switch,
    account: &mut Account,
) -> Result<Response<Body>, Refusal> {
    let Some(offer) = offer else {
        let client = caller.introduces(account.client());
        return plain::forward(plane, snapshot, route, &client, head, body, account).await;
    };
    // A handshake in flight counts as the tunnel that it may become.
    let permit = plane.tunnels.take().ok_or(Refusal::TunnelLimit)?;
    let _waiting = plane.handshakes.take().ok_or(Refusal::HandshakeLimit)?;
    let handshake = websocket::Handshake { offer, version, head, permit, caller };
    websocket::open(plane, snapshot, route, handshake, switch, account).await
}
