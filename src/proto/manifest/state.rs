//! What the running process knows, and the new one could only learn again: keys, and how backends stand.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::{Garbled, SOCKETS_MAX, list, number, text};

/// Backends in a manifest; of more nothing is told.
pub const BACKENDS_MAX: usize = 100_000;
/// Keys of one listener.
const KEYS_MAX: usize = 16;

/// All of it. What is not there has to be learned again.
#[derive(Debug, Default, PartialEq)]
pub struct Known {
    /// By listener.
    pub tickets: Vec<TicketKeys>,
    /// What sticky cookies are signed with that no file of secrets has.
    pub cookies: Option<Secret>,
    /// Those of which there is something to tell.
    pub backends: Vec<BackendState>,
}

/// What a listener's session tickets are encrypted with.
#[derive(Debug, PartialEq)]
pub struct TicketKeys {
    /// Its name.
    pub listener: String,
    /// What it demands of clients, as a digest.
    pub rules: Secret,
    /// Secrets, each with the second since 1970 in which it was made.
    pub keys: Vec<(u64, Secret)>,
}

/// How a backend stands. The words are those of metrics and of the configuration.
#[derive(Debug, PartialEq)]
pub struct BackendState {
    /// The name of its pool.
    pub pool: String,
    /// Its address.
    pub backend: String,
    /// What health checks have found.
    pub health: String,
    /// The state that the configuration gives it.
    pub configured: String,
    /// The state that was ordered.
    pub ordered: Option<String>,
    /// What it is ejected for, and for how many milliseconds yet.
    pub ejected: Option<(String, u64)>,
}

/// Bytes that are not for the log.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Known {
    pub(super) fn write(&self) -> Value {
        let tickets = self.tickets.iter().map(TicketKeys::write);
        let backends = self.backends.iter().take(BACKENDS_MAX).map(BackendState::write);
        json!({
            "tickets": tickets.collect::<Vec<_>>(),
            "cookies": self.cookies.as_ref().map(Secret::write),
            "backends": backends.collect::<Vec<_>>(),
        })
    }

    pub(super) fn read(value: Option<&Value>) -> Result<Known, Garbled> {
        let Some(value) = value else { return Ok(Known::default()) };
        let object = value.as_object().ok_or(Garbled("known"))?;
        let tickets = some(list(object, "tickets")?, SOCKETS_MAX)?.iter().map(TicketKeys::read);
        let backends = some(list(object, "backends")?, BACKENDS_MAX)?.iter().map(BackendState::read);
        Ok(Known {
            tickets: tickets.collect::<Result<_, _>>()?,
            cookies: optional(object, "cookies").map(Secret::read).transpose()?,
            backends: backends.collect::<Result<_, _>>()?,
        })
    }
}

impl TicketKeys {
    fn write(&self) -> Value {
        let keys = self.keys.iter().map(|(made, secret)| json!([made, secret.write()]));
        json!({ "listener": self.listener, "rules": self.rules.write(), "keys": keys.collect::<Vec<_>>() })
    }

    fn read(value: &Value) -> Result<TicketKeys, Garbled> {
        let object = value.as_object().ok_or(Garbled("tickets"))?;
        let key = |key: &Value| match key.as_array().map(Vec::as_slice) {
            Some([made, secret]) => Ok((made.as_u64().ok_or(Garbled("made"))?, Secret::read(secret)?)),
            _ => Err(Garbled("keys")),
        };
        Ok(TicketKeys {
            listener: text(object.get("listener"))?,
            rules: object.get("rules").ok_or(Garbled("rules")).and_then(Secret::read)?,
            keys: some(list(object, "keys")?, KEYS_MAX)?.iter().map(key).collect::<Result<_, _>>()?,
        })
    }
}

impl BackendState {
    fn write(&self) -> Value {
        let BackendState { pool, backend, health, configured, ordered, ejected } = self;
        let ejected =
            ejected.as_ref().map(|(reason, left_ms)| json!({ "reason": reason, "left_ms": left_ms }));
        json!({
            "pool": pool,
            "backend": backend,
            "health": health,
            "configured": configured,
            "ordered": ordered,
            "ejected": ejected,
        })
    }

    fn read(value: &Value) -> Result<BackendState, Garbled> {
        let object = value.as_object().ok_or(Garbled("backends"))?;
        let ejected = |value: &Value| {
            let ejected = value.as_object().ok_or(Garbled("ejected"))?;
            Ok((text(ejected.get("reason"))?, number(ejected, "left_ms")?))
        };
        Ok(BackendState {
            pool: text(object.get("pool"))?,
            backend: text(object.get("backend"))?,
            health: text(object.get("health"))?,
            configured: text(object.get("configured"))?,
            ordered: optional(object, "ordered").map(|state| text(Some(state))).transpose()?,
            ejected: optional(object, "ejected").map(ejected).transpose()?,
        })
    }
}

impl Secret {
    fn write(&self) -> Value {
        STANDARD.encode(&self.0).into()
    }

    fn read(value: &Value) -> Result<Secret, Garbled> {
        STANDARD.decode(text(Some(value))?).map(Secret).map_err(|_| Garbled("a secret is no base64"))
    }
}

fn optional<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    object.get(key).filter(|value| !value.is_null())
}

fn some(values: &[Value], max: usize) -> Result<&[Value], Garbled> {
    if values.len() > max { Err(Garbled("too much is known")) } else { Ok(values) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_read_as_it_was_written() {
        let state = |ordered: Option<&str>, ejected| BackendState {
            pool: "chat".into(),
            backend: "10.0.0.1:80".into(),
            health: "down".into(),
            configured: "active".into(),
            ordered: ordered.map(str::to_owned),
            ejected,
        };
        let known = Known {
            tickets: vec![TicketKeys {
                listener: "secure".into(),
                rules: Secret(vec![0; 32]),
                keys: vec![(7, Secret(vec![1; 48])), (6, Secret(vec![2; 48]))],
            }],
            cookies: Some(Secret(vec![3; 48])),
            backends: vec![state(None, None), state(Some("draining"), Some(("early_deaths".into(), 9)))],
        };
        assert_eq!(Known::read(Some(&known.write())), Ok(known));
        assert_eq!(Known::read(Some(&Known::default().write())), Ok(Known::default()));
        assert_eq!(Known::read(None), Ok(Known::default()));
        assert_eq!(format!("{:?}", Secret(vec![1; 48])), "48 bytes");
    }

    #[test]
    fn what_is_garbled_is_refused() {
        for text in [
            "7",
            r#"{"tickets":7}"#,
            r#"{"tickets":[{"listener":"a","rules":"","keys":[[1]]}]}"#,
            r#"{"tickets":[{"listener":"a","rules":"?","keys":[]}]}"#,
            r#"{"cookies":7}"#,
            r#"{"backends":[{"pool":"a"}]}"#,
            r#"{"backends":[{"pool":"a","backend":"b","health":"up","configured":"active","ejected":[]}]}"#,
        ] {
            let value = serde_json::from_str(text).unwrap();
            assert!(Known::read(Some(&value)).is_err(), "{text}");
        }
    }
}
