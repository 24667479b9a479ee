//! How a pool chooses among its backends.

use http::HeaderName;

/// How a pool chooses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Balance {
    /// One after the other, as often as their weights say.
    RoundRobin,
    /// The fewest open tunnels, handshakes and requests in flight, by weight.
    LeastConnections,
    /// Any, as often as their weights say.
    Random,
    /// Of two at random, the one with less load by weight.
    PowerOfTwo,
    /// The same one for what is the same in a request, whoever chooses.
    Hash(Hash),
}

impl Balance {
    /// What of a request is hashed, if anything is.
    pub fn hashed(&self) -> Option<&HashKey> {
        match self {
            Self::Hash(hash) => Some(&hash.key),
            Self::RoundRobin | Self::LeastConnections | Self::Random | Self::PowerOfTwo => None,
        }
    }
}

/// `balance = { hash = … }`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hash {
    /// What must be the same.
    pub key: HashKey,
    /// How much load a backend may have before its keys go on to others, in percent of what would be its share, from 100;
    /// `None` is any.
    pub load_max: Option<u32>,
}

/// What of a request is hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashKey {
    /// The address of the client, without its port.
    Client,
    /// The path as sent, without the query.
    Path,
    /// The first line of this field.
    Header(HeaderName),
    /// The first cookie of this name.
    Cookie(String),
    /// The first parameter of this name in the query, decoded.
    Query(String),
}
