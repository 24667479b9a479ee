//! The words of a pool's choice, and of what stays with it.

use toml::Spanned;
use toml::de::DeValue;

use crate::config::reader::{Reader, Word, words};
use crate::config::shape::Shape;
use crate::config::syntax::{CookieDomain, CookieName, CookiePath, FilePath};
use crate::config::units::{CookieAge, Percent};
use crate::config::words::{Auto, Off, choices};
use crate::config::{HashKey, SameSite, State};

words! {
    /// `balance` that is a table.
    struct HashWords = "`balance`" {
        /// What keeps requests together: `"client"`, `"path"`, `"header:NAME"`, `"cookie:NAME"` or `"query:NAME"`.
        required hash: HashKey,
        /// The most load of a backend, in percent of its share, 100% to 1000%, or `"off"`; default off.
        optional load_max: Off<Percent<100, 1_000>>,
    }
}

words! {
    /// `pools.NAME.sticky`
    struct StickyWords = "`pools.NAME.sticky`" {
        /// The cookie's name; default longhaul.
        optional cookie: CookieName,
        /// The file of secrets that it is signed with; absent: a key of this process alone.
        optional keys: FilePath,
        /// Below which path it is sent, the attribute `Path`; default /.
        optional path: CookiePath,
        /// Below which domain it is sent, the attribute `Domain`; absent: to the host that set it.
        optional domain: CookieDomain,
        /// How long it lasts after an answer, the attribute `Max-Age`, up to 30d; absent: while the browser runs.
        optional max_age: CookieAge,
        /// Whether it is sent over TLS alone, the attribute `Secure`; default `"auto"`: if it was set over TLS.
        optional secure: Auto<bool>,
        /// Whether it is hidden from scripts, the attribute `HttpOnly`; default true.
        optional http_only: bool,
        /// When pages of other sites send it, `"strict"`, `"lax"` or `"none"`, the attribute `SameSite`; default lax.
        optional same_site: SameSite,
    }
}

choices!(SameSite { "strict" => Self::Strict, "lax" => Self::Lax, "none" => Self::None, });
/// `balance` that is a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlainBalance {
    /// The fewest tunnels.
    LeastConnections,
    /// One after the other.
    RoundRobin,
    /// Any.
    Random,
    /// The better of two.
    PowerOfTwo,
}

choices!(PlainBalance {
    "least-connections" => Self::LeastConnections,
    "round-robin" => Self::RoundRobin,
    "random" => Self::Random,
    "power-of-two" => Self::PowerOfTwo,
});
choices!(State { "active" => Self::Active, "draining" => Self::Draining, "disabled" => Self::Disabled, });

/// `balance`: a word, or a table.
#[derive(Clone, Debug)]
pub enum BalanceWords {
    /// A word.
    Plain(PlainBalance),
    /// A table.
    Hash(HashWords),
}

impl Word for BalanceWords {
    const SHAPE: &'static Shape = &Shape::Either(&[PlainBalance::SHAPE, HashWords::SHAPE]);

    fn read(value: &Spanned<DeValue<'_>>, reader: &mut Reader) -> Option<Self> {
        match value.get_ref() {
            DeValue::Table(_) => HashWords::read(value, reader).map(Self::Hash),
            DeValue::String(text) if text == "hash" => {
                let remedy = "write what keeps requests together, such as balance = { hash = \"client\" }";
                reader.report(&reader.place(value.span()), "`balance` cannot be \"hash\" alone", remedy);
                None
            }
            DeValue::String(_) => PlainBalance::read(value, reader).map(Self::Plain),
            _ => {
                reader.report_kind(value, Self::SHAPE);
                None
            }
        }
    }
}
