//! Pings of longhaul's own: their defaults, and that frames are read where they are asked for.

use super::frames::unread;
use crate::config::file::PingsWords;
use crate::config::reader::{Found, Reader};
use crate::config::{Inspect, Pings, defaults};

/// `inspect` is that of the route, if it is known. `None` when something is wrong, which has been reported.
pub fn pings(words: Found<PingsWords>, inspect: Option<Inspect>, reader: &mut Reader) -> Option<Pings> {
    let default = defaults::PINGS_CLIENT.filter(|_| inspect != Some(Inspect::Off));
    let Some(words) = words.optional()? else {
        let (backend, timeout) = (defaults::PINGS_BACKEND, defaults::PINGS_TIMEOUT);
        return Some(Pings { client: default, backend, timeout });
    };
    let (place, words) = (words.place, words.value);
    let (client, backend) = (words.client.or(default), words.backend.or(defaults::PINGS_BACKEND));
    let timeout = words.timeout.or(defaults::PINGS_TIMEOUT);
    let pings = Pings { client: client?, backend: backend?, timeout: timeout? };
    if pings.client.is_some() || pings.backend.is_some() {
        unread(&place, "`pings` go between two frames", inspect, reader)?;
    }
    Some(pings)
}
