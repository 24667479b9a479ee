//! The way in: a file, or its text, becomes a [`Config`] or every problem it has.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::file::FileWords;
use super::reader::Reader;
use super::{Config, Place, Problems, Sources, check};

/// The largest file that is read: 16 MiB, about a hundred thousand routes.
pub const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

impl Config {
    /// Reads and checks a configuration file. Files that it names are not opened.
    ///
    /// # Errors
    /// Every problem of the file. One without a place when it cannot be read or is larger than
    /// [`FILE_BYTES_MAX`].
    pub fn load(path: &Path) -> Result<Self, Problems> {
        let name = path.display().to_string();
        let bytes = match read(path) {
            Ok(bytes) => bytes,
            Err(error) => {
                let remedy = match error.kind() {
                    io::ErrorKind::NotFound => "give the path of a configuration file",
                    io::ErrorKind::PermissionDenied => "let the user that longhaul runs as read it",
                    io::ErrorKind::IsADirectory => "give the path of a file in it",
                    _ => "give the path of a file that can be read",
                };
                return Err(unreadable(
                    &name,
                    "",
                    Place::default(),
                    format!("cannot read {name}: {error}"),
                    remedy,
                ));
            }
        };
        if u64::try_from(bytes.len()).is_ok_and(|length| length > FILE_BYTES_MAX) {
            let message = format!("{name} is larger than 16 MiB");
            let remedy = "give the path of a configuration file; larger ones are not read";
            return Err(unreadable(&name, "", Place::default(), message, remedy));
        }
        match String::from_utf8(bytes) {
            Ok(text) => Self::parse(&name, &text, &directory(path)),
            Err(error) => {
                // What precedes the first wrong byte is the same in the lossy text, so the place holds there,
                // too.
                let start = error.utf8_error().valid_up_to();
                let text = String::from_utf8_lossy(error.as_bytes());
                let place = Place { source: Some(0), span: start..start + 1 };
                let message = "this is not UTF-8".to_owned();
                Err(unreadable(&name, &text, place, message, "save the file as UTF-8"))
            }
        }
    }

    /// Checks the text of a configuration file. Problems show it under `name`; relative paths in it start at
    /// `base`.
    ///
    /// # Errors
    /// Every problem of the text.
    pub fn parse(name: &str, text: &str, base: &Path) -> Result<Self, Problems> {
        let mut reader = Reader::new(name, text);
        let words = reader.read::<FileWords>(text);
        let config = words.and_then(|words| check::check(words, base, &mut reader));
        match config {
            Some(config) if reader.problems().is_empty() => Ok(config),
            _ => Err(reader.into_problems()),
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The directory of a file, absolute as long as the working directory is known.
fn directory(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    path.parent().map(Path::to_owned).unwrap_or_default()
}

fn unreadable(name: &str, text: &str, place: Place, message: String, remedy: &str) -> Problems {
    let mut sources = Sources::default();
    sources.add(name, text);
    let mut problems = Problems::new(sources);
    problems.push(place, message, remedy);
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(path: &Path) -> (String, String, (usize, usize)) {
        let problems = Config::load(path).unwrap_err();
        assert_eq!(problems.len(), 1);
        let problem = problems.iter().next().unwrap();
        let place = problems.sources().line_column(&problem.place);
        (problem.message.clone(), problem.remedy.clone(), place)
    }

    #[test]
    fn files_that_cannot_be_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("none.toml");
        let (message, remedy, place) = problem(&path);
        assert!(message.starts_with(&format!("cannot read {}: ", path.display())), "{message}");
        assert_eq!(remedy, "give the path of a configuration file");
        assert_eq!(place, (0, 0));

        let (_, remedy, _) = problem(directory.path());
        assert_eq!(remedy, "give the path of a file in it");
    }

    #[test]
    fn a_file_that_is_not_utf_8() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("latin.toml");
        std::fs::write(&path, b"[server]\nworkers = \"\xe9\"\n").unwrap();
        let (message, remedy, place) = problem(&path);
        assert_eq!((message.as_str(), remedy.as_str()), ("this is not UTF-8", "save the file as UTF-8"));
        assert_eq!(place, (2, 12));
    }

    #[test]
    fn a_file_that_is_too_large() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("large.toml");
        File::create(&path).unwrap().set_len(FILE_BYTES_MAX + 1).unwrap();
        let (message, _, place) = problem(&path);
        assert_eq!(message, format!("{} is larger than 16 MiB", path.display()));
        assert_eq!(place, (0, 0));
    }

    #[test]
    fn relative_paths_start_at_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("longhaul.toml");
        let text = r#"
            listeners = [{ name = "a", address = "127.0.0.1:0", tls = { certificates = [CERTIFICATE] } }]
            routes = [{ name = "a", pool = "a" }]
            pools = { a = { backends = ["127.0.0.1:1"] } }
        "#;
        let text = text.replace("CERTIFICATE", r#"{ cert = "c.pem", key = "/k.pem" }"#);
        std::fs::write(&path, text).unwrap();
        let config = Config::load(&path).unwrap();
        let certificate = &config.listeners[0].tls.as_ref().unwrap().certificates[0];
        assert_eq!(certificate.cert.value, super::super::Pem::File(directory.path().join("c.pem")));
        assert_eq!(certificate.key.value, super::super::Pem::File("/k.pem".into()));
    }
}
