//! Certificates of clients: whose are believed (RFC 5280, with lists of what was revoked), and what one says of who
//! shows it.
//!
//! A resumed session brings its certificate along unverified. It is verified again: it may have expired since. Other
//! authorities or another list are other [`Rules`], under which no ticket of before is taken.

use std::io;
use std::sync::Arc;

use http::HeaderValue;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::HandshakeError;
use super::authorities::Authorities;
use super::certificate::{CertificateError, fault, read_file};
use super::names;
use crate::config::{ClientCertificateMode, Pem};

/// A file of revocation lists that is larger is none.
const CRL_BYTES_MAX: u64 = 16 << 20;

/// Whose certificates are believed, and whether one must be shown. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Clients {
    mode: ClientCertificateMode,
    rules: Rules,
    verifier: Arc<dyn ClientCertVerifier>,
}

/// Equal when the same is demanded.
impl PartialEq for Clients {
    fn eq(&self, other: &Clients) -> bool {
        self.rules == other.rules
    }
}

/// What a listener demands of clients, as a digest: of the mode, the authorities and the revocation lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rules([u8; 32]);

impl Rules {
    /// Nothing is asked for.
    pub const NONE: Rules = Rules([0; 32]);

    /// For another process, which makes the same rules of it.
    pub fn to_bytes(self) -> [u8; 32] {
        self.0
    }

    /// Those of another process.
    pub fn from_bytes(digest: [u8; 32]) -> Rules {
        Rules(digest)
    }

    pub(super) fn digest(&self) -> &[u8] {
        &self.0
    }
}

/// Lists of revoked certificates.
#[derive(Debug, Default)]
pub struct Revoked(Vec<CertificateRevocationListDer<'static>>);

impl Revoked {
    /// Those of a PEM file, at least one.
    ///
    /// # Errors
    /// How the file is wrong, and what to do.
    pub fn load(pem: &Pem) -> Result<Revoked, CertificateError> {
        let bytes = match pem {
            Pem::Inline(text) => text.clone().into_bytes(),
            Pem::File(path) => read_file(path, CRL_BYTES_MAX)?,
        };
        let lists = CertificateRevocationListDer::pem_slice_iter(&bytes)
            .collect::<Result<Vec<_>, pem::Error>>()
            .map_err(|error| fault(false, "the revocation list is not valid PEM", &error))?;
        if lists.is_empty() {
            return Err(CertificateError {
                in_key: false,
                message: "no revocation list in this file".into(),
                remedy: "it must hold PEM blocks that begin with -----BEGIN X509 CRL-----".into(),
            });
        }
        Ok(Revoked(lists))
    }
}

impl Clients {
    /// Clients of these authorities, but for those whose certificates are revoked. With a list, one of each authority
    /// in a client's chain must be there.
    ///
    /// # Errors
    /// When a list cannot be read.
    pub fn new(
        authorities: &Authorities,
        mode: ClientCertificateMode,
        revoked: Revoked,
    ) -> Result<Clients, CertificateError> {
        let rules = rules(authorities, mode, &revoked);
        let provider = Arc::new(aws_lc_rs::default_provider());
        let roots = authorities.roots().clone();
        let mut builder = WebPkiClientVerifier::builder_with_provider(roots, provider).with_crls(revoked.0);
        if mode == ClientCertificateMode::Optional {
            builder = builder.allow_unauthenticated();
        }
        let verifier = builder.build().map_err(|error| CertificateError {
            in_key: false,
            message: format!("the revocation list cannot be used: {error}"),
            remedy: "name a PEM file of X.509 revocation lists, version 2".into(),
        })?;
        Ok(Clients { mode, rules, verifier })
    }

    /// What they amount to.
    pub fn rules(&self) -> Rules {
        self.rules
    }

    pub(super) fn verifier(&self) -> &Arc<dyn ClientCertVerifier> {
        &self.verifier
    }

    /// Who shows this chain; `None` shows none.
    ///
    /// # Errors
    /// [`HandshakeError::ClientCertificate`] when the certificate is no longer believed, or cannot be named.
    pub(super) fn admit(
        &self,
        chain: Option<&[CertificateDer<'_>]>,
        resumed: bool,
    ) -> Result<Option<ClientCertificate>, HandshakeError> {
        let refused = |error: io::Error| HandshakeError::ClientCertificate(error);
        let Some((leaf, intermediates)) = chain.and_then(<[_]>::split_first) else {
            return match self.mode {
                ClientCertificateMode::Optional => Ok(None),
                ClientCertificateMode::Required => {
                    Err(refused(io::Error::other(rustls::Error::NoCertificatesPresented)))
                }
            };
        };
        if resumed {
            self.verifier
                .verify_client_cert(leaf, intermediates, UnixTime::now())
                .map_err(|error| refused(io::Error::other(error)))?;
        }
        let unnamed = || {
            refused(io::Error::other("the certificate's subject or names cannot be read, or are too long"))
        };
        ClientCertificate::read(leaf).ok_or_else(unnamed).map(Some)
    }
}

fn rules(authorities: &Authorities, mode: ClientCertificateMode, revoked: &Revoked) -> Rules {
    use ::aws_lc_rs::digest::{Context, SHA256};
    let mut parts: Vec<Vec<u8>> = Vec::new();
    for root in &authorities.roots().roots {
        let constraints = root.name_constraints.as_ref().map(|der| der.to_vec()).unwrap_or_default();
        parts.push(framed(&[b"authority", &root.subject, &root.subject_public_key_info, &constraints]));
    }
    parts.extend(revoked.0.iter().map(|list| framed(&[b"revoked", list])));
    // The order in a file means nothing, and may differ between machines.
    parts.sort();
    parts.dedup();
    let mode: &[u8] = match mode {
        ClientCertificateMode::Optional => b"optional",
        ClientCertificateMode::Required => b"required",
    };
    let mut digest = Context::new(&SHA256);
    digest.update(&framed(&[mode]));
    parts.iter().for_each(|part| digest.update(&framed(&[part])));
    let mut rules = [0; 32];
    rules.copy_from_slice(digest.finish().as_ref());
    Rules(rules)
}

/// Parts behind their lengths, so that no two sequences of them look alike.
fn framed(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

/// Who a client is, as its certificate says. Both texts are visible ASCII and spaces, and may be empty.
#[derive(Debug)]
pub struct ClientCertificate {
    /// The subject as RFC 4514 writes it.
    pub subject: HeaderValue,
    /// The subject alternative names: `DNS:a.example, URI:spiffe://b`.
    pub names: HeaderValue,
}

impl ClientCertificate {
    /// What a certificate says; `None` if that cannot be read, or is longer than a field should be.
    fn read(leaf: &CertificateDer<'_>) -> Option<ClientCertificate> {
        let (_, parsed) = X509Certificate::from_der(leaf).ok()?;
        let subject = names::subject(parsed.subject())?;
        let names = match parsed.subject_alternative_name().ok()? {
            Some(extension) => names::alternatives(&extension.value.general_names)?,
            None => String::new(),
        };
        Some(ClientCertificate {
            subject: HeaderValue::try_from(subject).ok()?,
            names: HeaderValue::try_from(names).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

    use super::*;

    fn authority() -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    fn issued(authority: &CertifiedIssuer<'static, KeyPair>, year: i32) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["alice.example".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        params.signed_by(&KeyPair::generate().unwrap(), authority).unwrap().der().clone()
    }

    fn clients(pems: &[String], mode: ClientCertificateMode) -> Clients {
        let authorities = Authorities::load(&Pem::Inline(pems.concat())).unwrap();
        Clients::new(&authorities, mode, Revoked::default()).unwrap()
    }

    /// rustls verifies only what is shown in a full handshake.
    #[test]
    fn the_certificate_of_a_resumed_session_is_verified_again() {
        let (ours, theirs) = (authority(), authority());
        let clients = clients(&[ours.pem()], ClientCertificateMode::Required);
        for (certificate, believed) in
            [(issued(&ours, 4000), true), (issued(&ours, 2001), false), (issued(&theirs, 4000), false)]
        {
            let chain = [certificate];
            let admitted = clients.admit(Some(&chain), true);
            assert_eq!(admitted.is_ok(), believed, "{admitted:?}");
            assert!(believed || matches!(admitted, Err(HandshakeError::ClientCertificate(_))));
        }
    }

    #[test]
    fn only_who_must_show_one_is_refused_without() {
        for (mode, admitted) in
            [(ClientCertificateMode::Optional, true), (ClientCertificateMode::Required, false)]
        {
            let clients = clients(&[authority().pem()], mode);
            assert_eq!(clients.admit(None, true).is_ok(), admitted);
            assert_eq!(clients.admit(Some(&[]), false).is_ok(), admitted);
        }
    }

    #[test]
    fn rules_are_told_apart_by_what_they_demand() {
        let (one, other) = (authority().pem(), authority().pem());
        let both = [one.clone(), other.clone()];
        let turned = [other.clone(), "a comment\n".to_owned(), one.clone(), other.clone()];
        let rules = |pems: &[String], mode| clients(pems, mode).rules();
        let required = ClientCertificateMode::Required;
        assert_eq!(rules(&both, required), rules(&turned, required));
        let all = [
            Rules::NONE,
            rules(std::slice::from_ref(&one), required),
            rules(&[one], ClientCertificateMode::Optional),
            rules(&[other], required),
            rules(&both, required),
        ];
        for (index, rules) in all.iter().enumerate() {
            assert!(!all[..index].contains(rules), "{index}");
        }
    }
}
