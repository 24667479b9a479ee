//! Files of secrets that several machines share: one a line, so that a new one can be added before the old one goes.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::certificate::{CertificateError, fault, read_file};
use super::random;

/// Secrets in a file.
const SECRETS_MAX: usize = 16;
/// Of each secret.
pub const SECRET_BYTES: usize = 48;
/// A file that is larger holds something else.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// At least one secret; the first is for what is made, all are for what comes back. Cheap to clone.
#[derive(Clone, PartialEq)]
pub struct Secrets(Arc<[[u8; SECRET_BYTES]]>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} secrets", self.0.len())
    }
}

impl Secrets {
    /// Those of a text file: one a line, 48 bytes in base64; empty lines and those that begin with `#` are none.
    ///
    /// # Errors
    /// How the file is wrong, and what to do. What stands in it is never shown.
    pub fn load(path: &Path) -> Result<Secrets, CertificateError> {
        Secrets::parse(&read_file(path, FILE_BYTES_MAX)?)
    }

    /// One that nobody else knows; `None` when the cryptography provider has no randomness.
    pub fn random() -> Option<Secrets> {
        Some(Secrets([random()?].into()))
    }

    /// This one alone.
    pub fn one(secret: [u8; SECRET_BYTES]) -> Secrets {
        Secrets([secret].into())
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &[u8; SECRET_BYTES]> {
        self.0.iter()
    }

    fn parse(bytes: &[u8]) -> Result<Secrets, CertificateError> {
        const REMEDY: &str =
            "write one secret a line, 48 bytes in base64, as `openssl rand -base64 48` makes them";
        let wrong = |message: String| CertificateError { in_key: false, message, remedy: REMEDY.into() };
        let text = std::str::from_utf8(bytes).map_err(|error| fault(false, "this is not text", &error));
        let text = text.map_err(|error| wrong(error.message))?;
        let mut secrets = Vec::new();
        for (index, line) in text.lines().map(str::trim).enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let secret =
                STANDARD.decode(line).ok().and_then(|bytes| <[u8; SECRET_BYTES]>::try_from(bytes).ok());
            let Some(secret) = secret else {
                return Err(wrong(format!("line {} of this file is no secret", index + 1)));
            };
            secrets.push(secret);
        }
        match secrets.len() {
            0 => Err(wrong("no secret in this file".into())),
            1..=SECRETS_MAX => Ok(Secrets(secrets.into())),
            _ => Err(wrong(format!("more than {SECRETS_MAX} secrets in this file"))),
        }
    }
}

#[cfg(test)]
impl FromIterator<[u8; SECRET_BYTES]> for Secrets {
    fn from_iter<T: IntoIterator<Item = [u8; SECRET_BYTES]>>(secrets: T) -> Secrets {
        Secrets(secrets.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(byte: u8) -> String {
        STANDARD.encode([byte; SECRET_BYTES])
    }

    #[test]
    fn files_of_secrets() {
        let good = format!("# since Monday\n{}\n\n  {}\r\n", line(1), line(2));
        assert_eq!(Secrets::parse(good.as_bytes()).unwrap().iter().count(), 2);
        let many = (0..17).map(line).collect::<Vec<_>>().join("\n");
        for (text, message) in [
            ("", "no secret in this file"),
            ("# nothing\n", "no secret in this file"),
            ("secret\n", "line 1 of this file is no secret"),
            (&format!("{}\nAAAA\n", line(1)), "line 2 of this file is no secret"),
            (&many, "more than 16 secrets in this file"),
        ] {
            assert_eq!(Secrets::parse(text.as_bytes()).unwrap_err().message, message);
        }
        assert!(Secrets::parse(&[0xff; 48]).unwrap_err().message.starts_with("this is not text"));
        assert_eq!(format!("{:?}", Secrets::parse(good.as_bytes()).unwrap()), "2 secrets");
    }
}
