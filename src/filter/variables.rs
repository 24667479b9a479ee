//! What variables stand for. Nothing that a request brings can end a field or begin another: what is no value of a field
//! as a whole gives none.

use http::{HeaderValue, Method};

use crate::config::{Part, Template, Variable};
use crate::net::tls::Agreed;
use crate::proto::authority::Authority;
use crate::proto::peer::Peer;
use crate::telemetry::access::Id;

/// What is known of a request.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// Who asks.
    pub client: Peer,
    /// Where the request came in.
    pub listener: &'a str,
    /// The route that it takes.
    pub route: &'a str,
    /// Its name in records.
    pub id: Id,
    /// Whether the client's connection is TLS, here or at a trusted proxy in front.
    pub is_secure: bool,
    /// The host that it is for.
    pub authority: &'a Authority,
    /// GET for a WebSocket.
    pub method: &'a Method,
    /// As it goes on: with another beginning, where the route gives it one.
    pub path: &'a str,
    /// What follows the `?`.
    pub query: Option<&'a str>,
    /// What TLS agreed on, here.
    pub tls: Option<&'a Agreed>,
}

impl Facts<'_> {
    /// Adds what a variable stands for; nothing where the request has no such thing.
    pub fn write(&self, variable: Variable, out: &mut Vec<u8>) {
        let certificate = || self.tls.and_then(|tls| tls.client.as_deref());
        let mut show = |text: &dyn ToString| out.extend_from_slice(text.to_string().as_bytes());
        match variable {
            Variable::ClientAddress => self.client.ip().iter().for_each(|ip| show(ip)),
            Variable::ClientPort => {
                if let Peer::Ip(address) = self.client
                    && address.port() != 0
                {
                    show(&address.port());
                }
            }
            Variable::Listener => out.extend_from_slice(self.listener.as_bytes()),
            Variable::Route => out.extend_from_slice(self.route.as_bytes()),
            Variable::RequestId => show(&self.id),
            Variable::Scheme => out.extend_from_slice(if self.is_secure { b"https" } else { b"http" }),
            Variable::Host if self.authority.host.contains(':') => {
                out.push(b'[');
                out.extend_from_slice(self.authority.host.as_bytes());
                out.push(b']');
            }
            Variable::Host => out.extend_from_slice(self.authority.host.as_bytes()),
            Variable::Authority => out.extend_from_slice(self.authority.written.as_bytes()),
            Variable::Method => out.extend_from_slice(self.method.as_str().as_bytes()),
            Variable::Path => out.extend_from_slice(self.path.as_bytes()),
            Variable::Query => {
                if let Some(query) = self.query.filter(|query| !query.is_empty()) {
                    out.push(b'?');
                    out.extend_from_slice(query.as_bytes());
                }
            }
            Variable::TlsVersion => out.extend_from_slice(self.tls.map_or("", |tls| tls.version).as_bytes()),
            Variable::TlsSubject => {
                if let Some(certificate) = certificate() {
                    out.extend_from_slice(certificate.subject.as_bytes());
                }
            }
            Variable::TlsNames => {
                if let Some(certificate) = certificate() {
                    out.extend_from_slice(certificate.names.as_bytes());
                }
            }
        }
    }
}

/// The value of a field; `None` where it would be empty, or no value of a field.
pub fn field(template: &Template, facts: &Facts<'_>) -> Option<HeaderValue> {
    let mut value = Vec::new();
    for part in template.parts() {
        match part {
            Part::Text(text) => value.extend_from_slice(text.as_bytes()),
            Part::Variable(variable) => facts.write(*variable, &mut value),
        }
    }
    let value = value.trim_ascii();
    if value.is_empty() { None } else { HeaderValue::from_bytes(value).ok() }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is known of a request for a path and a query, and what is made of it.
    pub fn with_facts<T>(
        host: &str,
        path: &str,
        query: Option<&str>,
        make: impl FnOnce(&Facts<'_>) -> T,
    ) -> T {
        let written = if host.contains(':') { format!("[{host}]:8443") } else { format!("{host}:8443") };
        let authority = Authority { host: host.to_owned(), written: written.parse().unwrap() };
        make(&Facts {
            client: Peer::new("192.0.2.1:4711".parse().unwrap()),
            listener: "public",
            route: "chat",
            id: Id::parse("1f").unwrap(),
            is_secure: true,
            authority: &authority,
            method: &Method::GET,
            path,
            query,
            tls: Some(&Agreed { version: "1.3", resumed: false, http2: false, client: None }),
        })
    }

    fn rendered(template: &str, facts: &Facts<'_>) -> Option<String> {
        let template = Template::parse(template, |_| true).unwrap();
        field(&template, facts).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn each_variable_stands_for_what_it_says() {
        with_facts("chat.example.com", "/a%20b", Some("x=1"), |facts| {
            for (template, expected) in [
                ("${client.address}", "192.0.2.1"),
                ("${client.port}", "4711"),
                ("${listener} ${route}", "public chat"),
                ("${request.id}", "0000000000001f"),
                ("${scheme}://${host}${path}${query}", "https://chat.example.com/a%20b?x=1"),
                ("${authority}", "chat.example.com:8443"),
                ("${method} v${tls.version}", "GET v1.3"),
            ] {
                assert_eq!(rendered(template, facts).as_deref(), Some(expected), "{template}");
            }
            for empty in ["", "${tls.client.subject}", "${tls.client.names}"] {
                assert_eq!(rendered(empty, facts), None, "{empty}");
            }
            assert_eq!(rendered("v ${tls.client.names}", facts).as_deref(), Some("v"));
            let unix = Facts { client: Peer::Unix, tls: None, query: Some(""), ..*facts };
            for empty in ["${client.address}", "${client.port}", "${tls.version}", "${query}"] {
                assert_eq!(rendered(empty, &unix), None, "{empty}");
            }
        });
        with_facts("2001:db8::1", "/", None, |facts| {
            assert_eq!(rendered("${host}${query}", facts).as_deref(), Some("[2001:db8::1]"));
        });
    }

    proptest! {
        #[test]
        fn no_request_ends_a_field(path in "\\PC{0,8}[\r\n\0\t ]?\\PC{0,8}", query in "\\PC{0,4}[\r\n]?\\PC{0,4}") {
            let template = Template::parse("a ${path} b ${query} ${host}", |_| true).unwrap();
            let value = with_facts("a.example", &path, Some(&query), |facts| field(&template, facts));
            let clean = value.is_none_or(|value| !value.as_bytes().iter().any(|byte| b"\r\n\0".contains(byte)));
            prop_assert!(clean);
        }
    }
}
