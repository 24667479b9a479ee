//! The words of a pool's choice.

use toml::Spanned;
use toml::de::DeValue;

use crate::config::reader::{Reader, Word, words};
use crate::config::shape::Shape;
use crate::config::units::Percent;
use crate::config::words::{Off, choices};
use crate::config::{Balance, HashKey};

words! {
    /// `balance` that is a table.
    struct HashWords = "`balance`" {
        /// What keeps requests together: `"client"`, `"path"`, `"header:NAME"`, `"cookie:NAME"` or `"query:NAME"`.
        required hash: HashKey,
        /// The most load of a backend, in percent of its share, 100% to 1000%, or `"off"`; default off.
        optional load_max: Off<Percent<100, 1_000>>,
    }
}

choices!(Balance {
    "least-connections" => Self::LeastConnections,
    "round-robin" => Self::RoundRobin,
    "random" => Self::Random,
    "power-of-two" => Self::PowerOfTwo,
});

/// `balance`: a word, or a table.
#[derive(Clone, Debug)]
pub enum BalanceWords {
    /// One that needs nothing else.
    Plain(Balance),
    /// One that hashes.
    Hash(HashWords),
}

impl Word for BalanceWords {
    const SHAPE: &'static Shape = &Shape::Either(&[Balance::SHAPE, HashWords::SHAPE]);

    fn read(value: &Spanned<DeValue<'_>>, reader: &mut Reader) -> Option<Self> {
        match value.get_ref() {
            DeValue::Table(_) => HashWords::read(value, reader).map(Self::Hash),
            DeValue::String(text) if text == "hash" => {
                let remedy = "write what keeps requests together, such as balance = { hash = \"client\" }";
                reader.report(&reader.place(value.span()), "`balance` cannot be \"hash\" alone", remedy);
                None
            }
            DeValue::String(_) => Balance::read(value, reader).map(Self::Plain),
            _ => {
                reader.report_kind(value, Self::SHAPE);
                None
            }
        }
    }
}
