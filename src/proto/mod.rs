//! What the wire may say: every byte a stranger can send is read here, and only read.
//!
//! - [`authority`]: which host a request is for (RFC 9112 3.2, RFC 9113 8.3.1)
//! - [`origin`]: the `Origin` field (RFC 6454 7)
//! - [`handshake`]: the opening handshake of WebSocket, both halves (RFC 6455 4)
//! - [`message`]: targets and transfer codings (RFC 9112 3.2 and 6.1)
//! - [`persistence`]: whether a connection may carry another request (RFC 9112 9.3)
//! - [`hop`]: fields that belong to one connection only (RFC 9110 7.6.1)
//! - [`forwarded`]: who the client was, in `Forwarded` and `X-Forwarded-*` (RFC 7239)
//! - [`proxy_header`]: who the client was, in the PROXY protocol; [`peer`]: the one rule that chooses among them
//! - [`list`]: field values that are lists of tokens (RFC 9110 5.6)
//! - [`cookie`] (RFC 6265 4.2), [`query`]: cookies and parameters of the query, for routes that ask for them
//! - [`mod@rate`]: how often something may happen
//! - [`frame`], [`scan`], [`close`]: frame headers, the watcher of one direction, close codes (RFC 6455 5
//!   and 7.4)
//!
//! Purity is the rule of this folder: no socket, no clock, no randomness, no global state, no panic on any
//! input. What comes out depends on the arguments alone, so all of it can be tested with tables and random
//! bytes. Time and seeds, where a caller needs them, are passed in. Nothing here decides policy: it says
//! what was written and whether that may be written; routes, limits and answers are made elsewhere.
//!
//! Every parser has a fuzz target in `tests/fuzz`; the same functions run over its seeds with the other tests.

pub mod authority;
pub mod client_certificate;
pub mod close;
pub mod cookie;
pub mod expiry;
pub mod forwarded;
pub mod frame;
pub mod handshake;
pub mod hop;
pub mod http2;
pub mod limit;
pub mod list;
pub mod manifest;
pub mod message;
pub mod origin;
pub mod peer;
pub mod persistence;
pub mod prefix;
pub mod proxy_header;
pub mod query;
pub mod rate;
pub mod rebalance;
pub mod scan;
pub mod waves;
pub mod weave;
