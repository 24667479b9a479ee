//! How a pool chooses, and what stays with the choice.

use std::time::Duration;

use super::watched;
use crate::config::file::{BalanceWords, PlainBalance, StickyWords};
use crate::config::problem::shown;
use crate::config::reader::{Found, Reader};
use crate::config::units::Timeout;
use crate::config::words::Off;
use crate::config::{At, Balance, Hash, Place, SameSite, Sticky, defaults};

pub fn balance(
    words: Found<BalanceWords>,
    slow_start: Found<Off<Timeout>>,
    reader: &mut Reader,
) -> Option<Balance> {
    let place = slow_start.place().cloned();
    let slow_start = slow_start.or(defaults::SLOW_START);
    let balance = match words.optional()?.map(|words| words.value) {
        None => with(defaults::BALANCE, slow_start?),
        Some(BalanceWords::Plain(balance)) => with(balance, slow_start?),
        Some(BalanceWords::Hash(words)) => Balance::Hash(Hash {
            key: words.hash.written()?.value,
            load_max: words.load_max.or(defaults::LOAD_MAX)?,
        }),
    };
    let by_load = matches!(balance, Balance::LeastConnections { .. } | Balance::PowerOfTwo { .. });
    if let Some(place) = place.filter(|_| !by_load) {
        let remedy = "remove it, or write balance = \"least-connections\" or \"power-of-two\"";
        reader.report(&place, "only a choice by load has a `slow_start`", remedy);
        return None;
    }
    Some(balance)
}

fn with(balance: PlainBalance, slow_start: Option<Duration>) -> Balance {
    match balance {
        PlainBalance::LeastConnections => Balance::LeastConnections { slow_start },
        PlainBalance::PowerOfTwo => Balance::PowerOfTwo { slow_start },
        PlainBalance::RoundRobin => Balance::RoundRobin,
        PlainBalance::Random => Balance::Random,
    }
}

pub fn sticky(words: Found<StickyWords>, reader: &mut Reader) -> Option<Option<Sticky>> {
    let Some(At { value: words, place }) = words.optional()? else {
        return Some(None);
    };
    let places = [words.cookie.place(), words.same_site.place()].map(|found| found.unwrap_or(&place).clone());
    let keys = words.keys.optional().map(|path| path.map(|path| watched(path, reader)));
    let domain = words.domain.optional();
    let sticky = Sticky {
        cookie: words
            .cookie
            .optional()?
            .map_or_else(|| defaults::STICKY_COOKIE.to_owned(), |name| name.value.0),
        keys: keys?,
        path: words.path.optional()?.map_or_else(|| "/".to_owned(), |path| path.value.0),
        domain: domain?.map(|domain| domain.value.0),
        max_age: words.max_age.optional()?.map(|age| age.value.0),
        secure: words.secure.or(defaults::STICKY_SECURE)?,
        http_only: words.http_only.or(defaults::STICKY_HTTP_ONLY)?,
        same_site: words.same_site.or(defaults::STICKY_SAME_SITE)?,
    };
    report_refused(&sticky, &places, reader);
    Some(Some(sticky))
}

/// Reports what browsers would not take (RFC 6265bis 4.1.3 and 5.7).
fn report_refused(sticky: &Sticky, [name, same_site]: &[Place; 2], reader: &mut Reader) {
    if sticky.same_site == SameSite::None && sticky.secure == Some(false) {
        let remedy = "remove `secure = false`, or choose \"lax\"";
        reader.report(same_site, "browsers take no cookie with \"none\" that is not `secure`", remedy);
    }
    let (is_secure, is_host) = (sticky.cookie.starts_with("__Secure-"), sticky.cookie.starts_with("__Host-"));
    let cookie = shown(&sticky.cookie);
    if (is_secure || is_host) && sticky.secure != Some(true) {
        let message = format!("browsers take `{cookie}` only if it is `secure`");
        reader.report(name, message, "add `secure = true`, or choose another name");
    }
    if is_host && (sticky.domain.is_some() || sticky.path != "/") {
        let message = format!("browsers take `{cookie}` only without `domain` and `path`");
        reader.report(name, message, "remove them, or choose another name");
    }
}
