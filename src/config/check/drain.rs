//! How tunnels are asked to go, and whether there is time for it.

use std::time::Duration;

use crate::config::file::DrainWords;
use crate::config::reader::Reader;
use crate::config::shape::duration;
use crate::config::{Drain, defaults};

/// Where nobody has written how many tunnels there may be: the descriptors of any machine are enough for so many, and a
/// drain that has no time for them is hardly meant.
const TUNNELS_SUPPOSED: u64 = 1_000;

/// What `server.drain` means; `tunnels_max` are those that there may be, where that is written.
pub fn drain(words: DrainWords, tunnels_max: Option<usize>, reader: &mut Reader) -> Option<Drain> {
    let (window_place, rate_place) = (words.window.place().cloned(), words.rate.place().cloned());
    let deadline: Duration = words.deadline.or(defaults::DRAIN_DEADLINE)?;
    let window: Duration = words.window.or(defaults::DRAIN_WINDOW.min(deadline / 2))?;
    let rate: Option<u32> = words.rate.optional()?.map(|rate| rate.value.into());
    if let Some(place) = window_place.as_ref().filter(|_| window > deadline) {
        let (window, deadline) = (duration(window), duration(deadline));
        let message =
            format!("a stop asks tunnels to go over {window}, and cuts those that are left after {deadline}");
        reader.warn(place, message, "write a shorter `window`, or a longer `deadline`");
    }
    let drain = Drain {
        delay: words.delay.or(defaults::DRAIN_DELAY)?,
        window,
        window_shrinks: window_place.is_none(),
        rate,
        deadline,
        code: words.code.or(defaults::DRAIN_CODE)?,
        reason: words.reason.optional()?.map(|reason| reason.value.0).unwrap_or_default().into(),
    };
    if let (Some(place), Some(rate), Some(asked_max)) = (rate_place, rate, drain.asked_max())
        && asked_max < tunnels_max.map_or(TUNNELS_SUPPOSED, |max| max as u64)
    {
        let deadline = duration(deadline);
        let (who, remedy) = match tunnels_max {
            Some(max) => (
                format!("not all of `limits.tunnels_max` ({max})"),
                "write a higher `rate`, or a longer `deadline`",
            ),
            None => (
                format!("no more than {asked_max} tunnels"),
                "write a higher `rate` or a longer `deadline`, or in `limits.tunnels_max` how many there may be",
            ),
        };
        let message = format!(
            "at {rate} a second {who} have been asked to go after {deadline}, when a stop cuts what is left"
        );
        reader.warn(&place, message, remedy);
    }
    Some(drain)
}
