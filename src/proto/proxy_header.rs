//! The PROXY protocol, versions 1 and 2: in the first bytes of a connection a proxy says for whom it was made
//! (`proxy-protocol.txt` of HAProxy, 2.1 and 2.2).
//!
//! Strict where the text is: what is not a header to the letter is malformed, because the sender is a program and a
//! guess would put words into its mouth. Nothing is taken beyond the header: TLVs are skipped inside its length, never
//! read, and whoever calls learns where the header ends. Who may send one is decided elsewhere.

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// The longest header of version 1, its CRLF included (2.1).
pub const LINE_BYTES_MAX: usize = 107;
/// The longest header of version 2 that is read, its TLVs included: a client's certificate fits. The format allows 65,551
/// bytes.
pub const HEADER_BYTES_MAX: usize = 16 * 1024;

const LINE_START: &[u8] = b"PROXY ";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and protocol, length.
const FIXED_BYTES: usize = 16;
/// Two paths of 108 bytes (2.2, AF_UNIX).
const UNIX_ADDRESSES_BYTES: usize = 216;

/// How a header is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// For whom a connection was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// For a client with an IP address. None of the two is IPv4-mapped.
    Proxied {
        /// The client's end.
        source: SocketAddr,
        /// The end that the client connected to.
        destination: SocketAddr,
    },
    /// For somebody whose address cannot be told, such as the client of a unix socket.
    Unknown,
    /// For the proxy itself, such as a health check. Version 1 has only [`Header::Unknown`] for it.
    Local,
}

/// Why bytes are not a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeaderError {
    /// They do not begin like one.
    Missing,
    /// They begin like one.
    Malformed,
}

/// Reads the header at the start of `bytes`, and its length. `None` when more bytes are needed: then all of `bytes` belong
/// to the header.
///
/// # Errors
/// [`ProxyHeaderError`], as soon as no further bytes could make it a header; also for one that is longer than
/// [`LINE_BYTES_MAX`] or [`HEADER_BYTES_MAX`].
pub fn read(bytes: &[u8]) -> Result<Option<(Header, usize)>, ProxyHeaderError> {
    if agrees(bytes, SIGNATURE) {
        read_binary(bytes)
    } else if agrees(bytes, LINE_START) {
        read_line(bytes)
    } else {
        Err(ProxyHeaderError::Missing)
    }
}

impl Header {
    /// The header as it is sent. Of two families the destination's gives way, and becomes the unspecified address.
    pub fn write(&self, version: Version) -> Vec<u8> {
        match version {
            Version::V1 => self.line().into_bytes(),
            Version::V2 => self.binary(),
        }
    }

    fn line(&self) -> String {
        let Header::Proxied { source, destination } = *self else { return "PROXY UNKNOWN\r\n".to_owned() };
        let (family, to) = match source.ip() {
            IpAddr::V4(_) => ("TCP4", like(source, destination)),
            IpAddr::V6(_) => ("TCP6", like(source, destination)),
        };
        format!("PROXY {family} {} {} {} {}\r\n", source.ip(), to, source.port(), destination.port())
    }

    fn binary(&self) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        let Header::Proxied { source, destination } = *self else {
            let command = if *self == Header::Local { 0x20 } else { 0x21 };
            bytes.extend_from_slice(&[command, 0x00, 0, 0]);
            return bytes;
        };
        let (family, length) = if source.is_ipv4() { (0x11, 12) } else { (0x21, 36) };
        bytes.extend_from_slice(&[0x21, family, 0, length]);
        for ip in [source.ip(), like(source, destination)] {
            match ip {
                IpAddr::V4(ip) => bytes.extend_from_slice(&ip.octets()),
                IpAddr::V6(ip) => bytes.extend_from_slice(&ip.octets()),
            }
        }
        bytes.extend_from_slice(&source.port().to_be_bytes());
        bytes.extend_from_slice(&destination.port().to_be_bytes());
        bytes
    }
}

/// The address of `destination`, in the family of `source`.
fn like(source: SocketAddr, destination: SocketAddr) -> IpAddr {
    match (source.ip(), destination.ip()) {
        (IpAddr::V4(_), IpAddr::V6(_)) => Ipv4Addr::UNSPECIFIED.into(),
        (IpAddr::V6(_), IpAddr::V4(_)) => Ipv6Addr::UNSPECIFIED.into(),
        (_, same) => same,
    }
}

/// Whether both are equal as far as the shorter one reaches.
fn agrees(bytes: &[u8], start: &[u8]) -> bool {
    bytes.iter().zip(start).all(|(byte, wanted)| byte == wanted)
}

fn proxied(source: (IpAddr, u16), destination: (IpAddr, u16)) -> Header {
    let [source, destination] =
        [source, destination].map(|(ip, port)| SocketAddr::new(ip.to_canonical(), port));
    Header::Proxied { source, destination }
}

/// 2.1: `PROXY TCP4 source destination port port`, or `PROXY UNKNOWN` and anything.
fn read_line(bytes: &[u8]) -> Result<Option<(Header, usize)>, ProxyHeaderError> {
    let Some(end) = bytes.iter().take(LINE_BYTES_MAX).position(|byte| *byte == b'\n') else {
        return if bytes.len() < LINE_BYTES_MAX { Ok(None) } else { Err(ProxyHeaderError::Malformed) };
    };
    let line = bytes.get(LINE_START.len()..end).and_then(|line| line.strip_suffix(b"\r"));
    let header = line.and_then(parse_line).ok_or(ProxyHeaderError::Malformed)?;
    Ok(Some((header, end + 1)))
}

/// What stands between `PROXY ` and the CRLF.
fn parse_line(line: &[u8]) -> Option<Header> {
    let mut words = line.split(|byte| *byte == b' ');
    let family = words.next()?;
    if family == b"UNKNOWN" {
        return Some(Header::Unknown);
    }
    let text = |word| std::str::from_utf8(word).ok();
    let [source, destination, from, to] = [(); 4].map(|()| words.next().and_then(text));
    if words.next().is_some() {
        return None;
    }
    let [source, destination] = match family {
        b"TCP4" => [address::<Ipv4Addr>(source?)?, address::<Ipv4Addr>(destination?)?],
        b"TCP6" => [address::<Ipv6Addr>(source?)?, address::<Ipv6Addr>(destination?)?],
        _ => return None,
    };
    Some(proxied((source, port(from?)?), (destination, port(to?)?)))
}

fn address<T: FromStr + Into<IpAddr>>(text: &str) -> Option<IpAddr> {
    text.parse::<T>().ok().map(Into::into)
}

/// 0 to 65535, digits only, without leading zeros.
fn port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

/// 2.2.
fn read_binary(bytes: &[u8]) -> Result<Option<(Header, usize)>, ProxyHeaderError> {
    let Some(fixed) = bytes.first_chunk::<FIXED_BYTES>() else { return Ok(None) };
    let [.., command, family, high, low] = *fixed;
    let end = FIXED_BYTES + usize::from(u16::from_be_bytes([high, low]));
    // What cannot become a header must not be waited for.
    let is_known = matches!((command, family), (0x20, _) | (0x21, 0x00 | 0x11 | 0x21 | 0x31));
    if !is_known || end > HEADER_BYTES_MAX {
        return Err(ProxyHeaderError::Malformed);
    }
    let Some(rest) = bytes.get(FIXED_BYTES..end) else { return Ok(None) };
    let header = match (command, family) {
        // Whatever the addresses are, they are not to be used.
        (0x20, _) => Some(Header::Local),
        (_, 0x11) => rest.first_chunk::<12>().map(four),
        (_, 0x21) => rest.first_chunk::<36>().map(six),
        (_, 0x31) => (rest.len() >= UNIX_ADDRESSES_BYTES).then_some(Header::Unknown),
        _ => Some(Header::Unknown),
    };
    Ok(Some((header.ok_or(ProxyHeaderError::Malformed)?, end)))
}

fn four(bytes: &[u8; 12]) -> Header {
    let [a, b, c, d, e, f, g, h, ports @ ..] = *bytes;
    let [from, to] = two(ports);
    proxied((Ipv4Addr::new(a, b, c, d).into(), from), (Ipv4Addr::new(e, f, g, h).into(), to))
}

fn six(bytes: &[u8; 36]) -> Header {
    let number = |part: &[u8]| part.iter().fold(0u128, |number, byte| number << 8 | u128::from(*byte));
    let (source, rest) = bytes.split_at(16);
    let (destination, ports) = rest.split_at(16);
    let [from, to] = two(ports.first_chunk().copied().unwrap_or_default());
    let [source, destination] = [source, destination].map(|part| Ipv6Addr::from(number(part)).into());
    proxied((source, from), (destination, to))
}

fn two([a, b, c, d]: [u8; 4]) -> [u16; 2] {
    [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])]
}

impl fmt::Display for ProxyHeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ProxyHeaderError::Missing => "the connection does not begin with a PROXY header",
            ProxyHeaderError::Malformed => "the PROXY header is malformed",
        })
    }
}

impl Error for ProxyHeaderError {}

#[cfg(test)]
mod tests;
