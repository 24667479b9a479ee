//! Parameters in the query of a target, as forms write them: `name=value` pairs joined by `&` (WHATWG URL 5.1).
//!
//! Names and values are compared as the application will read them: `%41` is `A` and `+` is a space. A `%` that is not
//! followed by two hexadecimal digits stands for itself. A name without `=` has an empty value; a name may stand there
//! several times.

use std::borrow::Cow;

/// The values of the parameter `name` in `query` (what follows the `?`), in their order.
pub fn values<'a>(query: &'a str, name: &str) -> impl Iterator<Item = Encoded<'a>> {
    pairs(query).filter_map(move |(found, value)| found.is(name.as_bytes()).then_some(value))
}

/// All parameters of `query`, in their order. Between two `&` without anything there is none.
pub fn pairs(query: &str) -> impl Iterator<Item = (Encoded<'_>, Encoded<'_>)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (Encoded(name.as_bytes()), Encoded(value.as_bytes()))
    })
}

/// A name or a value as it was sent.
#[derive(Clone, Copy, Debug)]
pub struct Encoded<'a>(&'a [u8]);

impl<'a> Encoded<'a> {
    /// Whether it is `plain` when it is decoded. Allocates nothing.
    pub fn is(self, plain: &[u8]) -> bool {
        if self.is_plain() { self.0 == plain } else { self.decoded().eq(plain.iter().copied()) }
    }

    /// What it stands for; a copy only where that is something else than was sent.
    pub fn decode(self) -> Cow<'a, [u8]> {
        if self.is_plain() { Cow::Borrowed(self.0) } else { Cow::Owned(self.decoded().collect()) }
    }

    fn is_plain(self) -> bool {
        !self.0.iter().any(|byte| matches!(byte, b'%' | b'+'))
    }

    fn decoded(self) -> impl Iterator<Item = u8> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (byte, after) = next(rest)?;
            rest = after;
            Some(byte)
        })
    }
}

/// The first byte that `encoded` stands for, and what follows it.
fn next(encoded: &[u8]) -> Option<(u8, &[u8])> {
    match encoded {
        [b'+', after @ ..] => Some((b' ', after)),
        [b'%', high, low, after @ ..] => match (digit(*high), digit(*low)) {
            (Some(high), Some(low)) => Some((high << 4 | low, after)),
            _ => encoded.split_first().map(|(first, after)| (*first, after)),
        },
        _ => encoded.split_first().map(|(first, after)| (*first, after)),
    }
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_read_as_an_application_reads_them() {
        for (query, name, expected) in [
            ("", "a", &[][..]),
            ("a=1", "a", &["1"]),
            ("a", "a", &[""]),
            ("a=", "a", &[""]),
            ("A=1", "a", &[]),
            ("b=1&a=2&a=3", "a", &["2", "3"]),
            ("&&a=1=2&", "a", &["1=2"]),
            ("%61=%31", "a", &["1"]),
            ("a+b=c+d", "a b", &["c d"]),
            ("a=%2B%26%3d", "a", &["+&="]),
            ("a=%&a=%4&a=%4g&a=%%41", "a", &["%", "%4", "%4g", "%A"]),
            ("a;b=1", "a", &[]),
            ("=1", "", &["1"]),
        ] {
            let found: Vec<_> =
                values(query, name).map(|value| String::from_utf8(value.decode().into()).unwrap()).collect();
            assert_eq!(found, expected, "{query} {name}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_found_again(name in "[a-z %+&=]{1,8}", value in ".{0,12}") {
            let encode = |text: &str| text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
            let query = format!("x=y&{}={}", encode(&name), encode(&value));
            let found = values(&query, &name).any(|found| found.is(value.as_bytes()));
            prop_assert!(found);
        }
    }
}
