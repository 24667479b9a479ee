//! TLS of listeners: what is shown to clients, what is asked of them, and what the two may agree on.

use std::collections::BTreeSet;

use super::{all, pem, watched};
use crate::config::file::{CertificateWords, ClientCertificatesWords, TlsWords};
use crate::config::reader::{Found, Reader};
use crate::config::words::List;
use crate::config::{At, Certificate, Cipher, ClientCertificates, Tls, TlsVersion, defaults};

pub fn tls(words: TlsWords, reader: &mut Reader) -> Option<Tls> {
    let certificates = words.certificates.written().and_then(|list| {
        all(list.value.0.into_iter().map(|words| {
            let CertificateWords { cert, key } = words.value;
            let [cert, key] = [cert, key].map(|path| path.written().map(|path| pem(path, reader)));
            Some(Certificate { cert: cert?, key: key? })
        }))
    });
    let client_certificates = match words.client_certificates.optional() {
        Some(Some(words)) => client_certificates(words.value, reader).map(Some),
        Some(None) => Some(None),
        None => None,
    };
    let place = words.extended_connect.place().cloned();
    let http2 = words.http2.or(defaults::HTTP2);
    let extended_connect = words.extended_connect.or(defaults::EXTENDED_CONNECT);
    if let (Some(place), Some(false), Some(true)) = (place, http2, extended_connect) {
        let remedy = "remove `http2 = false`, or set extended_connect to false";
        reader.report(&place, "`extended_connect` needs HTTP/2, which is off", remedy);
    }
    let min_version = words.min_version.or(defaults::TLS_MIN_VERSION);
    let ciphers = ciphers(words.ciphers, min_version, reader);
    let ticket_keys = words.ticket_keys.optional().map(|path| path.map(|path| watched(path, reader)));
    Some(Tls {
        certificates: certificates?,
        unknown_name: words.unknown_name.or(defaults::UNKNOWN_NAME)?,
        client_certificates: client_certificates?,
        min_version: min_version?,
        http2: http2?,
        extended_connect: extended_connect?,
        ciphers: ciphers?,
        ticket_keys: ticket_keys?,
    })
}

fn client_certificates(words: ClientCertificatesWords, reader: &mut Reader) -> Option<ClientCertificates> {
    let ca = words.ca.written().map(|path| pem(path, reader));
    let crl = words.crl.optional().map(|path| path.map(|path| pem(path, reader)));
    Some(ClientCertificates { ca: ca?, mode: words.mode.or(defaults::CLIENT_CERTIFICATE_MODE)?, crl: crl? })
}

fn ciphers(
    words: Found<List<Cipher, 1>>,
    min_version: Option<TlsVersion>,
    reader: &mut Reader,
) -> Option<Option<BTreeSet<Cipher>>> {
    let Some(At { value: List(entries), place }) = words.optional()? else {
        return Some(None);
    };
    let mut ciphers = BTreeSet::new();
    for entry in &entries {
        if !ciphers.insert(entry.value) {
            reader.report(&entry.place, "this cipher suite is there twice", "keep one of them");
        }
    }
    let usable = |cipher: &Cipher| cipher.is_of_tls13() || min_version == Some(TlsVersion::V1_2);
    // An entry that is wrong may have been meant to be one.
    if !entries.is_empty() && min_version.is_some() && !ciphers.iter().any(usable) {
        let remedy = "add one whose name begins with TLS13_, or write min_version = \"1.2\"";
        reader.report_missing(&place, "none of these is of TLS 1.3, and min_version is \"1.3\"", remedy);
    }
    Some(Some(ciphers))
}
