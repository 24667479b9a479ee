//! Certificates and keys: from PEM to what rustls signs with, and what a certificate says of itself.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, fs, io};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::config::Pem;

/// A PEM file larger than this is no certificate.
const PEM_BYTES_MAX: u64 = 1 << 20;

/// A certificate chain with its key, ready to serve.
#[derive(Clone, Debug)]
pub struct LoadedCertificate {
    /// The chain and the signing key, which match.
    pub key: Arc<CertifiedKey>,
    /// The DNS names it is for, in lower case; `*.example.com` stands for one label.
    pub names: Vec<String>,
    /// When it stops being valid, since 1970.
    pub not_after: Duration,
    /// What metrics call it: its file, or its first name.
    pub label: String,
}

/// Equal when the chains are: a key that fits the same certificate is the same key.
impl PartialEq for LoadedCertificate {
    fn eq(&self, other: &LoadedCertificate) -> bool {
        self.key.cert == other.key.cert
    }
}

/// Which of the two files is wrong, and how.
#[derive(Debug)]
pub struct CertificateError {
    /// Whether the key is at fault, not the chain.
    pub in_key: bool,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.message, self.remedy)
    }
}

/// Loads a chain and its key, and checks that they belong together.
///
/// # Errors
/// Which file is wrong, how, and what to do.
pub fn load(cert: &Pem, key: &Pem) -> Result<LoadedCertificate, CertificateError> {
    let chain = read_chain(cert)?;
    let (names, not_after) = facts(chain.first().ok_or_else(none_found)?)?;
    let key = PrivateKeyDer::from_pem_slice(&read(key, true)?).map_err(|error| match error {
        pem::Error::NoItemsFound => CertificateError {
            in_key: true,
            message: "no private key in this file".into(),
            remedy: "it must hold a PEM block that begins with -----BEGIN PRIVATE KEY----- (or RSA, or EC); \
                     an encrypted key must be decrypted first"
                .into(),
        },
        error => fault(true, "the private key is not valid PEM", &error),
    })?;
    let provider = aws_lc_rs::default_provider();
    let key = CertifiedKey::from_der(chain, key, &provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => CertificateError {
            in_key: true,
            message: "the private key does not belong to the certificate".into(),
            remedy: "name the key that the certificate was made with".into(),
        },
        error => fault(true, "the private key cannot be used", &error),
    })?;
    let label = match cert {
        Pem::File(path) => path.display().to_string(),
        Pem::Inline(_) => names.first().cloned().unwrap_or_default(),
    };
    Ok(LoadedCertificate { key: Arc::new(key), names, not_after, label })
}

/// The certificates of a PEM file, in their order, perhaps [none](none_found).
///
/// # Errors
/// How the file is wrong, and what to do.
pub(super) fn read_chain(pem: &Pem) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    CertificateDer::pem_slice_iter(&read(pem, false)?)
        .collect::<Result<Vec<_>, pem::Error>>()
        .map_err(|error| fault(false, "the certificate is not valid PEM", &error))
}

/// A file without certificates.
pub(super) fn none_found() -> CertificateError {
    CertificateError {
        in_key: false,
        message: "no certificate in this file".into(),
        remedy:
            "it must hold PEM blocks that begin with -----BEGIN CERTIFICATE-----, of a chain the leaf first"
                .into(),
    }
}

/// The DNS names and the expiry of a certificate.
fn facts(leaf: &CertificateDer<'_>) -> Result<(Vec<String>, Duration), CertificateError> {
    let (_, parsed) = X509Certificate::from_der(leaf)
        .map_err(|error| fault(false, "the certificate cannot be read", &error))?;
    let mut names = Vec::new();
    if let Ok(Some(extension)) = parsed.subject_alternative_name() {
        for name in &extension.value.general_names {
            if let GeneralName::DNSName(name) = name {
                names.push(name.to_ascii_lowercase());
            }
        }
    }
    let not_after = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
    Ok((names, Duration::from_secs(not_after)))
}

fn read(pem: &Pem, in_key: bool) -> Result<Vec<u8>, CertificateError> {
    match pem {
        Pem::Inline(text) => Ok(text.clone().into_bytes()),
        Pem::File(path) => {
            read_file(path, PEM_BYTES_MAX).map_err(|error| CertificateError { in_key, ..error })
        }
    }
}

/// A file of at most `bytes_max`.
///
/// # Errors
/// How it cannot be read, and what to do.
pub(super) fn read_file(path: &Path, bytes_max: u64) -> Result<Vec<u8>, CertificateError> {
    try_read(path, bytes_max).map_err(|error| CertificateError {
        in_key: false,
        message: format!("cannot read {}: {error}", path.display()),
        remedy: match error.kind() {
            io::ErrorKind::NotFound => "a relative path starts at the configuration file's directory".into(),
            io::ErrorKind::PermissionDenied => "let the user that runs longhaul read the file".into(),
            _ => "name a readable file of this kind".into(),
        },
    })
}

fn try_read(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let found = fs::metadata(path)?;
    // A pipe or a device might never end, or never begin.
    if !found.is_file() && !found.is_dir() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "this is no regular file"));
    }
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > bytes_max) {
        let message = format!("larger than {} MiB", bytes_max >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

pub(super) fn fault(in_key: bool, message: &str, error: &dyn fmt::Display) -> CertificateError {
    CertificateError {
        in_key,
        message: format!("{message}: {error}"),
        remedy: "name an unencrypted PEM file, as ACME clients and openssl write them".into(),
    }
}
