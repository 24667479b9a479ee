//! From a request to an answer or a tunnel. [`exchange`] is the whole of it on one screen.

pub mod account;
pub mod body;
pub mod exchange;
pub mod http;
pub mod inbound;
pub mod own;
pub mod refuse;
pub mod websocket;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::lifecycle::{Counted, Permit, Permits, PhaseReceiver};
use crate::net::tls::Agreed;
use crate::proto::peer::{Connection, Peer};
use crate::proto::proxy_header::Header;
use crate::state::{Listener, Snapshot};
use crate::telemetry::Metrics;
use crate::telemetry::access::AccessLog;
use crate::telemetry::registry::GaugeGuard;
use crate::tunnel::carriers::Carriers;
use crate::tunnel::sessions::Sessions;

/// What all workers share.
pub struct Plane {
    /// The configuration in force. Loaded once per request.
    pub snapshot: ArcSwap<Snapshot>,
    /// Where everything counts.
    pub metrics: Metrics,
    /// Where requests and tunnels leave records.
    pub access: AccessLog,
    /// The live table.
    pub sessions: Arc<Sessions>,
    /// The HTTP/2 connections.
    pub carriers: Arc<Carriers>,
    /// Bounds the tunnels of the process.
    pub tunnels: Permits,
    /// Bounds the WebSocket handshakes that wait for a backend's answer.
    pub handshakes: Permits,
    /// Whether the process is stopping.
    pub phase: PhaseReceiver,
}

/// A client's connection, as its requests and its tunnel know it.
pub struct Caller {
    /// Where it came in.
    pub listener: Arc<Listener>,
    /// Who made it, as far as it tells by itself.
    pub connection: Connection,
    /// What TLS agreed on; `None` is plain text.
    pub tls: Option<Agreed>,
    /// Its number among those of HTTP/2; 0 is none of them.
    pub carrier: u32,
    /// Counts the connection until its socket is gone; a tunnel keeps it, but not the rest of the caller.
    pub presence: Arc<Presence>,
}

impl Caller {
    /// What a PROXY header says to a backend that serves `client` on behalf of this caller.
    pub fn introduces(&self, client: Peer) -> Header {
        match client {
            Peer::Ip(source) => {
                let unknown = || SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
                Header::Proxied { source, destination: self.connection.destination.unwrap_or_else(unknown) }
            }
            Peer::Unix => Header::Unknown,
        }
    }
}

/// A connection counts as present as long as this lives.
pub struct Presence {
    /// Of the bound on connections.
    pub permit: Permit,
    /// Of the listener's gauge.
    pub active: GaugeGuard,
    /// Of the worker's load.
    pub load: Counted,
}
