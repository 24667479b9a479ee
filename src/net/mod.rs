//! The only sockets: binding, accepting, dialling, PROXY headers, TLS, and the HTTP/1 client on top of them.

pub mod accept;
pub mod dial;
pub mod dns;
pub mod handover;
pub mod http;
pub mod http2;
pub mod line;
pub mod listening;
pub mod proxy_header;
pub mod socket;
pub mod source;
pub mod stream;
pub mod tls;
pub mod watched;
