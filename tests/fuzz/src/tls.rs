//! What a stream over TLS is made of.

#[path = "../../../src/net/tls/kept.rs"]
mod kept;
#[path = "../../../src/net/tls/session.rs"]
pub mod session;
#[path = "../../../src/net/tls/stream.rs"]
pub mod stream;
