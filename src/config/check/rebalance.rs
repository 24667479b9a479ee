//! Rebalancing: of use only where whoever comes back goes to those that have less.

use crate::config::file::RebalanceWords;
use crate::config::reader::{Found, Reader};
use crate::config::{At, Balance, Rebalance, defaults};

/// What `pools.NAME.rebalance` means in a pool that chooses by `balance`.
pub fn rebalance(
    words: Found<RebalanceWords>,
    balance: Option<&Balance>,
    is_sticky: bool,
    reader: &mut Reader,
) -> Option<Option<Rebalance>> {
    let Some(At { value: words, place }) = words.optional()? else { return Some(None) };
    let by_load = matches!(balance?, Balance::LeastConnections { .. } | Balance::PowerOfTwo { .. });
    if !by_load {
        let remedy = "remove it, or write balance = \"least-connections\" or \"power-of-two\"";
        reader.report(&place, "only a choice by load can `rebalance`", remedy);
    } else if is_sticky {
        let message = "clients come back by their cookies to where they are asked to go from";
        reader.report(&place, message, "remove `rebalance`, or `sticky`");
    }
    Some(Some(Rebalance {
        per_second: words.per_second.or(defaults::REBALANCE_PER_SECOND)?,
        band: words.band.or(defaults::REBALANCE_BAND)?,
        calm: words.calm.or(defaults::REBALANCE_CALM)?,
        dry_run: words.dry_run.or(false)?,
    }))
}
