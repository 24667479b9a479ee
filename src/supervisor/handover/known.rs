//! What the running process knows, for the new one: the keys of session tickets and cookies that no file has, and how
//! backends stand.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::config::State;
use crate::net::tls::clients::Rules;
use crate::net::tls::secrets::{SECRET_BYTES, Secrets};
use crate::net::tls::tickets::Tickets;
use crate::outcome::Fault;
use crate::proto::manifest::{BackendState, Known, Secret, TicketKeys};
use crate::state::Snapshot;
use crate::state::registry::Registry;
use crate::upstream::backend::{Backend, Health};
use crate::upstream::members::Member;
use crate::upstream::pool::Pool;

/// How backends stood, until they are found in a snapshot.
#[derive(Default)]
pub struct Verdicts(HashMap<(String, String), BackendState>);

/// All that this process knows.
pub fn gather(registry: &Registry) -> Known {
    let tickets = registry.ticket_secrets().into_iter().map(|(listener, rules, secrets)| TicketKeys {
        listener: listener.to_string(),
        rules: Secret(rules.to_bytes().to_vec()),
        keys: secrets.into_iter().map(|(made, secret)| (made, Secret(secret.to_vec()))).collect(),
    });
    let cookies = registry.secrets();
    Known {
        tickets: tickets.collect(),
        cookies: cookies.and_then(|secrets| secrets.iter().next().map(|secret| Secret(secret.to_vec()))),
        backends: registry.backends().iter().filter_map(|backend| describe(backend)).collect(),
    }
}

/// How a backend stands, if there is something to tell.
fn describe(backend: &Backend) -> Option<BackendState> {
    let ejection = backend.conduct.ejection();
    let left_ms = |left: Duration| u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
    let state = BackendState {
        pool: backend.pool.to_string(),
        backend: backend.label.to_string(),
        health: backend.health().label().into(),
        configured: backend.configured().label().into(),
        ordered: backend.ordered().map(|state| state.label().into()),
        ejected: ejection.map(|(fault, left)| (fault.label().into(), left_ms(left))),
    };
    let says_something =
        backend.health() != Health::Unknown || state.ordered.is_some() || state.ejected.is_some();
    says_something.then_some(state)
}

/// Puts the keys into the registry of the new process, before anything is made with them; the rest is for later. What cannot
/// be used is made anew.
pub fn learn(known: Known, registry: &Registry) -> Verdicts {
    for TicketKeys { listener, rules, keys } in known.tickets {
        let secret =
            |(made, secret): &(u64, Secret)| Some((*made, <[u8; SECRET_BYTES]>::try_from(&*secret.0).ok()?));
        let keys: Vec<_> = keys.iter().filter_map(secret).collect();
        if let Ok(rules) = <[u8; 32]>::try_from(&*rules.0).map(Rules::from_bytes)
            && let Ok(tickets) = Tickets::new(rules, &keys)
        {
            registry.adopt_tickets(listener.into(), rules, tickets);
        }
    }
    let cookies = known.cookies.and_then(|secret| <[u8; SECRET_BYTES]>::try_from(secret.0).ok());
    if let Some(secret) = cookies {
        registry.adopt_secrets(Secrets::one(secret));
    }
    let key = |state: &BackendState| (state.pool.clone(), state.backend.clone());
    Verdicts(known.backends.into_iter().map(|state| (key(&state), state)).collect())
}

impl Verdicts {
    /// Tells the backends of a snapshot how they stood, each once. Whether a state was ordered by that.
    pub fn apply(&mut self, snapshot: &Snapshot) -> bool {
        let mut ordered = false;
        for pool in snapshot.pools.iter() {
            if self.0.is_empty() {
                break;
            }
            for member in pool.members.all() {
                let key = (pool.name.to_string(), member.backend.label.to_string());
                if let Some(state) = self.0.remove(&key) {
                    ordered |= judge(pool, member, &state);
                }
            }
        }
        ordered
    }
}

fn judge(pool: &Pool, member: &Member, known: &BackendState) -> bool {
    let backend = &member.backend;
    let states = [State::Active, State::Draining, State::Disabled];
    // An order ends when the file gives the backend another state than before.
    let holds = member.state.label() == known.configured;
    let wanted = known.ordered.as_ref().filter(|_| holds);
    let ordered = wanted.and_then(|wanted| states.into_iter().find(|state| state.label() == *wanted));
    if ordered.is_some() {
        backend.order(ordered);
    }
    let found = [Health::Up, Health::Down].into_iter().find(|health| health.label() == known.health);
    if let Some(health) = found
        && pool.health.is_some()
        && backend.health() == Health::Unknown
        && backend.standing.state() != State::Disabled
    {
        backend.set_health(health);
    }
    let faults = [Fault::Connect, Fault::Handshake, Fault::EarlyDeath];
    if let Some((reason, left_ms)) = &known.ejected
        && let Some(rules) = &pool.ejection
        && let Some(fault) = faults.into_iter().find(|fault| fault.label() == reason)
    {
        let left = Duration::from_millis(*left_ms).min(rules.time_max);
        backend.conduct.inherit(&backend.standing, fault, left, Instant::now());
    }
    ordered.is_some()
}
