//! Pings of longhaul's own: their defaults, and that frames are read where they are asked for.

use crate::config::file::PingsWords;
use crate::config::reader::{Found, Reader};
use crate::config::{Inspect, Pings, defaults};

/// `inspect` is that of the route, if it is known. `None` when something is wrong, which has been reported.
pub fn pings(words: Found<PingsWords>, inspect: Option<Inspect>, reader: &mut Reader) -> Option<Pings> {
    let is_off = inspect == Some(Inspect::Off);
    let Some(words) = words.optional()? else {
        let client = defaults::PINGS_CLIENT.filter(|_| !is_off);
        return Some(Pings { client, backend: defaults::PINGS_BACKEND, timeout: defaults::PINGS_TIMEOUT });
    };
    let (place, words) = (words.place, words.value);
    let client = words.client.or(defaults::PINGS_CLIENT.filter(|_| !is_off))?;
    let backend = words.backend.or(defaults::PINGS_BACKEND)?;
    if is_off && (client.is_some() || backend.is_some()) {
        let message = "`pings` go between two frames, which are not read with `inspect` = \"off\"";
        reader.report(&place, message, "remove it, or write inspect = \"observe\"");
        return None;
    }
    Some(Pings { client, backend, timeout: words.timeout.or(defaults::PINGS_TIMEOUT)? })
}
