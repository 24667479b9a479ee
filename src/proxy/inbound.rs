//! A request as it came in, read; and as it goes on to a backend.

use std::net::IpAddr;

use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Request, Uri, Version, header};

use super::Caller;
use super::account::Account;
use crate::config::Limits;
use crate::filter::variables::Facts;
use crate::net::tls::clients::ClientCertificate;
use crate::net::{http2, tls};
use crate::outcome::{ConnectError, Refusal};
use crate::proto::authority::{self, Authority};
use crate::proto::client_certificate;
use crate::proto::forwarded::{self, Sender};
use crate::proto::handshake::{Offer, read_extended_offer, read_offer};
use crate::proto::peer::Peer;
use crate::proto::{hop, http2 as fields, message};
use crate::route::{self, Certificate};
use crate::state::{Listener, Route};
use crate::upstream::upload::Upload;

/// A request that says for which host it is and is, if it wants a WebSocket, a valid handshake.
pub struct Inbound {
    /// The head as it came, and then as it [goes on](Inbound::rewrite).
    pub head: Parts,
    /// The version of HTTP that it came by.
    pub version: Version,
    /// The body, still in the socket.
    pub body: Upload,
    /// The host it is for.
    pub authority: Authority,
    /// The handshake, if it is one.
    pub offer: Option<Offer>,
}

/// Reads the head of a request that came to `listener`.
///
/// # Errors
/// As [`read_head`].
pub fn read(request: Request<Upload>, listener: &Listener, limits: &Limits) -> Result<Inbound, Refusal> {
    let (head, body) = request.into_parts();
    let (authority, offer) = read_head(&head, listener.extended_connect, limits)?;
    Ok(Inbound { version: head.version, head, body, authority, offer })
}

/// The host that a request is for, and the handshake that it is; `extended_connect` allows one over HTTP/2.
///
/// # Errors
/// [`Refusal::Connect`], [`Refusal::Protocol`], [`Refusal::Message`], [`Refusal::TargetTooLong`], [`Refusal::Host`],
/// [`Refusal::Field`] or [`Refusal::Handshake`].
pub fn read_head(
    head: &Parts,
    extended_connect: bool,
    limits: &Limits,
) -> Result<(Authority, Option<Offer>), Refusal> {
    let protocol = http2::protocol(head);
    if head.method == Method::CONNECT && protocol.is_none() {
        return Err(Refusal::Connect);
    }
    message::check_request(head).map_err(Refusal::Message)?;
    if head.uri.path_and_query().is_some_and(|target| target.as_str().len() > limits.target_bytes_max) {
        return Err(Refusal::TargetTooLong);
    }
    let authority = authority::read(head).map_err(Refusal::Host)?;
    if head.version == Version::HTTP_2 && !fields::values_are_valid(&head.headers) {
        return Err(Refusal::Field);
    }
    let offer = match protocol {
        None => read_offer(head).map_err(Refusal::Handshake)?,
        Some(name) if extended_connect && name.eq_ignore_ascii_case("websocket") => {
            let nonce = tls::random().ok_or(Refusal::Unreachable(ConnectError::Exhausted))?;
            Some(read_extended_offer(head, nonce).map_err(Refusal::Handshake)?)
        }
        Some(_) => return Err(Refusal::Protocol),
    };
    Ok((authority, offer))
}

impl Inbound {
    /// What routes are asked for, on behalf of `client`.
    pub fn wanted<'a>(&'a self, caller: &'a Caller, client: Peer) -> route::Request<'a> {
        let certificate = caller.tls.as_ref().and_then(|tls| tls.client.as_deref());
        wanted(&self.head, &self.authority, self.offer.as_ref(), client.ip(), certificate.map(named))
    }

    /// Makes the head ready for a backend: the target in origin form and with the beginning that `route` gives it, one
    /// `Host`, one `Cookie`, one length, no hop-by-hop fields, the forwarding fields, and those of the client's certificate.
    ///
    /// # Errors
    /// [`Refusal::Prefix`]
    pub fn rewrite(&mut self, caller: &Caller, route: &Route) -> Result<(), Refusal> {
        let (head, authority) = (&mut self.head, &self.authority);
        head.uri = origin_form(&head.uri);
        if let Some(replacement) = &route.replacement
            && let Some(uri) = replacement.apply(&head.uri).map_err(Refusal::Prefix)?
        {
            head.uri = uri;
        }
        head.version = Version::HTTP_11;
        head.extensions.clear();
        hop::strip(&mut head.headers);
        fields::join_cookies(&mut head.headers);
        fields::join_lengths(&mut head.headers);
        head.headers.insert(header::HOST, authority.written.clone());
        let peer = caller.connection.speaker();
        let sender = Sender {
            peer,
            secure: caller.tls.is_some(),
            host: &authority.written,
            trusted: peer.is_trusted(&caller.listener.trusted_networks),
        };
        forwarded::write(&mut head.headers, &sender);
        let certificate = caller.tls.as_ref().and_then(|tls| tls.client.as_deref());
        let shown = certificate.map(|certificate| (&certificate.subject, &certificate.names));
        client_certificate::write(&mut head.headers, shown);
        Ok(())
    }

    /// What variables stand for, once the head is [ready](Inbound::rewrite).
    pub fn facts<'a>(&'a self, caller: &'a Caller, route: &'a Route, account: &Account) -> Facts<'a> {
        let head = &self.head;
        Facts {
            client: account.client(),
            listener: &caller.listener.name,
            route: &route.terms.route,
            id: account.id(),
            is_secure: forwarded::is_secure(&head.headers),
            authority: &self.authority,
            method: if self.offer.is_some() { &Method::GET } else { &head.method },
            path: head.uri.path(),
            query: head.uri.query(),
            tls: caller.tls.as_ref(),
        }
    }
}

/// A request as routes see it.
pub fn wanted<'a>(
    head: &'a Parts,
    authority: &'a Authority,
    offer: Option<&'a Offer>,
    client: Option<IpAddr>,
    certificate: Option<Certificate<'a>>,
) -> route::Request<'a> {
    route::Request {
        host: &authority.host,
        path: head.uri.path(),
        query: head.uri.query().unwrap_or_default(),
        method: if offer.is_some() { &Method::GET } else { &head.method },
        headers: &head.headers,
        client,
        offered: offer.map(|offer| offer.protocols.as_slice()),
        certificate,
    }
}

fn named(certificate: &ClientCertificate) -> Certificate<'_> {
    Certificate { subject: certificate.subject.as_bytes(), names: certificate.names.as_bytes() }
}

/// RFC 9112 3.2.1: path and query alone.
fn origin_form(uri: &Uri) -> Uri {
    let target = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    Uri::from(target)
}
