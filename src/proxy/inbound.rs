//! A request as it came in, read; and as it goes on to a backend.

use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Request, Uri, Version, header};
use hyper::body::Incoming;

use super::Caller;
use crate::config::Limits;
use crate::outcome::Refusal;
use crate::proto::authority::{self, Authority};
use crate::proto::client_certificate;
use crate::proto::forwarded::{self, Sender};
use crate::proto::handshake::{Offer, read_offer};
use crate::proto::{hop, message};

/// A request that says for which host it is and is, if it wants a WebSocket, a valid handshake.
pub struct Inbound {
    /// The head as it came.
    pub head: Parts,
    /// The body, still in the socket.
    pub body: Incoming,
    /// The host it is for.
    pub authority: Authority,
    /// The handshake, if it is one.
    pub offer: Option<Offer>,
}

/// Reads a request's head.
///
/// # Errors
/// [`Refusal::Connect`], [`Refusal::Message`], [`Refusal::TargetTooLong`], [`Refusal::Host`] or [`Refusal::Handshake`].
pub fn read(request: Request<Incoming>, limits: &Limits) -> Result<Inbound, Refusal> {
    let (head, body) = request.into_parts();
    if head.method == Method::CONNECT {
        return Err(Refusal::Connect);
    }
    message::check_request(&head).map_err(Refusal::Message)?;
    if head.uri.path_and_query().is_some_and(|target| target.as_str().len() > limits.target_bytes_max) {
        return Err(Refusal::TargetTooLong);
    }
    let authority = authority::read(&head).map_err(Refusal::Host)?;
    let offer = read_offer(&head).map_err(Refusal::Handshake)?;
    Ok(Inbound { head, body, authority, offer })
}

impl Inbound {
    /// What routes are compared with: the path as sent, without the query.
    pub fn path(&self) -> &str {
        self.head.uri.path()
    }
}

/// Makes a head ready for a backend: the target in origin form, one `Host`, no hop-by-hop fields, the forwarding
/// fields, and those of the client's certificate.
pub fn rewrite(mut head: Parts, authority: &Authority, caller: &Caller) -> Parts {
    head.uri = origin_form(&head.uri);
    head.version = Version::HTTP_11;
    head.extensions.clear();
    hop::strip(&mut head.headers);
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
    head
}

/// RFC 9112 3.2.1: path and query alone.
fn origin_form(uri: &Uri) -> Uri {
    let target = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    Uri::from(target)
}
