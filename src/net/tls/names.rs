//! What a certificate calls its owner, as text that fits in a header field: nothing in it can be taken for something
//! else, whatever an authority let a client write there.

use std::fmt::Write;
use std::net::IpAddr;

use x509_parser::asn1_rs::{Any, Tag, ToDer};
use x509_parser::extensions::GeneralName;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// The longest subject, and the longest list of names, in bytes of text.
pub const TEXT_BYTES_MAX: usize = 4 * 1024;

/// The subject as RFC 4514 writes it, most specific part first: `CN=alice,OU=staff,O=Example`. Whatever is not visible
/// ASCII is `\` and two hexadecimal digits a byte. `None` if it cannot be read or is too long.
pub fn subject(name: &X509Name<'_>) -> Option<String> {
    let parts: Vec<_> = name.iter_rdn().collect();
    let mut text = String::new();
    for (index, part) in parts.into_iter().rev().enumerate() {
        for (inner, attribute) in part.iter().enumerate() {
            match (index, inner) {
                (0, 0) => {}
                (_, 0) => text.push(','),
                _ => text.push('+'),
            }
            write_attribute(&mut text, attribute)?;
        }
        if text.len() > TEXT_BYTES_MAX {
            return None;
        }
    }
    Some(text)
}

/// RFC 4514 2.3 and 2.4.
fn write_attribute(text: &mut String, attribute: &AttributeTypeAndValue<'_>) -> Option<()> {
    let oid = attribute.attr_type().to_id_string();
    let short = match oid.as_str() {
        "2.5.4.3" => "CN",
        "2.5.4.5" => "serialNumber",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "STREET",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        "1.2.840.113549.1.9.1" => "emailAddress",
        other => other,
    };
    text.push_str(short);
    text.push('=');
    match plain(attribute.attr_value()).filter(|_| short != oid) {
        Some(value) => write_escaped(text, value),
        None => {
            text.push('#');
            for byte in attribute.attr_value().to_der_vec().ok()? {
                let _ = write!(text, "{byte:02x}");
            }
        }
    }
    Some(())
}

/// The text of a value whose kind is a subset of UTF-8.
fn plain<'a>(value: &Any<'a>) -> Option<&'a str> {
    let is_text = matches!(
        value.tag(),
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::NumericString | Tag::VisibleString
    );
    is_text.then(|| std::str::from_utf8(value.data).ok()).flatten()
}

fn write_escaped(text: &mut String, value: &str) {
    let last = value.len().saturating_sub(1);
    for (index, byte) in value.bytes().enumerate() {
        let _ = match byte {
            b'"' | b'+' | b',' | b';' | b'<' | b'>' | b'\\' => write!(text, "\\{}", char::from(byte)),
            b'#' if index == 0 => write!(text, "\\#"),
            b' ' if index == 0 || index == last => write!(text, "\\ "),
            b' '..=b'~' => write!(text, "{}", char::from(byte)),
            _ => write!(text, "\\{byte:02x}"),
        };
    }
}

/// The subject alternative names that are for reading (RFC 5280 4.2.1.6): `DNS:a.example, email:b@a.example,
/// URI:spiffe://c, IP:192.0.2.1`. In a name, what is not visible ASCII is percent-encoded, and so are `,`, `"`, `%` and
/// `\`. `None` if they are too long.
pub fn alternatives(names: &[GeneralName<'_>]) -> Option<String> {
    let mut text = String::new();
    for name in names {
        let (kind, value) = match name {
            GeneralName::DNSName(value) => ("DNS", *value),
            GeneralName::RFC822Name(value) => ("email", *value),
            GeneralName::URI(value) => ("URI", *value),
            GeneralName::IPAddress(bytes) => {
                let Some(address) = address(bytes) else { continue };
                write_alternative(&mut text, "IP", &address.to_string());
                continue;
            }
            _ => continue,
        };
        write_alternative(&mut text, kind, value);
        if text.len() > TEXT_BYTES_MAX {
            return None;
        }
    }
    (text.len() <= TEXT_BYTES_MAX).then_some(text)
}

fn write_alternative(text: &mut String, kind: &str, value: &str) {
    let separator = if text.is_empty() { "" } else { ", " };
    let _ = write!(text, "{separator}{kind}:");
    for byte in value.bytes() {
        let _ = match byte {
            b',' | b'"' | b'%' | b'\\' => write!(text, "%{byte:02X}"),
            b'!'..=b'~' => write!(text, "{}", char::from(byte)),
            _ => write!(text, "%{byte:02X}"),
        };
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
    let v6 = || <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from);
    v4().or_else(v6)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};
    use x509_parser::certificate::X509Certificate;
    use x509_parser::prelude::FromDer;

    use super::*;

    fn texts(change: impl FnOnce(&mut CertificateParams)) -> (Option<String>, Option<String>) {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let (_, parsed) = X509Certificate::from_der(certificate.der()).unwrap();
        let extension = parsed.subject_alternative_name().unwrap();
        let names = extension.map_or(&[][..], |extension| &extension.value.general_names);
        (subject(parsed.subject()), alternatives(names))
    }

    #[test]
    fn subjects_are_written_as_rfc_4514_says() {
        let subject = |pairs: &[(DnType, &str)]| {
            texts(|params| {
                for (kind, value) in pairs {
                    params.distinguished_name.push(kind.clone(), *value);
                }
            })
            .0
            .unwrap()
        };
        assert_eq!(subject(&[]), "");
        let pairs = [
            (DnType::CountryName, "NZ"),
            (DnType::OrganizationName, "A, B+C"),
            (DnType::CommonName, "alice"),
        ];
        assert_eq!(subject(&pairs), r"CN=alice,O=A\, B\+C,C=NZ");
        for (value, written) in [
            ("alice,O=Admins", r"alice\,O=Admins"),
            (" #a ", r"\ #a\ "),
            ("#a", r"\#a"),
            ("a\\\"b", r#"a\\\"b"#),
            ("Zoë\r\nX: y\u{0}", r"Zo\c3\ab\0d\0aX: y\00"),
        ] {
            assert_eq!(subject(&[(DnType::CommonName, value)]), format!("CN={written}"));
        }
        let own = DnType::CustomDnType(vec![1, 2, 3]);
        assert_eq!(subject(&[(own, "a")]), "1.2.3=#0c0161");
    }

    #[test]
    fn alternative_names_cannot_pretend_to_be_several() {
        let (_, names) = texts(|params| {
            params.subject_alt_names = vec![
                SanType::DnsName("a.example".try_into().unwrap()),
                SanType::Rfc822Name("b@a.example".try_into().unwrap()),
                SanType::URI("spiffe://c, DNS:admin%\"\\".try_into().unwrap()),
                SanType::IpAddress("192.0.2.1".parse().unwrap()),
                SanType::IpAddress("2001:db8::1".parse().unwrap()),
            ];
        });
        let expected = "DNS:a.example, email:b@a.example, URI:spiffe://c%2C%20DNS:admin%25%22%5C, IP:192.0.2.1, \
                        IP:2001:db8::1";
        assert_eq!(names.as_deref(), Some(expected));
    }

    #[test]
    fn what_is_too_long_has_no_text() {
        for (length, fits) in [(TEXT_BYTES_MAX - 100, true), (TEXT_BYTES_MAX + 1, false)] {
            let long = "a".repeat(length);
            let (subject, names) = texts(|params| {
                params.distinguished_name.push(DnType::CommonName, long.clone());
                params.subject_alt_names = vec![SanType::URI(long.as_str().try_into().unwrap())];
            });
            assert_eq!((subject.is_some(), names.is_some()), (fits, fits), "{length}");
        }
    }

    proptest! {
        #[test]
        fn texts_are_visible_and_tell_values_apart(one in ".{0,20}", other in ".{0,20}") {
            let written = |value: &str| {
                let mut text = String::new();
                write_escaped(&mut text, value);
                write_alternative(&mut text, "URI", value);
                text
            };
            prop_assert!(written(&one).bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            prop_assert_eq!(written(&one) == written(&other), one == other);
        }
    }
}
