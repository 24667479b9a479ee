//! Backends as operators see them, and orders to them.

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::api::{ORDER_DEADLINE, answer, error};
use crate::config::State;
use crate::proto::query;
use crate::state::Snapshot;
use crate::state::orders::{Order, StateOrder};
use crate::upstream::members::Member;

/// How long an ordered state holds; told to who orders one.
const UNTIL: &str =
    "another order; a reload that gives this backend another state than before; its end, or longhaul's";

/// All backends of the configuration, or those of one pool.
pub fn list(snapshot: &Snapshot, parameters: &str) -> Response<Full<Bytes>> {
    let wanted = match pick(parameters, &["pool"]) {
        Ok([pool]) => pool,
        Err(problem) => return error(StatusCode::BAD_REQUEST, problem),
    };
    let mut backends = Vec::new();
    for pool in snapshot.pools.iter() {
        if wanted.as_deref().is_none_or(|wanted| *wanted == *pool.name) {
            backends.extend(pool.members.all().iter().map(|member| describe(&pool.name, member)));
        }
    }
    if let Some(wanted) = wanted.filter(|wanted| snapshot.pools.get(wanted).is_none()) {
        return error(StatusCode::NOT_FOUND, &format!("there is no pool {wanted}"));
    }
    answer(StatusCode::OK, &json!({ "backends": backends }))
}

fn describe(pool: &str, member: &Member) -> Value {
    let backend = &member.backend;
    let ejection = backend.conduct.ejection().map(|(fault, left)| {
        let left_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        json!({ "reason": fault.label(), "left_ms": left_ms })
    });
    json!({
        "pool": pool,
        "backend": &*backend.label,
        "state": backend.standing.state().label(),
        "ordered": backend.ordered().map(State::label),
        "health": backend.health().label(),
        "ejection": ejection,
        "backup": member.rank > 0,
        "weight": member.weight,
        "tunnels": backend.load(),
        "max_tunnels": backend.seats_max(),
        "free": backend.seats_free(),
    })
}

/// Passes on the order to put a backend into a state.
pub async fn order_state(orders: &mpsc::Sender<Order>, parameters: &str) -> Response<Full<Bytes>> {
    let (pool, backend, state) = match pick(parameters, &["pool", "backend", "state"]) {
        Ok([Some(pool), Some(backend), Some(state)]) => (pool, backend, state),
        Ok(_) => {
            return error(StatusCode::BAD_REQUEST, "name a pool, a backend as it is listed, and a state");
        }
        Err(problem) => return error(StatusCode::BAD_REQUEST, problem),
    };
    let known = [State::Active, State::Draining, State::Disabled];
    let state = match known.into_iter().find(|known| known.label() == state) {
        None if state != "configured" => {
            return error(StatusCode::BAD_REQUEST, "state is active, draining, disabled or configured");
        }
        state => state,
    };
    let missing = format!("there is no backend {backend} in a pool {pool}");
    let (reply, carried_out) = oneshot::channel();
    let order = StateOrder { pool, backend, state, reply };
    let outcome = timeout(ORDER_DEADLINE, async {
        orders.send(Order::State(order)).await.ok()?;
        carried_out.await.ok()
    });
    match outcome.await {
        Ok(Some(Some(now))) => {
            let until = state.map(|_| UNTIL);
            answer(StatusCode::OK, &json!({ "state": now.label(), "until": until }))
        }
        Ok(Some(None)) => error(StatusCode::NOT_FOUND, &missing),
        Ok(None) => error(StatusCode::SERVICE_UNAVAILABLE, "longhaul is stopping"),
        Err(_) => error(StatusCode::GATEWAY_TIMEOUT, "another order takes longer than a minute; see the log"),
    }
}

/// The values of these parameters, decoded; the last of each counts. None others may be there.
fn pick<const N: usize>(parameters: &str, names: &[&str; N]) -> Result<[Option<String>; N], &'static str> {
    let mut values = [const { None }; N];
    for (name, value) in query::pairs(parameters) {
        let known = names.iter().position(|known| name.is(known.as_bytes()));
        let slot = known.and_then(|index| values.get_mut(index));
        *slot.ok_or("the parameters are pool, and with an order backend and state")? =
            Some(String::from_utf8_lossy(&value.decode()).into_owned());
    }
    Ok(values)
}
