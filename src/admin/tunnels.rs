//! Orders about single tunnels.

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use serde_json::json;

use super::api::{answer, error};
use crate::proto::{close, query};
use crate::telemetry::access::Id;
use crate::tunnel::goodbye::{Goodbye, Why};
use crate::tunnel::sessions::Sessions;

/// What a client is told unless the order says otherwise: going away (RFC 6455 7.4.1).
const CODE: u16 = 1001;

/// Lets a tunnel say goodbye. `parameters` are its id and, if they are there, a Close code and a reason.
pub fn close(sessions: &Sessions, parameters: &str) -> Response<Full<Bytes>> {
    let (mut id, mut code, mut reason) = (None, Some(CODE), Arc::from(""));
    for (name, value) in query::pairs(parameters) {
        let value = String::from_utf8_lossy(&value.decode()).into_owned();
        if name.is(b"id") {
            id = Id::parse(&value);
        } else if name.is(b"code") {
            code = value.parse().ok();
        } else if name.is(b"reason") {
            reason = Arc::from(value);
        } else {
            return error(StatusCode::BAD_REQUEST, "the parameters are id, code and reason");
        }
    }
    let Some(id) = id else { return error(StatusCode::BAD_REQUEST, "id is the id of a tunnel") };
    let Some(code) = code.filter(|code| close::may_be_sent(*code)) else {
        return error(StatusCode::BAD_REQUEST, "code is a Close code that may be sent, such as 1001");
    };
    let Some(goodbye) = Goodbye::new(code, reason, Why::Operator) else {
        return error(
            StatusCode::BAD_REQUEST,
            "reason has 123 bytes at most: no more fit into a Close frame",
        );
    };
    match sessions.get(id) {
        Some(session) if session.part(goodbye) => answer(StatusCode::OK, &json!({ "result": "ordered" })),
        Some(_) => answer(StatusCode::OK, &json!({ "result": "ordered before" })),
        None => error(StatusCode::NOT_FOUND, "there is no such tunnel"),
    }
}
