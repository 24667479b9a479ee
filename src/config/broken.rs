//! Text that is not TOML: what the parser says about it, in words that help, and how much of the rest can be
//! believed.
//!
//! The parser goes on after an error. A bare word where a value belongs (`level = info`) harms nothing else.
//! A repeated key loses something, so that nothing can be called missing. After anything else, what follows
//! may mean anything.

use std::ops::Range;

use toml::de::{DeTable, DeValue, Error};

use super::problem::shown;

/// The errors of a text, and what they leave to be judged.
#[derive(Debug, Default)]
pub(super) struct Broken {
    /// Where, what, and what to do.
    pub problems: Vec<(Range<usize>, String, String)>,
    /// From this byte on nothing is judged.
    from: Option<usize>,
    /// Something may have been lost.
    lossy: bool,
    /// Values that were reported, in order.
    values: Vec<Range<usize>>,
}

impl Broken {
    /// The errors that the parser found in a text, and the table that it made in spite of them.
    pub fn new(text: &str, table: &DeTable<'_>, errors: &[Error]) -> Self {
        let mut broken = Self::default();
        let mut swallowed = usize::MAX;
        for error in errors {
            let ("unclosed array" | "unclosed inline table", _) =
                error.message().split_once(", ").unwrap_or_default()
            else {
                continue;
            };
            let end = error.span().unwrap_or_default().start;
            let start = opening(text, table, end).unwrap_or(end);
            let (what, close) = match text.get(start..).is_some_and(|rest| rest.starts_with('{')) {
                true => ("table", "}"),
                false => ("list", "]"),
            };
            if start < swallowed {
                swallowed = start;
                broken.problems = vec![(
                    start..start + 1,
                    format!("this {what} is not closed"),
                    format!("write `{close}` after its last entry"),
                )];
                broken.break_at(line_start(text, start));
            }
        }
        // What is never closed swallows the rest of the file: later complaints are only about that.
        for error in errors {
            let span = error.span().unwrap_or_default();
            if span.start < swallowed {
                broken.add(text, error.message(), span);
            }
        }
        broken.values.sort_by_key(|value| value.start);
        // One slip can make the parser complain more than once at the same place.
        broken.problems.sort_by_key(|(span, ..)| span.start);
        broken.problems.dedup_by_key(|(span, ..)| span.start);
        broken
    }

    fn add(&mut self, text: &str, message: &str, span: Range<usize>) {
        let (message, expected) = match message.split_once(", expected ") {
            Some((message, expected)) => (message, Some(expected)),
            None => (message, None),
        };
        let problem = match message {
            "duplicate key" => {
                self.lossy = true;
                let remedy = "keep one of them, or give one another name".to_owned();
                (span, "this key is there twice".to_owned(), remedy)
            }
            "string values must be quoted" | "invalid float" | "invalid boolean" => {
                let problem = bare_value(text, span);
                self.values.push(problem.0.clone());
                problem
            }
            _ => {
                self.break_at(line_start(text, span.start));
                (span, format!("this is not TOML: {message}"), remedy(expected))
            }
        };
        self.problems.push(problem);
    }

    fn break_at(&mut self, start: usize) {
        self.lossy = true;
        self.from = Some(self.from.map_or(start, |from| from.min(start)));
    }

    /// Whether nothing can be called missing.
    pub fn is_lossy(&self) -> bool {
        self.lossy
    }

    /// Whether what is written here is as it was meant.
    pub fn is_sound(&self, span: &Range<usize>) -> bool {
        let next = self.values.partition_point(|value| value.end < span.start);
        let reported = self.values.get(next).is_some_and(|value| value.start <= span.end);
        !reported && self.from.is_none_or(|from| span.start < from)
    }
}

fn remedy(expected: Option<&str>) -> String {
    match expected {
        None => "correct the TOML here".to_owned(),
        Some("nothing") => "remove it".to_owned(),
        Some(expected) => format!("write {} here", expected.replace(", ", " or ")),
    }
}

/// The whole of a value without quotes, of which the parser may have seen a part.
fn bare_value(text: &str, span: Range<usize>) -> (Range<usize>, String, String) {
    let end_of_value =
        |c: char| c.is_whitespace() || matches!(c, ',' | '[' | ']' | '{' | '}' | '=' | '#' | '"' | '\'');
    let (before, after) = text.split_at_checked(span.start).unwrap_or_default();
    let start = before.rfind(end_of_value).map_or(0, |index| {
        index + before.get(index..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8)
    });
    let end = span.start + after.find(end_of_value).unwrap_or(after.len());
    let value = text.get(start..end).unwrap_or_default();
    if value.is_empty() {
        return (span, "a value is missing".to_owned(), "write it after the `=`".to_owned());
    }
    let (message, remedy) = match value.to_ascii_lowercase().as_str() {
        switch @ ("true" | "false") => ("has capitals", format!("write {switch}")),
        _ => ("has no quotes", format!("write \"{}\"", shown(value))),
    };
    (start..end, format!("`{}` {message}", shown(value)), remedy)
}

fn line_start(text: &str, index: usize) -> usize {
    text.get(..index).and_then(|before| before.rfind('\n')).map_or(0, |newline| newline + 1)
}

/// Where the outermost list or inline table begins that the parser gave up here.
fn opening(text: &str, table: &DeTable<'_>, end: usize) -> Option<usize> {
    let mut starts = Vec::new();
    // The parser nests tables and lists to a bounded depth, and each of them is visited once.
    let mut tables = vec![table];
    while let Some(table) = tables.pop() {
        for value in table.values() {
            let (open, close) = match value.get_ref() {
                DeValue::Array(array) => {
                    tables.extend(array.iter().filter_map(|entry| entry.get_ref().as_table()));
                    ('[', ']')
                }
                DeValue::Table(table) => {
                    tables.push(table);
                    ('{', '}')
                }
                _ => continue,
            };
            let span = value.span();
            let written = text.get(span.clone()).unwrap_or_default();
            // What the parser gave up ends there, or where its last entry ended.
            let given_up = span.end == end || !written.ends_with(close);
            if written.starts_with(open) && given_up && span.start < end {
                starts.push(span.start);
            }
        }
    }
    starts.into_iter().min()
}
