//! The parsers of longhaul without the rest of it, and what must hold of them on any bytes.

pub mod duet;
#[path = "../../../src/proto/mod.rs"]
pub mod proto;
pub mod records;
pub mod targets;
pub mod tls;
