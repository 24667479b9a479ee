//! What a route changes of its requests, as far as one key depends on others.

use std::mem::take;

use crate::config::file::RouteWords;
use crate::config::problem::shown;
use crate::config::reader::Reader;
use crate::config::{Match, PathMatch, Place};
use crate::proto::prefix::Replacement;

/// Which beginning of a path becomes which other; `matches` is what the route takes, if that is right.
pub fn replacement(
    words: &mut RouteWords,
    matches: Option<&Match>,
    reader: &mut Reader,
) -> Option<Option<Replacement>> {
    let strip = take(&mut words.strip_prefix).optional();
    let replace = take(&mut words.replace_prefix).optional();
    let (from, to, place) = match (strip?, replace?) {
        (None, None) => return Some(None),
        (Some(_), Some(replace)) => {
            let message = "with `strip_prefix` there is nothing left for `replace_prefix`";
            reader.report(&replace.place, message, "keep one of them");
            return None;
        }
        (Some(strip), None) if strip.value.0 == "/" => {
            reader.report(
                &strip.place,
                "\"/\" strips nothing",
                "write a path such as \"/api\", or remove it",
            );
            return None;
        }
        (Some(strip), None) => (strip.value.0, "/".to_owned(), strip.place),
        (None, Some(replace)) => {
            let from = replace.value.from.written()?;
            (from.value.0, replace.value.to.written()?.value.0, from.place)
        }
    };
    if let Some(matches) = matches {
        report_useless(&from, &matches.path, &place, reader);
    }
    Some(Some(Replacement::new(&from, &to)))
}

/// Reports a prefix that no path of the route has.
fn report_useless(prefix: &str, path: &PathMatch, place: &Place, reader: &mut Reader) {
    let segments = format!("{}/", prefix.trim_end_matches('/'));
    let (may_have, written) = match path {
        PathMatch::Exact(exact) => (format!("{exact}/").starts_with(&segments), exact.clone()),
        PathMatch::Prefix(served) => {
            (served.starts_with(&segments) || segments.starts_with(served), format!("{served}*"))
        }
        PathMatch::Pattern(_) => return,
    };
    if !may_have {
        let message = format!("no path of this route begins with `{}`", shown(prefix));
        reader.report(place, message, format!("write what \"{}\" begins with", shown(&written)));
    }
}
