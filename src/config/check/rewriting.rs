//! What a route changes of its requests, as far as one key depends on others.

use std::mem::take;

use http::HeaderName;

use crate::config::file::{RequestHeadersWords, ResponseHeadersWords, RouteWords};
use crate::config::problem::shown;
use crate::config::reader::{Found, Reader};
use crate::config::syntax::FieldTemplate;
use crate::config::words::{Entries, List};
use crate::config::{At, HeaderEdits, Match, PathMatch, Place, Template};
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

/// What is changed of requests.
pub fn request_headers(
    words: Found<RequestHeadersWords>,
    reader: &mut Reader,
) -> Option<Option<HeaderEdits>> {
    let Some(At { value: words, place }) = words.optional()? else { return Some(None) };
    if words.set.is_absent() && words.add.is_absent() && words.remove.is_absent() {
        report_idle("request_headers", &place, reader);
    }
    let (set, add) = (entries(words.set, |name| name.0), entries(words.add, |name| name.0));
    edits(set, add, names(words.remove, |name| name.0), reader).map(Some)
}

/// What is changed of answers.
pub fn response_headers(
    words: Found<ResponseHeadersWords>,
    reader: &mut Reader,
) -> Option<Option<HeaderEdits>> {
    let Some(At { value: words, place }) = words.optional()? else { return Some(None) };
    if words.set.is_absent() && words.add.is_absent() && words.remove.is_absent() {
        report_idle("response_headers", &place, reader);
    }
    let (set, add) = (entries(words.set, |name| name.0), entries(words.add, |name| name.0));
    edits(set, add, names(words.remove, |name| name.0), reader).map(Some)
}

fn report_idle(title: &str, place: &Place, reader: &mut Reader) {
    reader.report_missing(place, format!("`{title}` changes nothing"), "add `set`, `add` or `remove`");
}

type Written = Vec<(HeaderName, Template)>;

fn edits(
    set: Option<Written>,
    add: Option<Written>,
    remove: Option<Vec<At<HeaderName>>>,
    reader: &mut Reader,
) -> Option<HeaderEdits> {
    let (set, add, remove) = (set?, add?, remove?);
    for name in remove.iter().filter(|name| set.iter().any(|(other, _)| *other == name.value)) {
        let message = format!("`{}` is set, which removes what was there", name.value);
        reader.report(&name.place, message, "remove it here, or there");
    }
    Some(HeaderEdits { remove: remove.into_iter().map(|name| name.value).collect(), set, add })
}

/// The entries of a table; none where there is no table. `None` when it is wrong.
fn entries<K>(words: Found<Entries<K, FieldTemplate>>, name: impl Fn(K) -> HeaderName) -> Option<Written> {
    let entries = words.optional()?.map(|entries| entries.value.0).unwrap_or_default();
    Some(entries.into_iter().map(|(key, value)| (name(key), value.value.0)).collect())
}

fn names<K>(words: Found<List<K, 1>>, name: impl Fn(K) -> HeaderName) -> Option<Vec<At<HeaderName>>> {
    let names = words.optional()?.map(|names| names.value.0).unwrap_or_default();
    Some(names.into_iter().map(|At { value, place }| At { value: name(value), place }).collect())
}
