//! The operator's interface: the live tunnels, the backends, and orders. JSON over HTTP, on a loopback address or a unix
//! socket.
//!
//! Whoever may connect may use it. Web pages may not: a page that makes a browser connect here is told apart by its
//! `Origin`, and one that gave its own name this address by its `Host`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, ORIGIN};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use super::backends;
use super::serve::{Answer, response};
use super::tunnels;
use crate::outcome::Party;
use crate::proto::authority;
use crate::proxy::Plane;
use crate::state::orders::{Asker, Order, Reload, Reloaded};
use crate::telemetry::access::Id;
use crate::telemetry::labels::{Direction, http_version};
use crate::tunnel::sessions::Session;

/// Tunnels on a page, unless asked for another number.
const PAGE_DEFAULT: usize = 100;
/// Tunnels on a page, at most.
const PAGE_MAX: usize = 1_000;
/// What there is.
const HERE: &str = "here are GET /api/v1/tunnels, POST /api/v1/tunnels/close, GET /api/v1/backends, POST /api/v1/backends/state and POST /api/v1/reload";
/// How long an order may take before who gave it is sent away.
pub(super) const ORDER_DEADLINE: Duration = Duration::from_secs(60);

/// Answers operators.
pub struct Api {
    /// Has the live table and the backends.
    pub plane: Arc<Plane>,
    /// To the supervisor.
    pub orders: mpsc::Sender<Order>,
    /// Whether `Host` must be a loopback name; a unix socket has none.
    pub checks_host: bool,
}

impl Answer for Api {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, _) = request.into_parts();
        if let Err(problem) = self.admits(&head) {
            return error(StatusCode::FORBIDDEN, problem);
        }
        match (&head.method, head.uri.path()) {
            (&Method::GET, "/api/v1/tunnels") => self.tunnels(head.uri.query().unwrap_or_default()),
            (&Method::GET, "/api/v1/backends") => {
                backends::list(&self.plane.snapshot.load(), head.uri.query().unwrap_or_default())
            }
            (&Method::POST, "/api/v1/backends/state") => {
                backends::order_state(&self.orders, head.uri.query().unwrap_or_default()).await
            }
            (&Method::POST, "/api/v1/tunnels/close") => {
                tunnels::close(&self.plane.sessions, head.uri.query().unwrap_or_default())
            }
            (&Method::POST, "/api/v1/reload") => self.reload().await,
            (_, "/api/v1/tunnels" | "/api/v1/backends") => error(StatusCode::METHOD_NOT_ALLOWED, "use GET"),
            (_, "/api/v1/reload" | "/api/v1/backends/state" | "/api/v1/tunnels/close") => {
                error(StatusCode::METHOD_NOT_ALLOWED, "use POST")
            }
            _ => error(StatusCode::NOT_FOUND, HERE),
        }
    }
}

impl Api {
    fn admits(&self, head: &http::request::Parts) -> Result<(), &'static str> {
        if head.headers.contains_key(ORIGIN) {
            return Err("web pages of other origins may not use this interface");
        }
        if !self.checks_host {
            return Ok(());
        }
        let is_local = |host: &str| {
            host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        };
        match authority::read(head) {
            Ok(authority) if is_local(&authority.host) => Ok(()),
            _ if head.headers.contains_key(HOST) => Err("Host must be localhost or a loopback address"),
            _ => Err("Host is missing"),
        }
    }

    /// One page of the live table, oldest first.
    fn tunnels(&self, query: &str) -> Response<Full<Bytes>> {
        let (mut after, mut limit) = (None, PAGE_DEFAULT);
        for (name, value) in query.split('&').filter(|part| !part.is_empty()).map(split_pair) {
            match (name, value.parse::<usize>(), Id::parse(value)) {
                ("limit", Ok(number @ 1..=PAGE_MAX), _) => limit = number,
                ("limit", ..) => return error(StatusCode::BAD_REQUEST, "limit is a number from 1 to 1000"),
                ("after", _, Some(id)) => after = Some(id),
                ("after", ..) => return error(StatusCode::BAD_REQUEST, "after is the id of a tunnel"),
                _ => return error(StatusCode::BAD_REQUEST, "the parameters are after and limit"),
            }
        }
        let page = self.plane.sessions.page(after, limit);
        let next = (page.len() == limit).then(|| page.last().map(|last| last.id.to_string())).flatten();
        let tunnels: Vec<Value> = page.iter().map(|session| describe(session)).collect();
        answer(
            StatusCode::OK,
            &json!({ "tunnels": tunnels, "next": next, "total": self.plane.sessions.len() }),
        )
    }

    async fn reload(&self) -> Response<Full<Bytes>> {
        let (reply, reloaded) = oneshot::channel();
        let order = Reload { asker: Asker::Operator, reply: Some(reply) };
        let outcome = timeout(ORDER_DEADLINE, async {
            self.orders.send(Order::Reload(order)).await.ok()?;
            reloaded.await.ok()
        });
        match outcome.await {
            Ok(Some(Reloaded::Unchanged { generation })) => {
                answer(StatusCode::OK, &json!({ "result": "unchanged", "generation": generation }))
            }
            Ok(Some(Reloaded::Accepted { generation, change })) => {
                let body = json!({ "result": "accepted", "generation": generation, "change": change });
                answer(StatusCode::OK, &body)
            }
            Ok(Some(Reloaded::Rejected(problems))) => {
                let problems: Value = serde_json::from_str(&problems.to_json()).unwrap_or_default();
                let body = json!({ "result": "rejected", "problems": problems });
                answer(StatusCode::UNPROCESSABLE_ENTITY, &body)
            }
            Ok(None) => error(StatusCode::SERVICE_UNAVAILABLE, "longhaul is stopping"),
            Err(_) => {
                error(StatusCode::GATEWAY_TIMEOUT, "the reload takes longer than a minute; see the log")
            }
        }
    }
}

fn describe(session: &Session) -> Value {
    let now = Instant::now();
    let since = |then| milliseconds(now.saturating_duration_since(then));
    let round_trip = |direction| session.round_trip(direction).map(|took| took.as_micros() as f64 / 1000.0);
    let of = |direction| {
        let control = session.control(direction);
        let messages = session.messages(direction);
        let binary = session.binary_messages(direction);
        json!({
            "bytes": session.bytes(direction),
            "text_messages": messages.saturating_sub(binary),
            "binary_messages": binary,
            "pings": control.pings,
            "pongs": control.pongs,
            "closed": control.close.is_some(),
            "close_code": control.close.and_then(|close| close.code),
        })
    };
    let goodbye = session.goodbye();
    let closed_by = |direction, party: Party| session.control(direction).is_closer.then_some(party);
    let closer = closed_by(Direction::ToBackend, Party::Client)
        .or_else(|| closed_by(Direction::ToClient, Party::Backend))
        .or_else(|| goodbye.as_ref().map(|_| Party::Proxy));
    json!({
        "id": session.id.to_string(),
        "client": session.client.to_string(),
        "route": &*session.terms.route,
        "backend": &*session.backend,
        "http": http_version(session.http),
        "subprotocol": session.subprotocol(),
        "age_ms": since(session.opened()),
        "idle_ms": since(session.active()),
        "bytes_to_backend": session.bytes(Direction::ToBackend),
        "bytes_to_client": session.bytes(Direction::ToClient),
        "messages_to_backend": session.messages(Direction::ToBackend),
        "messages_to_client": session.messages(Direction::ToClient),
        "client_round_trip_ms": round_trip(Direction::ToClient),
        "backend_round_trip_ms": round_trip(Direction::ToBackend),
        "asked_to_go": goodbye.map(|goodbye| goodbye.why().ending().label()),
        "close_initiator": closer.map(Party::label),
        "to_backend": of(Direction::ToBackend),
        "to_client": of(Direction::ToClient),
    })
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn split_pair(part: &str) -> (&str, &str) {
    part.split_once('=').unwrap_or((part, ""))
}

pub(super) fn error(status: StatusCode, problem: &str) -> Response<Full<Bytes>> {
    answer(status, &json!({ "error": problem }))
}

pub(super) fn answer(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let mut bytes = body.to_string().into_bytes();
    bytes.push(b'\n');
    response(status, "application/json", bytes)
}
