//! Who is there: what the socket says and, where the listener expects it, a PROXY header.

use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::net::proxy_header::{self, HeaderFault};
use crate::proto::peer::{Connection, Peer};
use crate::proto::proxy_header::{Header, ProxyHeaderError};
use crate::proxy::Plane;
use crate::state::{Listener, Snapshot};
use crate::telemetry::labels::ConnectionFault;

/// Learns who is there: from the socket and, where the listener expects it, from a PROXY header. `None` if the connection
/// is not to be served.
pub async fn introduce(
    plane: &Plane,
    snapshot: &Snapshot,
    listener: &Listener,
    socket: Peer,
    tcp: &mut TcpStream,
) -> Option<Connection> {
    let destination = tcp.local_addr().ok();
    let Some(senders) = &listener.proxy_senders else {
        return Some(Connection { socket, proxied: None, destination });
    };
    let told = async {
        // To serve it as it is would be a way around the proxy in front.
        if !socket.is_trusted(senders) {
            return Err(Some(ConnectionFault::ProxyHeaderUntrusted));
        }
        let deadline = snapshot.config.limits.proxy_header_timeout;
        let header = timeout(deadline, proxy_header::receive(tcp)).await;
        header.map_err(|_| Some(ConnectionFault::ProxyHeaderTimeout))?.map_err(header_fault)
    };
    match told.await {
        Ok(Header::Proxied { source, destination }) => {
            Some(Connection { socket, proxied: Some(source), destination: Some(destination) })
        }
        Ok(Header::Unknown | Header::Local) => Some(Connection { socket, proxied: None, destination }),
        Err(fault) => {
            if let Some(fault) = fault {
                plane.metrics.connection_fault(&listener.name, fault);
                tracing::debug!(listener = %listener.name, peer = %socket, ?fault, "no PROXY header");
            }
            None
        }
    }
}

/// What a lack of a header is counted as; who says nothing at all, such as a probe that only connects, is no fault.
fn header_fault(fault: HeaderFault) -> Option<ConnectionFault> {
    match fault {
        HeaderFault::Gone => None,
        HeaderFault::Unended => Some(ConnectionFault::ProxyHeaderUnended),
        HeaderFault::Wrong(ProxyHeaderError::Missing) => Some(ConnectionFault::ProxyHeaderMissing),
        HeaderFault::Wrong(ProxyHeaderError::Malformed) => Some(ConnectionFault::ProxyHeaderMalformed),
    }
}
