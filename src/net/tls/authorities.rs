//! Whose certificates are believed: authorities from a PEM file, or those that the system trusts.

use std::sync::Arc;

use rustls::RootCertStore;

use super::certificate::{CertificateError, none_found, read_chain};
use crate::config::Pem;

/// Authorities, at least one. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Authorities(Arc<RootCertStore>);

/// Equal when the same keys are believed under the same names.
impl PartialEq for Authorities {
    fn eq(&self, other: &Authorities) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.roots == other.0.roots
    }
}

impl Authorities {
    /// Those of a PEM file.
    ///
    /// # Errors
    /// How the file is wrong, and what to do.
    pub fn load(pem: &Pem) -> Result<Authorities, CertificateError> {
        let mut roots = RootCertStore::empty();
        for certificate in read_chain(pem)? {
            roots.add(certificate).map_err(|error| CertificateError {
                in_key: false,
                message: format!("a certificate in this file cannot be an authority: {error}"),
                remedy: "it must hold certificates of authorities (X.509 version 3) and no others".into(),
            })?;
        }
        if roots.is_empty() {
            return Err(none_found());
        }
        Ok(Authorities(Arc::new(roots)))
    }

    /// Those that the system trusts, or the environment (`SSL_CERT_FILE`, `SSL_CERT_DIR`). Reads a few hundred files or
    /// one large one.
    ///
    /// # Errors
    /// When there are none, and what to do.
    pub fn of_system() -> Result<Authorities, CertificateError> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        // Some of a system's may be too old to be read; the others do.
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let why = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
            return Err(CertificateError {
                in_key: false,
                message: format!("no authorities are known that this system trusts{why}"),
                remedy: "install the package ca-certificates, or name a PEM file of authorities as `ca`"
                    .into(),
            });
        }
        Ok(Authorities(Arc::new(roots)))
    }

    /// As rustls has them.
    pub(super) fn roots(&self) -> &Arc<RootCertStore> {
        &self.0
    }
}
