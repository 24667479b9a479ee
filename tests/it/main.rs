//! longhaul from the outside: real processes, real sockets, real metrics. A module per behaviour, over the [`kit`].

mod handshake;
mod http;
mod kit;
mod origins;
mod routing;
mod spine;
