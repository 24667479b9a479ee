//! `include`: the files that a pattern names, and what they add.
//!
//! An included file holds listeners, routes and pools, nothing else: what the process does, and which files
//! there are, is said in one place. Names and references hold across all files.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::file::{FileWords, IncludedWords};
use super::load::FILES_BYTES_MAX;
use super::problem::shown;
use super::reader::{Elsewhere, Found, Reader};
use super::syntax::FilePath;
use super::watched::{has_wildcard, matching_files};
use super::{At, text};

/// How many files may be included, and how many entries `include` may have.
pub const INCLUDED_FILES_MAX: usize = 1_000;

/// The file that includes.
pub(super) struct Main<'a> {
    /// As problems show it.
    pub name: &'a str,
    /// Its directory.
    pub base: &'a Path,
    /// The length of its text.
    pub bytes: usize,
}

/// Adds to the words of the main file those of the files that it includes. What is wrong is reported.
pub(super) fn include(words: &mut FileWords, main: &Main<'_>, reader: &mut Reader) {
    let entries = match &words.include {
        Found::Absent => return,
        Found::Wrong => return reader.set_incomplete(),
        Found::Written(list) => list.value.0.clone(),
    };
    let mut bytes = main.bytes;
    for At { value: path, place } in files(entries, main, reader) {
        let name = shown_path(&path, main);
        let text = match text::read_regular(&path) {
            Ok(text) => text,
            Err(unreadable) => {
                unreadable.report(&name, &place, reader);
                continue;
            }
        };
        bytes = bytes.saturating_add(text.len());
        if u64::try_from(bytes).is_ok_and(|bytes| bytes > FILES_BYTES_MAX) {
            reader.set_incomplete();
            let message = "the files are larger than 64 MiB in all";
            return reader.report(&place, message, "include fewer files; more is not read");
        }
        let elsewhere = Elsewhere { keys: FileWords::KEYS, remedy: format!("move it to {}", main.name) };
        let base = path.parent().unwrap_or(main.base);
        match reader.read_part::<IncludedWords>(&name, &text, base, elsewhere) {
            Some(part) => add(words, part),
            None => reader.set_incomplete(),
        }
    }
}

/// Each file once, with the entry that names it.
fn files(entries: Vec<At<FilePath>>, main: &Main<'_>, reader: &mut Reader) -> Vec<At<PathBuf>> {
    let mut known = BTreeSet::new();
    let mut files = Vec::new();
    let main_path = Path::new(main.name).file_name().map(|name| main.base.join(name));
    for (index, At { value: FilePath(written), place }) in entries.into_iter().enumerate() {
        let pattern = main.base.join(&written);
        let matched = match index {
            INCLUDED_FILES_MAX.. => Err(too_many()),
            _ => matched(&pattern, &written),
        };
        let found = match matched {
            Ok(found) => found,
            Err((message, remedy)) => {
                reader.set_incomplete();
                reader.report(&place, message, remedy);
                continue;
            }
        };
        if has_wildcard(&pattern) {
            reader.watched().patterns.insert(pattern);
        }
        for path in found {
            if main_path.as_ref() == Some(&path) {
                let message = format!("\"{}\" includes this file itself", shown(&written));
                let remedy = "keep included files in a directory of their own, such as \"routes/*.toml\"";
                reader.report(&place, message, remedy);
            } else if known.insert(path.clone()) {
                if files.len() == INCLUDED_FILES_MAX {
                    let (message, remedy) = too_many();
                    reader.set_incomplete();
                    reader.report(&place, message, remedy);
                    return files;
                }
                reader.watched().files.insert(path.clone());
                files.push(At { value: path, place: place.clone() });
            }
        }
    }
    files
}

fn too_many() -> (String, String) {
    let message = format!("this includes more than {INCLUDED_FILES_MAX} files");
    (message, "put several routes into one file".to_owned())
}

/// The files that an entry names, or what is wrong with it and what to do.
fn matched(pattern: &Path, written: &str) -> Result<Vec<PathBuf>, (String, String)> {
    let wild = |part: &OsStr| has_wildcard(Path::new(part));
    if Path::new(written).parent().is_some_and(|directory| directory.iter().any(wild)) {
        let message = format!("\"{}\" has a wildcard before its last /", shown(written));
        return Err((message, "write one entry for each directory, such as \"routes/*.toml\"".to_owned()));
    }
    if !has_wildcard(pattern) {
        return Ok(vec![pattern.to_owned()]);
    }
    matching_files(pattern, INCLUDED_FILES_MAX + 1).map_err(|error| {
        let message = format!("cannot list the files of \"{}\": {error}", shown(written));
        (message, "let the user that longhaul runs as read the directory".to_owned())
    })
}

/// A file as problems show it: as the operator would write it, beside the name of the main file.
fn shown_path(path: &Path, main: &Main<'_>) -> String {
    let below = path.strip_prefix(main.base).unwrap_or(path);
    let beside = Path::new(main.name).parent().unwrap_or(Path::new(""));
    beside.join(below).display().to_string()
}

fn add(words: &mut FileWords, part: IncludedWords) {
    let IncludedWords { listeners, routes, pools } = part;
    words.listeners = std::mem::take(&mut words.listeners).and(listeners, |all, more| all.0.extend(more.0));
    words.routes = std::mem::take(&mut words.routes).and(routes, |all, more| all.0.extend(more.0));
    words.pools = std::mem::take(&mut words.pools).and(pools, |all, more| all.0.extend(more.0));
}
