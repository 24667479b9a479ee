//! Addresses, networks, host names.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::{IpNet, Ipv4Net};

use super::{AdminAddress, Wrong, file_path, write, wrong};
use crate::config::{BackendAddress, ListenAddress};

/// `IP:port`.
pub fn socket_address(text: &str) -> Result<SocketAddr, Wrong> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(SocketAddr::new(address.ip().to_canonical(), address.port()));
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        return wrong(text, "has no port", write(SocketAddr::new(ip, 8080).to_string()));
    }
    if let Some(port) = port_of(text) {
        return wrong(
            text,
            "has no IP address",
            format!("{} for every address", write(format!("0.0.0.0:{port}"))),
        );
    }
    let (host, port) = text.rsplit_once(':').map_or((text, None), |(host, port)| (host, port_of(port)));
    let port = port.unwrap_or(8080);
    match host {
        "" | "*" => {
            let every = write(format!("0.0.0.0:{port}"));
            wrong(text, "has no IP address", format!("{every} or \"[::]:{port}\" for every address"))
        }
        "localhost" => wrong(text, "is not an IP address", write(format!("127.0.0.1:{port}"))),
        _ => wrong(
            text,
            "is not an IP address and a port",
            "write an address such as \"0.0.0.0:8080\" or \"[::]:8080\"",
        ),
    }
}

/// `IP:port`, or `unix:` and a path.
pub fn listen_address(text: &str) -> Result<ListenAddress, Wrong> {
    match unix_path(text)? {
        Some(path) => Ok(ListenAddress::Unix(path)),
        None => socket_address(text).map(ListenAddress::Tcp),
    }
}

/// The path behind `unix:`; `None` for what is no path.
fn unix_path(text: &str) -> Result<Option<PathBuf>, Wrong> {
    if text.starts_with('/') {
        return wrong(text, "is neither an address nor a unix socket", write(format!("unix:{text}")));
    }
    text.strip_prefix("unix:").map(|path| file_path(path).map(|path| path.0.into())).transpose()
}

/// A loopback `IP:port`, or `unix:` and a path.
pub fn admin_address(text: &str) -> Result<AdminAddress, Wrong> {
    const EXAMPLES: &str = "\"127.0.0.1:9900\" or \"unix:/run/longhaul/admin.sock\"";
    if let Some(path) = unix_path(text)? {
        return Ok(AdminAddress(ListenAddress::Unix(path)));
    }
    match text.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => Ok(AdminAddress(ListenAddress::Tcp(address))),
        // Whoever reaches it may give orders.
        Ok(_) => {
            let remedy = format!("use a loopback address or a unix socket: {EXAMPLES}");
            wrong(text, "can be reached from other machines", remedy)
        }
        Err(_) => match text.rsplit_once(':').map(|(host, port)| (host, port_of(port))) {
            Some(("" | "*" | "localhost", Some(port))) => {
                wrong(text, "has no IP address", write(format!("127.0.0.1:{port}")))
            }
            _ => wrong(text, "is neither an address nor a unix socket", format!("write {EXAMPLES}")),
        },
    }
}

/// `IP/bits`, or an IP address. IPv4-mapped ones are IPv4, as all addresses are that are compared with it.
pub fn network(text: &str) -> Result<IpNet, Wrong> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(ip.to_canonical()));
    }
    match text.parse::<IpNet>() {
        Ok(net) if net == net.trunc() => {
            match (net.addr().to_canonical(), net.prefix_len().checked_sub(96)) {
                (IpAddr::V4(ip), Some(bits)) if net.addr().is_ipv6() => {
                    Ok(Ipv4Net::new(ip, bits).map_or(net, IpNet::from))
                }
                _ => Ok(net),
            }
        }
        Ok(net) => wrong(text, "has bits beyond its prefix", write(net.trunc().to_string())),
        Err(_) => wrong(text, "is not a network", "write an IP address, or a network such as \"10.0.0.0/8\""),
    }
}

/// `host:port`, or `unix:` and a path.
pub fn backend_address(text: &str) -> Result<BackendAddress, Wrong> {
    if let Some(path) = unix_path(text)? {
        return Ok(BackendAddress::Unix(path));
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        let secure = matches!(scheme, "https" | "wss");
        let address = authority(rest);
        let address = match without_port(address) == address {
            true => format!("{address}:{}", if secure { 443 } else { 80 }),
            false => address.to_owned(),
        };
        if secure {
            let remedy = format!("{}, and `tls = {{}}` in the pool", write(address));
            return wrong(text, "is a URL", remedy);
        }
        return wrong(text, "is a URL", write(address));
    }
    if authority(text) != text {
        return wrong(text, "has more than a host and a port", write(authority(text)));
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return wrong(text, "is an IPv6 address without brackets", write(format!("[{text}]:8080")));
    }
    let host = without_port(text);
    let Some(port) = text.get(host.len()..).and_then(|port| port.strip_prefix(':')) else {
        return wrong(text, "has no port", write(format!("{text}:8080")));
    };
    let Some(port) = port_of(port) else {
        return wrong(text, "has no valid port", "write a port from 1 to 65535");
    };
    let host = without_brackets(&host_name(host)?).to_owned();
    let host = host.parse::<IpAddr>().map_or(host, |ip| ip.to_canonical().to_string());
    Ok(BackendAddress::Tcp { host, port })
}

/// A host in lower case, without trailing dot. IP addresses in their canonical form, IPv6 in brackets.
pub fn host_name(text: &str) -> Result<String, Wrong> {
    if let Some(inner) = text.strip_prefix('[') {
        return match inner.strip_suffix(']').and_then(|inner| inner.parse::<Ipv6Addr>().ok()) {
            Some(ip) => Ok(format!("[{ip}]")),
            None => wrong(text, "is not an IPv6 address in brackets", "write an address such as \"[::1]\""),
        };
    }
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    if !name.is_ascii() {
        return wrong(text, "is not ASCII", "write the name as DNS has it (xn--…)");
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if name.contains('*') {
        return wrong(text, "has a * that is not its first label", "write a host such as \"*.example.com\"");
    }
    if name.len() > 253 || !name.split('.').all(label) {
        return wrong(text, "is not a host", "write a host name or an IP address");
    }
    // A name whose last label is a number is an IPv4 address, or nothing (RFC 1123 2.1).
    let numeric = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    if numeric && name.parse::<Ipv4Addr>().is_err() {
        return wrong(
            text,
            "is not an IPv4 address",
            "write four numbers from 0 to 255, such as \"10.0.0.1\"",
        );
    }
    Ok(name)
}

/// An IPv6 address as it is compared and dialled; a name as it is.
pub fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(host)
}

/// What stands before the path, query and fragment of a URI without its scheme (RFC 3986 3.2).
pub fn authority(text: &str) -> &str {
    text.split(['/', '?', '#']).next().unwrap_or_default()
}

/// What stands before the colon of the port. An IPv6 address is expected in brackets.
pub fn without_port(text: &str) -> &str {
    let colon = match text.starts_with('[') {
        true => text.find("]:").map(|bracket| bracket + 1),
        false => text.rfind(':'),
    };
    colon.and_then(|colon| text.get(..colon)).unwrap_or(text)
}

/// 1 to 65535, digits only.
pub fn port_of(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}
