//! What two processes of longhaul say to each other when one takes over from the other: which versions of this protocol each
//! speaks, the manifest of what is handed over, and the steps. JSON objects, one a message; `net::handover` carries them.
//!
//! What is not known is passed over, so that a version may say more than the one before. A new version is for what must be
//! understood. All of it is bounded, though only the same user and root can say anything here.

mod state;

use std::fmt;

pub use self::state::{BackendState, Known, Secret, TicketKeys};
use serde_json::{Map, Value, json};

/// The newest version that this longhaul speaks.
pub const NEWEST: u64 = 1;
/// The oldest one.
pub const OLDEST: u64 = 1;
/// Sockets in a manifest, of every kind.
pub const SOCKETS_MAX: usize = 10_000;
/// Bytes of a text.
const TEXT_BYTES_MAX: usize = 4_096;
/// Bytes of a report's line.
pub const REPORT_BYTES_MAX: usize = 256;

/// Who speaks, and in which versions. Both sides begin with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The newest version that is spoken.
    pub newest: u64,
    /// The oldest one.
    pub oldest: u64,
    /// The version of the program.
    pub program: String,
}

/// What the running process says to a greeting.
#[derive(Debug, PartialEq)]
pub enum Answer {
    /// There is no version that both speak.
    Refused(Hello),
    /// All that it has to give.
    Manifest(Manifest),
}

/// What is handed over. Descriptors follow: those of `sockets`, then those of `predecessors`.
#[derive(Debug, Default, PartialEq)]
pub struct Manifest {
    /// The version of the program.
    pub program: String,
    /// The identities of listening sockets.
    pub sockets: Vec<String>,
    /// The ids of processes that were replaced before and still carry tunnels; they report on their sockets.
    pub predecessors: Vec<u64>,
    /// What it knows.
    pub known: Known,
}

/// What the two say after the manifest.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// The new process could serve at once. These sockets (by their places in the manifest) it has kept.
    Prepared(Vec<usize>),
    /// The running process lets it serve.
    Go,
    /// It serves.
    Serving,
    /// It cannot, and why.
    Failed(String),
}

/// What arrived is not what two longhauls say to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Garbled(&'static str);

impl fmt::Display for Garbled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a message of a handover: {}", self.0)
    }
}

impl std::error::Error for Garbled {}

impl Hello {
    /// Of this longhaul.
    pub fn own() -> Hello {
        Hello { newest: NEWEST, oldest: OLDEST, program: env!("CARGO_PKG_VERSION").into() }
    }

    /// The newest version that both speak.
    pub fn common(&self, other: &Hello) -> Option<u64> {
        let newest = self.newest.min(other.newest);
        (newest >= self.oldest.max(other.oldest)).then_some(newest)
    }

    /// As it is sent.
    pub fn write(&self) -> Vec<u8> {
        let Hello { newest, oldest, program } = self;
        json!({ "newest": newest, "oldest": oldest, "program": program }).to_string().into_bytes()
    }

    /// From what arrived.
    ///
    /// # Errors
    /// When it is no greeting.
    pub fn read(bytes: &[u8]) -> Result<Hello, Garbled> {
        Hello::of(&object(bytes)?)
    }

    fn of(object: &Map<String, Value>) -> Result<Hello, Garbled> {
        let hello = Hello {
            newest: number(object, "newest")?,
            oldest: number(object, "oldest")?,
            program: text(object.get("program"))?,
        };
        if hello.oldest > hello.newest { Err(Garbled("oldest is newer than newest")) } else { Ok(hello) }
    }
}

impl Answer {
    /// As it is sent.
    pub fn write(&self) -> Vec<u8> {
        match self {
            Answer::Refused(own) => own.write(),
            Answer::Manifest(manifest) => manifest.write(),
        }
    }

    /// From what arrived.
    ///
    /// # Errors
    /// When it is neither a manifest within its bounds nor a greeting.
    pub fn read(bytes: &[u8]) -> Result<Answer, Garbled> {
        let object = object(bytes)?;
        match object.contains_key("sockets") {
            true => Manifest::of(&object).map(Answer::Manifest),
            false => Hello::of(&object).map(Answer::Refused),
        }
    }
}

impl Manifest {
    fn write(&self) -> Vec<u8> {
        let Manifest { program, sockets, predecessors, known } = self;
        let value = json!({
            "program": program,
            "sockets": sockets,
            "predecessors": predecessors,
            "known": known.write(),
        });
        value.to_string().into_bytes()
    }

    fn of(object: &Map<String, Value>) -> Result<Manifest, Garbled> {
        let sockets = list(object, "sockets")?.iter().map(|socket| text(Some(socket)));
        let predecessors = list(object, "predecessors")?.iter();
        let predecessors = predecessors.map(|pid| pid.as_u64().ok_or(Garbled("an id is no number")));
        let manifest = Manifest {
            program: text(object.get("program"))?,
            sockets: sockets.collect::<Result<_, _>>()?,
            predecessors: predecessors.collect::<Result<_, _>>()?,
            known: Known::read(object.get("known"))?,
        };
        match manifest.sockets.len() + manifest.predecessors.len() > SOCKETS_MAX {
            true => Err(Garbled("too many sockets")),
            false => Ok(manifest),
        }
    }
}

impl Step {
    /// As it is sent.
    pub fn write(&self) -> Vec<u8> {
        let value = match self {
            Step::Prepared(kept) => json!({ "step": "prepared", "kept": kept }),
            Step::Go => json!({ "step": "go" }),
            Step::Serving => json!({ "step": "serving" }),
            Step::Failed(why) => json!({ "step": "failed", "why": why }),
        };
        value.to_string().into_bytes()
    }

    /// From what arrived; `sockets` were in the manifest.
    ///
    /// # Errors
    /// When it is no step, or speaks of a socket that was not in the manifest.
    pub fn read(bytes: &[u8], sockets: usize) -> Result<Step, Garbled> {
        let object = object(bytes)?;
        match object.get("step").and_then(Value::as_str) {
            Some("prepared") => {
                let place = |kept: &Value| {
                    let place = kept.as_u64().and_then(|place| usize::try_from(place).ok());
                    place.filter(|place| *place < sockets).ok_or(Garbled("there is no such socket"))
                };
                let kept = list(&object, "kept")?.iter().map(place).collect::<Result<_, _>>()?;
                Ok(Step::Prepared(kept))
            }
            Some("go") => Ok(Step::Go),
            Some("serving") => Ok(Step::Serving),
            Some("failed") => text(object.get("why")).map(Step::Failed),
            _ => Err(Garbled("no step that is known")),
        }
    }
}

/// A line in which a process that was replaced says how many tunnels it still has.
pub fn report(tunnels: usize) -> String {
    json!({ "tunnels": tunnels }).to_string() + "\n"
}

/// What the last whole line of `lines` says, which may begin in the middle of one.
pub fn last_report(lines: &[u8]) -> Option<u64> {
    let whole = lines.get(..lines.iter().rposition(|byte| *byte == b'\n')?)?;
    let last = whole.rsplit(|byte| *byte == b'\n').next()?;
    number(&object(last).ok()?, "tunnels").ok()
}

fn object(bytes: &[u8]) -> Result<Map<String, Value>, Garbled> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(object)) => Ok(object),
        _ => Err(Garbled("no JSON object")),
    }
}

fn number(object: &Map<String, Value>, key: &'static str) -> Result<u64, Garbled> {
    object.get(key).and_then(Value::as_u64).ok_or(Garbled(key))
}

/// A list; one that is not there is empty.
fn list<'a>(object: &'a Map<String, Value>, key: &'static str) -> Result<&'a [Value], Garbled> {
    match object.get(key) {
        None => Ok(&[]),
        Some(Value::Array(values)) => Ok(values),
        Some(_) => Err(Garbled(key)),
    }
}

fn text(value: Option<&Value>) -> Result<String, Garbled> {
    match value.and_then(Value::as_str) {
        Some(text) if text.len() <= TEXT_BYTES_MAX => Ok(text.to_owned()),
        Some(_) => Err(Garbled("a text is too long")),
        None => Err(Garbled("a text is missing")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(oldest: u64, newest: u64) -> Hello {
        Hello { newest, oldest, program: "0.1.0".into() }
    }

    #[test]
    fn the_newest_version_that_both_speak() {
        for (one, other, common) in [
            (hello(1, 1), hello(1, 1), Some(1)),
            (hello(1, 3), hello(2, 5), Some(3)),
            (hello(1, 2), hello(2, 2), Some(2)),
            (hello(1, 1), hello(2, 3), None),
        ] {
            assert_eq!(one.common(&other), common);
            assert_eq!(other.common(&one), common);
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let manifest = Manifest {
            program: "0.1.0".into(),
            sockets: vec!["127.0.0.1:443".into(), "unix:/run/a b.sock".into()],
            predecessors: vec![17],
            known: Known::default(),
        };
        for answer in [Answer::Refused(hello(1, 2)), Answer::Manifest(manifest)] {
            assert_eq!(Answer::read(&answer.write()), Ok(answer));
        }
        for step in [Step::Prepared(vec![0, 2]), Step::Go, Step::Serving, Step::Failed("no \"port\"".into())]
        {
            assert_eq!(Step::read(&step.write(), 3), Ok(step));
        }
        assert_eq!(Hello::read(&hello(1, 2).write()), Ok(hello(1, 2)));
        // What a later version adds does not matter.
        let more = br#"{"program":"9","sockets":[],"moon":{"phase":3}}"#;
        let manifest = Manifest { program: "9".into(), ..Manifest::default() };
        assert_eq!(Answer::read(more), Ok(Answer::Manifest(manifest)));
    }

    #[test]
    fn what_is_garbled_is_refused() {
        for bytes in [
            &b""[..],
            b"GET / HTTP/1.1",
            b"[]",
            b"{}",
            b"{\"newest\":1,\"oldest\":2,\"program\":\"\"}",
            b"{\"newest\":-1,\"oldest\":-2,\"program\":\"\"}",
            b"{\"newest\":1,\"oldest\":1}",
            &[0xff; 40],
            &[b'['; 10_000],
        ] {
            assert!(Hello::read(bytes).is_err(), "{bytes:?}");
            assert!(Answer::read(bytes).is_err(), "{bytes:?}");
            assert!(Step::read(bytes, 9).is_err(), "{bytes:?}");
        }
        assert!(Step::read(b"{\"step\":\"prepared\",\"kept\":[3]}", 3).is_err());
        assert!(Step::read(b"{\"step\":\"prepared\",\"kept\":[-1]}", 3).is_err());
        let many = Manifest { sockets: vec![String::new(); SOCKETS_MAX + 1], ..Manifest::default() };
        assert!(Answer::read(&Answer::Manifest(many).write()).is_err());
        let long = Step::Failed("x".repeat(TEXT_BYTES_MAX + 1));
        assert!(Step::read(&long.write(), 0).is_err());
    }

    #[test]
    fn the_last_whole_line_counts() {
        let lines = [report(7), report(12)].concat();
        assert!(report(usize::MAX).len() <= REPORT_BYTES_MAX);
        for (lines, said) in [
            (lines.as_bytes(), Some(12)),
            (&lines.as_bytes()[5..], Some(12)),
            (&lines.as_bytes()[..lines.len() - 1], Some(7)),
            (b"unnels\":7}\n", None),
            (b"\n", None),
            (b"", None),
        ] {
            assert_eq!(last_report(lines), said, "{}", String::from_utf8_lossy(lines));
        }
    }
}
