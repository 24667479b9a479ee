//! What becomes of a route's requests: one action, and what one key demands of another.

use std::collections::BTreeMap;
use std::mem::take;

use super::pools::KnownPools;
use super::{Unique, all, plain};
use crate::config::file::{RouteWords, ShareWords};
use crate::config::problem::shown;
use crate::config::reader::Reader;
use crate::config::words::List;
use crate::config::{Action, At, Place, Pool, Route, Share, Split, defaults};

/// The action of a route that begins at `place`.
pub fn action(
    words: &mut RouteWords,
    place: &Place,
    pools: Option<&KnownPools>,
    reader: &mut Reader,
) -> Option<Action> {
    let is_one = is_one(words, place, reader);
    let pool = take(&mut words.pool).written().map(plain);
    if let (Some(pool), Some(known)) = (&pool, pools) {
        known.expect(pool, reader);
    }
    let split = split(words, pools, reader).map(Action::Split);
    pool.map(Action::Pool).or(split).filter(|_| is_one)
}

/// Whether there is one action, right or wrong; reports it if not.
fn is_one(words: &RouteWords, place: &Place, reader: &mut Reader) -> bool {
    let keys = [
        ("pool", words.pool.is_absent(), words.pool.place()),
        ("split", words.split.is_absent(), words.split.place()),
    ];
    let mut written: Vec<_> = keys.iter().filter(|(_, is_absent, _)| !is_absent).collect();
    written.sort_by_key(|(.., place)| place.map(|place| place.span.start));
    match written.as_slice() {
        [_] => true,
        [] => {
            let message = "`[[routes]]` does not say what becomes of its requests";
            reader.report_missing(place, message, "add `pool`, or `split`");
            false
        }
        [(first, ..), .., (last, _, at)] => {
            let message = format!("a route does one thing, and this one has `{first}` and `{last}`");
            reader.report(at.unwrap_or(place), message, "keep one of them");
            false
        }
    }
}

fn split(words: &mut RouteWords, pools: Option<&KnownPools>, reader: &mut Reader) -> Option<Split> {
    let by = take(&mut words.split_by);
    if let (true, Some(place)) = (words.split.is_absent(), by.place()) {
        reader.report(place, "`split_by` is of use with `split` alone", "remove it, or add `split`");
    }
    let At { value: List(shares), place } = take(&mut words.split).written()?;
    let mut names = Unique::default();
    let mut shares = all(shares.into_iter().map(|share| self::share(share, &mut names, pools, reader)))?;
    if !shares.is_empty() && shares.iter().all(|share| share.weight == 0) {
        reader.report(&place, "no pool of this split gets anything", "raise the weight of one of them");
        return None;
    }
    // The same for everybody who has the same shares: replicas must agree on what `by` finds.
    shares.sort_by(|one, other| one.pool.value.cmp(&other.pool.value));
    Some(Split { shares, by: by.optional()?.map(|key| key.value) })
}

fn share(
    At { value: words, .. }: At<ShareWords>,
    names: &mut Unique<String>,
    pools: Option<&KnownPools>,
    reader: &mut Reader,
) -> Option<Share> {
    let pool = words.pool.written().map(plain);
    if let Some(pool) = &pool {
        if let Some(known) = pools {
            known.expect(pool, reader);
        }
        if names.taken(pool.value.clone(), &pool.place).is_some() {
            let message = format!("`{}` is already in this split", shown(&pool.value));
            reader.report(&pool.place, message, "remove it, or raise the weight of the other");
        }
    }
    Some(Share { pool: pool?, weight: words.weight.or(defaults::WEIGHT)? })
}

/// Reports splits by which clients would move to one pool for good: where only some pools set a cookie, who was drawn for
/// one of these once comes back to it, and who was not is drawn again.
pub fn report_drift(routes: &[Route], pools: &BTreeMap<String, Pool>, reader: &mut Reader) {
    for route in routes {
        let Action::Split(Split { shares, by: None }) = &route.action else { continue };
        let shares = shares.iter().filter(|share| share.weight > 0);
        let is_sticky =
            |share: &&Share| pools.get(&share.pool.value).is_some_and(|pool| pool.sticky.is_some());
        let (sticky, others): (Vec<_>, Vec<_>) = shares.partition(is_sticky);
        if let (Some(sticky), Some(other)) = (sticky.first(), others.first()) {
            let message = format!(
                "`{}` has no `sticky`, and `{}` has: clients would come to that one sooner or later, and stay",
                shown(&other.pool.value),
                shown(&sticky.pool.value)
            );
            let remedy = "add `sticky` to all pools of this split, or to none; or `split_by`";
            reader.report(&other.pool.place, message, remedy);
        }
    }
}
