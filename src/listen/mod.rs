//! From a listening socket to requests.

pub mod admit;
pub mod connection;
pub mod front;
pub mod http1;
pub mod http2;
pub mod introduce;
pub mod linger;
pub mod pace;
pub mod secure;
