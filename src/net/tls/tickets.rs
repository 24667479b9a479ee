//! Session tickets (RFC 5077, RFC 8446 4.6.1): what they are encrypted with, by this process alone ([`rolling`](super::rolling))
//! or by all machines that share a file of secrets.
//!
//! A shared ticket is AES-256-GCM-SIV (RFC 8452) under a random nonce: machines that know nothing of each other may
//! draw the same one, and this cipher bears it. Of each secret a key and its public name are derived by HKDF-SHA256 (RFC
//! 5869) from the secret and the listener's [`Rules`], so that no listener with other rules can open the ticket. A
//! ticket says when it was made, and is worth nothing after [`LIFETIME`].

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use rustls::server::ProducesTickets;

use super::clients::Rules;
use super::rolling::{DatedSecret, Rolling};
use super::secrets::{SECRET_BYTES, Secrets};

/// How long a session can be resumed.
pub const LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);
/// What tells these keys from any others that may be derived from the same secret.
const CONTEXT: &[u8] = b"longhaul session tickets 1";
const NAME_BYTES: usize = 16;
const KEY_BYTES: usize = 32;
const TIME_BYTES: usize = 8;

/// What a listener's session tickets are encrypted with. Never to be shared by listeners of different [`Rules`].
#[derive(Clone)]
pub enum Tickets {
    /// By a file.
    Shared(Arc<Shared>),
    /// By this process, and those that take over from it.
    Own(Arc<Rolling>),
}

impl Tickets {
    /// Keys of this process for listeners of these rules, rolled every six hours: those that a process before this one
    /// had, or fresh ones.
    ///
    /// # Errors
    /// When the cryptography provider has no randomness.
    pub fn new(rules: Rules, before: &[DatedSecret]) -> Result<Tickets, rustls::Error> {
        Ok(Tickets::Own(Arc::new(Rolling::new(rules, before)?)))
    }

    /// What another process needs to understand them; nothing that it has in a file.
    pub fn secrets(&self) -> Vec<DatedSecret> {
        match self {
            Tickets::Shared(_) => Vec::new(),
            Tickets::Own(rolling) => rolling.secrets(),
        }
    }

    /// Keys from a file, for listeners of these rules.
    ///
    /// # Errors
    /// When the cryptography provider cannot derive keys.
    pub fn shared(secrets: &Secrets, rules: &Rules) -> Result<Tickets, rustls::Error> {
        let derived: Result<Vec<Key>, _> = secrets.iter().map(|secret| Key::derive(secret, rules)).collect();
        let keys = derived.map_err(|_| rustls::Error::General("ticket keys cannot be derived".into()))?;
        Ok(Tickets::Shared(Arc::new(Shared { keys })))
    }

    pub(super) fn producer(self) -> Arc<dyn ProducesTickets> {
        match self {
            Tickets::Shared(shared) => shared,
            Tickets::Own(rolling) => rolling,
        }
    }
}

/// Tickets that every process with the same secrets and rules understands.
pub struct Shared {
    /// Never empty; the first encrypts.
    keys: Vec<Key>,
}

pub(super) struct Key {
    /// Tells which of the keys a ticket is for; in front of it, in the clear.
    name: [u8; NAME_BYTES],
    cipher: RandomizedNonceKey,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ticket keys", self.keys.len())
    }
}

/// As many bytes as a key and its name have.
struct Material;

impl KeyType for Material {
    fn len(&self) -> usize {
        NAME_BYTES + KEY_BYTES
    }
}

impl Key {
    pub(super) fn derive(
        secret: &[u8; SECRET_BYTES],
        rules: &Rules,
    ) -> Result<Key, aws_lc_rs::error::Unspecified> {
        let mut material = [0; NAME_BYTES + KEY_BYTES];
        let secret = Salt::new(HKDF_SHA256, CONTEXT).extract(secret);
        secret.expand(&[rules.digest()], Material)?.fill(&mut material)?;
        let (name, key) = material.split_at(NAME_BYTES);
        let cipher = RandomizedNonceKey::new(&AES_256_GCM_SIV, key)?;
        Ok(Key { name: name.try_into().map_err(|_| aws_lc_rs::error::Unspecified)?, cipher })
    }

    /// Name, nonce, and behind them, encrypted, the time and the session.
    pub(super) fn seal(&self, session: &[u8], now: u64) -> Option<Vec<u8>> {
        let mut sealed = [&now.to_be_bytes()[..], session].concat();
        let nonce = self.cipher.seal_in_place_append_tag(Aad::from(&self.name), &mut sealed).ok()?;
        Some([&self.name[..], nonce.as_ref(), &sealed].concat())
    }

    /// Whether a ticket was made with it.
    pub(super) fn made(&self, ticket: &[u8]) -> bool {
        ticket.starts_with(&self.name)
    }

    /// The session of a ticket that was made with it.
    pub(super) fn open_named(&self, ticket: &[u8], now: u64) -> Option<Vec<u8>> {
        self.open(ticket.strip_prefix(&self.name)?, now)
    }

    /// The session of a ticket without its name.
    fn open(&self, ticket: &[u8], now: u64) -> Option<Vec<u8>> {
        let (nonce, sealed) = ticket.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut sealed = sealed.to_vec();
        let plain = self.cipher.open_in_place(nonce, Aad::from(&self.name), &mut sealed).ok()?;
        let (made, session) = plain.split_at_checked(TIME_BYTES)?;
        let made = u64::from_be_bytes(made.try_into().ok()?);
        // In either direction: the machine that made it may have had another clock.
        (now.abs_diff(made) <= LIFETIME.as_secs()).then(|| session.to_vec())
    }
}

impl ProducesTickets for Shared {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(LIFETIME.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        self.keys.first()?.seal(session, now()?)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.keys.iter().find(|key| key.made(ticket))?.open_named(ticket, now()?)
    }
}

/// Seconds since 1970; none before.
pub(super) fn now() -> Option<u64> {
    Some(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(secrets: &[u8], rules: &Rules) -> Arc<dyn ProducesTickets> {
        let secrets = Secrets::from_iter(secrets.iter().map(|byte| [*byte; SECRET_BYTES]));
        Tickets::shared(&secrets, rules).unwrap().producer()
    }

    #[test]
    fn machines_with_the_same_secrets_understand_each_other() {
        let rules = Rules::NONE;
        let (one, other) = (shared(&[1, 2], &rules), shared(&[2, 1], &rules));
        let stranger = shared(&[3], &rules);
        let ticket = one.encrypt(b"a session").unwrap();
        assert_eq!(other.decrypt(&ticket).as_deref(), Some(&b"a session"[..]));
        assert_eq!(stranger.decrypt(&ticket), None);
        // After the first was taken out of the file.
        assert_eq!(shared(&[2], &rules).decrypt(&ticket), None);
        assert_ne!(one.encrypt(b"a session").unwrap(), ticket);
    }

    #[test]
    fn a_ticket_that_was_touched_is_worth_nothing() {
        let keys = shared(&[1], &Rules::NONE);
        let ticket = keys.encrypt(b"a session").unwrap();
        for index in 0..ticket.len() {
            let mut touched = ticket.clone();
            touched[index] ^= 1;
            assert_eq!(keys.decrypt(&touched), None, "{index}");
            assert_eq!(keys.decrypt(&ticket[..index]), None, "{index}");
        }
        assert_eq!(keys.decrypt(&[&ticket[..], b"x"].concat()), None);
    }

    #[test]
    fn a_ticket_ends_after_its_lifetime() {
        let key = Key::derive(&[1; SECRET_BYTES], &Rules::NONE).unwrap();
        let ticket = key.seal(b"a session", 1_000_000).unwrap();
        let open = |now| key.open(&ticket[NAME_BYTES..], now).is_some();
        let life = LIFETIME.as_secs();
        for (now, opens) in [
            (1_000_000, true),
            (1_000_000 + life, true),
            (1_000_001 + life, false),
            (1_000_000 - life, true),
            (999_999 - life, false),
        ] {
            assert_eq!(open(now), opens, "{now}");
        }
    }
}
