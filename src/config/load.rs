//! The way in: a file, or its text, becomes a [`Config`] or every problem it has.

use std::path::{Path, PathBuf};

use super::file::FileWords;
use super::include::{Main, include};
use super::reader::Reader;
use super::text::Unreadable;
use super::{Config, Place, Problems, check, text};

/// The largest file that is read: 16 MiB, about a hundred thousand routes.
pub const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// How much is read in all: the file and those it includes.
pub const FILES_BYTES_MAX: u64 = 64 * 1024 * 1024;
pub use super::include::INCLUDED_FILES_MAX;

impl Config {
    /// The same as far as routes go, with nothing that a certificate, a key or a secret in a file is needed for.
    pub fn without_secrets(mut self) -> Self {
        for listener in &mut self.listeners {
            listener.tls = None;
        }
        for pool in self.pools.values_mut() {
            pool.tls = None;
            if let Some(sticky) = &mut pool.sticky {
                sticky.keys = None;
            }
        }
        self
    }

    /// Reads and checks a configuration file and the files that it includes. Certificates and keys are not
    /// opened.
    ///
    /// # Errors
    /// Every problem of the files. One without a place when the main file cannot be read or is larger than
    /// [`FILE_BYTES_MAX`]. [`Problems::watched`] says which files are worth watching until then.
    pub fn load(path: &Path) -> Result<Self, Problems> {
        let name = path.display().to_string();
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let mut reader = Reader::default();
        reader.watched().files.insert(absolute.clone());
        match text::read(path) {
            Ok(text) => read(&name, &text, &directory(&absolute), reader),
            Err(unreadable) => {
                if !matches!(unreadable, Unreadable::NotUtf8(..)) {
                    reader.begin(&name, "", Path::new(""));
                }
                unreadable.report(&name, &Place::default(), &mut reader);
                Err(reader.into_problems())
            }
        }
    }

    /// Checks the text of a configuration file, and reads the files that it includes. Problems show it under `name`;
    /// relative paths in it start at `base`.
    ///
    /// # Errors
    /// Every problem of the text and of the files.
    pub fn parse(name: &str, text: &str, base: &Path) -> Result<Self, Problems> {
        read(name, text, base, Reader::default())
    }
}

fn read(name: &str, text: &str, base: &Path, mut reader: Reader) -> Result<Config, Problems> {
    let words = reader.read::<FileWords>(name, text, base);
    let config = words.and_then(|mut words| {
        include(&mut words, &Main { name, base, bytes: text.len() }, &mut reader);
        check::check(words, &mut reader)
    });
    match config {
        Some(config) if reader.problems().is_empty() => Ok(config),
        _ => Err(reader.into_problems()),
    }
}

fn directory(path: &Path) -> PathBuf {
    path.parent().map(Path::to_owned).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs::File;

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
