//! Fields that a route changes, of requests for backends and of answers for clients.
//!
//! Which fields may be changed was checked when the configuration was read: none that frame a message, speak of its
//! connection, belong to the handshake of a WebSocket, or say who asks. What the changes are is made out before the
//! request goes on, for then all that variables stand for is still at hand.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::variables::{Facts, field};
use crate::config::HeaderEdits;

/// What to change of some fields: first these are removed, then some are set, then some added.
#[derive(Debug, Default)]
pub struct Changes<'a> {
    remove: &'a [HeaderName],
    /// What would be empty is removed, so that nobody else's is taken for it.
    set: Vec<(&'a HeaderName, Option<HeaderValue>)>,
    add: Vec<(&'a HeaderName, HeaderValue)>,
}

impl<'a> Changes<'a> {
    /// What `edits` come to, for the request of these facts. Without edits it costs nothing.
    pub fn new(edits: Option<&'a HeaderEdits>, facts: &Facts<'_>) -> Changes<'a> {
        let Some(HeaderEdits { remove, set, add }) = edits else { return Changes::default() };
        Changes {
            remove,
            set: set.iter().map(|(name, value)| (name, field(value, facts))).collect(),
            add: add.iter().filter_map(|(name, value)| Some((name, field(value, facts)?))).collect(),
        }
    }

    /// Makes them.
    pub fn apply(self, headers: &mut HeaderMap) {
        for name in self.remove {
            headers.remove(name);
        }
        for (name, value) in self.set {
            match value {
                Some(value) => headers.insert(name, value),
                None => headers.remove(name),
            };
        }
        for (name, value) in self.add {
            headers.append(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::variables::tests::with_facts;
    use super::*;
    use crate::config::Template;

    #[test]
    fn fields_are_removed_then_set_then_added() {
        let name = |name: &'static str| HeaderName::from_static(name);
        let pair = |of: &'static str, value: &str| (name(of), Template::parse(value, |_| true).unwrap());
        let edits = HeaderEdits {
            remove: vec![name("a"), name("absent")],
            set: vec![pair("b", "${host}"), pair("c", "${tls.client.subject}"), pair("d", "new")],
            add: vec![pair("a", "again"), pair("d", "more"), pair("e", "${tls.client.names}")],
        };
        let mut headers = HeaderMap::new();
        for (of, value) in [("a", "1"), ("a", "2"), ("b", "forged"), ("c", "forged"), ("f", "kept")] {
            headers.append(name(of), HeaderValue::from_static(value));
        }
        with_facts("a.example", "/", None, |facts| Changes::new(Some(&edits), facts).apply(&mut headers));
        let mut lines: Vec<_> =
            headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        lines.sort_unstable();
        assert_eq!(lines, [("a", "again"), ("b", "a.example"), ("d", "more"), ("d", "new"), ("f", "kept")]);
    }
}
