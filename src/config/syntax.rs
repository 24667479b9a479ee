//! Text with a syntax of its own: names, addresses, networks, hosts, paths, origins.
//!
//! Each is a pure function from text to meaning, or to what is wrong and what to write instead. Host names
//! follow RFC 1123 (plus `_`, which container platforms use), URIs RFC 3986, origins RFC 6454. Nothing is
//! resolved or opened here.

mod address;
mod answer;
mod condition;
mod cookie;
mod dns;
mod edit;
mod field;
mod hash_key;
mod probe;

use std::net::{Ipv6Addr, SocketAddr};

use ipnet::IpNet;
use toml::Spanned;
use toml::de::DeValue;

use self::address::{
    admin_address, authority, backend_address, host_name, listen_address, network, port_of, socket_address,
    without_brackets, without_port,
};
pub use self::answer::{BodyText, Location, RedirectStatus};
pub use self::condition::{CookieName, FieldName, MethodName, ParameterName, Subprotocol};
pub use self::cookie::{CookieDomain, CookiePath};
pub use self::dns::{DnsName, DnsServer, SourceAddress};
pub use self::edit::PathPrefix;
pub use self::field::{AnswerField, FieldTemplate, OwnField, RequestField, ResponseField};
pub use self::probe::{FieldValue, ProbeField, ProbePath, ProbeSubprotocol};
use super::pattern::{Case, Pattern};
use super::problem::{nearest, shown};
use super::reader::{Reader, Word};
use super::shape::Shape;
use super::{BackendAddress, HostMatch, ListenAddress, OriginMatch, PathMatch};

/// What is wrong with a text, and what to write instead.
#[derive(Debug, PartialEq, Eq)]
pub struct Wrong {
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub remedy: String,
}

/// A name of a listener, route or pool: 1 to 63 letters, digits, `_`, `.` and `-`, a letter or digit first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(pub String);

/// An address to listen on that no other machine reaches: a loopback address, or a unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminAddress(pub ListenAddress);

/// The path of a file, not empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePath(pub String);

/// The path of a unix socket, not empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketPath(pub String);

/// The name of a backend in TLS: a host name in lower case, or an IP address, IPv6 without brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerName(pub String);

/// Makes a type the word that a syntax gives.
macro_rules! text_words {
    ($( $Type:ty = $what:literal, $parse:expr; )+) => { $(
        impl Word for $Type {
            const SHAPE: &'static Shape = &Shape::Text($what);

            fn read(value: &Spanned<DeValue<'_>>, reader: &mut Reader) -> Option<Self> {
                text(value, Self::SHAPE, reader, $parse)
            }
        }
    )+ };
}
use text_words;

text_words! {
    Name = "a name", |text, _| name(text);
    FilePath = "a path", |text, _| file_path(text);
    SocketPath = "a path such as /run/longhaul/handover.sock", |text, _| socket_path(text);
    ServerName = "a name such as chat.example.com", |text, _| server_name(text);
    SocketAddr = "an IP address and a port", |text, _| socket_address(text);
    ListenAddress = "an IP address and a port, or a unix socket", |text, _| listen_address(text);
    AdminAddress = "an address such as 127.0.0.1:9900 or unix:/run/longhaul/admin.sock",
        |text, _| admin_address(text);
    IpNet = "a network such as 10.0.0.0/8", |text, _| network(text);
    HostMatch = "a host such as chat.example.com or *.example.com", |text, reader| {
        let found = pattern(text, Case::Ignored, reader)?;
        found.map_or_else(|| host(text), |pattern| Ok(HostMatch::Pattern(pattern)))
    };
    PathMatch = "a path such as /ws or /ws/*", |text, reader| {
        let found = pattern(text, Case::Matters, reader)?;
        found.map_or_else(|| path(text), |pattern| Ok(PathMatch::Pattern(pattern)))
    };
    OriginMatch = "an origin such as https://chat.example.com", |text, _| origin(text);
    BackendAddress = "a host and a port, or a unix socket", |text, _| backend_address(text);
}

/// A text in the syntax of `parse`; otherwise reports it.
fn text<T>(
    value: &Spanned<DeValue<'_>>,
    shape: &Shape,
    reader: &mut Reader,
    parse: impl FnOnce(&str, &mut Reader) -> Result<T, Wrong>,
) -> Option<T> {
    let DeValue::String(text) = value.get_ref() else {
        reader.report_kind(value, shape);
        return None;
    };
    match parse(text, reader) {
        Ok(parsed) => Some(parsed),
        Err(Wrong { message, remedy }) => {
            reader.report(&reader.place(value.span()), message, remedy);
            None
        }
    }
}

/// The regular expression that a text is, if it begins with `~`.
fn pattern(text: &str, case: Case, reader: &mut Reader) -> Result<Option<Pattern>, Wrong> {
    let expression = text.strip_prefix('~').map(|expression| reader.patterns().get(expression, case));
    expression.transpose().map_err(|(message, remedy)| Wrong { message, remedy })
}

fn wrong<T>(text: &str, what: &str, remedy: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong { message: format!("\"{}\" {what}", shown(text)), remedy: remedy.into() })
}

/// A remedy that is a text to write.
fn write(text: impl AsRef<str>) -> String {
    format!("write \"{}\"", shown(text.as_ref()))
}

pub(super) fn name(text: &str) -> Result<Name, Wrong> {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let begins = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if begins && text.len() <= 63 && text.bytes().all(inner) {
        return Ok(Name(text.to_owned()));
    }
    wrong(text, "is not a name", "write up to 63 letters, digits, `_`, `.` or `-`, a letter or digit first")
}

fn file_path(text: &str) -> Result<FilePath, Wrong> {
    if text.is_empty() || text.contains('\0') {
        return wrong(text, "is not a path", "write the path of a file");
    }
    Ok(FilePath(text.to_owned()))
}

fn socket_path(text: &str) -> Result<SocketPath, Wrong> {
    match text.strip_prefix("unix:") {
        // Addresses have it, because they may also be others.
        Some(path) => wrong(text, "is an address", write(path)),
        None => file_path(text).map(|path| SocketPath(path.0)),
    }
}

fn host(text: &str) -> Result<HostMatch, Wrong> {
    if text == "*" {
        return wrong(text, "is not a host", "leave `host` out to serve every host");
    }
    only_host(text)?;
    match text.strip_prefix("*.") {
        Some(below) => Ok(HostMatch::Below(host_name(below)?)),
        None => Ok(HostMatch::Exact(without_brackets(&host_name(text)?).to_owned())),
    }
}

fn server_name(text: &str) -> Result<ServerName, Wrong> {
    if text.contains('*') {
        return wrong(text, "is not one name", "write a name that the certificates of all backends are for");
    }
    only_host(text)?;
    Ok(ServerName(without_brackets(&host_name(text)?).to_owned()))
}

/// Refuses what is more than a host, or an IPv6 address that could be.
fn only_host(text: &str) -> Result<(), Wrong> {
    if let Some((_, rest)) = text.split_once("://") {
        return wrong(text, "is a URL", write(without_port(authority(rest))));
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return wrong(text, "is an IPv6 address without brackets", write(format!("[{text}]")));
    }
    if without_port(text) != text {
        return wrong(text, "has a port", write(without_port(text)));
    }
    Ok(())
}

fn path(text: &str) -> Result<PathMatch, Wrong> {
    if !text.starts_with('/') {
        return wrong(text, "does not begin with /", write(format!("/{text}")));
    }
    if let Some((before, _)) = text.split_once(['?', '#']) {
        return wrong(
            text,
            "has a query or a fragment",
            format!("{}: only the path is compared", write(before)),
        );
    }
    let prefix = text.strip_suffix('*').filter(|prefix| prefix.ends_with('/'));
    let plain = prefix.unwrap_or(text);
    if let Some((before, _)) = plain.split_once('*') {
        let remedy = write(format!("{}/*", before.trim_end_matches('/')));
        return wrong(text, "has a * that is not its last segment", remedy);
    }
    if !plain.bytes().all(|byte| byte.is_ascii_graphic()) {
        return wrong(text, "has a character that no request sends", "write it percent-encoded, such as %20");
    }
    Ok(match prefix {
        Some(prefix) => PathMatch::Prefix(prefix.to_owned()),
        None => PathMatch::Exact(text.to_owned()),
    })
}

fn origin(text: &str) -> Result<OriginMatch, Wrong> {
    match text {
        "null" => return Ok(OriginMatch::Null),
        "absent" => return Ok(OriginMatch::Absent),
        "*" => {
            return wrong(text, "is not an origin", "leave `origins` out to allow every origin");
        }
        _ => {}
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return wrong(text, "has no scheme", write(format!("https://{text}")));
    };
    let scheme = scheme.to_ascii_lowercase();
    if authority(rest) != rest {
        return wrong(text, "has more than an origin has", write(format!("{scheme}://{}", authority(rest))));
    }
    if let "ws" | "wss" = scheme.as_str() {
        let page = scheme.replace("ws", "http");
        let remedy = format!("{}: the page's origin, not the socket's", write(format!("{page}://{rest}")));
        return wrong(text, "is not an origin", remedy);
    }
    let default_port = match scheme.as_str() {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    };
    // Applications in a shell have schemes of their own, such as capacitor://localhost.
    let valid = scheme.starts_with(|first: char| first.is_ascii_lowercase())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    if default_port.is_none() && (!valid || nearest(&scheme, ["https"].into_iter()).is_some()) {
        return wrong(text, "has an unknown scheme", write(format!("https://{rest}")));
    }
    let name = without_port(rest);
    let port = match rest.get(name.len()..).and_then(|port| port.strip_prefix(':')) {
        None => None,
        Some(port) => match port_of(port) {
            Some(port) => Some(port).filter(|port| Some(*port) != default_port),
            None => return wrong(text, "has no valid port", "write a port from 1 to 65535"),
        },
    };
    if let Some(below) = name.strip_prefix("*.") {
        return Ok(OriginMatch::Below { scheme, domain: host_name(below)?, port });
    }
    let port = port.map_or_else(String::new, |port| format!(":{port}"));
    Ok(OriginMatch::Exact(format!("{scheme}://{}{port}", host_name(name)?)))
}
