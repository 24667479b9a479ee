//! Who a connection comes from, and who the client behind it is.
//!
//! The rule is [`Connection::client`], written here and nowhere else: what the PROXY header of a trusted sender says, else
//! the socket; and where that is a trusted proxy, what its forwarding fields say.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use ipnet::IpNet;

use super::forwarded;

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// An IP address, never IPv4-mapped, and a port, 0 where it is not known.
    Ip(SocketAddr),
    /// A process of this machine, at the other end of a unix socket.
    Unix,
}

/// The address of a [`Peer`] without its port, as the live table keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address(Option<IpAddr>);

/// What a connection tells of those who made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The other end of the socket.
    pub socket: Peer,
    /// The client that the PROXY header of a trusted sender names, if it names one.
    pub proxied: Option<SocketAddr>,
    /// The address that the client connected to, as far as it is known.
    pub destination: Option<SocketAddr>,
}

impl Peer {
    /// The end at `address`; an IPv4-mapped one is IPv4.
    pub fn new(address: SocketAddr) -> Peer {
        Peer::Ip(SocketAddr::new(address.ip().to_canonical(), address.port()))
    }

    /// The address without the port.
    pub fn address(self) -> Address {
        Address(self.ip())
    }

    /// The IP address, if it has one.
    pub fn ip(self) -> Option<IpAddr> {
        match self {
            Peer::Ip(address) => Some(address.ip()),
            Peer::Unix => None,
        }
    }

    /// Whether it is one of those that are trusted. Who reaches a unix socket is: its file's mode has decided.
    pub fn is_trusted(self, networks: &[IpNet]) -> bool {
        self.ip().is_none_or(|ip| networks.iter().any(|network| network.contains(&ip)))
    }
}

/// The address without the port, or `unix`.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address().fmt(f)
    }
}

/// The IP address, or `unix`.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(ip) => ip.fmt(f),
            None => f.write_str("unix"),
        }
    }
}

impl Connection {
    /// Who speaks on it: the client that the PROXY header names, else the other end of the socket.
    pub fn speaker(&self) -> Peer {
        self.proxied.map_or(self.socket, Peer::new)
    }

    /// Who asks. That is the [speaker](Connection::speaker), unless it is a proxy that is `trusted`: then it is the last
    /// untrusted entry of `X-Forwarded-For`, or of `Forwarded` if there is none of those. The walk goes from the end and
    /// stops at an entry that is no address; the last trusted address before it is returned.
    pub fn client(&self, headers: &HeaderMap, trusted: &[IpNet]) -> Peer {
        let mut last = self.speaker();
        let mut earlier = forwarded::newest_first(headers);
        while last.is_trusted(trusted) {
            match earlier.next().flatten() {
                Some(address) => last = Peer::Ip(SocketAddr::new(address, 0)),
                None => break,
            }
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// Who the client is: where the socket ends, what a PROXY header says, and what `X-Forwarded-For` says.
    fn client(socket: &str, proxied: &str, forwarded: &'static str) -> String {
        let trusted: Vec<IpNet> = ["10.0.0.0/8", "fd00::/8"].map(|net| net.parse().unwrap()).to_vec();
        let mut headers = HeaderMap::new();
        if !forwarded.is_empty() {
            headers.insert("x-forwarded-for", HeaderValue::from_static(forwarded));
        }
        let socket = match socket {
            "unix" => Peer::Unix,
            ip => Peer::new(SocketAddr::new(ip.parse().unwrap(), 4711)),
        };
        let proxied = proxied.parse().ok().map(|ip| SocketAddr::new(ip, 4712));
        Connection { socket, proxied, destination: None }.client(&headers, &trusted).to_string()
    }

    #[test]
    fn the_rule() {
        for (socket, proxied, forwarded, expected) in [
            ("203.0.113.7", "", "", "203.0.113.7"),
            ("203.0.113.7", "", "6.6.6.6", "203.0.113.7"),
            ("::ffff:203.0.113.7", "", "6.6.6.6", "203.0.113.7"),
            ("10.0.0.1", "", "6.6.6.6, 203.0.113.7, 10.0.0.2", "203.0.113.7"),
            ("::ffff:10.0.0.1", "", "::ffff:203.0.113.7", "203.0.113.7"),
            ("10.0.0.1", "", "6.6.6.6, unknown", "10.0.0.1"),
            ("10.0.0.1", "203.0.113.7", "", "203.0.113.7"),
            ("10.0.0.1", "203.0.113.7", "6.6.6.6", "203.0.113.7"),
            ("10.0.0.1", "::ffff:203.0.113.7", "6.6.6.6", "203.0.113.7"),
            ("192.0.2.1", "203.0.113.7", "6.6.6.6", "203.0.113.7"),
            // The client that the header names is itself a trusted proxy.
            ("192.0.2.1", "10.0.0.9", "6.6.6.6, 203.0.113.7", "203.0.113.7"),
            ("192.0.2.1", "fd00::9", "2001:db8::7", "2001:db8::7"),
            ("192.0.2.1", "10.0.0.9", "", "10.0.0.9"),
            ("unix", "", "", "unix"),
            ("unix", "", "6.6.6.6, 203.0.113.7", "203.0.113.7"),
            ("unix", "", "6.6.6.6, nonsense", "unix"),
            ("unix", "203.0.113.7", "6.6.6.6", "203.0.113.7"),
        ] {
            assert_eq!(client(socket, proxied, forwarded), expected, "{socket}, {proxied}, {forwarded}");
        }
    }
}
