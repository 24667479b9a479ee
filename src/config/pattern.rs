//! Regular expressions: a text that begins with `~`, wherever a host, a path or a value is compared.
//!
//! The whole of what is compared must match: `~[0-9]+` is digits and nothing else, `~.*x.*` has an x somewhere. Hosts are
//! compared without regard to case, all else with. Bytes are compared, not characters: `.` is any byte but a line feed, `\d`
//! and `\w` are ASCII. The syntax is that of the `regex` crate, which has neither look-around nor back-references: time is
//! linear in the text, whatever a client sends.

use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};

use regex::bytes::{Regex, RegexBuilder};

/// How many different expressions a configuration may have. Those of one host are tried one after the other.
pub const PATTERNS_MAX: usize = 1_000;

/// What one may take in memory, and as much again for each of the caches that a thread has for it.
const PATTERN_BYTES_MAX: usize = 256 * 1024;

/// A regular expression. Equal when the text is.
#[derive(Clone, Debug)]
pub struct Pattern(Regex, String);

impl Pattern {
    /// The expression that `text` is, without the `~`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(text: &str, case: Case) -> Result<Self, String> {
        let build = |expression: &str| {
            RegexBuilder::new(expression)
                .unicode(false)
                .case_insensitive(case == Case::Ignored)
                .size_limit(PATTERN_BYTES_MAX)
                .dfa_size_limit(PATTERN_BYTES_MAX)
                .build()
                .map_err(|error| fault(&error))
        };
        // Alone first: what is only right between other parentheses is wrong.
        build(text)?;
        build(&format!(r"\A(?:{text})\z")).map(|regex| Self(regex, text.to_owned()))
    }

    /// Whether all of `bytes` match.
    pub fn matches(&self, bytes: &[u8]) -> bool {
        self.0.is_match(bytes)
    }

    /// As it was written, without the `~`.
    pub fn text(&self) -> &str {
        &self.1
    }
}

/// Whether letters of different case are different.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Case {
    /// They are.
    Matters,
    /// They are not.
    Ignored,
}

/// What the last line of a message says; the others show the expression, which the operator sees anyway.
fn fault(error: &regex::Error) -> String {
    if let regex::Error::CompiledTooBig(_) = error {
        return format!("it takes more than {} KiB", PATTERN_BYTES_MAX / 1024);
    }
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

/// The expressions of a configuration, each compiled once.
#[derive(Debug, Default)]
pub(super) struct Patterns(HashMap<(String, Case), Pattern>);

impl Patterns {
    /// The expression that `text` is, without the `~`; or what is wrong, and what to write instead.
    pub fn get(&mut self, text: &str, case: Case) -> Result<Pattern, (String, String)> {
        let key = (text.to_owned(), case);
        if let Some(known) = self.0.get(&key) {
            return Ok(known.clone());
        }
        if self.0.len() == PATTERNS_MAX {
            let message = format!("this is one regular expression more than {PATTERNS_MAX}");
            return Err((
                message,
                "write exact texts where they serve, or one expression for several".into(),
            ));
        }
        let remedy = r"write one as the regex crate of Rust reads it, such as '~/rooms/[0-9]+'";
        let pattern = Pattern::new(text, case).map_err(|fault| {
            (
                format!("`~{}` is not a regular expression: {fault}", super::problem::shown(text)),
                remedy.into(),
            )
        })?;
        self.0.insert(key, pattern.clone());
        Ok(pattern)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.1 == other.1
    }
}

impl Eq for Pattern {}

impl Hash for Pattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.1.hash(state);
    }
}

/// As it is written in a configuration.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("~")?;
        self.1.chars().try_for_each(|char| match char.is_control() {
            true => write!(f, "{}", char.escape_unicode()),
            false => write!(f, "{char}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::new(text, Case::Matters).unwrap_or_else(|fault| panic!("{text}: {fault}"))
    }

    #[test]
    fn the_whole_text_must_match() {
        for (expression, text, matches) in [
            ("[0-9]+", "42", true),
            ("[0-9]+", "42x", false),
            ("[0-9]+", "x42", false),
            ("^[0-9]+$", "42", true),
            ("[0-9]+", "42\n", false),
            ("(?m)^a$", "b\na", false),
            ("a|b", "ab", false),
            ("a|b", "b", true),
            ("", "", true),
            ("", "a", false),
            (".*", "", true),
            (".*x.*", "axb", true),
            ("A", "a", false),
            (r"\d", "٣", false),
            ("é", "é", true),
        ] {
            assert_eq!(pattern(expression).matches(text.as_bytes()), matches, "{expression} {text:?}");
        }
        assert!(pattern(".+").matches(b"\xff\x80"));
        assert!(Pattern::new("Chat", Case::Ignored).unwrap().matches(b"chat"));
    }

    #[test]
    fn wrong_ones_are_told_in_a_line() {
        for (expression, fault) in [
            ("(a", "unclosed group"),
            ("a)(b", "unopened group"),
            ("(?x) a # b", "unclosed group"),
            (r"\p{Greek}", "Unicode not allowed here"),
            (r"(a)\1", "backreferences are not supported"),
            ("(?=a)", "look-around, including look-ahead and look-behind, is not supported"),
            ("(?:a{1000}){1000}", "it takes more than 256 KiB"),
        ] {
            assert_eq!(Pattern::new(expression, Case::Matters).unwrap_err(), fault, "{expression}");
        }
    }

    #[test]
    fn equal_ones_are_compiled_once_and_their_number_is_bounded() {
        let mut patterns = Patterns::default();
        for number in 0..PATTERNS_MAX {
            patterns.get(&format!("a{number}"), Case::Matters).unwrap();
        }
        assert!(patterns.get("a7", Case::Matters).is_ok());
        assert!(patterns.get("a7", Case::Ignored).unwrap_err().0.contains("more than 1000"));
    }
}
