//! Fields that tell a backend which certificate the client has shown.
//!
//! Whoever reads them believes them, so they are removed from every request before they are written: on listeners that
//! ask for no certificate, too, since a route serves all listeners, and from trusted networks, since a proxy that does
//! not know them passes on what anybody wrote.

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

/// The subject of the certificate, as RFC 4514 writes it.
pub const SUBJECT: HeaderName = HeaderName::from_static("x-client-certificate-subject");
/// Its subject alternative names.
pub const NAMES: HeaderName = HeaderName::from_static("x-client-certificate-names");

/// Removes what a client wrote under these names, or under what CGI-like backends would take for them
/// (`X_Client_Certificate_Subject`); then writes `subject` and `names`, if the client has shown a certificate.
pub fn write(headers: &mut HeaderMap, shown: Option<(&HeaderValue, &HeaderValue)>) {
    let theirs: Vec<_> = headers.keys().filter(|name| is_ours(name)).cloned().collect();
    for name in theirs {
        headers.remove(name);
    }
    if let Some((subject, names)) = shown {
        headers.insert(SUBJECT, subject.clone());
        headers.insert(NAMES, names.clone());
    }
}

/// Whether `name` is one of these, or an alias of one.
pub(super) fn is_ours(name: &HeaderName) -> bool {
    [SUBJECT, NAMES].iter().any(|own| is_alias(name.as_str(), own.as_str()))
}

/// Whether a name is `own`, with or without underscores for its hyphens.
fn is_alias(name: &str, own: &str) -> bool {
    let plain = |byte: u8| if byte == b'_' { b'-' } else { byte };
    name.len() == own.len() && name.bytes().map(plain).eq(own.bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_writes_under_these_names_goes() {
        for name in [
            "X-Client-Certificate-Subject",
            "x_client_certificate_subject",
            "X-Client_Certificate-Names",
            "X_CLIENT_CERTIFICATE_NAMES",
        ] {
            let mut headers = HeaderMap::new();
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(&name, HeaderValue::from_static("CN=admin"));
            headers.append(&name, HeaderValue::from_static("CN=root"));
            headers.append("x-client-certificate", HeaderValue::from_static("kept"));
            let mut shown = headers.clone();
            write(&mut headers, None);
            assert_eq!(headers.len(), 1, "{name}");
            let (subject, names) = (HeaderValue::from_static("CN=alice"), HeaderValue::from_static(""));
            write(&mut shown, Some((&subject, &names)));
            assert_eq!(shown.get_all(SUBJECT).iter().collect::<Vec<_>>(), ["CN=alice"]);
            assert_eq!(shown.get_all(NAMES).iter().collect::<Vec<_>>(), [""]);
            assert_eq!(shown.len(), 3, "{name}");
        }
    }
}
