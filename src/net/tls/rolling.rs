//! Ticket keys of one process: a fresh secret every six hours, and the older ones for as long as a ticket of theirs may be
//! shown. A process that takes over gets them, and so resumes the sessions of the one before.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::server::ProducesTickets;

use super::clients::Rules;
use super::random;
use super::secrets::SECRET_BYTES;
use super::tickets::{Key, LIFETIME, now};

/// How long a secret is used for new tickets.
const ROLL_SECONDS: u64 = 6 * 60 * 60;
/// How long it is good for those that come back.
const KEPT_SECONDS: u64 = ROLL_SECONDS + LIFETIME.as_secs();

/// The keys of listeners with the same rules.
pub struct Rolling {
    rules: Rules,
    /// The newest first; never empty.
    keys: RwLock<Vec<Dated>>,
}

/// A secret, and the second since 1970 in which it was made.
pub type DatedSecret = (u64, [u8; SECRET_BYTES]);

#[derive(Clone)]
struct Dated {
    secret: DatedSecret,
    key: Arc<Key>,
}

impl Rolling {
    /// Keys of these secrets, of which those that are too old are left out, for listeners of these rules; a fresh one where
    /// none is left.
    ///
    /// # Errors
    /// When the cryptography provider has no randomness, or cannot derive keys.
    pub fn new(rules: Rules, secrets: &[DatedSecret]) -> Result<Rolling, rustls::Error> {
        let now = now().unwrap_or_default();
        let fresh = secrets.iter().filter(|(made, _)| now.abs_diff(*made) < KEPT_SECONDS);
        let keys: Option<Vec<Dated>> = fresh.map(|secret| Dated::new(*secret, &rules)).collect();
        let mut keys = keys.ok_or_else(unusable)?;
        if keys.is_empty() {
            keys.push(Dated::random(now, &rules).ok_or_else(unusable)?);
        }
        Ok(Rolling { rules, keys: RwLock::new(keys) })
    }

    /// All that are good.
    pub fn secrets(&self) -> Vec<DatedSecret> {
        self.keys().iter().map(|dated| dated.secret).collect()
    }

    fn keys(&self) -> Vec<Dated> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The key for a new ticket.
    fn current(&self, now: u64) -> Option<Arc<Key>> {
        let is_fresh = |dated: &&Dated| now.abs_diff(dated.secret.0) < ROLL_SECONDS;
        {
            let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(dated) = keys.first().filter(is_fresh) {
                return Some(dated.key.clone());
            }
        }
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        // Another worker may have been faster.
        if keys.first().filter(is_fresh).is_none()
            && let Some(next) = Dated::random(now, &self.rules)
        {
            keys.retain(|dated| now.abs_diff(dated.secret.0) < KEPT_SECONDS);
            keys.insert(0, next);
        }
        keys.first().map(|dated| dated.key.clone())
    }
}

impl Dated {
    fn new(secret: DatedSecret, rules: &Rules) -> Option<Dated> {
        Some(Dated { secret, key: Arc::new(Key::derive(&secret.1, rules).ok()?) })
    }

    fn random(now: u64, rules: &Rules) -> Option<Dated> {
        Dated::new((now, random()?), rules)
    }
}

fn unusable() -> rustls::Error {
    rustls::Error::General("ticket keys cannot be made".into())
}

impl fmt::Debug for Rolling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ticket keys", self.keys().len())
    }
}

impl ProducesTickets for Rolling {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(LIFETIME.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        let now = now()?;
        self.current(now)?.seal(session, now)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let key = keys.iter().find(|dated| dated.key.made(ticket)).map(|dated| dated.key.clone())?;
        drop(keys);
        key.open_named(ticket, now()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rolling(secrets: &[DatedSecret]) -> Rolling {
        Rolling::new(Rules::NONE, secrets).unwrap()
    }

    #[test]
    fn who_has_the_secrets_understands_the_tickets() {
        let one = rolling(&[]);
        let ticket = one.encrypt(b"a session").unwrap();
        assert_eq!(rolling(&one.secrets()).decrypt(&ticket).as_deref(), Some(&b"a session"[..]));
        assert_eq!(rolling(&[]).decrypt(&ticket), None);
    }

    #[test]
    fn secrets_roll_and_are_forgotten() {
        let start = now().unwrap();
        let rolling = rolling(&[(start, [1; SECRET_BYTES])]);
        let counts: Vec<usize> = [0, 5, 6, 11, 12, 18, 24, 30]
            .map(|hours| {
                rolling.current(start + hours * 3600).unwrap();
                rolling.secrets().len()
            })
            .into();
        assert_eq!(counts, [1, 1, 2, 2, 3, 3, 3, 3]);
        assert!(rolling.secrets().iter().all(|(made, _)| *made >= start + 12 * 3600));
        // Those that are too old for any ticket are not taken over.
        let old = super::Rolling::new(Rules::NONE, &[(start - KEPT_SECONDS - 9, [2; SECRET_BYTES])]).unwrap();
        assert_ne!(old.secrets()[0].1, [2; SECRET_BYTES]);
    }
}
