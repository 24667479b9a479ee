//! What paces WebSocket handshakes.

use crate::config::file::HandshakeRateWords;
use crate::config::reader::Found;
use crate::config::{HandshakeRate, defaults};
use crate::proto::rate::Rate;

/// `None` when something is wrong, which has been reported.
pub fn handshake_rate(words: Found<HandshakeRateWords>) -> Option<Option<HandshakeRate>> {
    let Some(words) = words.optional()? else { return Some(None) };
    let words = words.value;
    let per_second: u32 = words.per_second.written()?.value.into();
    let burst: u32 = words.burst.or(per_second)?;
    Some(Some(HandshakeRate {
        rate: Rate::new(per_second.into(), burst.into()),
        wait: words.wait.or(defaults::HANDSHAKE_WAIT)?,
    }))
}
