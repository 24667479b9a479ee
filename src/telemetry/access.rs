//! Records of what happened to each request and tunnel, written straight to the log's sink.
//!
//! A tunnel leaves two with the same id, at its opening and at its end; every other request leaves one. Query strings
//! are never written. What came from the wire is escaped, in both shapes, so that no record can forge another.

use std::fmt::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use super::log::{Sink, timestamp};

/// The longest text of a record, in bytes, but for the ellipsis that shows the cut. The log's queue is bounded in bytes, too:
/// without this a client that sends the longest paths would leave room there for few records of others.
const TEXT_BYTES_MAX: usize = 1024;

/// Writes records, or does not, as `[log]` says at the time.
#[derive(Clone)]
pub struct AccessLog {
    sink: Sink,
}

/// One record: fields in the order in which they are added.
pub struct Record {
    fields: Map<String, Value>,
}

/// Names a request or a tunnel in its records, and in the live table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(u64);

impl Id {
    /// The next one: they ascend, and start where no other process is likely to have been.
    pub fn next() -> Id {
        static START: OnceLock<u64> = OnceLock::new();
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let start = START.get_or_init(|| {
            // Microseconds since 1970: a million new ids a second would be needed to meet a later process.
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            u64::try_from(now.as_micros()).unwrap_or_default()
        });
        Id(start.wrapping_add(NEXT.fetch_add(1, Relaxed)))
    }

    /// Reads what is displayed.
    pub fn parse(text: &str) -> Option<Id> {
        u64::from_str_radix(text, 16).ok().map(Id)
    }

    /// The id as a number.
    pub fn number(self) -> u64 {
        self.0
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:014x}", self.0)
    }
}

impl AccessLog {
    /// Records to `sink`.
    pub fn new(sink: Sink) -> AccessLog {
        AccessLog { sink }
    }

    /// Whether records are written now: what only they need must not be gathered else.
    pub fn is_on(&self) -> bool {
        self.sink.wants_access()
    }

    /// Writes the record that `fill` makes; where none is wanted, `fill` is not called.
    pub fn write(&self, message: &'static str, fill: impl FnOnce(&mut Record)) {
        if !self.is_on() {
            return;
        }
        let mut record = Record { fields: Map::new() };
        record.show("timestamp", timestamp(SystemTime::now()));
        record.text("level", "INFO").text("message", message);
        fill(&mut record);
        let mut line =
            if self.sink.is_json() { record.to_json().into_bytes() } else { record.to_text().into_bytes() };
        line.push(b'\n');
        self.sink.line(line);
    }
}

impl Record {
    /// Adds a text, cut at 1 KiB.
    pub fn text(&mut self, name: &'static str, value: &str) -> &mut Record {
        let end = value.floor_char_boundary(TEXT_BYTES_MAX);
        let value = match value.get(..end) {
            Some(start) if end < value.len() => format!("{start}…").into(),
            _ => value.into(),
        };
        self.fields.insert(name.into(), value);
        self
    }

    /// Adds a text, if there is one.
    pub fn maybe(&mut self, name: &'static str, value: Option<&str>) -> &mut Record {
        if let Some(value) = value {
            self.text(name, value);
        }
        self
    }

    /// Adds what can be shown.
    pub fn show(&mut self, name: &'static str, value: impl std::fmt::Display) -> &mut Record {
        self.text(name, &value.to_string())
    }

    /// Adds a list.
    pub fn list(&mut self, name: &'static str, values: Vec<Value>) -> &mut Record {
        self.fields.insert(name.into(), values.into());
        self
    }

    /// Adds a number.
    pub fn number(&mut self, name: &'static str, value: u64) -> &mut Record {
        self.fields.insert(name.into(), value.into());
        self
    }

    /// Adds a yes or no.
    pub fn flag(&mut self, name: &'static str, value: bool) -> &mut Record {
        self.fields.insert(name.into(), value.into());
        self
    }

    /// Adds a duration in milliseconds, to the microsecond.
    pub fn milliseconds(&mut self, name: &'static str, value: Duration) -> &mut Record {
        self.fields.insert(name.into(), (value.as_micros() as f64 / 1000.0).into());
        self
    }

    /// One object. JSON itself would leave C1 controls and Unicode's line separators as they are.
    fn to_json(&self) -> String {
        let json = serde_json::to_string(&self.fields).unwrap_or_default();
        if !json.contains(moves_terminals) {
            return json;
        }
        let mut line = String::with_capacity(json.len() + 16);
        for char in json.chars() {
            let _ = match moves_terminals(char) {
                true => write!(line, "\\u{:04x}", u32::from(char)),
                false => line.write_char(char),
            };
        }
        line
    }

    /// `timestamp LEVEL message key=value key="with space"`.
    fn to_text(&self) -> String {
        let mut line = String::with_capacity(256);
        for (index, (name, value)) in self.fields.iter().enumerate() {
            let separator = if index == 0 { "" } else { " " };
            let _ = match (index, value.as_str()) {
                // As wide as tracing's, so that the lines of both stand in columns.
                (1, Some(level)) => write!(line, "{separator}{level:>5}"),
                (0..3, Some(text)) => write!(line, "{separator}{text}"),
                (_, Some(text)) if text.is_empty() || !text.bytes().all(is_bare) => {
                    write!(line, "{separator}{name}={text:?}")
                }
                (_, Some(text)) => write!(line, "{separator}{name}={text}"),
                (_, None) => write!(line, "{separator}{name}={value}"),
            };
        }
        line
    }
}

fn is_bare(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b'=' | b'\\')
}

/// Controls, and what breaks or reverses a line. All of them have four hexadecimal digits at most.
fn moves_terminals(char: char) -> bool {
    char.is_control() || matches!(char, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(path: &str) -> Record {
        let mut record = Record { fields: Map::new() };
        record.text("timestamp", "T").text("level", "INFO").text("message", "open");
        record.text("path", path).number("bytes", 7).milliseconds("took_ms", Duration::from_micros(1500));
        record
    }

    #[test]
    fn both_shapes_keep_a_record_on_one_line() {
        let record = record("/a\r\nb \u{1b}[31m\"\u{9b}\u{2028}");
        assert_eq!(
            record.to_text(),
            r#"T  INFO open path="/a\r\nb \u{1b}[31m\"\u{9b}\u{2028}" bytes=7 took_ms=1.5"#
        );
        assert_eq!(
            record.to_json(),
            r#"{"timestamp":"T","level":"INFO","message":"open","path":"/a\r\nb \u001b[31m\"\u009b\u2028","bytes":7,"took_ms":1.5}"#
        );
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        for (length, cut) in [(TEXT_BYTES_MAX, false), (TEXT_BYTES_MAX + 1, true), (1 << 20, true)] {
            let mut record = Record { fields: Map::new() };
            record.text("path", &"a".repeat(length)).text("host", &("x".to_string() + &"é".repeat(length)));
            let [path, host] = ["path", "host"].map(|name| record.fields[name].as_str().unwrap());
            assert_eq!(path.ends_with('…'), cut);
            assert!(path.len() <= TEXT_BYTES_MAX + 3 && host.len() <= TEXT_BYTES_MAX + 3);
            assert!(host.ends_with("é…"));
        }
    }

    #[test]
    fn ids_ascend() {
        let ids: Vec<Id> = (0..3).map(|_| Id::next()).collect();
        assert!(ids.is_sorted() && ids[0] != ids[1]);
        assert_eq!(ids[0].to_string().len(), 14);
    }
}
