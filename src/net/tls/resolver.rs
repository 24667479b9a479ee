//! Which certificate a client gets: by the name in its ClientHello (SNI, RFC 6066 3) and by what it can verify, else
//! the default.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate::LoadedCertificate;

/// Certificates by the names they are for.
#[derive(Debug)]
pub struct Resolver {
    exact: HashMap<String, Alternatives>,
    /// `*.example.com`, as `example.com`: it stands for exactly one label (RFC 9525 6.3).
    wildcard: HashMap<String, Alternatives>,
    default: Alternatives,
}

/// Certificates for one name, with keys of different kinds, in the order of the configuration.
type Alternatives = Vec<Arc<CertifiedKey>>;

impl Resolver {
    /// The first certificate is the default, together with those that share a name with it; of several for one name a
    /// client gets the first that it can verify.
    pub fn new(certificates: &[LoadedCertificate]) -> Resolver {
        let (mut exact, mut wildcard): (HashMap<_, Alternatives>, HashMap<_, Alternatives>) =
            Default::default();
        for certificate in certificates {
            for name in &certificate.names {
                let (map, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut wildcard, parent),
                    None => (&mut exact, name.as_str()),
                };
                map.entry(name.to_string()).or_default().push(certificate.key.clone());
            }
        }
        let names = certificates.first().map(|first| first.names.as_slice()).unwrap_or_default();
        let is_default = |(index, certificate): &(usize, &LoadedCertificate)| {
            *index == 0 || certificate.names.iter().any(|name| names.contains(name))
        };
        let default = certificates.iter().enumerate().filter(is_default);
        let default = default.map(|(_, certificate)| certificate.key.clone()).collect();
        Resolver { exact, wildcard, default }
    }

    /// Whether a certificate is for this name, in any case of its letters.
    pub fn knows(&self, name: &str) -> bool {
        self.find(name).next().is_some()
    }

    /// The certificates for this name, those that have it as it is first.
    fn find(&self, name: &str) -> impl Iterator<Item = &Arc<CertifiedKey>> {
        let name = name.to_ascii_lowercase();
        let parent = name.split_once('.').and_then(|(_, parent)| self.wildcard.get(parent));
        self.exact.get(&name).into_iter().chain(parent).flatten()
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named: Vec<_> = hello.server_name().map(|name| self.find(name).collect()).unwrap_or_default();
        let of_name = best(&named, hello.signature_schemes());
        // rustls tells a client that can verify none of them.
        of_name.or_else(|| best(&self.default.iter().collect::<Vec<_>>(), hello.signature_schemes())).cloned()
    }
}

/// The first whose signatures the client knows, else the first.
fn best<'a>(
    alternatives: &[&'a Arc<CertifiedKey>],
    offered: &[SignatureScheme],
) -> Option<&'a Arc<CertifiedKey>> {
    let usable = alternatives.iter().find(|one| one.key.choose_scheme(offered).is_some());
    usable.or(alternatives.first()).copied()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustls::crypto::aws_lc_rs;
    use rustls::pki_types::PrivateKeyDer;

    use super::*;

    fn issued(names: &[&str], algorithm: &'static rcgen::SignatureAlgorithm) -> LoadedCertificate {
        let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let cert = rcgen::CertificateParams::new(names.clone()).unwrap().self_signed(&key).unwrap();
        let der = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = aws_lc_rs::default_provider();
        let key = CertifiedKey::from_der(vec![cert.der().clone()], der, &provider).unwrap();
        LoadedCertificate { key: Arc::new(key), names, not_after: Duration::ZERO, label: String::new() }
    }

    #[test]
    fn names_find_their_certificates_and_kinds_their_clients() {
        let ecdsa = issued(&["a.example", "*.example"], &rcgen::PKCS_ECDSA_P256_SHA256);
        let rsa = issued(&["b.example", "a.example"], &rcgen::PKCS_RSA_SHA256);
        let other = issued(&["c.other"], &rcgen::PKCS_ED25519);
        let resolver = Resolver::new(&[ecdsa.clone(), rsa.clone(), other.clone()]);
        let all = [
            SignatureScheme::ED25519,
            SignatureScheme::RSA_PSS_SHA256,
            SignatureScheme::ECDSA_NISTP256_SHA256,
        ];
        let old = [SignatureScheme::RSA_PKCS1_SHA256];
        for (name, offered, expected) in [
            ("a.example", &all[..], &ecdsa),
            ("A.Example", &old, &rsa),
            ("b.example", &all, &rsa),
            ("d.example", &all, &ecdsa),
            // Nothing better is there; rustls says so.
            ("d.example", &old, &ecdsa),
            ("c.other", &all, &other),
        ] {
            assert!(resolver.knows(name), "{name}");
            let found: Vec<_> = resolver.find(name).collect();
            assert!(Arc::ptr_eq(best(&found, offered).unwrap(), &expected.key), "{name}");
        }
        for name in ["example", "a.b.example", "other", "d.other", "", "."] {
            assert!(!resolver.knows(name), "{name}");
        }
        let default: Vec<_> = resolver.default.iter().collect();
        assert!(Arc::ptr_eq(best(&default, &all).unwrap(), &ecdsa.key));
        assert!(Arc::ptr_eq(best(&default, &old).unwrap(), &rsa.key));
        assert_eq!(default.len(), 2);
    }
}
