//! What is wrong in a configuration, where, and what would be right.
//!
//! Problems are collected, never thrown one at a time: an operator who corrects a file should need one round.
//! They are kept in file order and bounded: the first [`LISTED_MAX`] are kept, the rest are counted.
//!
//! Warnings are the same in all but their weight: a configuration that has some is accepted nevertheless.

mod json;

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::watched::Watched;

/// How many problems are listed; further ones are counted.
pub const LISTED_MAX: usize = 100;

/// Where something was written. The default is no place at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The index of its text in [`Sources`]; `None` is no place.
    pub source: Option<usize>,
    /// Bytes of that text.
    pub span: Range<usize>,
}

/// The texts that places point into. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Sources(Vec<Arc<Source>>);

#[derive(Debug)]
struct Source {
    name: String,
    text: String,
    /// The byte where each line begins: places of a long file are looked up often.
    lines: Vec<usize>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where; the default is nowhere (a file that cannot be read).
    pub place: Place,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub remedy: String,
}

/// What a list of problems means for the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Severity {
    /// It is refused.
    #[default]
    Error,
    /// It is accepted, and the operator should know.
    Warning,
}

impl Severity {
    /// The word for one of the list.
    pub fn label(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// Everything that is wrong, in the order of the files and in each of them. Displayed with the offending lines; see [`Problems::render`].
#[derive(Clone, Debug, Default)]
pub struct Problems {
    severity: Severity,
    listed: Vec<Problem>,
    unlisted: usize,
    sources: Sources,
    watched: Watched,
}

impl Problems {
    /// No problems yet, in these texts.
    pub fn new(sources: Sources) -> Self {
        Self { sources, ..Self::default() }
    }

    /// These problems as warnings, in these texts.
    pub(super) fn into_warnings(self, sources: Sources) -> Self {
        Self { severity: Severity::Warning, sources, ..self }
    }

    /// Adds a problem at its place in file order. Problems without a place come first.
    pub fn push(&mut self, place: Place, message: impl Into<String>, remedy: impl Into<String>) {
        let order = |place: &Place| (place.source, place.span.start, place.span.end);
        let index = self.listed.partition_point(|other| order(&other.place) <= order(&place));
        if self.listed.len() == LISTED_MAX {
            self.unlisted = self.unlisted.saturating_add(1);
            if index == LISTED_MAX {
                return;
            }
            self.listed.pop();
        }
        self.listed.insert(index, Problem { place, message: message.into(), remedy: remedy.into() });
    }

    /// Adds the problems of another text; those without a place there get this one.
    pub fn append(&mut self, other: Problems, place: &Place) {
        let first = self.sources.0.len();
        self.sources.0.extend(other.sources.0);
        for Problem { place: within, message, remedy } in other.listed {
            let place = match within.source {
                Some(source) => Place { source: Some(first + source), ..within },
                None => place.clone(),
            };
            self.push(place, message, remedy);
        }
        self.unlisted = self.unlisted.saturating_add(other.unlisted);
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// How many things are wrong, listed or not.
    pub fn len(&self) -> usize {
        self.listed.len().saturating_add(self.unlisted)
    }

    /// The first [`LISTED_MAX`] problems in file order.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.listed.iter()
    }

    /// The texts that the places point into.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    pub(super) fn sources_mut(&mut self) -> &mut Sources {
        &mut self.sources
    }

    /// What has to change before the files are worth reading again, as far as they could be read. Only problems
    /// from [`Config::load`](super::Config::load) know it; for later ones the configuration does.
    pub fn watched(&self) -> &Watched {
        &self.watched
    }

    /// Further files that have to change.
    pub fn watched_mut(&mut self) -> &mut Watched {
        &mut self.watched
    }

    /// Every listed problem with `file:line:column`, its line and its remedy, then how many there are; no
    /// newline at the end. `color` adds terminal escapes; escapes that came from the file are made harmless
    /// either way.
    pub fn render(&self, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let mut text = String::new();
        for problem in &self.listed {
            text.push_str(&renderer.render(&[self.group(problem)]));
            text.push_str("\n\n");
        }
        if self.unlisted > 0 {
            text.push_str(&format!("{} more are not listed\n", self.unlisted));
        }
        let noun = match self.severity {
            Severity::Error => "problem",
            Severity::Warning => "warning",
        };
        let plural = if self.len() == 1 { "" } else { "s" };
        text.push_str(&format!("{} {noun}{plural}", self.len()));
        let places = self.listed.iter().map(|problem| &problem.place);
        let names: BTreeSet<&str> = places.filter_map(|place| self.sources.name(place)).collect();
        match (names.first().copied().or(self.sources.first_name()), names.len()) {
            (Some(name), ..=1) => text.push_str(&format!(" in {name}")),
            (Some(_), files) => text.push_str(&format!(" in {files} files")),
            (None, _) => {}
        }
        text
    }

    fn group<'a>(&'a self, problem: &'a Problem) -> Group<'a> {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group = Group::with_title(level.primary_title(&problem.message));
        if let Some(line) = self.sources.line(&problem.place) {
            // Only the line itself is handed over: the renderer's work must not grow with the file.
            group = group.element(
                Snippet::source(line.text)
                    .path(line.name)
                    .line_start(line.number)
                    .annotation(AnnotationKind::Primary.span(line.span)),
            );
        }
        group.element(Level::HELP.message(&problem.remedy))
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Problems {}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Sources {
    /// Adds a text under the name that problems will show, usually its path. Returns its index.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> usize {
        let (name, text) = (name.into(), text.into());
        let newlines = text.match_indices('\n').map(|(index, _)| index + 1);
        let lines = std::iter::once(0).chain(newlines).collect();
        self.0.push(Arc::new(Source { name, text, lines }));
        self.0.len() - 1
    }

    /// The line and the column (in characters) where a place begins, both from 1; (0, 0) for no place.
    pub fn line_column(&self, place: &Place) -> (usize, usize) {
        self.line(place).map_or((0, 0), |line| {
            let before = line.text.get(..line.span.start).unwrap_or_default();
            (line.number, before.chars().count() + 1)
        })
    }

    /// The name of the text that a place points into; `None` for no place.
    pub fn name(&self, place: &Place) -> Option<&str> {
        Some(&self.0.get(place.source?)?.name)
    }

    /// The name of the first text; `None` when there is no text.
    fn first_name(&self) -> Option<&str> {
        Some(&self.0.first()?.name)
    }

    /// `file:line:column`; `None` for no place.
    pub fn describe(&self, place: &Place) -> Option<String> {
        let (line, column) = self.line_column(place);
        Some(format!("{}:{line}:{column}", self.line(place)?.name))
    }

    fn line(&self, place: &Place) -> Option<Line<'_>> {
        let Source { name, text, lines } = self.0.get(place.source?)?.as_ref();
        let number = lines.partition_point(|start| *start <= place.span.start.min(text.len()));
        let start = *lines.get(number.checked_sub(1)?)?;
        // A span of several lines is shown by its first one.
        let line = text.get(start..)?.split('\n').next()?.trim_end_matches('\r');
        let within = |index: usize| index.saturating_sub(start).min(line.len());
        let from = line.floor_char_boundary(within(place.span.start));
        let to = line.ceil_char_boundary(within(place.span.end));
        Some(Line { name, text: line, number, span: from..to.max(from) })
    }
}

/// One line of a source.
struct Line<'a> {
    name: &'a str,
    text: &'a str,
    /// From 1.
    number: usize,
    /// Bytes of `text`.
    span: Range<usize>,
}

/// The candidate that `word` was most likely meant to be; `None` when nothing is close.
pub(super) fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Nobody misspells a name into one of this length, and the comparison is quadratic.
    const LENGTH_MAX: usize = 64;
    const CLOSER_THAN: f64 = 0.5;
    if word.len() > LENGTH_MAX {
        return None;
    }
    let word = word.to_ascii_lowercase().replace('-', "_");
    candidates
        .filter(|candidate| candidate.len() <= LENGTH_MAX)
        .map(|candidate| {
            let plain = candidate.to_ascii_lowercase().replace('-', "_");
            (strsim::normalized_damerau_levenshtein(&word, &plain), candidate)
        })
        .filter(|(closeness, _)| *closeness > CLOSER_THAN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// The operator's text as messages show it: printable and short.
pub(super) fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    let mut shown: String = text.chars().take(CHARS_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        shown.push('…');
    }
    // `escape_debug` is for text between quotes; here it stands between backticks.
    shown.replace("\\\"", "\"").replace("\\'", "'")
}

/// `a`, `b` or `c`: at most ten of them.
pub(super) fn one_of<'a>(names: impl Iterator<Item = &'a str>) -> String {
    const NAMES_MAX: usize = 10;
    let names: Vec<&str> = names.collect();
    let mut words: Vec<String> =
        names.iter().take(NAMES_MAX).map(|name| format!("`{}`", shown(name))).collect();
    if let Some(rest) = names.len().checked_sub(NAMES_MAX + 1) {
        words.push(format!("one of {} others", rest + 1));
    }
    match words.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str, spans: &[Range<usize>]) -> Problems {
        let mut sources = Sources::default();
        let source = sources.add("a.toml", text);
        let mut problems = Problems::new(sources);
        for span in spans {
            let place = Place { source: Some(source), span: span.clone() };
            problems.push(place, "this is wrong", "write that");
        }
        problems
    }

    #[test]
    fn shows_lines_in_file_order() {
        let problems = problems("one = 1\r\nµ = two\n", &[14..17, 0..3]);
        let expected = "\
error: this is wrong
 --> a.toml:1:1
  |
1 | one = 1
  | ^^^
  |
  = help: write that

error: this is wrong
 --> a.toml:2:5
  |
2 | µ = two
  |     ^^^
  |
  = help: write that

2 problems in a.toml";
        assert_eq!(problems.render(false), expected);
    }

    #[test]
    fn a_problem_without_a_place_has_no_line() {
        let mut problems = Problems::default();
        problems.push(Place::default(), "cannot read a.toml", "give its path");
        let expected = "\
error: cannot read a.toml
 |
 = help: give its path

1 problem";
        assert_eq!(problems.to_string(), expected);
    }

    #[test]
    fn warnings_say_so() {
        let mut sources = Sources::default();
        let source = Some(sources.add("a.toml", "one = 1\n"));
        let mut problems = Problems::default();
        problems.push(Place { source, span: 0..3 }, "this is dangerous", "write that");
        let text = problems.into_warnings(sources).render(false);
        assert!(text.starts_with("warning: this is dangerous\n --> a.toml:1:1\n"), "{text}");
        assert!(text.ends_with("= help: write that\n\n1 warning in a.toml"), "{text}");
    }

    #[test]
    fn survives_every_place() {
        for text in ["", "\n", "a", "µ\r\nµ", "\u{1b}[31m\tx"] {
            for start in 0..10 {
                for end in 0..10 {
                    let span = Range { start, end };
                    let problems = problems(text, &[span]);
                    assert!(!problems.render(false).contains('\u{1b}'));
                    assert!(problems.render(true).contains('\u{1b}'));
                }
            }
        }
    }

    #[test]
    fn lists_the_first_and_counts_the_rest() {
        let text = "x".repeat(300);
        let spans: Vec<_> = (0..150).rev().map(|start| start..start + 1).collect();
        let problems = problems(&text, &spans);
        assert_eq!(problems.len(), 150);
        assert!(problems.iter().map(|problem| problem.place.span.start).eq(0..LISTED_MAX));
        assert!(problems.render(false).ends_with("50 more are not listed\n150 problems in a.toml"));
    }

    #[test]
    fn nearest_finds_slips_and_refuses_guesses() {
        let keys = ["address", "name", "tls", "trusted_networks"];
        assert_eq!(nearest("adress", keys.into_iter()), Some("address"));
        assert_eq!(nearest("Trusted-Networks", keys.into_iter()), Some("trusted_networks"));
        assert_eq!(nearest("port", keys.into_iter()), None);
        assert_eq!(nearest(&"a".repeat(100_000), keys.into_iter()), None);
    }

    #[test]
    fn text_of_the_operator_is_shown_short_and_printable() {
        assert_eq!(shown("say \"hi\"\u{7}"), "say \"hi\"\\u{7}");
        assert_eq!(shown(&"x".repeat(100)).chars().count(), 61);
        assert_eq!(one_of(["a", "b", "c"].into_iter()), "`a`, `b` or `c`");
        assert_eq!(one_of(["a"; 12].into_iter()).matches("`a`").count(), 10);
    }
}
