//! How the backends of a pool are probed.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::pattern::{Case, Pattern};
use http::{HeaderMap, StatusCode};

/// `pools.NAME.health`: how a backend is probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// What one probe does.
    pub kind: HealthKind,
    /// From the end of one probe to the start of the next.
    pub interval: Duration,
    /// The same while a backend is not up.
    pub interval_down: Duration,
    /// How long one probe may take.
    pub timeout: Duration,
    /// Successes in a row until a backend is up.
    pub rise: u32,
    /// Failures in a row until a backend is down.
    pub fall: u32,
    /// What becomes of live tunnels when a backend goes down.
    pub on_down: OnDown,
}

/// What becomes of the live tunnels of a backend that goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDown {
    /// They live on, as long as they do.
    Keep,
    /// They are ended.
    Drain,
}

/// What one probe does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthKind {
    /// A connection that opens.
    Tcp,
    /// A request whose answer is as expected.
    Http(HttpProbe),
    /// A WebSocket that opens.
    WebSocket(WebSocketProbe),
}

/// A request, and what its answer must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpProbe {
    /// What is asked for.
    pub target: ProbeTarget,
    /// HEAD, and not GET: the answer has no body.
    pub is_head: bool,
    /// What its status may be.
    pub statuses: Statuses,
    /// What its body must contain.
    pub body: Option<BodyMatch>,
    /// How much of the body is read for that, at most.
    pub body_bytes_max: usize,
}

/// A WebSocket, and what its backend must answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebSocketProbe {
    /// What is asked for.
    pub target: ProbeTarget,
    /// What is offered, and must be chosen.
    pub subprotocol: Option<String>,
    /// How long the answer to a ping may take; `None` sends none.
    pub ping_timeout: Option<Duration>,
}

/// What a probe asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeTarget {
    /// Begins with `/`.
    pub path: String,
    /// Fields of the operator's, none of them longhaul's own.
    pub headers: HeaderMap,
}

/// Statuses of HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statuses(pub Vec<RangeInclusive<u16>>);

impl Statuses {
    /// Whether it is one of them.
    pub fn contain(&self, status: StatusCode) -> bool {
        self.0.iter().any(|range| range.contains(&status.as_u16()))
    }
}

/// What a body must contain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyMatch(Pattern);

impl BodyMatch {
    /// A text that must be in it; behind a `~`, a regular expression that must match somewhere in it.
    ///
    /// # Errors
    /// What is wrong with the expression.
    pub fn new(written: &str) -> Result<Self, String> {
        let expression = match written.strip_prefix('~') {
            Some(expression) => expression.to_owned(),
            None => regex::escape(written),
        };
        // Alone first: what is only right between other parentheses is wrong.
        Pattern::new(&expression, Case::Matters)?;
        // The whole of a text must match.
        Pattern::new(&format!("(?s:.*)(?:{expression})(?s:.*)"), Case::Matters).map(Self)
    }

    /// Whether `bytes` contain it.
    pub fn is_in(&self, bytes: &[u8]) -> bool {
        self.0.matches(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_contains_a_text_or_matches_an_expression_somewhere() {
        for (written, body, contains) in [
            ("ok", "all ok here", true),
            ("ok", "OK", false),
            ("a.c", "abc", false),
            ("a.c", "xa.cx", true),
            ("é", "café", true),
            ("~\"status\":\\s*\"(up|ok)\"", "{\n\"status\": \"up\"\n}", true),
            ("~^ok$", "ok\n", false),
            ("~(?m)^ok$", "well\nok\n", true),
            ("~ok", "", false),
        ] {
            let body_match = BodyMatch::new(written).unwrap();
            assert_eq!(body_match.is_in(body.as_bytes()), contains, "{written} {body:?}");
        }
        assert_eq!(BodyMatch::new("~(a").unwrap_err(), "unclosed group");
        assert_eq!(BodyMatch::new("~(?:a{1000}){1000}").unwrap_err(), "it takes more than 256 KiB");
    }

    #[test]
    fn statuses_are_ranges_with_their_ends() {
        let statuses = Statuses(vec![200..=299, 301..=301]);
        let contained = |status| statuses.contain(StatusCode::from_u16(status).unwrap());
        assert!([200, 299, 301].into_iter().all(contained));
        assert!(![199, 300, 302, 999].into_iter().any(contained));
    }
}
