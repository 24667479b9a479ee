//! The words of how live tunnels are asked to go.

use toml::Spanned;
use toml::de::DeValue;

use crate::config::OnDraining;
use crate::config::drain::REASON_BYTES_MAX;
use crate::config::reader::{Reader, Word, words};
use crate::config::shape::Shape;
use crate::config::units::{Delay, Timeout};
use crate::config::words::{Number, choices};

words! {
    /// `server.drain`
    struct DrainWords = "`server.drain`" {
        /// From the failing `/readyz` to the closing of the listeners, up to 7d; default 2s.
        optional delay: Delay,
        /// Over which tunnels that are asked to go are spread, up to 7d; absent: 30s, or half of `deadline` if that is less.
        optional window: Delay,
        /// Tunnels that are asked to go a second, 1 to 1,000,000, whatever `window` says; absent: any number.
        optional rate: Number<1, 1_000_000>,
        /// From the closing of the listeners to the cutting of what is left, up to 7d; default 5m.
        optional deadline: Timeout,
        /// What the Close frames of a stop say, 1001 (going away) or 1012 (restart); default 1001.
        optional code: CloseCode,
        /// The text behind the code in the Close frames of all tunnels that are asked to go, up to 123 bytes; absent: none.
        optional reason: CloseReason,
    }
}

/// What a client is told by a process that stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseCode(pub u16);

/// The text of a Close frame: at most [`REASON_BYTES_MAX`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseReason(pub String);

impl Word for CloseCode {
    const SHAPE: &'static Shape =
        &Shape::Either(&[&Shape::Number { min: 1001, max: 1001 }, &Shape::Number { min: 1012, max: 1012 }]);

    fn read(value: &Spanned<DeValue<'_>>, reader: &mut Reader) -> Option<Self> {
        let Number(code) = Number::<0, 65_535>::read(value, reader)?;
        match code {
            1001 => Some(Self(1001)),
            1012 => Some(Self(1012)),
            _ => {
                let message = format!("{code} does not say that longhaul stops");
                reader.report(
                    &reader.place(value.span()),
                    message,
                    "write 1001 (going away) or 1012 (restart)",
                );
                None
            }
        }
    }
}

impl From<CloseCode> for u16 {
    fn from(code: CloseCode) -> u16 {
        code.0
    }
}

impl Word for CloseReason {
    const SHAPE: &'static Shape = &Shape::Text("a text of at most 123 bytes");

    fn read(value: &Spanned<DeValue<'_>>, reader: &mut Reader) -> Option<Self> {
        let DeValue::String(text) = value.get_ref() else {
            reader.report_kind(value, Self::SHAPE);
            return None;
        };
        if text.len() <= REASON_BYTES_MAX {
            return Some(Self(text.to_string()));
        }
        let message = format!("{} has {} bytes", reader.subject(), text.len());
        let remedy = format!("write at most {REASON_BYTES_MAX}: no more fit into a Close frame");
        reader.report(&reader.place(value.span()), message, remedy);
        None
    }
}

choices!(OnDraining { "close" => Self::Close, "keep" => Self::Keep, });
