//! A file with the backends of one pool: `backends = [...]`, written as in the pool itself. TOML, because a file that is
//! cut off in the middle is then no list, and not a shorter one.

use std::path::Path;

use super::check::pools::{listed, report_nameless, report_only_backups};
use super::file::BackendWords;
use super::reader::{Reader, words};
use super::words::List;
use super::{Backend, Place, Pool, Problems, text};

words! {
    /// A file that `discovery.path` names.
    struct ListWords = "a list of backends" {
        /// The backends, as `backends` of a pool has them; may be empty.
        required backends: List<BackendWords, 0>,
    }
}

/// Reads the list at `path` for `pool`, which has `backends_max` backends at most. In the order of their addresses: the
/// order in the file makes no other list.
///
/// # Errors
/// Every problem of the file; one without a place when it cannot be read.
pub fn load(path: &Path, pool: &Pool, backends_max: usize) -> Result<Vec<Backend>, Problems> {
    let name = path.display().to_string();
    let mut reader = Reader::default();
    let text = match text::read_regular(path) {
        Ok(text) => text,
        Err(unreadable) => {
            unreadable.report_as("a list of backends", &name, &Place::default(), &mut reader);
            return Err(reader.into_problems());
        }
    };
    let base = path.parent().unwrap_or(path);
    let backends = reader.read::<ListWords>(&name, &text, base).and_then(|words| {
        let place = words.backends.place().cloned().unwrap_or_default();
        let backends = listed(words.backends, &mut reader)?;
        if backends.len() > backends_max {
            let remedy = format!("remove {}, or raise `backends_max`", backends.len() - backends_max);
            let message = format!("the list has more backends than the {backends_max} of `backends_max`");
            reader.report(&place, message, remedy);
        }
        report_only_backups(&backends, &mut reader);
        if let Some(tls) = &pool.tls {
            report_nameless(&backends, &tls.value, &mut reader);
        }
        Some(backends)
    });
    match backends {
        Some(mut backends) if reader.problems().is_empty() => {
            backends.sort_by(|one, other| one.address.value.cmp(&other.address.value));
            Ok(backends)
        }
        _ => Err(reader.into_problems()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const POOL: &str = "[[listeners]]\nname = \"l\"\naddress = \"127.0.0.1:1\"\n\
                        [[routes]]\nname = \"r\"\npool = \"p\"\n[pools.p]\ntls = {}\nbackends = [\"127.0.0.1:2\"]\n";

    fn read(text: &str) -> Result<Vec<String>, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("list.toml");
        std::fs::write(&path, text).unwrap();
        let config = Config::parse("a.toml", POOL, Path::new("/")).unwrap();
        let read = load(&path, &config.pools["p"], 3);
        let shown = |backend: &Backend| format!("{} {}", backend.address.value, backend.weight);
        let folder = format!("{}/", directory.path().display());
        read.map(|backends| backends.iter().map(shown).collect())
            .map_err(|problems| described(&problems).replace(&folder, ""))
    }

    fn described(problems: &Problems) -> String {
        let describe = |problem: &crate::config::Problem| {
            let place = problems.sources().describe(&problem.place).unwrap_or_default();
            format!("{place} {} => {}\n", problem.message, problem.remedy)
        };
        problems.iter().map(describe).collect()
    }

    #[test]
    fn a_list_is_written_as_in_a_pool() {
        let text = "# Made by a script.\nbackends = [\n  \"10.0.0.1:80\",\n  { address = \"b:80\", weight = 3 },\n]\n";
        assert_eq!(read(text), Ok(vec!["10.0.0.1:80 1".to_owned(), "b:80 3".to_owned()]));
        assert_eq!(read("backends = []\n"), Ok(Vec::new()));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, expected) in [
            (
                "",
                "list.toml:1:1 a list of backends has no `backends` => add `backends`: the backends, as `backends` of a pool has them; may be empty\n",
            ),
            ("backends = [\n\"a:1\", \"b\"]", "list.toml:2:8 \"b\" has no port => write \"b:8080\"\n"),
            (
                "backends = [\"a:1\", \"A:1\"]",
                "list.toml:1:20 `a:1` is already a backend of this pool => remove it, or raise the weight of the one on line 1\n",
            ),
            (
                "backends = [\"a:1\", \"b:1\",\n",
                "list.toml:1:12 this list is not closed => write `]` after its last entry\n",
            ),
            (
                "backends = [\"a:1\"]\npool = 1",
                "list.toml:2:1 `pool` is not a key of a list of backends => write `backends`\n",
            ),
            (
                "backends = [\"a:1\", \"a:2\", \"a:3\", \"a:4\"]",
                "list.toml:1:12 the list has more backends than the 3 of `backends_max` => remove 1, or raise `backends_max`\n",
            ),
            (
                "backends = [{ address = \"a:1\", backup = true }]",
                "list.toml:1:25 all backends of this pool are backups => remove `backup` from those that are to be used first\n",
            ),
            (
                "backends = [\"unix:a\"]",
                "list.toml:1:13 TLS to a unix socket has no name to ask for => add the name that its certificate is for, `server_name`, to the `tls` of this pool\n",
            ),
        ] {
            assert_eq!(read(text), Err(expected.to_owned()), "{text}");
        }
        let gone = load(
            Path::new("/nowhere/list.toml"),
            &Config::parse("a", POOL, Path::new("/")).unwrap().pools["p"],
            3,
        );
        assert!(described(&gone.unwrap_err()).contains("cannot read /nowhere/list.toml: "));
    }

    /// However a file is cut off, it is no list.
    #[test]
    fn half_a_list_is_no_list() {
        let text = "backends = [\"10.0.0.1:8080\", { address = \"b:8080\", weight = 3 }]";
        for end in 0..text.len() {
            assert!(read(&text[..end]).is_err(), "{}", &text[..end]);
        }
        assert!(read(text).is_ok());
    }
}
