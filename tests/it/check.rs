//! `longhaul check` and `longhaul schema`: what a file is worth, without starting anything.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::kit::Pki;

#[test]
fn a_good_file_is_counted() {
    let pki = Pki::new();
    let issued = pki.issue(&["chat.example.com"]);
    let (cert, key) = (issued.cert.display(), issued.key.display());
    let folder = folder(&[
        ("main.toml", "include = [\"routes/*.toml\"]\n"),
        (
            "routes/a.toml",
            &format!(
                "[[listeners]]\nname = \"a\"\naddress = \"127.0.0.1:0\"\n\
                 tls = {{ certificates = [{{ cert = \"{cert}\", key = \"{key}\" }}] }}\n\
                 [[listeners]]\nname = \"b\"\naddress = \"127.0.0.1:0\"\n\
                 [[routes]]\nname = \"a\"\npool = \"a\"\n[pools.a]\nbackends = [\"127.0.0.1:1\"]\n"
            ),
        ),
    ]);
    let output = check(folder.path(), &["main.toml"]);
    assert_eq!(text(&output.stdout), "main.toml is good: 2 listeners, 1 route, 1 pool\n");
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    let output = check(folder.path(), &["main.toml", "--format", "json"]);
    assert_eq!(text(&output.stdout), "[]\n");
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
}

#[test]
fn every_problem_is_told_for_people_and_for_programs() {
    let folder = folder(&[
        ("main.toml", "include = [\"a.toml\"]\n[log]\nlevel = \"loud\"\n"),
        (
            "a.toml",
            "[[listeners]]\nname = \"a\"\n[[routes]]\nname = \"a\"\npool = \"b\"\n[pools.a]\nbackends = [\"a:1\"]\n",
        ),
    ]);
    let output = check(folder.path(), &["main.toml"]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(78), ""));
    let told = text(&output.stderr);
    for part in ["--> main.toml:3:9", "--> a.toml:1:1", "--> a.toml:5:8", "write `a`, or add `[pools.b]`"] {
        assert!(told.contains(part), "{part} in\n{told}");
    }
    assert!(told.ends_with("3 problems in 2 files\n"), "{told}");

    let output = check(folder.path(), &["--format", "json", "main.toml"]);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(78), ""));
    let problems: Vec<Value> = serde_json::from_slice(&output.stdout).expect("a JSON array");
    assert_eq!(problems.len(), 3);
    let expected = json!({
        "level": "error", "file": "a.toml", "line": 5, "column": 8, "end_line": 5, "end_column": 11,
        "message": "there is no pool `b`", "remedy": "write `a`, or add `[pools.b]`",
    });
    assert_eq!(problems[2], expected);
}

#[test]
fn certificates_and_keys_are_loaded() {
    let pki = Pki::new();
    let (one, other) = (pki.issue(&["one.example"]), pki.issue(&["other.example"]));
    let (cert, key) = (one.cert.display(), other.key.display());
    let folder = folder(&[(
        "main.toml",
        &format!(
            "[[listeners]]\nname = \"a\"\naddress = \"127.0.0.1:0\"\n[listeners.tls]\ncertificates = [\n\
             {{ cert = \"{cert}\", key = \"{key}\" }},\n{{ cert = \"none.pem\", key = \"none.key\" }},\n]\n\
             [[routes]]\nname = \"a\"\npool = \"a\"\n[pools.a]\nbackends = [\"127.0.0.1:1\"]\n"
        ),
    )]);
    let output = check(folder.path(), &["main.toml", "--format=json"]);
    assert_eq!(output.status.code(), Some(78));
    let problems: Vec<Value> = serde_json::from_slice(&output.stdout).expect("a JSON array");
    let lines: Vec<_> = problems.iter().map(|problem| problem["line"].as_u64()).collect();
    assert_eq!(lines, [Some(6), Some(7)]);
    assert_eq!(problems[0]["message"], "the private key does not belong to the certificate");
}

#[test]
fn a_file_that_is_not_there_has_no_line() {
    let folder = folder(&[]);
    let output = check(folder.path(), &["none.toml", "--format", "json"]);
    assert_eq!(output.status.code(), Some(78));
    let problems: Value = serde_json::from_slice(&output.stdout).expect("a JSON array");
    assert_eq!((&problems[0]["file"], &problems[0]["line"]), (&json!("none.toml"), &Value::Null));
}

#[test]
fn the_schema_is_printed_as_it_is_kept() {
    let output = longhaul(Path::new("."), &["schema"]);
    assert_eq!(output.status.code(), Some(0));
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/config/schema.json");
    assert_eq!(text(&output.stdout), std::fs::read_to_string(kept).expect("the schema"));
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a writable folder");
        std::fs::write(path, text).expect("a writable folder");
    }
    folder
}

fn check(folder: &Path, arguments: &[&str]) -> Output {
    longhaul(folder, &[&["check"], arguments].concat())
}

fn longhaul(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_longhaul"))
        .args(arguments)
        .current_dir(folder)
        .env_remove("LONGHAUL_CONFIG")
        .output()
        .expect("longhaul starts")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}
