//! The nouns of the tests: a [`Proxy`] is a process of longhaul, a [`Backend`] what stands behind it, a [`Client`] what
//! comes to it, a [`Pki`] what they trust. Ports are the kernel's choice, and every wait has a deadline.

mod backend;
mod client;
mod dns;
pub mod frames;
mod head;
pub mod http2;
pub mod namespace;
mod pki;
mod proxy;
mod tls;
mod tls_client;
mod unix;
mod ways;
mod websocket;

use std::future::Future;
use std::time::Duration;

pub use backend::{Backend, Call, Calls, refusing};
pub use client::{Client, Resumption};
pub use dns::{Dns, NOTHING, Says};
pub use head::{Head, read_until};
pub use http2::{Http2, Reply};
pub use pki::{Issued, Pki};
pub use proxy::{Proxy, Reloaded, plain, secure};
pub use tls::{Secure, Tls, connect_errors, pool_tls};
pub use unix::UnixBackend;
pub use ways::{Ends, Stage, Way, Wire};
pub use websocket::{Message, WebSocket};

/// Far longer than anything takes that works; only a failing test waits so long.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Begins a file by which tunnels that are to go are asked at once.
pub const AT_ONCE: &str = "[server]\ndrain = { delay = \"0s\", window = \"0s\" }\n";
/// Begins a file by which they are asked in some days.
pub const SOME_DAY: &str = "[server]\ndrain = { delay = \"0s\", window = \"7d\", deadline = \"7d\" }\n";

/// Waits for `work`, and fails the test at the deadline.
#[track_caller]
pub fn within<T>(what: &str, work: impl Future<Output = T>) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(DEADLINE, work).await {
            Ok(value) => value,
            Err(_) => panic!("{caller}: waited {DEADLINE:?} for {what}"),
        }
    }
}

/// The key of RFC 6455 1.3, and the accept value that answers it.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// What answers [`KEY`].
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A valid handshake's head with these further lines, each ended by CRLF.
pub fn handshake(path: &str, host: &str, lines: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{lines}\r\n"
    )
}

/// A valid 101 with these further lines, each ended by CRLF.
pub fn switching(lines: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {ACCEPT}\r\n{lines}\r\n"
    )
}
