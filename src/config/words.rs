//! The words that tables are made of: strings, numbers, choices, lists, named tables.
//!
//! Durations and sizes are in [`units`](super::units), text with a syntax of its own in
//! [`syntax`](super::syntax).

use std::collections::HashSet;
use std::hash::Hash;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::At;
use super::problem::{nearest, shown};
use super::reader::{Reader, Word};
use super::shape::Shape;
use super::syntax::Wrong;

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number<const MIN: u64, const MAX: u64>(pub u64);

impl<const MIN: u64, const MAX: u64> Word for Number<MIN, MAX> {
    const SHAPE: &'static Shape = &Shape::Number { min: MIN, max: MAX };

    fn read(value: &Spanned<DeValue<'_>>, reader: &mut Reader) -> Option<Self> {
        let DeValue::Integer(integer) = value.get_ref() else {
            reader.report_kind(value, Self::SHAPE);
            return None;
        };
        let number = u64::from_str_radix(integer.as_str(), integer.radix());
        if let Some(number) = number.ok().filter(|number| (MIN..=MAX).contains(number)) {
            return Some(Self(number));
        }
        let message = format!("{} cannot be {}", reader.subject(), shown(&integer.to_string()));
        reader.report(&reader.place(value.span()), message, format!("write {}", Self::SHAPE));
        None
    }
}

impl<const MIN: u64, const MAX: u64> From<Number<MIN, MAX>> for usize {
    fn from(number: Number<MIN, MAX>) -> Self {
        Self::try_from(number.0).unwrap_or(Self::MAX)
    }
}

impl<const MIN: u64, const MAX: u64> From<Number<MIN, MAX>> for u32 {
    fn from(number: Number<MIN, MAX>) -> Self {
        Self::try_from(number.0).unwrap_or(Self::MAX)
    }
}

/// Statuses of HTTP: one, 100 to 599, or a range such as `"200-299"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusRange(pub RangeInclusive<u16>);

impl Word for StatusRange {
    const SHAPE: &'static Shape =
        &Shape::Either(&[&Shape::Number { min: 100, max: 599 }, &Shape::Text("a range such as 200-299")]);

    fn read(value: &Spanned<DeValue<'_>>, reader: &mut Reader) -> Option<Self> {
        let DeValue::String(text) = value.get_ref() else {
            let Number(status) = Number::<100, 599>::read(value, reader)?;
            let status = u16::try_from(status).ok()?;
            return Some(Self(status..=status));
        };
        let status = |text: &str| text.parse().ok().filter(|status| (100..=599).contains(status));
        let ends = text.split_once('-').and_then(|(first, last)| Some((status(first)?, status(last)?)));
        if let Some((first, last)) = ends.filter(|(first, last)| first <= last) {
            return Some(Self(first..=last));
        }
        if let Some(status) = status(text) {
            let remedy = format!("write {status}, without quotes");
            let message = format!("\"{status}\" is not a range of statuses");
            reader.report(&reader.place(value.span()), message, remedy);
            return None;
        }
        let message = format!("\"{}\" is not a range of statuses", shown(text));
        let remedy = "write the first and the last, from 100 to 599, such as \"200-299\"";
        reader.report(&reader.place(value.span()), message, remedy);
        None
    }
}

impl Word for bool {
    const SHAPE: &'static Shape = &Shape::Switch;

    fn read(value: &Spanned<DeValue<'_>>, reader: &mut Reader) -> Option<Self> {
        if let DeValue::Boolean(switch) = value.get_ref() {
            return Some(*switch);
        }
        reader.report_kind(value, Self::SHAPE);
        None
    }
}

/// The index of a string among the words that are known; otherwise reports it.
pub(super) fn choice(
    value: &Spanned<DeValue<'_>>,
    words: &[&str],
    shape: &Shape,
    reader: &mut Reader,
) -> Option<usize> {
    let DeValue::String(text) = value.get_ref() else {
        reader.report_kind(value, shape);
        return None;
    };
    let index = words.iter().position(|word| word == text);
    if index.is_none() {
        let message = format!("{} cannot be \"{}\"", reader.subject(), shown(text));
        let remedy = match nearest(text, words.iter().copied()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("write {shape}"),
        };
        reader.report(&reader.place(value.span()), message, remedy);
    }
    index
}

/// Makes an enum a word: one string for each variant.
macro_rules! choices {
    ($Type:ty { $( $word:literal => $value:expr, )+ }) => {
        impl $crate::config::reader::Word for $Type {
            const SHAPE: &'static $crate::config::shape::Shape =
                &$crate::config::shape::Shape::Choice(&[$($word),+]);

            fn read(
                value: &toml::Spanned<toml::de::DeValue<'_>>,
                reader: &mut $crate::config::reader::Reader,
            ) -> Option<Self> {
                let index = $crate::config::words::choice(value, &[$($word),+], Self::SHAPE, reader)?;
                [$($value),+].into_iter().nth(index)
            }
        }
    };
}
pub(super) use choices;

/// Makes `Name<T>`: one fixed string, which means none, or a `T`.
macro_rules! none_or {
    ($(#[doc = $doc:literal])+ struct $Name:ident = $none:literal or $($Value:ty),+) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $Name<T>(pub Option<T>);

        impl<T: Word> Word for $Name<T> {
            const SHAPE: &'static Shape = &Shape::Either(&[&Shape::Choice(&[$none]), T::SHAPE]);

            fn read(value: &Spanned<DeValue<'_>>, reader: &mut Reader) -> Option<Self> {
                if matches!(value.get_ref(), DeValue::String(text) if text == $none) {
                    return Some(Self(None));
                }
                reader.or($none, |reader| T::read(value, reader)).map(|value| Self(Some(value)))
            }
        }

        $(impl<T: Into<$Value>> From<$Name<T>> for Option<$Value> {
            fn from(value: $Name<T>) -> Self {
                value.0.map(Into::into)
            }
        })+
    };
}

none_or! {
    /// `"auto"`, which leaves the choice to longhaul, or a value.
    struct Auto = "auto" or usize, bool
}

none_or! {
    /// `"off"`, or a value.
    struct Off = "off" or Duration, u32, usize
}

/// A list of at least `MIN` entries. Wrong entries are reported and left out.
#[derive(Clone, Debug)]
pub struct List<T, const MIN: usize>(pub Vec<At<T>>);

impl<T: Word, const MIN: usize> Word for List<T, MIN> {
    const SHAPE: &'static Shape = &Shape::List { entry: T::SHAPE, min: MIN };

    fn read(value: &Spanned<DeValue<'_>>, reader: &mut Reader) -> Option<Self> {
        let DeValue::Array(array) = value.get_ref() else {
            reader.report_kind(value, Self::SHAPE);
            return None;
        };
        let list = reader.subject().to_owned();
        if array.len() < MIN {
            let message = format!("{list} is empty");
            reader.report_missing(&reader.place(value.span()), message, "write at least one entry");
        }
        let mut entries = Vec::new();
        for entry in array.iter() {
            reader.set_subject(format!("an entry of {list}"));
            if let Some(read) = T::read(entry, reader) {
                entries.push(At { value: read, place: reader.place(entry.span()) });
            }
        }
        Some(Self(entries))
    }
}

/// Tables under names that the operator chose, at least one.
#[derive(Clone, Debug)]
pub struct Named<T>(pub Vec<NamedEntry<T>>);

/// One of them.
#[derive(Clone, Debug)]
pub struct NamedEntry<T> {
    /// Its name, at the place of its key.
    pub name: At<String>,
    /// `None` when it is not a table, which is reported.
    pub table: Option<T>,
}

impl<T: Word> Word for Named<T> {
    const SHAPE: &'static Shape = &Shape::Map { entry: T::SHAPE, min: 1 };

    fn read(value: &Spanned<DeValue<'_>>, reader: &mut Reader) -> Option<Self> {
        let DeValue::Table(tables) = value.get_ref() else {
            reader.report_kind(value, Self::SHAPE);
            return None;
        };
        if tables.is_empty() {
            let message = format!("{} is empty", reader.subject());
            reader.report_missing(&reader.place(value.span()), message, format!("write {}", Self::SHAPE));
        }
        let mut entries = Vec::new();
        for (key, value) in tables.iter() {
            reader.set_entry(key.get_ref());
            reader.set_subject(format!("`{}`", shown(key.get_ref())));
            let name = At { value: key.get_ref().to_string(), place: reader.place(key.span()) };
            entries.push(NamedEntry { name, table: T::read(value, reader) });
        }
        // The tree is sorted by name; problems that compare entries need the order of the file.
        entries.sort_by_key(|entry| entry.name.place.span.start);
        Some(Self(entries))
    }
}

/// The name of an entry that the operator chose.
pub trait Key: Clone + Eq + Hash {
    /// The name in its one form.
    ///
    /// # Errors
    /// What is wrong with it.
    fn parse(text: &str) -> Result<Self, Wrong>;
}

/// Values under names that the operator chose, at least one, each name once. Wrong entries are reported and left out.
#[derive(Clone, Debug)]
pub struct Entries<K, T>(pub Vec<(K, At<T>)>);

impl<K: Key, T: Word> Word for Entries<K, T> {
    const SHAPE: &'static Shape = &Shape::Map { entry: T::SHAPE, min: 1 };

    fn read(value: &Spanned<DeValue<'_>>, reader: &mut Reader) -> Option<Self> {
        let DeValue::Table(table) = value.get_ref() else {
            reader.report_kind(value, Self::SHAPE);
            return None;
        };
        let title = reader.subject().to_owned();
        if table.is_empty() {
            let remedy = "write at least one entry, or remove it";
            reader.report_missing(&reader.place(value.span()), format!("{title} is empty"), remedy);
        }
        let mut known = HashSet::new();
        let mut entries = Vec::new();
        for (written, value) in table.iter() {
            let place = reader.place(written.span());
            match K::parse(written.get_ref()) {
                Err(Wrong { message, remedy }) => reader.report(&place, message, remedy),
                Ok(key) if !known.insert(key.clone()) => {
                    let message = format!("`{}` is there twice", shown(written.get_ref()));
                    reader.report(&place, message, "keep one of them: letter case makes no other name");
                }
                Ok(key) => {
                    reader.set_subject(format!("`{}`", shown(written.get_ref())));
                    if let Some(read) = T::read(value, reader) {
                        entries.push((key, At { value: read, place: reader.place(value.span()) }));
                    }
                }
            }
        }
        Some(Self(entries))
    }
}
