//! longhaul from the outside: real processes, real sockets, real metrics. A module per behaviour, over the [`kit`].

mod handshake;
mod kit;
mod origins;
mod spine;
