//! The parsers of longhaul without the rest of it, and what must hold of them on any bytes.

#[path = "../../../src/proto/mod.rs"]
pub mod proto;
pub mod targets;
