//! What counts against a backend. Whatever a client or longhaul itself brought about does not.

use super::{ConnectError, Refusal};

/// How a backend failed a request or a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Fault {
    /// A connection to it did not come about.
    Connect = 0,
    /// It did not answer a WebSocket handshake, or wrongly.
    Handshake = 1,
    /// It broke a tunnel off, soon after the opening.
    EarlyDeath = 2,
}

impl Fault {
    /// The word in metrics and logs, and the key that counts it.
    pub fn label(self) -> &'static str {
        match self {
            Fault::Connect => "connect_failures",
            Fault::Handshake => "handshake_failures",
            Fault::EarlyDeath => "early_deaths",
        }
    }
}

impl ConnectError {
    /// Whether it is about the backend, and not about the resolver or this machine.
    pub fn blames_backend(self) -> bool {
        self != ConnectError::Name && !self.blames_machine()
    }

    /// Whether this machine lacks what a connection needs, whoever would be at its other end.
    pub fn blames_machine(self) -> bool {
        match self {
            ConnectError::SourcePort | ConnectError::SourceAddress | ConnectError::Exhausted => true,
            ConnectError::Refused
            | ConnectError::Timeout
            | ConnectError::Unreachable
            | ConnectError::Name
            | ConnectError::Certificate
            | ConnectError::Tls
            | ConnectError::TlsTimeout
            | ConnectError::Other => false,
        }
    }
}

impl Refusal {
    /// Whether a handshake that was offered to a backend ended so by the backend's fault.
    pub fn blames_backend(&self) -> bool {
        matches!(
            self,
            Refusal::BackendTimeout
                | Refusal::BackendClosed
                | Refusal::BackendAlert(_)
                | Refusal::BackendSpeech
                | Refusal::Answer(_)
        )
    }
}
