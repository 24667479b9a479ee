//! Where connections to backends come from. A connection is told from others by both its ends, so a backend can be reached
//! as often from one address as that has ports; from further addresses it can be as often again.

mod spent;

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};

use self::spent::Spent;
use super::dial::{DialError, classify, failed};
use crate::outcome::ConnectError;

/// The addresses that connections come from, in turn. A family without any leaves the choice to the kernel. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Sources(Arc<Families>);

#[derive(Debug, Default)]
struct Families {
    v4: Turns,
    v6: Turns,
    spent: Spent,
}

#[derive(Debug, Default)]
struct Turns {
    addresses: Vec<IpAddr>,
    next: AtomicUsize,
}

impl PartialEq for Sources {
    fn eq(&self, other: &Sources) -> bool {
        let (own, others) = (&self.0, &other.0);
        own.v4.addresses == others.v4.addresses && own.v6.addresses == others.v6.addresses
    }
}

impl Turns {
    /// All of them, beginning with the next one.
    fn take(&self) -> impl Iterator<Item = IpAddr> {
        let begin = self.next.fetch_add(1, Relaxed) % self.addresses.len().max(1);
        self.addresses.iter().cycle().skip(begin).take(self.addresses.len()).copied()
    }
}

impl Sources {
    /// These addresses.
    pub fn new(addresses: &[IpAddr]) -> Sources {
        let of = |is_v4| Turns {
            addresses: addresses.iter().copied().filter(|address| address.is_ipv4() == is_v4).collect(),
            next: AtomicUsize::new(0),
        };
        Sources(Arc::new(Families { v4: of(true), v6: of(false), spent: Spent::default() }))
    }

    /// Connects to `to` from the address whose turn it is; where that has no port left, or is not of this machine, from the
    /// next one.
    ///
    /// # Errors
    /// [`ConnectError::SourcePort`] when none has a port, [`ConnectError::SourceAddress`] when none is of this machine; else
    /// what the kernel says.
    pub async fn connect(&self, to: SocketAddr) -> Result<TcpStream, DialError> {
        let own = if to.is_ipv4() { &self.0.v4 } else { &self.0.v6 };
        if own.addresses.is_empty() {
            return self.connect_from(None, to).await;
        }
        // Few pools come here: the others need no room for it.
        Box::pin(self.connect_in_turn(own, to)).await
    }

    async fn connect_in_turn(&self, own: &Turns, to: SocketAddr) -> Result<TcpStream, DialError> {
        let mut failure = DialError::from(ConnectError::SourceAddress);
        for address in own.take() {
            match self.connect_from(Some(address), to).await {
                Err(lack) if lack.error == ConnectError::SourcePort => failure = lack,
                // Of the two, the lack of ports is what an operator must hear of.
                Err(lack) if lack.error == ConnectError::SourceAddress => {
                    if failure.error != ConnectError::SourcePort {
                        failure = lack;
                    }
                }
                connected => return connected,
            }
        }
        Err(failure)
    }

    async fn connect_from(&self, from: Option<IpAddr>, to: SocketAddr) -> Result<TcpStream, DialError> {
        let (ends, spent) = ((from, to), &self.0.spent);
        if spent.has(ends, Instant::now()) {
            return Err(ConnectError::SourcePort.into());
        }
        let connected = match from {
            Some(address) => bound(address)?.connect(to).await,
            None => TcpStream::connect(to).await,
        };
        let error = match connected {
            Ok(stream) => return Ok(stream),
            Err(error) => error,
        };
        let name = match error.kind() {
            io::ErrorKind::AddrNotAvailable if from.is_some() || has_address(to) => ConnectError::SourcePort,
            io::ErrorKind::AddrNotAvailable => ConnectError::Unreachable,
            // There is no way from this address to that one, as from a loopback address to another machine.
            io::ErrorKind::InvalidInput if from.is_some() => ConnectError::SourceAddress,
            _ => classify(&error),
        };
        if name == ConnectError::SourcePort {
            spent.add(ends, Instant::now());
        }
        Err(failed(name, &error))
    }
}

/// A socket at `address`, without a port: that is chosen with the connection, so that connections to other backends may
/// have the same (IP_BIND_ADDRESS_NO_PORT, ip(7)).
fn bound(address: IpAddr) -> Result<TcpSocket, DialError> {
    let address = SocketAddr::new(address, 0);
    let made = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP));
    let socket = made.map_err(|error| failed(classify(&error), &error))?;
    let set = setsockopt(&socket, IpBindAddressNoPort, &true).map_err(io::Error::from);
    set.and_then(|()| socket.bind(&address.into()))
        .map_err(|error| failed(ConnectError::SourceAddress, &error))?;
    Ok(TcpSocket::from_std_stream(socket.into()))
}

/// Whether there is any address from which `to` can be reached. The kernel says the same when there is none as when there is
/// no port; but the former holds for all protocols, and a datagram socket costs nothing.
fn has_address(to: SocketAddr) -> bool {
    let any: SocketAddr = if to.is_ipv4() { ([0; 4], 0).into() } else { ([0; 16], 0).into() };
    UdpSocket::bind(any).map_or(true, |socket| socket.connect(to).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_turn_and_the_others_follow() {
        let addresses =
            ["127.0.0.2", "::1", "127.0.0.3", "127.0.0.4"].map(|address| address.parse().unwrap());
        let sources = Sources::new(&addresses);
        let turn = || sources.0.v4.take().map(|address| address.to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(turn(), "127.0.0.2 127.0.0.3 127.0.0.4");
        assert_eq!(turn(), "127.0.0.3 127.0.0.4 127.0.0.2");
        assert_eq!(turn(), "127.0.0.4 127.0.0.2 127.0.0.3");
        assert_eq!(turn(), "127.0.0.2 127.0.0.3 127.0.0.4");
        assert_eq!(sources.0.v6.take().count(), 1);
        assert_eq!(Sources::default().0.v4.take().count(), 0);
    }
}
