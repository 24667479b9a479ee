//! Who may import whom: the layers of the library, held against every path in its source.
//!
//! A module imports only from smaller rows; modules of one row do not know each other.

use std::fs;
use std::path::Path;

/// The rows. `cli` may use `demo`, so it stands above.
const ROWS: &[(u8, &[&str])] = &[
    (0, &["proto"]),
    (1, &["config"]),
    (2, &["outcome", "lifecycle"]),
    (3, &["telemetry"]),
    (4, &["net"]),
    (5, &["route", "upstream", "tunnel"]),
    (6, &["filter"]),
    (7, &["state"]),
    (8, &["proxy"]),
    (9, &["listen", "admin"]),
    (10, &["supervisor"]),
    (11, &["demo"]),
    (12, &["cli"]),
];

#[test]
fn imports_run_one_way() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    gather(&root.join("src"), &mut files);
    assert!(files.len() > 50, "the source is not where it was");
    let mut found = Vec::new();
    for file in files {
        let source = fs::read_to_string(&file).expect("a readable file");
        let module = module_of(file.strip_prefix(root.join("src")).expect("a file below src"));
        // lib.rs and main.rs are the outside.
        let Some(own) = module.first().cloned() else { continue };
        for import in imports(&source, module) {
            if import.module != own && row(&import.module) >= row(&own) {
                let line = source.lines().nth(import.line - 1).unwrap_or_default().trim();
                let place = file.strip_prefix(root).expect("a file of this crate").display().to_string();
                found.push(format!("{place}:{}: {own} must not know {}: {line}", import.line, import.module));
            }
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn every_shape_of_an_import_is_seen() {
    for (source, seen) in [
        ("use crate::proto::frame;", "1 proto"),
        ("pub use crate::proto::frame::Header as H;", "1 proto"),
        ("pub(crate) use crate::config;", "1 config"),
        (
            "use crate::{\n    config::{Tcp, Tls},\n    proto::{\n        frame, scan,\n    },\n    net,\n};",
            "2 config, 3 proto, 6 net",
        ),
        ("use {crate::net::dial, super::super::route};", "1 net, 1 route"),
        ("use super::pool::Pool;", "1 upstream"),
        ("use super::super::route::{Table};", "1 route"),
        ("use super::super::{state, route::x as y, self as z, demo};", "1 state, 1 route, 1 demo"),
        ("use self::x; use super::{super::{listen, admin}, y};", "1 upstream, 1 listen, 1 admin, 1 upstream"),
        (
            "fn f() -> crate::net::Stream {\n    crate::cli::main(|x| crate::admin::y)\n}",
            "1 net, 2 cli, 2 admin",
        ),
        (
            "mod tests { use super::super::x; mod deep { use super::super::super::super::demo; } }",
            "1 upstream, 1 demo",
        ),
        ("mod tests { } use super::super::demo;", "1 demo"),
        ("macro_rules! m { () => { $crate::proxy::x } }", "1 proxy"),
        ("impl From<crate::a::B> for crate::b::C<crate::c::D> {}", "1 a, 1 b, 1 c"),
        (
            "// use crate::proto;\n/* crate::a /* crate::b */ crate::c */ //! crate::d\nuse crate::net;",
            "3 net",
        ),
        ("let x = \"crate::a \\\" crate::b\"; let y = r#\"crate::c \" crate::d\"#; crate::e", "1 e"),
        ("let c = '\"'; let d = '\\''; let r: &'a str = crate::e::F; b'\\\\'; crate::g", "1 e, 1 g"),
        ("pub(crate) fn f() {} use other::crate_x; x::self_y();", ""),
    ] {
        let module = ["upstream", "balance"].map(String::from).to_vec();
        let found: Vec<String> = imports(source, module)
            .iter()
            .map(|import| format!("{} {}", import.line, import.module))
            .collect();
        assert_eq!(found.join(", "), seen, "{source}");
    }
}

#[test]
fn files_are_modules() {
    for (file, module) in [
        ("cli.rs", "cli"),
        ("lib.rs", ""),
        ("main.rs", ""),
        ("net/mod.rs", "net"),
        ("net/tls/mod.rs", "net::tls"),
        ("net/tls/connect.rs", "net::tls::connect"),
        ("state/build/tls.rs", "state::build::tls"),
        ("net/tls/resolver.rs", "net::tls::resolver"),
    ] {
        assert_eq!(module_of(Path::new(file)).join("::"), module);
    }
}

fn row(module: &str) -> u8 {
    let found = ROWS.iter().find(|(_, modules)| modules.contains(&module));
    found.unwrap_or_else(|| panic!("the module {module} has no row yet")).0
}

fn gather(folder: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            gather(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The path of a file's module, from the root of the crate.
fn module_of(file: &Path) -> Vec<String> {
    let mut module: Vec<String> =
        file.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if module.last().is_some_and(|last| matches!(last.as_str(), "mod" | "lib" | "main")) {
        module.pop();
    }
    module
}

/// A path that leads to a module of the crate.
struct Import {
    line: usize,
    /// The first segment behind the root.
    module: String,
}

/// Every path of `source` that begins with `crate`, `super` or `self`, in file order. `module` is where it stands.
fn imports(source: &str, module: Vec<String>) -> Vec<Import> {
    let tokens = tokens(source);
    let word = |index: usize| tokens.get(index).map_or("", |token: &Token| token.text);
    let (mut found, mut here, mut depth, mut inline) = (Vec::new(), module, 0, Vec::new());
    let mut index = 0;
    while index < tokens.len() {
        match word(index) {
            "{" => {
                depth += 1;
                if index >= 2 && word(index - 2) == "mod" {
                    here.push(word(index - 1).to_string());
                    inline.push(depth);
                }
            }
            "}" => {
                if inline.last() == Some(&depth) {
                    inline.pop();
                    here.pop();
                }
                depth -= 1;
            }
            "crate" | "super" | "self"
                if word(index + 1) == "::" && (index == 0 || word(index - 1) != "::") =>
            {
                index = walk(&tokens, index, Some(here.clone()), &mut found);
                continue;
            }
            _ => {}
        }
        index += 1;
    }
    found
}

/// Follows one path, and in a group each of its branches; returns where it ends. `at` is the module that was reached,
/// as long as no name has been met.
fn walk(
    tokens: &[Token<'_>],
    mut index: usize,
    mut at: Option<Vec<String>>,
    found: &mut Vec<Import>,
) -> usize {
    let word = |index: usize| tokens.get(index).map_or("", |token| token.text);
    loop {
        match word(index) {
            "crate" => at = Some(Vec::new()),
            "self" => {}
            "super" => drop(at.as_mut().and_then(Vec::pop)),
            "{" => {
                index += 1;
                while !matches!(word(index), "}" | "") {
                    index = walk(tokens, index, at.clone(), found);
                    // An alias, or the comma.
                    while !matches!(word(index), "," | "}" | "") {
                        index += 1;
                    }
                    index += usize::from(word(index) == ",");
                }
                return index + 1;
            }
            name => {
                if let (Some(at), Some(token)) = (at.take(), tokens.get(index)) {
                    let module = at.into_iter().next().unwrap_or_else(|| name.to_string());
                    found.push(Import { line: token.line, module });
                }
            }
        }
        if word(index + 1) != "::" {
            return index + 1;
        }
        index += 2;
        // The generic arguments of an expression (`crate::a::f::<T>`) are paths of their own.
        if word(index) == "<" {
            return index;
        }
    }
}

struct Token<'a> {
    text: &'a str,
    line: usize,
}

/// Names, `::` and single characters; no comments, strings, characters or lifetimes.
fn tokens(source: &str) -> Vec<Token<'_>> {
    let (mut tokens, mut rest, mut line) = (Vec::new(), source, 1);
    while let Some(first) = rest.chars().next() {
        let length = match first {
            _ if first.is_alphanumeric() || first == '_' => {
                let name = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                match (&rest[..name], rest[name..].chars().next()) {
                    ("r" | "br" | "cr", Some('"' | '#')) if raw_string(&rest[name..]).is_some() => {
                        skip(&mut rest, &mut line, name);
                        let length = raw_string(rest).unwrap_or(1);
                        skip(&mut rest, &mut line, length);
                        continue;
                    }
                    (text, _) => tokens.push(Token { text, line }),
                }
                name
            }
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => block_comment(rest),
            '"' => quoted(rest, '"'),
            '\'' => character(rest),
            ':' if rest.starts_with("::") => {
                tokens.push(Token { text: "::", line });
                2
            }
            _ => {
                if !first.is_whitespace() {
                    tokens.push(Token { text: &rest[..first.len_utf8()], line });
                }
                first.len_utf8()
            }
        };
        skip(&mut rest, &mut line, length);
    }
    tokens
}

fn skip(rest: &mut &str, line: &mut usize, length: usize) {
    let (passed, after) = rest.split_at(length);
    *line += passed.matches('\n').count();
    *rest = after;
}

/// The length of what stands between two `quote`s, them included.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (index, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return index + 1,
            _ => {}
        }
    }
    text.len()
}

/// `#"..."#` behind its `r`; `None` for a raw name.
fn raw_string(text: &str) -> Option<usize> {
    let hashes = text.len() - text.trim_start_matches('#').len();
    text[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", &text[..hashes]);
    Some(text[hashes + 1..].find(&end).map_or(text.len(), |at| hashes + 1 + at + end.len()))
}

/// A character, or the quote of a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.chars().skip(1);
    match (chars.next(), chars.next()) {
        (Some('\\'), _) => quoted(text, '\''),
        (Some(c), Some('\'')) => c.len_utf8() + 2,
        _ => 1,
    }
}

/// Block comments nest.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut index) = (0, 0);
    while let Some(rest) = text.get(index..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("/*") {
            (depth, index) = (depth + 1, index + 2);
        } else if rest.starts_with("*/") {
            (depth, index) = (depth - 1, index + 2);
            if depth == 0 {
                return index;
            }
        } else {
            index += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}
