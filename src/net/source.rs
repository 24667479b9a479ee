//! Where connections to backends come from. A connection is told from others by both its ends, so a backend can be reached
//! as often from one address as that has ports; from further addresses it can be as often again.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};

use super::dial::{DialError, classify, failed};
use crate::outcome::ConnectError;

/// The addresses that connections come from, in turn. A family without any leaves the choice to the kernel. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Sources(Arc<Families>);

#[derive(Debug, Default)]
struct Families {
    v4: Turns,
    v6: Turns,
}

#[derive(Debug, Default)]
struct Turns {
    addresses: Vec<IpAddr>,
    next: AtomicUsize,
}

impl PartialEq for Sources {
    fn eq(&self, other: &Sources) -> bool {
        let addresses = |sources: &Sources| (sources.0.v4.addresses.clone(), sources.0.v6.addresses.clone());
        addresses(self) == addresses(other)
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
        Sources(Arc::new(Families { v4: of(true), v6: of(false) }))
    }

    /// Connects to `to` from the address whose turn it is; where that has no port left, from the next one.
    ///
    /// # Errors
    /// [`ConnectError::SourcePort`] when none has, [`ConnectError::SourceAddress`] when none is of this machine; else what
    /// the kernel says.
    pub async fn connect(&self, to: SocketAddr) -> Result<TcpStream, DialError> {
        let own = if to.is_ipv4() { &self.0.v4 } else { &self.0.v6 };
        if own.addresses.is_empty() {
            return TcpStream::connect(to).await.map_err(|error| unsourced(to, &error));
        }
        let mut failure = DialError::from(ConnectError::SourceAddress);
        for address in own.take() {
            let connected = match bound(address) {
                Ok(socket) => socket.connect(to).await,
                Err(error) if is_not_available(&error) && failure.error == ConnectError::SourcePort => {
                    continue;
                }
                Err(error) if is_not_available(&error) => {
                    failure = failed(ConnectError::SourceAddress, &error);
                    continue;
                }
                Err(error) => Err(error),
            };
            match connected {
                Err(error) if is_not_available(&error) => failure = failed(ConnectError::SourcePort, &error),
                connected => return connected.map_err(|error| failed(classify(&error), &error)),
            }
        }
        Err(failure)
    }
}

/// A socket at `address`, without a port: that is chosen with the connection, so that connections to other backends may
/// have the same (IP_BIND_ADDRESS_NO_PORT, ip(7)).
fn bound(address: IpAddr) -> io::Result<TcpSocket> {
    let address = SocketAddr::new(address, 0);
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    setsockopt(&socket, IpBindAddressNoPort, &true)?;
    socket.bind(&address.into())?;
    Ok(TcpSocket::from_std_stream(socket.into()))
}

/// Why there is no connection from an address of the kernel's choice. It says the same when no port is left and when it
/// has no address to choose from: that is so for all protocols, and a datagram socket costs nothing.
fn unsourced(to: SocketAddr, error: &io::Error) -> DialError {
    if !is_not_available(error) {
        return failed(classify(error), error);
    }
    let any: SocketAddr = if to.is_ipv4() { ([0; 4], 0).into() } else { ([0; 16], 0).into() };
    let has_address = UdpSocket::bind(any).is_ok_and(|socket| socket.connect(to).is_ok());
    failed(if has_address { ConnectError::SourcePort } else { ConnectError::Unreachable }, error)
}

fn is_not_available(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
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
