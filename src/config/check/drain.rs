//! How tunnels are asked to go, and whether there is time for it.

use std::time::Duration;

use crate::config::file::DrainWords;
use crate::config::reader::Reader;
use crate::config::shape::duration;
use crate::config::{Drain, defaults};

/// What `server.drain` means; `tunnels_max` are those that there may be, where that is written.
pub fn drain(words: DrainWords, tunnels_max: Option<usize>, reader: &mut Reader) -> Option<Drain> {
    let (window_place, rate_place) = (words.window.place().cloned(), words.rate.place().cloned());
    let deadline: Duration = words.deadline.or(defaults::DRAIN_DEADLINE)?;
    let window: Duration = words.window.or(defaults::DRAIN_WINDOW.min(deadline / 2))?;
    let rate: Option<u32> = words.rate.optional()?.map(|rate| rate.value.into());
    if let Some(place) = window_place.filter(|_| window > deadline) {
        let (window, deadline) = (duration(window), duration(deadline));
        let message =
            format!("a stop asks tunnels to go over {window}, and cuts those that are left after {deadline}");
        reader.warn(&place, message, "write a shorter `window`, or a longer `deadline`");
    }
    let drain = Drain {
        delay: words.delay.or(defaults::DRAIN_DELAY)?,
        window,
        rate,
        deadline,
        code: words.code.or(defaults::DRAIN_CODE)?,
        reason: words.reason.optional()?.map(|reason| reason.value.0).unwrap_or_default().into(),
    };
    if let (Some(place), Some(rate), Some(tunnels)) = (rate_place, rate, tunnels_max)
        && drain.asked_max().is_some_and(|asked_max| asked_max < tunnels as u64)
    {
        let deadline = duration(deadline);
        let message = format!(
            "at {rate} a second not all of `limits.tunnels_max` ({tunnels}) have been asked to go after {deadline}, when \
             a stop cuts what is left"
        );
        reader.warn(&place, message, "write a higher `rate`, or a longer `deadline`");
    }
    Some(drain)
}
