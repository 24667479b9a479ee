//! From TOML text to words, with every problem and not only the first.
//!
//! A derived deserialiser stops at its first error. Here the `toml` crate makes a tree with spans, even of
//! broken text, and each word ([`Word`]) is read on its own: a wrong one is reported and leaves a gap
//! ([`Found::Wrong`]), the others are read all the same. `words!` declares a table once, and gives its
//! struct, its reading and its description ([`Shape`]).
//!
//! Of text that is not TOML, `broken` says how much can be judged all the same.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::broken::Broken;
use super::problem::{nearest, one_of, shown};
use super::shape::{Key, Shape};
use super::{At, Place, Problems, Sources};

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

/// Reads one text and collects what is wrong with it.
#[derive(Debug)]
pub struct Reader {
    problems: Problems,
    source: usize,
    broken: Broken,
    /// What is being read, as messages name it.
    subject: String,
    /// The name that stands for `NAME` in a table's title.
    entry: String,
    /// A fixed string that may stand instead of what is being read.
    alternative: Option<&'static str>,
}

impl Reader {
    /// A reader of a text, which problems will show under this name.
    pub fn new(name: &str, text: &str) -> Self {
        let mut sources = Sources::default();
        let source = sources.add(name, text);
        Self {
            problems: Problems::new(sources),
            source,
            broken: Broken::default(),
            subject: String::new(),
            entry: String::new(),
            alternative: None,
        }
    }

    /// Reads a whole file. `None` when it is not even a table; otherwise its gaps are reported.
    pub fn read<T: Word>(&mut self, text: &str) -> Option<T> {
        let (table, errors) = DeTable::parse_recoverable(text);
        self.broken = Broken::new(text, table.get_ref(), &errors);
        for (span, message, remedy) in std::mem::take(&mut self.broken.problems) {
            self.problems.push(self.place(span), message, remedy);
        }
        T::read(&Spanned::new(table.span(), DeValue::Table(table.into_inner())), self)
    }

    /// The problems, after everything has been read and checked.
    pub fn into_problems(self) -> Problems {
        self.problems
    }

    /// The problems so far.
    pub fn problems(&self) -> &Problems {
        &self.problems
    }

    /// A place in this text.
    pub fn place(&self, span: Range<usize>) -> Place {
        Place { source: Some(self.source), span }
    }

    /// The line of a place, as remedies name it.
    pub fn line(&self, place: &Place) -> usize {
        self.problems.sources().line_column(place).0
    }

    /// Reports something that is written and wrong.
    pub fn report(&mut self, place: &Place, message: impl Into<String>, remedy: impl Into<String>) {
        if self.broken.is_sound(&place.span) {
            let mut remedy = remedy.into();
            if let Some(alternative) = self.alternative {
                remedy.push_str(&format!(", or \"{alternative}\""));
            }
            self.problems.push(place.clone(), message, remedy);
        }
    }

    /// Reports something that should be there and is not.
    pub fn report_missing(&mut self, place: &Place, message: impl Into<String>, remedy: impl Into<String>) {
        if !self.broken.is_lossy() {
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
        let title = self.titled(title);
        for (written, _) in table.iter() {
            let name: &str = written.get_ref();
            if keys.iter().any(|key| key.name == name) {
                continue;
            }
            let remedy = match nearest(name, keys.iter().map(|key| key.name)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("write {}", one_of(keys.iter().map(|key| key.name))),
            };
            let message = format!("`{}` is not a key of {title}", shown(name));
            self.report(&self.place(written.span()), message, remedy);
        }
        for key in keys.iter().filter(|key| key.required && !table.contains_key(key.name)) {
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

    /// Where it was written; `None` when it is absent or wrong.
    pub fn place(&self) -> Option<&Place> {
        match self {
            Self::Written(at) => Some(&at.place),
            Self::Absent | Self::Wrong => None,
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
/// Each key has documentation (its first line is used in remedies), `required` or `optional`, a name and the
/// word it takes.
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
                    required: $crate::config::reader::words!(@ $need),
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
    (@ required) => { true };
    (@ optional) => { false };
}
pub(crate) use words;
