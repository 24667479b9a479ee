//! Files as text: bounded, UTF-8, and an explanation when they are neither.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use super::Place;
use super::load::FILE_BYTES_MAX;
use super::reader::Reader;

/// Why a file has no text.
#[derive(Debug)]
pub(super) enum Unreadable {
    /// The system refused.
    Io(io::Error),
    /// It is a pipe, a socket or a device, which might never end.
    NotAFile,
    /// Larger than [`FILE_BYTES_MAX`].
    TooLarge,
    /// Its text with replacements, and the byte where it ceases to be UTF-8.
    NotUtf8(String, usize),
}

/// The text of a file. Blocks on a pipe until it ends.
pub(super) fn read(path: &Path) -> Result<String, Unreadable> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(Unreadable::Io)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(Unreadable::Io)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > FILE_BYTES_MAX) {
        return Err(Unreadable::TooLarge);
    }
    String::from_utf8(bytes).map_err(|error| {
        // What precedes the first wrong byte is the same in the lossy text, so the place holds there, too.
        let start = error.utf8_error().valid_up_to();
        Unreadable::NotUtf8(String::from_utf8_lossy(error.as_bytes()).into_owned(), start)
    })
}

/// The text of a regular file, or of what a link to one leads to.
pub(super) fn read_regular(path: &Path) -> Result<String, Unreadable> {
    let found = fs::metadata(path).map_err(Unreadable::Io)?;
    // A directory is refused in better words when it is read.
    if !found.is_file() && !found.is_dir() {
        return Err(Unreadable::NotAFile);
    }
    read(path)
}

impl Unreadable {
    /// Says so: in the file if it can be shown, else at `place`.
    pub fn report(self, name: &str, place: &Place, reader: &mut Reader) {
        self.report_as("a configuration file", name, place, reader);
    }

    /// The same of something that should be `wanted`.
    pub fn report_as(self, wanted: &str, name: &str, place: &Place, reader: &mut Reader) {
        reader.set_incomplete();
        let give = format!("give the path of {wanted}");
        let (message, remedy) = match self {
            Self::NotUtf8(text, start) => {
                reader.begin(name, &text, Path::new(""));
                let place = reader.place(start..start + 1);
                return reader.report(&place, "this is not UTF-8", "save the file as UTF-8");
            }
            Self::TooLarge => {
                (format!("{name} is larger than 16 MiB"), format!("{give}; larger ones are not read"))
            }
            Self::NotAFile => (format!("cannot read {name}: not a file"), give),
            Self::Io(error) => {
                let remedy = match error.kind() {
                    io::ErrorKind::NotFound => give,
                    io::ErrorKind::PermissionDenied => "let the user that longhaul runs as read it".into(),
                    io::ErrorKind::IsADirectory => "give the path of a file in it".into(),
                    _ => "give the path of a file that can be read".into(),
                };
                (format!("cannot read {name}: {error}"), remedy)
            }
        };
        reader.report(place, message, remedy);
    }
}
