//! What a configuration was made of: the files to watch, and the patterns that may match others tomorrow.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// The files behind a configuration. All paths are absolute, as long as the working directory was known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    /// The main file, those it included, certificates and keys; whether they exist or not.
    pub files: BTreeSet<PathBuf>,
    /// The entries of `include` that have wildcards: paths whose last part is a pattern ([`matches_name`]).
    pub patterns: BTreeSet<PathBuf>,
}

impl Watched {
    /// Watches what `other` does, too.
    pub fn extend(&mut self, other: &Watched) {
        self.files.extend(other.files.iter().cloned());
        self.patterns.extend(other.patterns.iter().cloned());
    }

    /// The files, and those that the patterns match now, at most `max` a pattern. A directory that cannot be listed
    /// counts as empty.
    pub fn files_now(&self, max: usize) -> BTreeSet<PathBuf> {
        let found = self.patterns.iter().flat_map(|pattern| matching_files(pattern, max).unwrap_or_default());
        self.files.iter().cloned().chain(found).collect()
    }
}

/// Whether the last part of a path has a wildcard, `*` or `?`.
pub(super) fn has_wildcard(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.as_encoded_bytes().iter().any(|byte| matches!(byte, b'*' | b'?')))
}

/// The files in a pattern's directory that match it, at most `max`, in the order of their names. A directory
/// that does not exist holds none.
///
/// # Errors
/// The directory cannot be listed.
pub(super) fn matching_files(pattern: &Path, max: usize) -> io::Result<Vec<PathBuf>> {
    let (Some(directory), Some(pattern)) = (pattern.parent(), pattern.file_name()) else {
        return Ok(Vec::new());
    };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let path = directory.join(&name);
        // What leads nowhere is kept: whoever reads it says so.
        if matches_name(pattern, &name) && fs::metadata(&path).map_or(true, |found| found.is_file()) {
            files.push(path);
        }
        if files.len() == max {
            break;
        }
    }
    files.sort();
    Ok(files)
}

/// Whether a file's name matches a pattern, where `*` is any characters, also none, and `?` is one. A name that begins
/// with a dot matches only a pattern that does: editors and volume mounts leave such files behind.
pub fn matches_name(pattern: &OsStr, name: &OsStr) -> bool {
    let pattern: Vec<char> = pattern.to_string_lossy().chars().collect();
    let name: Vec<char> = name.to_string_lossy().chars().collect();
    if name.first() == Some(&'.') && pattern.first() != Some(&'.') {
        return false;
    }
    let (mut at, mut wanted) = (0, 0);
    // Where to go on when a `*` must take one character more: only the last `*` can have to.
    let mut retry = None;
    while let Some(char) = name.get(at) {
        match pattern.get(wanted) {
            Some('*') => {
                retry = Some((at, wanted));
                wanted += 1;
            }
            Some(expected) if *expected == '?' || expected == char => {
                at += 1;
                wanted += 1;
            }
            _ => {
                let Some((taken, star)) = retry else { return false };
                retry = Some((taken + 1, star));
                (at, wanted) = (taken + 1, star + 1);
            }
        }
    }
    pattern.iter().skip(wanted).all(|rest| *rest == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_names() {
        for (pattern, yes, no) in [
            ("*.toml", &["a.toml", "a.b.toml"][..], &["a.tom", "a.toml~", ".a.toml", ".toml", ""][..]),
            ("*", &["a", "a.b"], &[".a", "..data"]),
            (".*", &[".a", "..data"], &["a"]),
            ("a?c", &["abc", "aµc"], &["ac", "abbc"]),
            ("a*b*c", &["abc", "axbxc", "abbcbc"], &["ab", "abcx", "acb"]),
            ("**a", &["a", "ba"], &["b"]),
            ("a.toml", &["a.toml"], &["atoml", "ba.toml"]),
        ] {
            for name in yes {
                assert!(matches_name(OsStr::new(pattern), OsStr::new(name)), "{pattern} {name}");
            }
            for name in no {
                assert!(!matches_name(OsStr::new(pattern), OsStr::new(name)), "{pattern} {name}");
            }
        }
    }

    #[test]
    fn what_patterns_match_now_is_watched() {
        let directory = tempfile::tempdir().unwrap();
        let main = directory.path().join("longhaul.toml");
        let routes = directory.path().join("routes");
        let watched = Watched {
            files: BTreeSet::from([main.clone()]),
            patterns: BTreeSet::from([routes.join("*.toml")]),
        };
        assert_eq!(watched.files_now(9), BTreeSet::from([main.clone()]));
        fs::create_dir_all(routes.join("directory.toml")).unwrap();
        for name in ["b.toml", "a.toml", "c.txt"] {
            fs::write(routes.join(name), "").unwrap();
        }
        let expected = BTreeSet::from([main, routes.join("a.toml"), routes.join("b.toml")]);
        assert_eq!(watched.files_now(9), expected);
        assert_eq!(watched.files_now(1).len(), 2);
    }
}
