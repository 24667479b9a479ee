//! Configurations of several files.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::{LISTENER, POOL, ROUTE};
use crate::config::file::FileWords;
use crate::config::include::{Main, include};
use crate::config::load::{FILE_BYTES_MAX, FILES_BYTES_MAX, INCLUDED_FILES_MAX};
use crate::config::reader::Reader;
use crate::config::{Config, Pem, Problem, Problems};

/// A directory with a main file and others beside it.
struct Files(tempfile::TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let directory = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            directory.write(name, text);
        }
        directory
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn load(&self) -> Result<Config, Problems> {
        Config::load(&self.path("main.toml"))
    }

    /// `file:line:column message => remedy`, paths relative to the directory.
    fn described(&self) -> Vec<String> {
        let problems = self.load().unwrap_err();
        let root = format!("{}/", self.0.path().display());
        let describe = |problem: &Problem| {
            let place = problems.sources().describe(&problem.place).unwrap_or_default();
            format!("{place} {} => {}", problem.message, problem.remedy).replace(&root, "")
        };
        problems.iter().map(describe).collect()
    }
}

#[test]
fn files_are_joined_and_refer_to_each_other() {
    let tls = "tls = { certificates = [{ cert = \"a.pem\", key = \"/keys/a.key\" }] }\n";
    let files = Files::new(&[
        ("main.toml", "include = [\"routes/*.toml\", \"pools.toml\", \"none/*.toml\"]\n"),
        ("routes/b.toml", "[[routes]]\nname = \"b\"\npath = \"/b\"\npool = \"p\"\n"),
        ("routes/a.toml", &[LISTENER, tls, ROUTE].concat()),
        ("routes/.a.toml", "no TOML"),
        ("routes/a.toml~", "no TOML"),
        ("pools.toml", POOL),
    ]);
    let config = files.load().unwrap_or_else(|problems| panic!("{problems}"));
    let names: Vec<_> = config.routes.iter().map(|route| route.name.value.as_str()).collect();
    assert_eq!(names, ["r", "b"]);
    let place = &config.pools["p"].name.place;
    let expected = format!("{}:1:8", files.path("pools.toml").display());
    assert_eq!(config.sources.describe(place), Some(expected));

    let certificate = &config.listeners[0].tls.as_ref().unwrap().certificates[0];
    assert_eq!(certificate.cert.value, Pem::File(files.path("routes/a.pem")));
    let watched =
        ["main.toml", "routes/a.toml", "routes/b.toml", "pools.toml", "routes/a.pem", "/keys/a.key"];
    assert_eq!(config.watched.files, watched.iter().map(|name| files.path(name)).collect());
    let patterns = ["routes/*.toml", "none/*.toml"].map(|name| files.path(name));
    assert_eq!(config.watched.patterns, BTreeSet::from(patterns));

    let one = [LISTENER, &tls.replace("a.pem", "routes/a.pem"), ROUTE, POOL];
    let one = one.concat() + "[[routes]]\nname = \"b\"\npath = \"/b\"\npool = \"p\"\n";
    assert_eq!(Config::parse("one.toml", &one, files.0.path()).unwrap(), config);
}

#[test]
fn every_problem_shows_its_own_file() {
    let files = Files::new(&[
        (
            "main.toml",
            &["include = [\"*/*.toml\", \"r/*.toml\"]\n[log]\nlevl = \"x\"\n", LISTENER, POOL].concat(),
        ),
        ("r/a.toml", "[[routes]]\nname = \"r\"\npool = \"p\"\n[server]\nworkers = 1\n[[listener]]\nx = 1\n"),
        (
            "r/b.toml",
            "include = [\"c.toml\"]\n[[routes]]\nname = \"r\"\npool = \"q\"\n[pools.p]\nbackends = []\n",
        ),
        ("r/c.toml", "[[listeners]]\nname = \"c\"\naddress = \"127.0.0.1:1\"\n[[routes]]\nserver = 1\n"),
    ]);
    let main = [
        "main.toml:1:12 \"*/*.toml\" has a wildcard before its last / => write one entry for each directory, such as \
         \"routes/*.toml\"",
        "main.toml:3:1 `levl` is not a key of `[log]` => did you mean `level`?",
    ];
    let included = [
        "r/a.toml:4:2 `server` is not a key of an included file => move it to main.toml",
        "r/a.toml:6:3 `listener` is not a key of an included file => did you mean `listeners`?",
        "r/b.toml:1:1 `include` is not a key of an included file => move it to main.toml",
        "r/b.toml:2:1 another route serves the same requests => the one on line 1 of r/a.toml does: change the host, the \
         path or a condition of either",
        "r/b.toml:3:8 another route is named `r` => the one on line 2 of r/a.toml has the name: choose another",
        "r/b.toml:5:8 another pool is named `p` => the one on line 7 of main.toml has the name: choose another",
        "r/b.toml:6:12 `backends` is empty => write at least one entry",
        "r/c.toml:3:11 `127.0.0.1:1` is bound already => line 6 of main.toml binds it: choose another port",
        "r/c.toml:4:1 `[[routes]]` has no `name` => add `name`: the route's name in metrics and logs",
        "r/c.toml:4:1 another route serves the same requests => the one on line 1 of r/a.toml does: change the host, the \
         path or a condition of either",
        "r/c.toml:4:1 `[[routes]]` does not say what becomes of its requests => add `pool`, `split`, `redirect` or `respond`",
        "r/c.toml:5:1 `server` is not a key of `[[routes]]` => write `name`, `host`, `path`, `kind`, `methods`, `headers`, \
         `query`, `cookies`, `source`, `subprotocols` or one of 24 others",
    ];
    assert_eq!(files.described(), [&main[..], &included[..]].concat());
    assert!(files.load().unwrap_err().to_string().ends_with("14 problems in 4 files"));
}

#[test]
fn entries_that_name_no_file() {
    let include = "include = [\"none.toml\", \"directory\", \"\", \"main.toml\", \"latin.toml\"]\n";
    let files = Files::new(&[("main.toml", &[include, LISTENER, ROUTE].concat()), ("directory/a", "")]);
    fs::write(files.path("latin.toml"), b"[[routes]]\nname = \"\xe9\"\n").unwrap();
    let expected = [
        "main.toml:1:12 cannot read none.toml: No such file or directory (os error 2) => give the path of a \
         configuration file",
        "main.toml:1:25 cannot read directory: Is a directory (os error 21) => give the path of a file in it",
        "main.toml:1:38 \"\" is not a path => write the path of a file",
        "main.toml:1:42 \"main.toml\" includes this file itself => keep included files in a directory of their own, \
         such as \"routes/*.toml\"",
        "latin.toml:2:9 this is not UTF-8 => save the file as UTF-8",
    ];
    assert_eq!(files.described(), expected);
    let watched = files.load().unwrap_err().watched().clone();
    assert!(watched.files.contains(&files.path("none.toml")));
}

#[test]
fn what_is_nowhere_is_missing() {
    let files = Files::new(&[("main.toml", "include = [\"r/*.toml\"]\n"), ("r/a.toml", ROUTE)]);
    let expected = [
        "main.toml:1:1 this file and those it includes have no `[[listeners]]` => add `[[listeners]]`: the sockets to \
         bind, at least one",
        "main.toml:1:1 this file and those it includes have no `[pools.NAME]` => add `[pools.NAME]`: the backends, \
         under names that routes use",
    ];
    assert_eq!(files.described(), expected);
    files.write("r/b.toml", "[[listeners]]\nname = \"x");
    assert_eq!(
        files.described(),
        ["r/b.toml:2:10 this is not TOML: invalid basic string => write `\"` here"]
    );
}

#[test]
fn a_directory_may_have_any_name() {
    let main = &["include = [\"r/*.toml\", \"./r/a.toml\"]\n", LISTENER, POOL].concat();
    let files = Files::new(&[("a*b?/main.toml", main), ("a*b?/r/a.toml", ROUTE)]);
    let config = Config::load(&files.path("a*b?/main.toml")).unwrap();
    assert_eq!(config.routes.len(), 1);
}

#[test]
fn the_number_of_files_is_bounded() {
    let files = Files::new(&[("main.toml", &["include = [\"r/*\"]\n", LISTENER, POOL].concat())]);
    for index in 0..INCLUDED_FILES_MAX {
        let name = format!("{index:04}");
        let route = format!("[[routes]]\nname = \"{name}\"\npath = \"/{name}\"\npool = \"p\"\n");
        files.write(&format!("r/{name}"), &route);
    }
    assert_eq!(files.load().unwrap().routes.len(), INCLUDED_FILES_MAX);
    files.write("main.toml", &["include = [\"r/*\", \"r/0000\"]\n", LISTENER, POOL].concat());
    assert_eq!(files.load().unwrap().routes.len(), INCLUDED_FILES_MAX);
    files.write("r/more", "");
    let expected = "main.toml:1:12 this includes more than 1000 files => put several routes into one file";
    assert_eq!(files.described(), [expected]);
}

#[test]
fn the_size_of_the_files_is_bounded() {
    let files = Files::new(&[("main.toml", &["include = [\"r/*\"]\n", LISTENER, ROUTE, POOL].concat())]);
    let comment = "#".repeat(100);
    files.write("r/1", &comment);
    files.write("r/2", &comment);
    let text = fs::read_to_string(files.path("main.toml")).unwrap();
    for (bytes_before, problems) in [(FILES_BYTES_MAX - 200, 0), (FILES_BYTES_MAX - 199, 1)] {
        let mut reader = Reader::default();
        let mut words = reader.read::<FileWords>("main.toml", &text, files.0.path()).unwrap();
        let bytes = usize::try_from(bytes_before).unwrap();
        include(&mut words, &Main { name: "main.toml", base: files.0.path(), bytes }, &mut reader);
        assert_eq!(reader.problems().len(), problems);
        let message = "the files are larger than 64 MiB in all";
        assert!(reader.problems().iter().all(|problem| problem.message == message));
    }
    fs::File::create(files.path("r/1")).unwrap().set_len(FILE_BYTES_MAX + 1).unwrap();
    let expected = "main.toml:1:12 r/1 is larger than 16 MiB => give the path of a configuration file; larger ones \
                    are not read";
    assert_eq!(files.described(), [expected]);
}

#[test]
#[cfg(unix)]
fn a_pipe_is_not_waited_for() {
    let files = Files::new(&[("main.toml", &["include = [\"null\"]\n", LISTENER, ROUTE, POOL].concat())]);
    std::os::unix::fs::symlink("/dev/null", files.path("null")).unwrap();
    let expected = "main.toml:1:12 cannot read null: not a file => give the path of a configuration file";
    assert_eq!(files.described(), [expected]);
}

#[test]
fn a_wrong_file_tells_what_to_watch() {
    let files = Files::new(&[
        ("main.toml", "include = [\"r/*.toml\"]\n[[routes]\n"),
        ("r/a.toml", "listeners = [{ name = 1, tls = { certificates = [{ cert = \"a.pem\" }] } }]\n"),
    ]);
    let watched = files.load().unwrap_err().watched().clone();
    let expected = ["main.toml", "r/a.toml", "r/a.pem"].map(|name| files.path(name));
    assert_eq!(watched.files, BTreeSet::from(expected));
    assert_eq!(watched.patterns, BTreeSet::from([files.path("r/*.toml")]));
    let none = Config::load(Path::new("/none/main.toml")).unwrap_err();
    assert_eq!(none.watched().files, BTreeSet::from([PathBuf::from("/none/main.toml")]));
    assert!(none.to_string().ends_with("1 problem in /none/main.toml"));
}
