//! Durations, sizes and parts: numbers with their units, as strings.
//!
//! A bare number is refused, never guessed: `timeout = 30` means seconds to one reader and milliseconds to
//! the next.

use std::time::Duration;

use bytesize::ByteSize;
use toml::Spanned;
use toml::de::DeValue;

use super::problem::shown;
use super::reader::{Reader, Word};
use super::shape::{self, Shape};

/// One second, in the unit of [`Time`]'s bounds.
const SECOND: u64 = 1_000;
/// One day, in the unit of [`Time`]'s bounds.
const DAY: u64 = 24 * 60 * 60 * SECOND;

const DURATIONS: &str = "write a number and its unit, such as \"500ms\", \"30s\", \"5m\", \"1h\" or \"7d\"";
const PERCENTS: &str = "write a whole number and %, such as \"125%\"";
const SIZES: &str = "write a number and its unit, such as \"64KiB\" or \"1MiB\"";

/// How long something may take: 1 ms to 7 days.
pub type Timeout = Time<1, { 7 * DAY }>;
/// How long something is put off: nothing to 7 days.
pub type Delay = Time<0, { 7 * DAY }>;
/// How long something may be silent: 1 ms to 30 days.
pub type IdleTimeout = Time<1, { 30 * DAY }>;
/// Between two Pings: 10 ms to 7 days.
pub type PingInterval = Time<10, { 7 * DAY }>;
/// How long a cookie lasts: 1 second to 30 days.
pub type CookieAge = Time<SECOND, { 30 * DAY }>;
/// A timer of the kernel that counts whole seconds, in 16 bits at most: 1 second to 9 hours.
pub type KernelTimer = Time<SECOND, { 9 * 60 * 60 * SECOND }>;

/// A duration from `MIN` to `MAX` milliseconds: `"500ms"`, `"30s"`, `"1h 30m"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time<const MIN: u64, const MAX: u64>(pub Duration);

/// A size from `MIN` to `MAX` bytes: `"64KiB"`. `KB` is a thousand bytes, `KiB` is 1,024.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size<const MIN: u64, const MAX: u64>(pub u64);

/// A part from `MIN` to `MAX` percent: `"125%"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percent<const MIN: u32, const MAX: u32>(pub u32);

impl<const MIN: u64, const MAX: u64> Word for Time<MIN, MAX> {
    const SHAPE: &'static Shape =
        &Shape::Duration { min: Duration::from_millis(MIN), max: Duration::from_millis(MAX) };

    fn read(value: &Spanned<DeValue<'_>>, reader: &mut Reader) -> Option<Self> {
        let read = match quantity(value, Self::SHAPE, reader)? {
            Quantity::Bare(number) => Err((" has no unit", format!("write \"{number}s\""))),
            Quantity::Text(text) => match parse_duration(text) {
                None => Err((" is not a duration", DURATIONS.to_owned())),
                Some(time) if time < Duration::from_millis(MIN) => {
                    Err((" is too short", bounds(Self::SHAPE)))
                }
                Some(time) if time > Duration::from_millis(MAX) => Err((" is too long", bounds(Self::SHAPE))),
                Some(time) => Ok(Self(time)),
            },
        };
        report(read, value, reader)
    }
}

impl<const MIN: u64, const MAX: u64> Word for Size<MIN, MAX> {
    const SHAPE: &'static Shape = &Shape::Size { min: MIN, max: MAX };

    fn read(value: &Spanned<DeValue<'_>>, reader: &mut Reader) -> Option<Self> {
        let read = match quantity(value, Self::SHAPE, reader)? {
            Quantity::Bare(number) => {
                let written = number.parse().map_or_else(|_| format!("{number}KiB"), shape::size);
                Err((" has no unit", format!("write \"{written}\"")))
            }
            Quantity::Text(text) => match text.parse::<ByteSize>() {
                Ok(size) if size.as_u64() < MIN => Err((" is too small", bounds(Self::SHAPE))),
                Ok(size) if size.as_u64() > MAX => Err((" is too large", bounds(Self::SHAPE))),
                Ok(size) => Ok(Self(size.as_u64())),
                Err(_) => Err((" is not a size", SIZES.to_owned())),
            },
        };
        report(read, value, reader)
    }
}

impl<const MIN: u32, const MAX: u32> Word for Percent<MIN, MAX> {
    const SHAPE: &'static Shape = &Shape::Percent { min: MIN, max: MAX };

    fn read(value: &Spanned<DeValue<'_>>, reader: &mut Reader) -> Option<Self> {
        let read = match quantity(value, Self::SHAPE, reader)? {
            Quantity::Bare(number) => Err((" has no unit", format!("write \"{number}%\""))),
            Quantity::Text(text) => match text.strip_suffix('%').filter(|number| is_digits(number)) {
                None => Err((" is not a part in percent", PERCENTS.to_owned())),
                Some(number) => match number.parse::<u32>() {
                    Ok(percent) if (MIN..=MAX).contains(&percent) => Ok(Self(percent)),
                    Ok(percent) if percent < MIN => Err((" is too little", bounds(Self::SHAPE))),
                    _ => Err((" is too much", bounds(Self::SHAPE))),
                },
            },
        };
        report(read, value, reader)
    }
}

impl<const MIN: u32, const MAX: u32> From<Percent<MIN, MAX>> for u32 {
    fn from(percent: Percent<MIN, MAX>) -> Self {
        percent.0
    }
}

impl<const MIN: u64, const MAX: u64> From<Time<MIN, MAX>> for Duration {
    fn from(time: Time<MIN, MAX>) -> Self {
        time.0
    }
}

impl<const MIN: u64, const MAX: u64> From<Size<MIN, MAX>> for usize {
    fn from(size: Size<MIN, MAX>) -> Self {
        Self::try_from(size.0).unwrap_or(Self::MAX)
    }
}

/// A number with its unit, or one without.
enum Quantity<'v> {
    Bare(&'v str),
    Text(&'v str),
}

fn quantity<'v>(value: &'v Spanned<DeValue<'_>>, shape: &Shape, reader: &mut Reader) -> Option<Quantity<'v>> {
    match value.get_ref() {
        DeValue::Integer(integer) if integer.radix() == 10 && !integer.as_str().starts_with('-') => {
            Some(Quantity::Bare(integer.as_str().trim_start_matches('+')))
        }
        DeValue::String(text) if is_digits(text) => Some(Quantity::Bare(text)),
        DeValue::String(text) => Some(Quantity::Text(text)),
        _ => {
            reader.report_kind(value, shape);
            None
        }
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn bounds(shape: &Shape) -> String {
    format!("write {shape}")
}

fn report<T>(
    read: Result<T, (&str, String)>,
    value: &Spanned<DeValue<'_>>,
    reader: &mut Reader,
) -> Option<T> {
    let (what, remedy) = match read {
        Ok(value) => return Some(value),
        Err(problem) => problem,
    };
    let written = match value.get_ref() {
        DeValue::String(text) => format!("\"{}\"", shown(text)),
        DeValue::Integer(integer) => shown(integer.as_str()),
        _ => reader.subject().to_owned(),
    };
    reader.report(&reader.place(value.span()), format!("{} = {written}{what}", reader.subject()), remedy);
    None
}

/// `None` when it is not a duration, or longer than anything that is asked for here.
fn parse_duration(text: &str) -> Option<Duration> {
    // humantime 2.4 panics when a sum of seconds and a fraction passes u64::MAX; nothing this short can reach
    // it.
    const LENGTH_MAX: usize = 32;
    const DIGITS_MAX: usize = 9;
    let longest = text.split(|c: char| !c.is_ascii_digit() && !c.is_whitespace()).map(str::len).max();
    if text.len() > LENGTH_MAX || longest > Some(DIGITS_MAX) {
        return None;
    }
    humantime::parse_duration(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: Word>(value: &str) -> Result<T, (String, String)> {
        let mut reader = Reader::default();
        reader.begin("a.toml", value, std::path::Path::new(""));
        reader.set_subject("`key`".to_owned());
        let read = T::read(&DeValue::parse(value).unwrap(), &mut reader);
        let problem = reader.problems().iter().next().cloned();
        read.ok_or_else(|| problem.map(|problem| (problem.message, problem.remedy)).unwrap())
    }

    #[test]
    fn durations() {
        for (text, seconds) in [("30s", 30), ("5m", 300), ("1h 30m", 5_400), ("7d", 604_800), ("1000ms", 1)] {
            let Time(duration) = read::<Timeout>(&format!("\"{text}\"")).unwrap();
            assert_eq!(duration, Duration::from_secs(seconds), "{text}");
        }
        assert_eq!(read::<Delay>("\"0s\""), Ok(Time(Duration::ZERO)));
    }

    #[test]
    fn wrong_durations() {
        let bounds = "write a duration from \"1ms\" to \"7d\"";
        for (value, message, remedy) in [
            ("30", "`key` = 30 has no unit", "write \"30s\""),
            ("1_000", "`key` = 1000 has no unit", "write \"1000s\""),
            ("\"30\"", "`key` = \"30\" has no unit", "write \"30s\""),
            ("\"30 parsecs\"", "`key` = \"30 parsecs\" is not a duration", DURATIONS),
            ("\"-3s\"", "`key` = \"-3s\" is not a duration", DURATIONS),
            ("\"\"", "`key` = \"\" is not a duration", DURATIONS),
            ("\"0s\"", "`key` = \"0s\" is too short", bounds),
            ("\"8d\"", "`key` = \"8d\" is too long", bounds),
            ("-3", "`key` cannot be -3", bounds),
            ("true", "`key` cannot be true", bounds),
        ] {
            assert_eq!(read::<Timeout>(value), Err((message.to_owned(), remedy.to_owned())));
        }
    }

    #[test]
    fn enormous_durations_do_not_panic() {
        for text in
            ["18446744073709551615s 1000ms", "584542046090y 18446744073s", "18446744073 709551615s 1s"]
        {
            assert!(read::<Timeout>(&format!("\"{text}\"")).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes() {
        type Any = Size<1, { u64::MAX }>;
        for (text, bytes) in [("64KiB", 65_536), ("64k", 64_000), ("1 MiB", 1_048_576), ("1.5KiB", 1_536)] {
            assert_eq!(read::<Any>(&format!("\"{text}\"")), Ok(Size(bytes)), "{text}");
        }
    }

    #[test]
    fn percents() {
        assert_eq!(read::<Percent<1, 1000>>("\"125%\""), Ok(Percent(125)));
        let bounds = "write a part from \"100%\" to \"1000%\"";
        for (value, message, remedy) in [
            ("125", "`key` = 125 has no unit", "write \"125%\""),
            ("\"99%\"", "`key` = \"99%\" is too little", bounds),
            ("\"1001%\"", "`key` = \"1001%\" is too much", bounds),
            ("\"99999999999%\"", "`key` = \"99999999999%\" is too much", bounds),
            ("\"1.25\"", "`key` = \"1.25\" is not a part in percent", PERCENTS),
            ("\"-5%\"", "`key` = \"-5%\" is not a part in percent", PERCENTS),
            ("1.25", "`key` cannot be 1.25", bounds),
        ] {
            assert_eq!(read::<Percent<100, 1_000>>(value), Err((message.to_owned(), remedy.to_owned())));
        }
    }

    #[test]
    fn wrong_sizes() {
        let bounds = "write a size from \"8KiB\" to \"1MiB\"";
        for (value, message, remedy) in [
            ("32768", "`key` = 32768 has no unit", "write \"32KiB\""),
            ("\"32768\"", "`key` = \"32768\" has no unit", "write \"32KiB\""),
            ("1000", "`key` = 1000 has no unit", "write \"1000B\""),
            ("\"4KiB\"", "`key` = \"4KiB\" is too small", bounds),
            ("\"1GiB\"", "`key` = \"1GiB\" is too large", bounds),
            ("\"many\"", "`key` = \"many\" is not a size", SIZES),
            ("[]", "`key` cannot be a list", bounds),
        ] {
            assert_eq!(read::<Size<8_192, 1_048_576>>(value), Err((message.to_owned(), remedy.to_owned())));
        }
    }
}
