//! Backends: which there are, how they are, which one is next, and how to reach it.

pub mod backend;
pub mod balance;
pub mod discovery;
pub mod ejection;
pub mod handshake;
pub mod health;
pub mod members;
pub mod pool;
pub mod queue;
pub mod reach;
pub mod request;
pub mod retry;
pub mod reuse;
pub mod split;
pub mod standing;
pub mod sticky;
pub mod upload;
