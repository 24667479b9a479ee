//! What paces WebSocket handshakes.

use std::time::Duration;

use crate::config::file::HandshakeRateWords;
use crate::config::reader::{Found, Reader};
use crate::config::{At, HandshakeRate, defaults};
use crate::proto::rate::Rate;

/// What `handshake_rate` means, where so many handshakes may be under way, if that is known. `None` when something is wrong,
/// which has been reported.
pub fn handshake_rate(
    words: Found<HandshakeRateWords>,
    handshakes_max: Option<usize>,
    reader: &mut Reader,
) -> Option<Option<HandshakeRate>> {
    let Some(At { value: words, place }) = words.optional()? else { return Some(None) };
    let per_second: u32 = words.per_second.written()?.value.into();
    let burst: u32 = words.burst.or(per_second)?;
    let place = words.wait.place().cloned().unwrap_or(place);
    let wait: Duration = words.wait.or(defaults::HANDSHAKE_WAIT)?;
    let waiting_max = u128::from(per_second) * wait.as_millis() / 1000;
    if let Some(most) = handshakes_max.filter(|most| waiting_max > *most as u128 / 2) {
        let message = format!(
            "as many as {waiting_max} handshakes may wait for their turn here, and together with those of all other routes \
             there may be {most} (`limits.handshakes_max`)"
        );
        reader.warn(&place, message, "write a shorter `wait`, or a larger `handshakes_max`");
    }
    Some(Some(HandshakeRate { rate: Rate::new(per_second.into(), burst.into()), wait }))
}
