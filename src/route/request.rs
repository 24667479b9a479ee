//! A request as routes see it, and whether it is what a condition asks for.

use std::iter;
use std::net::IpAddr;

use http::{HeaderMap, HeaderValue, Method};

use crate::config::{Condition, Kind, Match, ValueMatch};
use crate::proto::{cookie, query};

/// What routes know of a request.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Lower case, without port or final dot; an IPv6 address without brackets.
    pub host: &'a str,
    /// As it was sent, without the query.
    pub path: &'a str,
    /// What follows the `?`, as it was sent; empty when there is none.
    pub query: &'a str,
    /// GET for a WebSocket, whatever the version of HTTP.
    pub method: &'a Method,
    /// As they were sent.
    pub headers: &'a HeaderMap,
    /// The client's address, by the one rule; `None` for a process of this machine.
    pub client: Option<IpAddr>,
    /// The subprotocols that a WebSocket handshake offers; `None` for plain HTTP.
    pub offered: Option<&'a [String]>,
    /// What the client's certificate says, if one was shown and is believed.
    pub certificate: Option<Certificate<'a>>,
}

/// What a client's certificate calls its owner.
#[derive(Clone, Copy, Debug)]
pub struct Certificate<'a> {
    /// As RFC 4514 writes it; may be empty.
    pub subject: &'a [u8],
    /// The alternative names, `DNS:a.example, URI:spiffe://b`; none of them has a comma.
    pub names: &'a [u8],
}

impl<'a> Certificate<'a> {
    /// The subject, then each name, but for empty ones.
    fn all(self) -> impl Iterator<Item = &'a [u8]> {
        let names = self.names.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        iter::once(self.subject).chain(names).filter(|name: &&[u8]| !name.is_empty())
    }
}

impl Request<'_> {
    /// Whether it is all that a match asks for beyond host and path.
    pub(super) fn meets(&self, matches: &Match) -> bool {
        matches.conditions().iter().all(|condition| self.holds(condition))
    }

    /// Whether it is what a condition asks for.
    pub(super) fn holds(&self, condition: &Condition) -> bool {
        match condition {
            // A certificate may say nothing, and is there all the same.
            Condition::ClientCertificate(ValueMatch::Present) => self.certificate.is_some(),
            Condition::ClientCertificate(ValueMatch::Absent) => self.certificate.is_none(),
            Condition::ClientCertificate(wanted) => is(wanted, self.certificate_names()),
            Condition::Source(networks) => {
                self.client.is_some_and(|client| networks.iter().any(|network| network.contains(&client)))
            }
            Condition::Subprotocols(names) => self.subprotocols().any(|offered| names.contains(offered)),
            Condition::Cookie(name, wanted) => is(wanted, cookie::values(self.headers, name)),
            Condition::Header(name, wanted) => {
                is(wanted, self.headers.get_all(name).iter().map(HeaderValue::as_bytes))
            }
            Condition::Query(name, wanted) => self.has_parameter(name, wanted),
            Condition::Methods(methods) => methods.contains(self.method),
            Condition::Kind(kind) => (*kind == Kind::WebSocket) == self.offered.is_some(),
        }
    }

    fn has_parameter(&self, name: &str, wanted: &ValueMatch) -> bool {
        let mut values = query::values(self.query, name);
        match wanted {
            ValueMatch::Exact(text) => values.any(|value| value.is(text.as_bytes())),
            ValueMatch::Pattern(pattern) => values.any(|value| pattern.matches(&value.decode())),
            ValueMatch::Present => values.next().is_some(),
            ValueMatch::Absent => values.next().is_none(),
        }
    }

    /// What the client's certificate calls it.
    pub(super) fn certificate_names(&self) -> impl Iterator<Item = &[u8]> {
        self.certificate.into_iter().flat_map(Certificate::all)
    }

    /// The subprotocols that are offered.
    pub(super) fn subprotocols(&self) -> impl Iterator<Item = &String> {
        self.offered.unwrap_or_default().iter()
    }
}

fn is<'a>(wanted: &ValueMatch, mut values: impl Iterator<Item = &'a [u8]>) -> bool {
    match wanted {
        ValueMatch::Exact(text) => values.any(|value| value == text.as_bytes()),
        ValueMatch::Pattern(pattern) => values.any(|value| pattern.matches(value)),
        ValueMatch::Present => values.next().is_some(),
        ValueMatch::Absent => values.next().is_none(),
    }
}
