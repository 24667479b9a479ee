//! From TOML text to words, with every problem and not only the first.
//!
//! A derived deserialiser stops at its first error. Here the `toml` crate makes a tree with spans, even of
//! broken text, and each word ([`Word`]) is read on its own: a wrong one is reported and leaves a gap
//! ([`Found::Wrong`]), the others are read all the same. `words!` declares a table once, and gives its
//! struct, its reading and its description ([`Shape`]).
//!
//! Of text that is not TOML, `broken` says how much can be judged all the same.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::broken::Broken;
use super::pattern::Patterns;
use super::problem::{nearest, one_of, shown};
use super::shape::{Key, Need, Shape};
use super::watched::Watched;
use super::{At, Place, Problems};

/// Something that can stand after a `=`.
pub trait Word: Sized {
    /// What may be written.
    const SHAPE: &'static Shape;

    /// Reads it, or reports what is wrong with it.
    fn read(value: &Spanned<DeValue<'_>>, reader: &mut Reader) -> Option<Self>;
}

/// A key of a table, as it was found.
#[derive(Clone, Debug, Default)]
pub enum Found<T> {
    /// Not written; reported if it had to be.
    #[default]
    Absent,
    /// Written wrongly, which is reported: nothing can be concluded from it.
    Wrong,
    /// Written.
    Written(At<T>),
}

/// Reads texts, one after the other, and collects what is wrong with them.
#[derive(Debug, Default)]
pub struct Reader {
    problems: Problems,
    /// What is valid and dangerous.
    warnings: Problems,
    /// One for each source, in their order; the last is being read.
    texts: Vec<Text>,
    /// Something that belongs to the configuration could not be read.
    incomplete: bool,
    /// What the next table may not hold.
    elsewhere: Option<Elsewhere>,
    /// What is being read, as messages name it.
    subject: String,
    /// The name that stands for `NAME` in a table's title.
    entry: String,
    /// A fixed string that may stand instead of what is being read.
    alternative: Option<&'static str>,
    /// The regular expressions so far.
    patterns: Patterns,
}

/// What is known of a text, apart from its words.
#[derive(Debug)]
struct Text {
    /// Where its relative paths start.
    base: PathBuf,
    broken: Broken,
}

/// Keys that a file does not have because another one has them.
#[derive(Debug)]
pub(super) struct Elsewhere {
    /// The keys.
    pub keys: &'static [Key],
    /// What to do with one of them.
    pub remedy: String,
}

impl Reader {
    /// Goes on to a text, which problems will show under this name. Its relative paths start at `base`.
    pub fn begin(&mut self, name: &str, text: &str, base: &Path) {
        self.problems.sources_mut().add(name, text);
        self.texts.push(Text { base: base.to_owned(), broken: Broken::default() });
    }

    /// Reads a whole file. `None` when it is not even a table; otherwise its gaps are reported.
    pub fn read<T: Word>(&mut self, name: &str, text: &str, base: &Path) -> Option<T> {
        self.begin(name, text, base);
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut broken = Broken::new(text, table.get_ref(), &errors);
        for (span, message, remedy) in std::mem::take(&mut broken.problems) {
            self.problems.push(self.place(span), message, remedy);
        }
        if let Some(text) = self.texts.last_mut() {
            text.broken = broken;
        }
        T::read(&Spanned::new(table.span(), DeValue::Table(table.into_inner())), self)
    }

    /// Reads a file whose top level may not hold the keys of another one.
    pub(super) fn read_part<T: Word>(
        &mut self,
        name: &str,
        text: &str,
        base: &Path,
        elsewhere: Elsewhere,
    ) -> Option<T> {
        self.elsewhere = Some(elsewhere);
        let read = self.read(name, text, base);
        self.elsewhere = None;
        read
    }

    /// The problems, after everything has been read and checked.
    pub fn into_problems(self) -> Problems {
        self.problems
    }

    /// The problems so far.
    pub fn problems(&self) -> &Problems {
        &self.problems
    }

    /// A place in the text that is being read.
    pub fn place(&self, span: Range<usize>) -> Place {
        Place { source: self.texts.len().checked_sub(1), span }
    }

    /// The line of a place, as remedies name it to someone who reads `from`: with its file, if that is another
    /// one.
    pub fn line(&self, place: &Place, from: &Place) -> String {
        let sources = self.problems.sources();
        let (line, _) = sources.line_column(place);
        match sources.name(place) {
            Some(name) if place.source != from.source => format!("line {line} of {name}"),
            _ => format!("line {line}"),
        }
    }

    /// A path that stands at a place: relative ones start at the directory of their file.
    pub fn path(&self, written: impl AsRef<Path>, place: &Place) -> PathBuf {
        self.text(place).map_or_else(PathBuf::new, |text| text.base.clone()).join(written)
    }

    /// What the configuration was, or would be, made of.
    pub(super) fn watched(&mut self) -> &mut Watched {
        self.problems.watched_mut()
    }

    /// Something that belongs to the configuration could not be read, which is reported: what is missing may be
    /// there.
    pub(super) fn set_incomplete(&mut self) {
        self.incomplete = true;
    }

    /// What is known of the text of a place.
    fn text(&self, place: &Place) -> Option<&Text> {
        self.texts.get(place.source?)
    }

    /// The regular expressions so far.
    pub(super) fn patterns(&mut self) -> &mut Patterns {
        &mut self.patterns
    }

    /// Reports something that is written and wrong.
    pub fn report(&mut self, place: &Place, message: impl Into<String>, remedy: impl Into<String>) {
        if self.text(place).is_none_or(|text| text.broken.is_sound(&place.span)) {
            let mut remedy = remedy.into();
            if let Some(alternative) = self.alternative {
                remedy.push_str(&format!(", or \"{alternative}\""));
            }
            self.problems.push(place.clone(), message, remedy);
        }
    }

    /// Notes something that is written, valid and dangerous.
    pub fn warn(&mut self, place: &Place, message: impl Into<String>, remedy: impl Into<String>) {
        self.warnings.push(place.clone(), message, remedy);
    }

    /// The warnings so far.
    pub(super) fn warnings(&self) -> Problems {
        self.warnings.clone().into_warnings(self.problems.sources().clone())
    }

    /// Reports something that its file should have and has not.
    pub fn report_missing(&mut self, place: &Place, message: impl Into<String>, remedy: impl Into<String>) {
        if !self.text(place).is_some_and(|text| text.broken.is_lossy()) {
            self.problems.push(place.clone(), message, remedy);
        }
    }

    /// Reports something that one of the files should have and none has; after all of them have been read.
    pub fn report_nowhere(&mut self, place: &Place, message: impl Into<String>, remedy: impl Into<String>) {
        if !self.incomplete && !self.texts.iter().any(|text| text.broken.is_lossy()) {
            self.problems.push(place.clone(), message, remedy);
        }
    }

    /// Reports a value of the wrong kind.
    pub(super) fn report_kind(&mut self, value: &Spanned<DeValue<'_>>, shape: &Shape) {
        let kind = match value.get_ref() {
            DeValue::Integer(integer) => integer.to_string(),
            DeValue::Float(float) => float.to_string(),
            DeValue::String(text) => format!("\"{}\"", shown(text)),
            DeValue::Boolean(switch) => switch.to_string(),
            DeValue::Datetime(_) => "a date".to_owned(),
            DeValue::Array(_) => "a list".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
        };
        let message = format!("{} cannot be {}", self.subject, shown(&kind));
        let remedy = format!("write {}", self.titled(&shape.to_string()));
        self.report(&self.place(value.span()), message, remedy);
    }

    /// Reads something that this fixed string may stand for; remedies mention it.
    pub(super) fn or<T>(&mut self, alternative: &'static str, read: impl FnOnce(&mut Self) -> T) -> T {
        let outer = self.alternative.replace(alternative);
        let value = read(self);
        self.alternative = outer;
        value
    }

    /// What is being read, in backticks, for messages.
    pub(super) fn subject(&self) -> &str {
        &self.subject
    }

    /// Names what is read next.
    pub(super) fn set_subject(&mut self, subject: String) {
        self.subject = subject;
    }

    /// Names the table that is read next: what `NAME` stands for in its title.
    pub(super) fn set_entry(&mut self, entry: &str) {
        self.entry = shown(entry);
    }

    /// A text with the name of the table that is being read.
    fn titled(&self, text: &str) -> String {
        match self.entry.as_str() {
            "" => text.to_owned(),
            entry => text.replace("NAME", entry),
        }
    }

    /// The table that a value is, after reporting its unknown and its missing keys.
    pub(super) fn table<'v, 'i>(
        &mut self,
        value: &'v Spanned<DeValue<'i>>,
        title: &str,
        keys: &[Key],
        shape: &Shape,
    ) -> Option<&'v DeTable<'i>> {
        let DeValue::Table(table) = value.get_ref() else {
            self.report_kind(value, shape);
            return None;
        };
        // What may stand instead of the table may not stand within it.
        self.alternative = None;
        let title = self.titled(title);
        let elsewhere = self.elsewhere.take();
        for (written, _) in table.iter() {
            let name: &str = written.get_ref();
            if keys.iter().any(|key| key.name == name) {
                continue;
            }
            let names = || keys.iter().map(|key| key.name);
            let elsewhere = elsewhere.as_ref().filter(|other| other.keys.iter().any(|key| key.name == name));
            let remedy = match (elsewhere, nearest(name, names())) {
                (Some(elsewhere), _) => elsewhere.remedy.clone(),
                (None, Some(near)) => format!("did you mean `{near}`?"),
                (None, None) => format!("write {}", one_of(names())),
            };
            let message = format!("`{}` is not a key of {title}", shown(name));
            self.report(&self.place(written.span()), message, remedy);
        }
        for key in keys.iter().filter(|key| key.need == Need::Required && !table.contains_key(key.name)) {
            let message = format!("{title} has no {}", key.title());
            let remedy = format!("add {}: {}", key.title(), key.summary());
            self.report_missing(&self.place(value.span()), message, remedy);
        }
        Some(table)
    }

    /// One key of a table.
    pub(super) fn key<T: Word>(&mut self, table: &DeTable<'_>, name: &str) -> Found<T> {
        let Some(value) = table.get(name) else {
            return Found::Absent;
        };
        self.set_subject(format!("`{name}`"));
        match T::read(value, self) {
            Some(read) => Found::Written(At { value: read, place: self.place(value.span()) }),
            None => Found::Wrong,
        }
    }
}

impl<T> Found<T> {
    /// What was written; `None` when it is absent or wrong.
    pub fn written(self) -> Option<At<T>> {
        match self {
            Self::Written(at) => Some(at),
            Self::Absent | Self::Wrong => None,
        }
    }

    /// Whether it is not written.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// Where it was written; `None` when it is absent or wrong.
    pub fn place(&self) -> Option<&Place> {
        match self {
            Self::Written(at) => Some(&at.place),
            Self::Absent | Self::Wrong => None,
        }
    }

    /// Joins what two files have: `both` does it when each has something. Nothing can be concluded when one is wrong.
    pub fn and(self, other: Self, both: impl FnOnce(&mut T, T)) -> Self {
        match (self, other) {
            (Self::Wrong, _) | (_, Self::Wrong) => Self::Wrong,
            (only, Self::Absent) | (Self::Absent, only) => only,
            (Self::Written(mut first), Self::Written(second)) => {
                both(&mut first.value, second.value);
                Self::Written(first)
            }
        }
    }

    /// What was written, or `default` when it is absent; `None` when it is wrong.
    pub fn or<V>(self, default: V) -> Option<V>
    where
        T: Into<V>,
    {
        match self {
            Self::Absent => Some(default),
            Self::Wrong => None,
            Self::Written(at) => Some(at.value.into()),
        }
    }

    /// What was written, if anything was; `None` when it is wrong.
    pub fn optional(self) -> Option<Option<At<T>>> {
        match self {
            Self::Absent => Some(None),
            Self::Wrong => None,
            Self::Written(at) => Some(Some(at)),
        }
    }
}

/// Declares a table: its struct, its reading ([`Word`]) and its description (`KEYS`), from one list of keys.
/// Each key has documentation (its first line is used in remedies), `required`, `optional` or `somewhere`
/// ([`Need`](super::shape::Need)), a name and the word it takes.
macro_rules! words {
    (
        $(#[doc = $doc:literal])+
        struct $Table:ident = $title:literal {
            $( $(#[doc = $key_doc:literal])+ $need:ident $key:ident: $Word:ty, )+
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Debug, Default)]
        pub struct $Table {
            $( $(#[doc = $key_doc])+ pub $key: $crate::config::reader::Found<$Word>, )+
        }

        impl $Table {
            /// Its keys, in the order of their documentation.
            pub const KEYS: &'static [$crate::config::shape::Key] = &[
                $( $crate::config::shape::Key {
                    name: stringify!($key),
                    shape: <$Word as $crate::config::reader::Word>::SHAPE,
                    doc: concat!($($key_doc, "\n"),+),
                    need: $crate::config::reader::words!(@ $need),
                }, )+
            ];
        }

        impl $crate::config::reader::Word for $Table {
            const SHAPE: &'static $crate::config::shape::Shape =
                &$crate::config::shape::Shape::Table { title: $title, keys: Self::KEYS };

            fn read(
                value: &toml::Spanned<toml::de::DeValue<'_>>,
                reader: &mut $crate::config::reader::Reader,
            ) -> Option<Self> {
                let table = reader.table(value, $title, Self::KEYS, Self::SHAPE)?;
                Some(Self { $( $key: reader.key(table, stringify!($key)), )+ })
            }
        }
    };
    (@ required) => { $crate::config::shape::Need::Required };
    (@ optional) => { $crate::config::shape::Need::Optional };
    (@ somewhere) => { $crate::config::shape::Need::Somewhere };
}
pub(crate) use words;
