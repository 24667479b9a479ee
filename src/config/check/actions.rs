//! What becomes of a route's requests: one action, and what one key demands of another.

use std::collections::BTreeMap;
use std::mem::take;

use http::{HeaderValue, StatusCode};

use super::pools::KnownPools;
use super::{Unique, all, plain, watched};
use crate::config::file::{RedirectWords, RespondWords, RouteWords, ShareWords};
use crate::config::problem::shown;
use crate::config::reader::{Found, Reader};
use crate::config::words::{List, Number};
use crate::config::{Action, At, Body, Place, Pool, Redirect, Respond, Route, Share, Split, defaults};

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
    let redirect = redirect(take(&mut words.redirect)).map(Action::Redirect);
    let respond = respond(take(&mut words.respond), reader).map(Action::Respond);
    pool.map(Action::Pool).or(split).or(redirect).or(respond).filter(|_| is_one)
}

/// Whether there is one action, right or wrong; reports it if not.
fn is_one(words: &RouteWords, place: &Place, reader: &mut Reader) -> bool {
    let keys = [
        ("pool", words.pool.is_absent(), words.pool.place()),
        ("split", words.split.is_absent(), words.split.place()),
        ("redirect", words.redirect.is_absent(), words.redirect.place()),
        ("respond", words.respond.is_absent(), words.respond.place()),
    ];
    let mut written: Vec<_> = keys.iter().filter(|(_, is_absent, _)| !is_absent).collect();
    written.sort_by_key(|(.., place)| place.map(|place| place.span.start));
    match written.as_slice() {
        [("respond", ..)] if report_pathless(words, reader) => false,
        [(key @ ("redirect" | "respond"), ..)] => !report_backendless(key, words, reader),
        [_] => true,
        [] => {
            let message = "`[[routes]]` does not say what becomes of its requests";
            reader.report_missing(place, message, "add `pool`, `split`, `redirect` or `respond`");
            false
        }
        [(first, ..), .., (last, _, at)] => {
            let message = format!("a route does one thing, and this one has `{first}` and `{last}`");
            reader.report(at.unwrap_or(place), message, "keep one of them");
            false
        }
    }
}

/// Reports keys that are for routes with backends; whether there are any.
fn report_backendless(action: &str, words: &RouteWords, reader: &mut Reader) -> bool {
    let keys = [
        ("origins", words.origins.place()),
        ("idle_timeout", words.idle_timeout.place()),
        ("max_age", words.max_age.place()),
        ("max_age_jitter", words.max_age_jitter.place()),
        ("deadline_header", words.deadline_header.place()),
        ("half_close_timeout", words.half_close_timeout.place()),
        ("close_timeout", words.close_timeout.place()),
        ("inspect", words.inspect.place()),
        ("pings", words.pings.place()),
        ("frames", words.frames.place()),
        ("record_frames", words.record_frames.place()),
        ("write_timeout", words.write_timeout.place()),
        ("body_bytes_max", words.body_bytes_max.place()),
        ("request_headers", words.request_headers.place()),
    ];
    let mut any = false;
    for (key, place) in keys {
        let Some(place) = place else { continue };
        let message = format!("`{key}` is for routes with backends, and this one has `{action}`");
        reader.report(place, message, "remove it");
        any = true;
    }
    any
}

/// Reports changes of a path that nobody sees; whether there are any.
fn report_pathless(words: &RouteWords, reader: &mut Reader) -> bool {
    let places =
        [("strip_prefix", words.strip_prefix.place()), ("replace_prefix", words.replace_prefix.place())];
    let mut any = false;
    for (key, place) in places {
        let Some(place) = place else { continue };
        reader.report(
            place,
            format!("nobody sees what `{key}` makes of the path: `respond` is always the same"),
            "remove it",
        );
        any = true;
    }
    any
}

fn redirect(words: Found<RedirectWords>) -> Option<Redirect> {
    let words = words.written()?.value;
    let status = words.status.optional()?.map(|status| status.value.0);
    Some(Redirect {
        to: words.to.written()?.value.0,
        status: status.map_or(Some(defaults::REDIRECT_STATUS), |status| StatusCode::from_u16(status).ok())?,
    })
}

fn respond(words: Found<RespondWords>, reader: &mut Reader) -> Option<Respond> {
    let words = words.written()?.value;
    let status = status(words.status, reader);
    let body = match (words.body.optional(), words.file.optional()) {
        (Some(Some(_)), Some(Some(file))) => {
            let message = "an answer has one body, and this one has `body` and `file`";
            reader.report(&file.place, message, "remove one of them");
            None
        }
        (Some(Some(body)), Some(None)) => Some(Some((body.place, Body::Text(body.value.0)))),
        (Some(None), Some(Some(file))) => Some(Some((file.place.clone(), Body::File(watched(file, reader))))),
        (Some(None), Some(None)) => Some(None),
        _ => None,
    };
    let content_type = words.content_type.optional();
    match (&body, &content_type) {
        (Some(None), Some(Some(place))) => {
            reader.report(
                &place.place,
                "without `body` or `file` there is no content",
                "remove it, or add `body`",
            );
        }
        (Some(Some((place, _))), _) if status.is_some_and(|status| !has_body(status)) => {
            let status = status.map(|status| status.as_u16()).unwrap_or_default();
            reader.report(
                place,
                format!("an answer of status {status} has no body"),
                "remove it, or write another status",
            );
        }
        _ => {}
    }
    let headers = words.headers.optional()?.map(|headers| headers.value.0).unwrap_or_default();
    let default = HeaderValue::from_static(defaults::CONTENT_TYPE);
    Some(Respond {
        status: status?,
        headers: headers.into_iter().map(|(name, value)| (name.0, value.value.0)).collect(),
        body: body?.map(|(_, body)| body),
        content_type: content_type?.map_or(default, |value| value.value.0),
    })
}

fn status(words: Found<Number<200, 599>>, reader: &mut Reader) -> Option<StatusCode> {
    let At { value: Number(status), place } = words.written()?;
    if let 301..=303 | 307..=308 = status {
        let remedy = format!("write redirect = {{ to = \"https://…\", status = {status} }}");
        reader.report(&place, format!("{status} is a redirect, which says where to"), remedy);
        return None;
    }
    StatusCode::from_u16(u16::try_from(status).ok()?).ok()
}

/// Whether an answer of this status may have one (RFC 9110 15.3.5, 15.3.6, 15.4.5).
fn has_body(status: StatusCode) -> bool {
    !matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED)
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
