//! longhaul from the outside: real processes, real sockets, real metrics. A module per behaviour, over the [`kit`].

mod admin;
mod check;
mod cli;
mod demo;
mod endings;
mod handshake;
mod health;
mod http;
mod kit;
mod layers;
mod limits;
mod log;
mod memory;
mod metrics;
mod origins;
mod pools;
mod regressions;
mod reload;
mod reload_traffic;
mod routing;
mod spine;
mod stopping;
mod tls;
mod tunnel;
mod watch;
mod workers;
