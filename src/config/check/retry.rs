//! Retries: what one key demands of another.

use std::time::Duration;

use crate::config::file::RetryWords;
use crate::config::reader::Reader;
use crate::config::words::{List, StatusRange};
use crate::config::{At, Retry, Statuses, defaults};

/// Below it, an answer is no failure.
const FAILURES_FROM: u16 = 400;

pub fn retry(words: RetryWords, handshake_timeout: Option<Duration>, reader: &mut Reader) -> Option<Retry> {
    let place = words.try_timeout.place().cloned();
    // A third of all that there is leaves room for two more.
    let part = handshake_timeout.map(|all| all / 3);
    let try_timeout =
        words.try_timeout.or(defaults::TRY_TIMEOUT.map(|most| part.map_or(most, |part| most.min(part))));
    if let (Some(Some(one)), Some(all), Some(place)) = (try_timeout, handshake_timeout, place)
        && one >= all
    {
        let remedy = "write a shorter `try_timeout`, or a longer `handshake_timeout`";
        reader.report(&place, "`try_timeout` leaves nothing of `handshake_timeout` for another try", remedy);
    }
    let place = words.back_off_max.place().or(words.back_off.place()).cloned();
    let back_off = words.back_off.or(defaults::BACK_OFF);
    let back_off_max = words.back_off_max.or(defaults::BACK_OFF_MAX);
    if let (Some(first), Some(most), Some(place)) = (back_off, back_off_max, place)
        && first > most
    {
        let remedy = "write a shorter `back_off`, or a longer `back_off_max`";
        reader.report(&place, "`back_off` is longer than `back_off_max`", remedy);
    }
    let statuses = statuses(words.status.optional()?, reader);
    Some(Retry {
        attempts: words.attempts.or(defaults::ATTEMPTS)?,
        try_timeout: try_timeout?,
        statuses: statuses?,
        back_off: back_off?,
        back_off_max: back_off_max?,
        budget: words.budget.or(defaults::RETRY_BUDGET)?,
        budget_per_second: words.budget_per_second.or(defaults::RETRIES_PER_SECOND)?,
    })
}

fn statuses(words: Option<At<List<StatusRange, 1>>>, reader: &mut Reader) -> Option<Statuses> {
    let Some(words) = words else { return Some(Statuses(Vec::new())) };
    let mut is_well = true;
    for range in &words.value.0 {
        if *range.value.0.start() < FAILURES_FROM {
            let remedy = "write statuses from 400 to 599, such as 503 or \"502-504\"";
            reader.report(&range.place, "an answer below 400 is no failure", remedy);
            is_well = false;
        }
    }
    is_well.then(|| Statuses(words.value.0.into_iter().map(|range| range.value.0).collect()))
}
