//! Addresses in networks: names that are looked up in DNS, who is asked, and where connections come from.

use std::net::{IpAddr, SocketAddr};

use toml::Spanned;
use toml::de::DeValue;

use super::address::{host_name, without_brackets};
use super::{Wrong, only_host, text, text_words, wrong};
use crate::config::reader::{Reader, Word};
use crate::config::shape::Shape;

/// A name that is looked up in DNS: whole, in lower case, without its last dot; never an IP address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsName(pub String);

/// A server that answers questions of DNS, on port 53 unless another one is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsServer(pub SocketAddr);

/// An address of this machine that connections may come from: IPv6 without brackets, never IPv4-mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceAddress(pub IpAddr);

text_words! {
    SourceAddress = "an IP address", |text, _| source_address(text);
    DnsName = "a name such as chat.example.com", |text, _| dns_name(text);
    DnsServer = "an IP address such as 10.0.0.2, or 10.0.0.2:53", |text, _| dns_server(text);
}

fn dns_name(text: &str) -> Result<DnsName, Wrong> {
    only_host(text)?;
    let name = host_name(text)?;
    if without_brackets(&name).parse::<IpAddr>().is_ok() {
        return wrong(text, "is an address, which is not looked up", "write it in `backends`");
    }
    Ok(DnsName(name))
}

fn dns_server(text: &str) -> Result<DnsServer, Wrong> {
    const PORT: u16 = 53;
    let ip = without_brackets(text).parse::<IpAddr>().map(|ip| SocketAddr::new(ip, PORT));
    match ip.or_else(|_| text.parse::<SocketAddr>()) {
        Ok(address) if address.port() != 0 => Ok(DnsServer(address)),
        _ => wrong(
            text,
            "is not the address of a server",
            "write an IP address, or one and a port, such as \"10.0.0.2:53\"",
        ),
    }
}

fn source_address(text: &str) -> Result<SourceAddress, Wrong> {
    match without_brackets(text).parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(address) if address.is_unspecified() || address.is_multicast() => {
            wrong(text, "is nobody's address", "write an address of this machine")
        }
        Ok(IpAddr::V6(address)) if address.is_unicast_link_local() => wrong(
            text,
            "is an address of one link",
            "write an address of this machine that is known beyond it",
        ),
        Ok(address) => Ok(SourceAddress(address)),
        Err(_) => wrong(text, "is not an IP address", "write an address of this machine, without a port"),
    }
}
