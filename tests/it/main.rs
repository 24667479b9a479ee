//! longhaul from the outside: real processes, real sockets, real metrics. A module per behaviour, over the [`kit`].

mod handshake;
mod health;
mod http;
mod kit;
mod layers;
mod origins;
mod pools;
mod routing;
mod spine;
mod stopping;
mod workers;
