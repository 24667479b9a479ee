//! The backend's half: does its 101 answer this offer, and what does it agree to (RFC 6455 4.1, RFC 7692
//! 5)?

use std::error::Error;
use std::fmt;

use http::StatusCode;
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_PROTOCOL, UPGRADE,
};
use http::response::Parts;

use super::super::list;
use super::offer::{Offer, PERMESSAGE_DEFLATE, read_extensions, single};

/// What a backend agreed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The subprotocol, one of those offered.
    pub subprotocol: Option<String>,
    /// Whether `permessage-deflate` was agreed, so that RSV1 marks compressed messages (RFC 7692 6).
    pub permessage_deflate: bool,
    /// Whether another extension was agreed. Nobody knows here what it does with reserved bits and opcodes:
    /// the frames of such a tunnel are best not watched.
    pub unknown_extension: bool,
}

impl Offer {
    /// Checks a backend's answer of status 101 against this offer.
    ///
    /// # Errors
    /// [`AnswerError`] if it does not open the WebSocket that was asked for. The tunnel must not be opened
    /// then.
    pub fn check_answer(&self, head: &Parts) -> Result<Answer, AnswerError> {
        let headers = &head.headers;
        let upgrade = single(headers, &UPGRADE);
        let is_websocket = upgrade.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
        if head.status != StatusCode::SWITCHING_PROTOCOLS
            || !is_websocket
            || !list::has_member(headers, &CONNECTION, "upgrade")
        {
            return Err(AnswerError::NotWebSocket);
        }
        let accept = single(headers, &SEC_WEBSOCKET_ACCEPT);
        if accept.is_none_or(|accept| accept.as_bytes() != self.accept()) {
            return Err(AnswerError::Accept);
        }
        let subprotocol = match single(headers, &SEC_WEBSOCKET_PROTOCOL) {
            None if headers.contains_key(SEC_WEBSOCKET_PROTOCOL) => {
                return Err(AnswerError::Subprotocol);
            }
            None => None,
            Some(value) => {
                let mut offered = self.protocols.iter();
                let agreed = offered.find(|protocol| protocol.as_bytes() == value.as_bytes());
                Some(agreed.cloned().ok_or(AnswerError::Subprotocol)?)
            }
        };
        // Parameters are between the two ends: the proxy does not decompress.
        let agreed = if headers.contains_key(SEC_WEBSOCKET_EXTENSIONS) {
            read_extensions(headers).ok_or(AnswerError::Extension)?
        } else {
            Vec::new()
        };
        if !agreed.iter().all(|name| self.extensions.contains(name)) {
            return Err(AnswerError::Extension);
        }
        let is_deflate = |name: &String| name == PERMESSAGE_DEFLATE;
        let permessage_deflate = agreed.iter().any(is_deflate);
        let unknown_extension = !agreed.iter().all(is_deflate);
        Ok(Answer { subprotocol, permessage_deflate, unknown_extension })
    }
}

/// Why a 101 is not the answer to the offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AnswerError {
    /// Not status 101 with one `Upgrade: websocket` and `Connection: upgrade`.
    NotWebSocket,
    /// `Sec-WebSocket-Accept` is absent, repeated or does not fit the key: a reflected or cached answer.
    Accept,
    /// A subprotocol that was not offered, or several.
    Subprotocol,
    /// An extension that was not offered, or a malformed list.
    Extension,
}

impl AnswerError {
    /// The name in metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            AnswerError::NotWebSocket => "bad_upgrade",
            AnswerError::Accept => "bad_accept",
            AnswerError::Subprotocol => "unoffered_subprotocol",
            AnswerError::Extension => "unoffered_extension",
        }
    }
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AnswerError::NotWebSocket => "the backend switched to something other than WebSocket",
            AnswerError::Accept => "the backend's Sec-WebSocket-Accept does not fit the key",
            AnswerError::Subprotocol => "the backend chose a subprotocol that was not offered",
            AnswerError::Extension => "the backend agreed to an extension that was not offered",
        })
    }
}

impl Error for AnswerError {}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Request, Response};

    use super::super::{read_offer, write_switching};
    use super::*;

    const GOOD: [(&str, &str); 3] = [
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
    ];

    fn offer() -> Offer {
        let request = Request::builder()
            .header("upgrade", "websocket")
            .header("connection", "upgrade")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("sec-websocket-protocol", "chat, superchat")
            .header("sec-websocket-extensions", "permessage-deflate, x-bits");
        read_offer(&request.body(()).unwrap().into_parts().0).unwrap().unwrap()
    }

    /// The answer to [`offer`] with the lines of `name` replaced by `values`.
    fn answer(name: &str, values: &[&str]) -> Result<Answer, AnswerError> {
        let mut response = Response::builder().status(101);
        for (other, value) in GOOD.into_iter().filter(|(other, _)| *other != name) {
            response = response.header(other, value);
        }
        for value in values {
            response = response.header(name, *value);
        }
        offer().check_answer(&response.body(()).unwrap().into_parts().0)
    }

    fn agreed(subprotocol: Option<&str>, deflate: bool, unknown: bool) -> Answer {
        Answer {
            subprotocol: subprotocol.map(str::to_owned),
            permessage_deflate: deflate,
            unknown_extension: unknown,
        }
    }

    #[test]
    fn what_is_accepted() {
        let deflate = "Permessage-Deflate; server_max_window_bits=10";
        let table: [(&str, &[&str], Answer); 8] = [
            ("x", &[], agreed(None, false, false)),
            ("upgrade", &["WebSocket"], agreed(None, false, false)),
            ("connection", &["keep-alive, upgrade"], agreed(None, false, false)),
            ("sec-websocket-protocol", &["superchat"], agreed(Some("superchat"), false, false)),
            ("sec-websocket-extensions", &[""], agreed(None, false, false)),
            ("sec-websocket-extensions", &[deflate], agreed(None, true, false)),
            ("sec-websocket-extensions", &["x-bits"], agreed(None, false, true)),
            ("sec-websocket-extensions", &[deflate, "x-bits"], agreed(None, true, true)),
        ];
        for (name, values, expected) in table {
            assert_eq!(answer(name, values), Ok(expected), "{name}: {values:?}");
        }
    }

    #[test]
    fn what_is_refused() {
        use AnswerError::*;
        let accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
        let table: [(&str, &[&str], AnswerError); 17] = [
            ("upgrade", &[], NotWebSocket),
            ("upgrade", &["h2c"], NotWebSocket),
            ("upgrade", &["websocket, h2c"], NotWebSocket),
            ("upgrade", &["websocket", "websocket"], NotWebSocket),
            ("connection", &[], NotWebSocket),
            ("connection", &["close"], NotWebSocket),
            ("sec-websocket-accept", &[], Accept),
            ("sec-websocket-accept", &[""], Accept),
            ("sec-websocket-accept", &[accept, accept], Accept),
            ("sec-websocket-accept", &["S3PPLMBITXAQ9KYGZZHZRBK+XOO="], Accept),
            ("sec-websocket-protocol", &["other"], Subprotocol),
            ("sec-websocket-protocol", &["Chat"], Subprotocol),
            ("sec-websocket-protocol", &["chat, superchat"], Subprotocol),
            ("sec-websocket-protocol", &["chat", "chat"], Subprotocol),
            ("sec-websocket-protocol", &[""], Subprotocol),
            ("sec-websocket-extensions", &["x-other"], Extension),
            ("sec-websocket-extensions", &["permessage deflate"], Extension),
        ];
        for (name, values, error) in table {
            assert_eq!(answer(name, values), Err(error), "{name}: {values:?}");
        }
    }

    #[test]
    fn nothing_but_101_opens_a_tunnel() {
        let mut response = Response::builder().status(200);
        for (name, value) in GOOD {
            response = response.header(name, value);
        }
        let head = response.body(()).unwrap().into_parts().0;
        assert_eq!(offer().check_answer(&head), Err(AnswerError::NotWebSocket));
    }

    #[test]
    fn the_answer_to_the_client_passes_the_same_check() {
        let mut response = Response::builder().status(101).body(()).unwrap();
        let headers: &mut HeaderMap = response.headers_mut();
        headers.insert("connection", "close".parse().unwrap());
        headers.insert("content-length", "0".parse().unwrap());
        write_switching(&offer(), headers);
        assert!(!headers.contains_key("content-length"));
        let head = response.into_parts().0;
        assert_eq!(offer().check_answer(&head), Ok(agreed(None, false, false)));
    }
}
