//! Listeners: addresses, TLS, and whom they believe.

use ipnet::IpNet;

use super::{Unique, all, bound, free_name, plain, tls};
use crate::config::file::{ListenerWords, ProxyProtocolWords};
use crate::config::reader::{Found, Reader};
use crate::config::words::List;
use crate::config::{At, ListenAddress, Listener, ProxyProtocol};

pub fn listeners(
    words: Found<List<ListenerWords, 1>>,
    addresses: &mut Unique<ListenAddress>,
    reader: &mut Reader,
) -> Option<Vec<Listener>> {
    let mut names = Unique::default();
    all(words.written()?.value.0.into_iter().map(|words| {
        let ListenerWords { name, address, tls, proxy_protocol, trusted_networks } = words.value;
        let name = name.written().map(plain);
        if let Some(name) = &name {
            free_name("listener", name, &mut names, reader);
        }
        let address = address.written().map(|address| bound(address, addresses, reader));
        let tls = match tls.optional() {
            Some(Some(words)) => tls::tls(words.value, reader).map(Some),
            Some(None) => Some(None),
            None => None,
        };
        let proxy_protocol = match proxy_protocol.optional() {
            Some(Some(words)) => {
                self::proxy_protocol(words, address.as_ref().map(|at| &at.value), reader).map(Some)
            }
            Some(None) => Some(None),
            None => None,
        };
        Some(Listener {
            name: name?,
            address: address?,
            tls: tls?,
            proxy_protocol: proxy_protocol?,
            trusted_networks: networks(trusted_networks.or(List(Vec::new()))?),
        })
    }))
}

/// `address` is where the listener is, as far as that is known.
fn proxy_protocol(
    words: At<ProxyProtocolWords>,
    address: Option<&ListenAddress>,
    reader: &mut Reader,
) -> Option<ProxyProtocol> {
    match (address?, words.value.trusted_networks.optional()?) {
        (ListenAddress::Tcp(_), Some(trusted)) => {
            Some(ProxyProtocol { trusted_networks: networks(trusted.value) })
        }
        (ListenAddress::Unix(_), None) => Some(ProxyProtocol { trusted_networks: Vec::new() }),
        (ListenAddress::Tcp(_), None) => {
            let remedy =
                "add the addresses of the proxies in front, such as trusted_networks = [\"10.0.0.0/8\"]";
            reader.report_missing(
                &words.place,
                "`listeners.proxy_protocol` has no `trusted_networks`",
                remedy,
            );
            None
        }
        (ListenAddress::Unix(_), Some(trusted)) => {
            let remedy = "remove it: whoever may open the socket is trusted";
            reader.report(&trusted.place, "nobody has an address on a unix socket", remedy);
            None
        }
    }
}

fn networks<const MIN: usize>(list: List<IpNet, MIN>) -> Vec<IpNet> {
    list.0.into_iter().map(|net| net.value).collect()
}
