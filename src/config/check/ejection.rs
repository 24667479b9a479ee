//! Ejections: what one key demands of another.

use super::health::statuses;
use crate::config::file::EjectionWords;
use crate::config::reader::Reader;
use crate::config::{Ejection, defaults};

pub fn ejection(words: EjectionWords, reader: &mut Reader) -> Option<Ejection> {
    let place = words.time_max.place().or(words.time.place()).cloned();
    let time = words.time.or(defaults::EJECTION_TIME);
    let time_max = words.time_max.or(defaults::EJECTION_TIME_MAX);
    if let (Some(time), Some(time_max), Some(place)) = (time, time_max, place)
        && time > time_max
    {
        let remedy = "write a shorter `time`, or a longer `time_max`";
        reader.report(&place, "`time` is longer than `time_max`", remedy);
    }
    Some(Ejection {
        connect_failures: words.connect_failures.or(defaults::EJECTION_FAILURES)?,
        handshake_failures: words.handshake_failures.or(defaults::EJECTION_FAILURES)?,
        handshake_statuses: statuses(words.handshake_status.optional()?, defaults::EJECTION_STATUSES),
        early_deaths: words.early_deaths.or(defaults::EJECTION_FAILURES)?,
        early_death_within: words.early_death_within.or(defaults::EARLY_DEATH_WITHIN)?,
        time: time?,
        time_max: time_max?,
        ejected_max: words.ejected_max.or(defaults::EJECTED_MAX)?,
    })
}
