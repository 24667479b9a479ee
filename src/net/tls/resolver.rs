//! Which certificate a client gets: by the name in its ClientHello (SNI, RFC 6066 3), else the default.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate::LoadedCertificate;

/// Certificates by the names they are for.
#[derive(Debug)]
pub struct Resolver {
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// `*.example.com`, as `example.com`: it stands for exactly one label (RFC 9525 6.3).
    wildcard: HashMap<String, Arc<CertifiedKey>>,
    default: Option<Arc<CertifiedKey>>,
}

impl Resolver {
    /// The first certificate is the default; of two for the same name the first is chosen.
    pub fn new(certificates: &[LoadedCertificate]) -> Resolver {
        let mut resolver = Resolver {
            exact: HashMap::new(),
            wildcard: HashMap::new(),
            default: certificates.first().map(|first| first.key.clone()),
        };
        for certificate in certificates {
            for name in &certificate.names {
                let (map, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut resolver.wildcard, parent),
                    None => (&mut resolver.exact, name.as_str()),
                };
                map.entry(name.to_string()).or_insert_with(|| certificate.key.clone());
            }
        }
        resolver
    }

    fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let name = name.to_ascii_lowercase();
        let parent = || name.split_once('.').map(|(_, parent)| parent);
        self.exact.get(&name).or_else(|| self.wildcard.get(parent()?))
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|name| self.find(name));
        named.or(self.default.as_ref()).cloned()
    }
}
