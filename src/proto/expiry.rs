//! Until when a backend lets a tunnel live, as a field of its answer says: seconds from now (`3600`), or a time of RFC 3339
//! in UTC (`2030-01-31T12:00:00Z`). Everything else is refused: a time that is guessed would cut somebody off.

use std::time::{Duration, SystemTime};

/// Seconds that are taken, at most: a hundred years.
const SECONDS_MAX: u64 = 100 * 366 * 24 * 60 * 60;
/// Digits that they have, at most.
const DIGITS_MAX: usize = 10;
/// Bytes of an RFC 3339 time, at most: with nanoseconds.
const TIME_BYTES_MAX: usize = 30;

/// How long there is to live at `now`; nothing for a time that has passed. `None` for what is no such value.
pub fn left(value: &[u8], now: SystemTime) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?.trim_matches([' ', '\t']);
    if !text.is_empty() && text.len() <= DIGITS_MAX && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let seconds = text.parse::<u64>().ok()?;
        return (seconds <= SECONDS_MAX).then(|| Duration::from_secs(seconds));
    }
    if text.len() > TIME_BYTES_MAX {
        return None;
    }
    let time = humantime::parse_rfc3339(text).ok()?;
    let left = time.duration_since(now).unwrap_or_default();
    (left.as_secs() <= SECONDS_MAX).then_some(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_times_are_taken_and_nothing_else() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000); // 2001-09-09T01:46:40Z
        let left = |value: &str| left(value.as_bytes(), now).map(|left| left.as_millis());
        for (value, expected) in [
            ("0", 0),
            ("3600", 3_600_000),
            (" 007\t", 7_000),
            ("2001-09-09T01:46:41Z", 1_000),
            ("2001-09-09T01:46:40.250Z", 250),
            ("1999-01-01T00:00:00Z", 0),
            ("3162240000", 3_162_240_000_000),
            ("2101-11-24T01:46:40Z", 3_162_240_000_000),
        ] {
            assert_eq!(left(value), Some(expected), "{value}");
        }
        for value in [
            "",
            "-1",
            "+1",
            "1.5",
            "1h",
            "0x10",
            "3162240001",
            "99999999999",
            "2001-09-09",
            "2001-09-09T01:46:41+02:00",
            "Sun, 09 Sep 2001 01:46:41 GMT",
            "2001-13-09T01:46:41Z",
            "never",
            "1, 2",
            "2101-11-24T01:46:41Z",
            "2001-09-09T01:46:41.000000000000000Z",
        ] {
            assert_eq!(left(value), None, "{value}");
        }
        assert_eq!(super::left(b"\xff", now), None);
    }
}
