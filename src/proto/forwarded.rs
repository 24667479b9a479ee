//! Who the client was: `Forwarded` (RFC 7239) and its older relatives, `X-Forwarded-For`, `-Proto` and
//! `-Host`.
//!
//! Anyone can write these fields, so they are believed only from peers that the configuration trusts, and
//! then only as far back as the chain of trusted addresses reaches. From everyone else they are removed,
//! together with what CGI-like backends would take for them (`X_Forwarded_For`), and written anew.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName, HeaderValue};

use super::list;
use super::peer::Peer;

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The longest value of `X-Forwarded-For` or `Forwarded` that is passed on, in bytes. Beyond it the oldest
/// elements are left out: they are the least trustworthy.
pub const CHAIN_BYTES_MAX: usize = 8 * 1024;

/// The addresses in `X-Forwarded-For`, or in `Forwarded` if there is none of those, from the last to the first; `None` for
/// an entry that is no address. IPv4-mapped ones become IPv4.
pub fn newest_first(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    let chain = if headers.contains_key(FOR) { Chain::Addresses } else { Chain::Elements };
    chain.newest_first(headers).map(move |member| chain.address(member))
}

/// Who sent a request, and how.
#[derive(Clone, Copy, Debug)]
pub struct Sender<'a> {
    /// Who speaks on the connection, as the socket or the PROXY header says.
    pub peer: Peer,
    /// Whether the connection is TLS.
    pub secure: bool,
    /// The authority that the request is for, as the client wrote it.
    pub host: &'a HeaderValue,
    /// Whether `peer` may say who it speaks for.
    pub trusted: bool,
}

/// Writes the forwarding fields for the backend.
///
/// From an untrusted sender nothing is kept: `Forwarded`, `X-Real-IP` and every `X-Forwarded-*` go, then
/// `X-Forwarded-For`, `-Proto`, `-Host` and `Forwarded` are set. From a trusted one `-Proto` and `-Host`
/// are kept where present, and the sender is appended to `X-Forwarded-For` and to `Forwarded`. If only one
/// of these two is there, the other is not begun: it would name the sender as if it were the client.
/// Aliases with underscores always go.
///
/// A sender without an IP address is `unknown` in `Forwarded` (RFC 7239 6.2); `X-Forwarded-For` has no word for it, and
/// gets none.
pub fn write(headers: &mut HeaderMap, sender: &Sender) {
    let unwelcome = |name: &&HeaderName| {
        let alias = name.as_str().contains('_') && is_forwarding(&name.as_str().replace('_', "-"));
        alias || (!sender.trusted && is_forwarding(name.as_str()))
    };
    let unwelcome: Vec<_> = headers.keys().filter(unwelcome).cloned().collect();
    for name in unwelcome {
        headers.remove(name);
    }
    let address = sender.peer.ip();
    let has_addresses = headers.contains_key(FOR);
    let has_elements = headers.contains_key(FORWARDED);
    if let Some(address) = address
        && (has_addresses || !has_elements)
    {
        Chain::Addresses.append(headers, address.to_string().into_bytes());
    }
    if has_elements || !has_addresses {
        Chain::Elements.append(headers, element(address, sender));
    }
    let proto = HeaderValue::from_static(proto(sender));
    headers.entry(PROTO).or_insert(proto);
    headers.entry(HOST).or_insert_with(|| sender.host.clone());
}

/// Whether what [`write()`] has written says that the client's connection is secure.
pub fn is_secure(headers: &HeaderMap) -> bool {
    let is = |proto: &HeaderValue| {
        ["https", "wss"].iter().any(|secure| proto.as_bytes().eq_ignore_ascii_case(secure.as_bytes()))
    };
    headers.get(PROTO).is_some_and(is)
}

/// Whether a field with this name, lower case, says where a request came from.
pub(super) fn is_forwarding(name: &str) -> bool {
    matches!(name, "forwarded" | "x-real-ip") || name.starts_with("x-forwarded-")
}

fn proto(sender: &Sender) -> &'static str {
    if sender.secure { "https" } else { "http" }
}

/// One element of `Forwarded` (RFC 7239 4 and 6).
fn element(address: Option<IpAddr>, sender: &Sender) -> Vec<u8> {
    let mut element = match address {
        Some(IpAddr::V4(address)) => format!("for={address}"),
        Some(IpAddr::V6(address)) => format!("for=\"[{address}]\""),
        None => "for=unknown".to_owned(),
    }
    .into_bytes();
    element.extend_from_slice(b";host=");
    let host = sender.host.as_bytes();
    if list::token(host).is_some() {
        element.extend_from_slice(host);
    } else {
        element.push(b'"');
        for byte in host {
            if matches!(byte, b'"' | b'\\') {
                element.push(b'\\');
            }
            element.push(*byte);
        }
        element.push(b'"');
    }
    element.extend_from_slice(b";proto=");
    element.extend_from_slice(proto(sender).as_bytes());
    element
}

/// The two ways to write the chain of senders.
#[derive(Clone, Copy)]
enum Chain {
    /// `X-Forwarded-For`: bare addresses, some with a port.
    Addresses,
    /// `Forwarded`: pairs, perhaps quoted.
    Elements,
}

impl Chain {
    fn name(self) -> HeaderName {
        match self {
            Chain::Addresses => FOR,
            Chain::Elements => FORWARDED,
        }
    }

    /// The members of all lines from the last to the first. What is to the right was written by those
    /// nearer to this proxy, so it must be read first: an open quote further left then changes nothing.
    fn newest_first(self, headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
        let lines = headers.get_all(self.name()).iter().rev();
        lines
            .flat_map(move |line| rsplit(line.as_bytes(), b',', matches!(self, Chain::Elements)))
            .map(<[u8]>::trim_ascii)
            .filter(|member| !member.is_empty())
    }

    fn address(self, member: &[u8]) -> Option<IpAddr> {
        match self {
            Chain::Addresses => parse_address(member),
            Chain::Elements => parse_element(member),
        }
    }

    /// Makes all lines one, with `member` at the end.
    fn append(self, headers: &mut HeaderMap, member: Vec<u8>) {
        let value = HeaderValue::try_from(self.joined(headers, &member)).or_else(|_| member.try_into());
        match value {
            Ok(value) => headers.insert(self.name(), value),
            Err(_) => headers.remove(self.name()),
        };
    }

    fn joined(self, headers: &HeaderMap, member: &[u8]) -> Vec<u8> {
        let mut bytes = member.len();
        let mut members: Vec<&[u8]> = self
            .newest_first(headers)
            .take_while(|earlier| {
                bytes = bytes.saturating_add(earlier.len() + 2);
                bytes <= CHAIN_BYTES_MAX
            })
            .collect();
        members.reverse();
        members.push(member);
        members.join(&b", "[..])
    }
}

/// The pieces of `bytes` between `separator`s, from the last to the first; with `quoted`, separators within
/// a quoted string (RFC 9110 5.6.4) do not count.
fn rsplit(bytes: &[u8], separator: u8, quoted: bool) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(bytes);
    std::iter::from_fn(move || {
        let bytes = rest?;
        let mut inside = false;
        let mut place = None;
        for (index, byte) in bytes.iter().enumerate().rev() {
            if quoted && *byte == b'"' && !is_escaped(bytes, index) {
                inside = !inside;
            } else if *byte == separator && !inside {
                place = Some(index);
                break;
            }
        }
        let Some((before, piece)) = place.and_then(|place| bytes.split_at_checked(place)) else {
            return rest.take();
        };
        rest = Some(before);
        piece.get(1..)
    })
}

/// Whether an odd number of backslashes stands in front of `index`.
fn is_escaped(bytes: &[u8], index: usize) -> bool {
    let before = bytes.get(..index).unwrap_or_default();
    before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// The address in the `for` of an element of `Forwarded`. `None` if there is no single one, or if it is
/// `unknown` or an obfuscated name.
fn parse_element(element: &[u8]) -> Option<IpAddr> {
    let mut found = None;
    for pair in rsplit(element, b';', true) {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let (name, value) = pair.split_at_checked(equals)?;
        if name.trim_ascii().eq_ignore_ascii_case(b"for") {
            if found.is_some() {
                return None;
            }
            let value = value.get(1..)?.trim_ascii();
            // An address needs no escapes.
            let inner = value.strip_prefix(b"\"").and_then(|inner| inner.strip_suffix(b"\""));
            found = Some(parse_address(inner.unwrap_or(value))?);
        }
    }
    found
}

/// Reads `ip`, `ip:port`, `[v6]` or `[v6]:port`.
fn parse_address(bytes: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(bytes).ok()?;
    let bracketed = || {
        let inner = text.strip_prefix('[')?.strip_suffix(']')?;
        inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
    };
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let address = text.parse().ok().or_else(bracketed).or_else(with_port)?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests;
