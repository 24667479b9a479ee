//! The parsers of longhaul without the rest of it, and what must hold of them on any bytes.

#[path = "../../../src/proto/mod.rs"]
pub mod proto;
pub mod duet;
pub mod records;
pub mod targets;

/// What a stream over TLS is made of.
pub mod tls {
    #[path = "../../../../src/net/tls/kept.rs"]
    mod kept;
    #[path = "../../../../src/net/tls/session.rs"]
    pub mod session;
    #[path = "../../../../src/net/tls/stream.rs"]
    pub mod stream;
}
