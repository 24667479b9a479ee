//! Certificates made by the test: an authority of its own, and what it has signed.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DistinguishedName,
    DnType, IsCa, KeyIdMethod, KeyPair, PKCS_RSA_SHA256, RevokedCertParams, date_time_ymd,
};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;

/// An authority, and a folder for what it signs.
pub struct Pki {
    folder: TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, in files.
pub struct Issued {
    /// The chain, as PEM.
    pub cert: PathBuf,
    /// The key, as PEM.
    pub key: PathBuf,
    /// The leaf, as DER.
    pub der: Vec<u8>,
}

impl Pki {
    /// A new authority.
    pub fn new() -> Pki {
        let mut params = CertificateParams::new(Vec::new()).expect("valid parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // OpenSSL takes a leaf of the same name for its own issuer, and of two authorities of one name the wrong one would
        // be refused in other words.
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("authority {}", NUMBER.fetch_add(1, Relaxed));
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let authority = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        Pki { folder: tempfile::tempdir().expect("a folder"), authority }
    }

    /// Signs a certificate for `names`; the first names the files.
    pub fn issue(&self, names: &[&str]) -> Issued {
        self.issue_with(names, |_| {})
    }

    /// The same, with a key for RSA.
    pub fn issue_rsa(&self, names: &[&str]) -> Issued {
        let key = KeyPair::generate_for(&PKCS_RSA_SHA256).expect("a key");
        self.sign(names, &format!("rsa-{}", names[0]), &key, |_| {})
    }

    /// The same, with parameters that the test changes.
    pub fn issue_with(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Issued {
        let key = KeyPair::generate().expect("a key");
        self.sign(names, names[0], &key, change)
    }

    /// Signs a client's certificate with this common name and number.
    pub fn issue_client(&self, name: &str, number: u64) -> Issued {
        self.issue_with(&[name], |params| {
            params.distinguished_name = DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, name);
            params.serial_number = Some(number.into());
        })
    }

    /// A revocation list of certificates with these numbers, in a PEM file.
    pub fn revoke(&self, numbers: &[u64]) -> PathBuf {
        let revoked = numbers.iter().map(|number| RevokedCertParams {
            serial_number: (*number).into(),
            revocation_time: date_time_ymd(2026, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 1, 1),
            next_update: date_time_ymd(2026, 1, 2),
            crl_number: 1.into(),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let path = self.path().join("revoked.pem");
        let list = list.signed_by(&self.authority).expect("a list").pem().expect("PEM");
        std::fs::write(&path, list).expect("a writable folder");
        path
    }

    fn sign(
        &self,
        names: &[&str],
        file: &str,
        key: &KeyPair,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Issued {
        let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        let file = file.replace('*', "any");
        let mut params = CertificateParams::new(names).expect("valid names");
        change(&mut params);
        let leaf = params.signed_by(key, &self.authority).expect("a certificate");
        let (cert_path, key_path) =
            (self.path().join(format!("{file}.pem")), self.path().join(format!("{file}.key")));
        std::fs::write(&cert_path, leaf.pem()).expect("a writable folder");
        std::fs::write(&key_path, key.serialize_pem()).expect("a writable folder");
        Issued { cert: cert_path, key: key_path, der: leaf.der().to_vec() }
    }

    /// Trusts this authority alone.
    pub fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(self.authority.der().to_vec())).expect("an authority");
        roots
    }

    /// The authority's certificate, in a PEM file.
    pub fn authority_file(&self) -> PathBuf {
        let path = self.path().join("authority.pem");
        // Somebody may be reading it.
        if !path.exists() {
            std::fs::write(&path, self.authority.pem()).expect("a writable folder");
        }
        path
    }

    /// Where the files are.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Issued {
    /// The pair as an entry of `certificates`.
    pub fn entry(&self) -> String {
        format!("{{ cert = \"{}\", key = \"{}\" }}", self.cert.display(), self.key.display())
    }
}
