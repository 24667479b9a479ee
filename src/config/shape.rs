//! What may be written where: the static description of the configuration language.
//!
//! It comes from the same declaration that reads a file (`words!` in [`reader`](super::reader)), so it cannot disagree
//! with it. Remedies are phrased from it, and whatever documents the language (a schema, a test of the
//! examples) walks it.

use std::fmt;
use std::time::Duration;

/// One key of a table.
#[derive(Debug)]
pub struct Key {
    /// As it is written.
    pub name: &'static str,
    /// What may stand after its `=`.
    pub shape: &'static Shape,
    /// What it means, its unit and its default; lines that end in a newline.
    pub doc: &'static str,
    /// What its absence means.
    pub need: Need,
}

/// What the absence of a key means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Its table is wrong without it.
    Required,
    /// Its default holds.
    Optional,
    /// The configuration is wrong without it; any of its files may have it.
    Somewhere,
}

/// What a value may be.
#[derive(Debug)]
pub enum Shape {
    /// A string; the text says of what, such as `an address`.
    Text(&'static str),
    /// `true` or `false`.
    Switch,
    /// A whole number from `min` to `max`.
    Number {
        /// The least.
        min: u64,
        /// The greatest.
        max: u64,
    },
    /// A string of numbers with units of time.
    Duration {
        /// The least.
        min: Duration,
        /// The greatest.
        max: Duration,
    },
    /// A string of a number with a unit of bytes.
    Size {
        /// The least, in bytes.
        min: u64,
        /// The greatest, in bytes.
        max: u64,
    },
    /// A string of a whole number and `%`.
    Percent {
        /// The least.
        min: u32,
        /// The greatest.
        max: u32,
    },
    /// One of these strings.
    Choice(&'static [&'static str]),
    /// One of these shapes.
    Either(&'static [&'static Shape]),
    /// A list.
    List {
        /// What each entry is.
        entry: &'static Shape,
        /// How many there must be at least.
        min: usize,
    },
    /// Tables, or values, under names that the operator chooses.
    Map {
        /// What each of them is.
        entry: &'static Shape,
        /// How many there must be at least.
        min: usize,
    },
    /// A table.
    Table {
        /// As messages name it, such as `` `[server]` ``; `NAME` stands for a name that the operator chose.
        title: &'static str,
        /// Its keys.
        keys: &'static [Key],
    },
}

impl Shape {
    /// The keys of this table, or of the tables that this shape holds; empty where there is none.
    pub fn keys(&self) -> &'static [Key] {
        match self {
            Self::Table { keys, .. } => keys,
            Self::List { entry, .. } | Self::Map { entry, .. } => entry.keys(),
            Self::Either(shapes) => {
                shapes.iter().map(|shape| shape.keys()).find(|keys| !keys.is_empty()).unwrap_or_default()
            }
            _ => &[],
        }
    }

    /// The header under which it is usually written, with backticks; `None` for what stands after a `=`.
    pub(super) fn header(&self) -> Option<&'static str> {
        match self {
            Self::Table { title, .. } => title.starts_with("`[").then_some(title),
            Self::List { entry, .. } | Self::Map { entry, .. } => entry.header(),
            _ => None,
        }
    }
}

impl Key {
    /// Its default as the documentation has it, without quotes: the word after `default`. Absent when there is none,
    /// or when its absence means something of its own.
    pub fn default(&self) -> Option<&'static str> {
        let (_, default) = self.doc.split_once("default ")?;
        let word = default.split_whitespace().next()?;
        Some(word.trim_matches(|char: char| matches!(char, '`' | '"' | '.' | ',' | ':' | ';')))
    }

    /// How the operator knows it: a table's header, or the key, in backticks.
    pub(super) fn title(&self) -> String {
        self.shape.header().map_or_else(|| format!("`{}`", self.name), str::to_owned)
    }

    /// The first line of the documentation, to stand after a colon.
    pub(super) fn summary(&self) -> String {
        let line = self.doc.lines().next().unwrap_or_default().trim().trim_end_matches('.');
        let mut chars = line.chars();
        match (chars.next(), chars.clone().next()) {
            (Some(first), Some(second)) if !second.is_uppercase() => {
                first.to_lowercase().chain(chars).collect()
            }
            _ => line.to_owned(),
        }
    }
}

/// What to write, as the object of "write".
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(header) = self.header() {
            return match self {
                Self::Table { .. } => write!(f, "a table headed {header}"),
                _ => write!(f, "tables headed {header}"),
            };
        }
        match self {
            Self::Text(what) => write!(f, "{what} in quotes"),
            Self::Switch => f.write_str("true or false"),
            Self::Number { min, max } => write!(f, "a whole number from {min} to {max}"),
            Self::Duration { min, max } => {
                write!(f, "a duration from \"{}\" to \"{}\"", duration(*min), duration(*max))
            }
            Self::Size { min, max } => {
                write!(f, "a size from \"{}\" to \"{}\"", size(*min), size(*max))
            }
            Self::Percent { min, max } => write!(f, "a part from \"{min}%\" to \"{max}%\""),
            Self::Choice(words) => list(f, words.iter().map(|word| format!("\"{word}\""))),
            Self::Either(shapes) => list(f, shapes.iter().map(|shape| shape.to_string())),
            Self::List { .. } => f.write_str("a list in brackets: [ … ]"),
            Self::Map { entry: Self::Table { .. }, .. } => f.write_str("a table of tables"),
            Self::Map { .. } => f.write_str("a table: { name = … }"),
            Self::Table { keys, .. } => {
                let keys: Vec<_> = keys.iter().map(|key| format!("{} = …", key.name)).collect();
                write!(f, "a table: {{ {} }}", keys.join(", "))
            }
        }
    }
}

/// The duration as an operator would write it.
pub(super) fn duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string().replace("days", "d").replace("day", "d")
}

/// The size as an operator would write it: exact.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        1.. if bytes.is_multiple_of(bytesize::MIB) => format!("{}MiB", bytes / bytesize::MIB),
        1.. if bytes.is_multiple_of(bytesize::KIB) => format!("{}KiB", bytes / bytesize::KIB),
        _ => format!("{bytes}B"),
    }
}

/// a, b or c
fn list(f: &mut fmt::Formatter<'_>, words: impl ExactSizeIterator<Item = String>) -> fmt::Result {
    let last = words.len().saturating_sub(1);
    for (index, word) in words.enumerate() {
        let glue = match index {
            0 => "",
            _ if index == last => " or ",
            _ => ", ",
        };
        write!(f, "{glue}{word}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_says_what_to_write() {
        const AUTO: &Shape = &Shape::Choice(&["auto"]);
        const NUMBER: &Shape = &Shape::Number { min: 1, max: 8 };
        let cases = [
            (Shape::Either(&[AUTO, NUMBER]), "\"auto\" or a whole number from 1 to 8"),
            (Shape::Choice(&["a", "b", "c"]), "\"a\", \"b\" or \"c\""),
            (
                Shape::Duration { min: Duration::from_millis(1), max: Duration::from_secs(604_800) },
                "a duration from \"1ms\" to \"7d\"",
            ),
            (Shape::Size { min: 8_192, max: 1_048_576 }, "a size from \"8KiB\" to \"1MiB\""),
            (Shape::Text("a path"), "a path in quotes"),
        ];
        for (shape, expected) in cases {
            assert_eq!(shape.to_string(), expected);
        }
    }
}
