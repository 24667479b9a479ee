//! The account of one request: what it was, what became of it, told once to metrics and to the log.
//!
//! An account that is dropped without a word belongs to a client that left.

use std::sync::Arc;

use http::{Request, StatusCode, Version};
use tokio::time::Instant;

use super::{Caller, Plane};
use crate::outcome::{CloseCode, Ending, Farewell, Party, Refusal};
use crate::proto::peer::Peer;
use crate::state::Route;
use crate::state::action::Action;
use crate::telemetry::access::{Id, Record};
use crate::telemetry::labels::{Direction, Result as Outcome, http_version};
use crate::tunnel::sessions::Session;
use crate::tunnel::splice::Splice;
use crate::upstream::backend::{Backend, Lease};
use crate::upstream::pool::Pool;

/// The account of one request, open until one of its ends is told.
pub struct Account {
    facts: Option<Facts>,
}

struct Facts {
    plane: Arc<Plane>,
    caller: Arc<Caller>,
    id: Id,
    begun: Instant,
    client: Peer,
    http: Version,
    is_websocket: bool,
    /// Missing when no records were written as the request came.
    target: Option<Target>,
    route: Option<Arc<Route>>,
    /// The pool, where the route has several.
    pool: Option<Arc<str>>,
    backend: Option<Arc<Backend>>,
}

impl Account {
    /// Opens the account of `request`.
    pub fn open<B>(plane: Arc<Plane>, caller: Arc<Caller>, request: &Request<B>) -> Account {
        let trusted = &caller.listener.trusted_networks;
        let facts = Facts {
            id: Id::next(),
            begun: Instant::now(),
            client: caller.connection.client(request.headers(), trusted),
            http: request.version(),
            is_websocket: false,
            target: plane.access.is_on().then(|| Target::of(request)),
            route: None,
            pool: None,
            backend: None,
            plane,
            caller,
        };
        Account { facts: Some(facts) }
    }

    /// The request is a WebSocket handshake.
    pub fn wants_tunnel(&mut self) {
        if let Some(facts) = &mut self.facts {
            facts.is_websocket = true;
        }
    }

    /// The request has a route.
    pub fn routed(&mut self, route: &Arc<Route>) {
        if let Some(facts) = &mut self.facts {
            facts.route = Some(route.clone());
        }
    }

    /// The request goes to a backend of `pool`.
    pub fn goes_to(&mut self, pool: &Pool) {
        let Some(facts) = &mut self.facts else { return };
        if facts.route.as_ref().is_some_and(|route| matches!(route.action, Action::Split(_))) {
            facts.pool = Some(pool.name.clone());
        }
    }

    /// The request has a backend.
    pub fn leased(&mut self, backend: &Arc<Backend>) {
        if let Some(facts) = &mut self.facts {
            facts.backend = Some(backend.clone());
        }
    }

    /// The request's name in records.
    pub fn id(&self) -> Id {
        self.facts.as_ref().map_or_else(Id::next, |facts| facts.id)
    }

    /// Who asks: the client itself, behind trusted proxies or not.
    pub fn client(&self) -> Peer {
        self.facts.as_ref().map_or(Peer::Unix, |facts| facts.client)
    }

    /// The version of HTTP that the request came by.
    pub fn http(&self) -> Version {
        self.facts.as_ref().map_or_else(Version::default, |facts| facts.http)
    }

    /// Moves the account to a task of its own; what is told to this one from now on is not heard.
    pub fn hand_over(&mut self) -> Account {
        Account { facts: self.facts.take() }
    }

    /// longhaul itself answered.
    pub fn refused(&mut self, refusal: &Refusal) {
        let Some(mut facts) = self.facts.take() else { return };
        facts.is_websocket |= matches!(refusal, Refusal::Handshake(_));
        facts.count(&Outcome::Refused(refusal));
        facts.plane.access.write("refused", |record| {
            facts.describe(record);
            record.number("status", refusal.status().as_u16().into());
            record.text("reason", refusal.reason()).maybe("detail", refusal.detail());
            record.milliseconds("took_ms", facts.begun.elapsed());
        });
    }

    /// The route answered by itself.
    pub fn settled(&mut self, status: StatusCode, outcome: &Outcome<'_>) {
        let Some(facts) = self.facts.take() else { return };
        facts.count(outcome);
        facts.plane.access.write(outcome.label(), |record| {
            facts.describe(record);
            record.number("status", status.as_u16().into());
            record.milliseconds("took_ms", facts.begun.elapsed());
        });
    }

    /// The backend answered something other than 101; its body is on its way.
    pub fn answered(&mut self, status: StatusCode, lease: Lease) -> RequestEnd {
        let facts = self.facts.take();
        if let Some(facts) = &facts {
            let declined = facts.is_websocket;
            facts.count(&if declined { Outcome::Declined } else { Outcome::Answered(status) });
        }
        RequestEnd { facts, status, bytes: 0, broken: None, _lease: lease }
    }

    /// The client has its 101.
    pub fn opened(&mut self, session: &Session) {
        let Some(facts) = self.facts.take() else { return };
        let took = facts.begun.elapsed();
        if let Some(route) = &facts.route {
            route.terms.metrics.opened(facts.http, took);
        }
        facts.count_split(&Outcome::Opened);
        facts.plane.access.write("open", |record| {
            facts.describe(record);
            record.maybe("subprotocol", session.subprotocol());
            record.milliseconds("handshake_ms", took);
        });
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.refused(&Refusal::ClientGone);
    }
}

/// What was asked for, as records show it. Copied: a part of the head would keep all of it alive.
struct Target {
    method: http::Method,
    host: Option<String>,
    /// Without the query, which may hold secrets.
    path: String,
}

impl Target {
    fn of<B>(request: &Request<B>) -> Target {
        let host = request.uri().authority().map(|authority| authority.as_str().to_string());
        let field = || request.headers().get(http::header::HOST);
        let host = host.or_else(|| Some(String::from_utf8_lossy(field()?.as_bytes()).into_owned()));
        Target { method: request.method().clone(), host, path: request.uri().path().to_string() }
    }
}

impl Facts {
    fn count(&self, outcome: &Outcome<'_>) {
        let route = self.route.as_ref().map_or("", |route| &route.terms.route);
        if self.is_websocket {
            self.plane.metrics.handshake(route, self.http, outcome);
        } else {
            self.plane.metrics.request(route, self.http, outcome);
        }
        self.count_split(outcome);
    }

    /// Counts once more, by pool, where a route has several: that is how they are compared.
    fn count_split(&self, outcome: &Outcome<'_>) {
        if let (Some(route), Some(pool)) = (&self.route, &self.pool) {
            self.plane.metrics.split(&route.terms.route, pool, outcome);
        }
    }

    fn describe(&self, record: &mut Record) {
        record.show("id", self.id).text("listener", &self.caller.listener.name);
        record.show("client", self.client);
        let peer = self.caller.connection.socket;
        if self.client.ip() != peer.ip() {
            record.show("peer", peer);
        }
        if let Some(tls) = &self.caller.tls {
            record.text("tls", tls.version);
            if let Some(certificate) = &tls.client {
                // Visible ASCII, both of them.
                record.maybe("client_subject", certificate.subject.to_str().ok());
                record.maybe("client_names", certificate.names.to_str().ok());
            }
        }
        record.text("http", http_version(self.http));
        if let Some(Target { method, host, path }) = &self.target {
            record.text("method", method.as_str()).maybe("host", host.as_deref()).text("path", path);
        }
        record.maybe("route", self.route.as_ref().map(|route| &*route.terms.route));
        record.maybe("pool", self.pool.as_deref());
        record.maybe("backend", self.backend.as_ref().map(|backend| &*backend.label));
    }
}

/// An answer whose body is on its way; dropped at its end.
pub struct RequestEnd {
    facts: Option<Facts>,
    status: StatusCode,
    bytes: u64,
    /// Why the body did not come to its end.
    broken: Option<&'static str>,
    _lease: Lease,
}

impl RequestEnd {
    /// Bytes of the body went to the client.
    pub fn passed(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// The body will not come to its end.
    pub fn broke_off(&mut self, reason: &'static str) {
        self.broken = Some(reason);
    }
}

impl Drop for RequestEnd {
    fn drop(&mut self) {
        let Some(facts) = self.facts.take() else { return };
        let message = if facts.is_websocket { "declined" } else { "request" };
        facts.plane.access.write(message, |record| {
            facts.describe(record);
            record.number("status", self.status.as_u16().into());
            record.number("bytes_to_client", self.bytes);
            record.maybe("reason", self.broken);
            record.milliseconds("took_ms", facts.begun.elapsed());
        });
    }
}

/// A tunnel has ended.
pub fn closed(plane: &Plane, listener: &str, splice: &Splice, ending: Ending) {
    let (session, terms) = (splice.session(), splice.terms());
    let (lived, closing) = (session.opened().elapsed(), splice.closing());
    plane.metrics.tunnel_closed(&terms.route, ending, closing, splice.farewell());
    for direction in [Direction::ToBackend, Direction::ToClient] {
        plane.metrics.discarded(&terms.route, direction, splice.discarded(direction));
    }
    terms.metrics.duration.observe(lived);
    plane.access.write("close", |record| {
        record.show("id", session.id).text("listener", listener).show("client", session.client);
        record.text("route", &terms.route).text("backend", &session.backend);
        record.text("http", http_version(session.http)).maybe("subprotocol", session.subprotocol());
        record.text("reason", ending.reason.label()).text("initiator", ending.by.label());
        if let CloseCode::Number(code) = closing.code {
            record.number("close_code", code.into());
        }
        record.maybe("close_initiator", closing.by.map(Party::label)).flag("clean", closing.clean);
        record.maybe("farewell", splice.farewell().map(Farewell::label));
        record.milliseconds("lived_ms", lived);
        for (direction, name) in
            [(Direction::ToClient, "client_round_trip_ms"), (Direction::ToBackend, "backend_round_trip_ms")]
        {
            if let Some(took) = session.round_trip(direction) {
                record.milliseconds(name, took);
            }
        }
        record.number("bytes_to_backend", session.bytes(Direction::ToBackend));
        record.number("bytes_to_client", session.bytes(Direction::ToClient));
        record.number("messages_to_backend", session.messages(Direction::ToBackend));
        record.number("messages_to_client", session.messages(Direction::ToClient));
        for (direction, party) in
            [(Direction::ToBackend, Party::Client), (Direction::ToClient, Party::Backend)]
        {
            if let Some(violation) = splice.violation(direction) {
                record.text("violation_by", party.label()).show("violation", violation);
            }
        }
        if let Some(frames) = splice.last_frames() {
            record.list("frames", frames);
        }
    });
}
