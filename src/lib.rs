//! longhaul (architecture page to follow)

#![warn(missing_docs)]
#![forbid(unsafe_code)]

pub mod admin;
pub mod cli;
pub mod config;
pub mod demo;
pub mod filter;
pub mod lifecycle;
pub mod listen;
pub mod net;
pub mod outcome;
pub mod proto;
pub mod proxy;
pub mod route;
pub mod state;
pub mod supervisor;
pub mod telemetry;
pub mod tunnel;
pub mod upstream;
