//! Routes: which requests they take, and that no two take the same.

use std::mem::take;

use http::{HeaderValue, Method};
use ipnet::IpNet;

use super::actions::action;
use super::frames::{frames, unread};
use super::handshake_rate::handshake_rate;
use super::pings::pings;
use super::pools::KnownPools;
use super::rewriting::{replacement, request_headers, response_headers};
use super::{Unique, all, free_name, plain};
use crate::config::file::RouteWords;
use crate::config::problem::shown;
use crate::config::reader::{Found, Reader};
use crate::config::words::{Entries, List, Number};
use crate::config::{
    At, Condition, HostMatch, Inspect, Kind, Match, MaxAge, PathMatch, Route, ValueMatch, defaults,
};

pub fn routes(
    words: Found<List<RouteWords, 1>>,
    pools: Option<&KnownPools>,
    handshakes_max: Option<usize>,
    reader: &mut Reader,
) -> Option<Vec<Route>> {
    let mut names = Unique::default();
    let mut known = Unique::default();
    all(words.written()?.value.0.into_iter().map(|At { value: mut words, place: header }| {
        let name = take(&mut words.name).written().map(plain);
        if let Some(name) = &name {
            free_name("route", name, &mut names, reader);
        }
        let place = words.path.place().or(words.host.place()).cloned().unwrap_or(header.clone());
        let matches = matches(&mut words, reader);
        if let Some(matches) = &matches
            && let Some(first) = known.taken(matches.clone(), &place)
        {
            let line = reader.line(&first, &place);
            let remedy =
                format!("the one on {line} does: change the host, the path or a condition of either");
            reader.report(&place, "another route serves the same requests", remedy);
        }
        let action = action(&mut words, &header, pools, reader);
        let replacement = replacement(&mut words, matches.as_ref(), reader);
        let request_headers = request_headers(take(&mut words.request_headers), reader);
        let response_headers = response_headers(take(&mut words.response_headers), reader);
        let max_age = max_age(&mut words, reader);
        let origins = words.origins.optional();
        let handshake_rate = handshake_rate(words.handshake_rate, handshakes_max, reader);
        let inspect = words.inspect.or(defaults::INSPECT);
        let pings = pings(words.pings, inspect, reader);
        let frames = frames(words.frames, inspect, reader);
        let record_frames = record_frames(words.record_frames, inspect, reader);
        Some(Route {
            name: name?,
            matches: matches?,
            origins: origins?.map(|list| list.value.0.into_iter().map(|origin| origin.value).collect()),
            action: action?,
            replacement: replacement?,
            request_headers: request_headers?,
            response_headers: response_headers?,
            handshake_rate: handshake_rate?,
            idle_timeout: words.idle_timeout.or(defaults::IDLE_TIMEOUT)?,
            max_age: max_age?,
            deadline_header: words.deadline_header.optional()?.map(|name| name.value.0),
            half_close_timeout: words.half_close_timeout.or(defaults::HALF_CLOSE_TIMEOUT)?,
            close_timeout: words.close_timeout.or(defaults::CLOSE_TIMEOUT)?,
            inspect: inspect?,
            pings: pings?,
            frames: frames?,
            record_frames: record_frames?,
            write_timeout: words.write_timeout.or(defaults::WRITE_TIMEOUT)?,
            body_bytes_max: words.body_bytes_max.optional()?.map(|size| size.value.0),
        })
    }))
}

fn record_frames(
    words: Found<Number<1, 256>>,
    inspect: Option<Inspect>,
    reader: &mut Reader,
) -> Option<Option<usize>> {
    let Some(count) = words.optional()? else { return Some(None) };
    unread(&count.place, "`record_frames` is about headers", inspect, reader)?;
    Some(Some(count.value.into()))
}

fn max_age(words: &mut RouteWords, reader: &mut Reader) -> Option<Option<MaxAge>> {
    if let (Some(place), true) = (words.max_age_jitter.place(), words.max_age.is_absent()) {
        let remedy = "remove it, or write `max_age`";
        reader.warn(place, "without `max_age` tunnels become as old as they get: nothing varies", remedy);
    }
    let jitter_percent = take(&mut words.max_age_jitter).or(defaults::MAX_AGE_JITTER)?;
    let age = take(&mut words.max_age).optional()?;
    Some(age.map(|age| MaxAge { age: age.value.into(), jitter_percent }))
}

/// What a route asks of a request.
fn matches(words: &mut RouteWords, reader: &mut Reader) -> Option<Match> {
    report_impossible(words, reader);
    let host = take(&mut words.host).or(HostMatch::Any);
    let path = take(&mut words.path).or(PathMatch::any());
    let conditions = conditions(words, reader);
    Some(Match::new(host?, path?, conditions?))
}

fn conditions(words: &mut RouteWords, reader: &mut Reader) -> Option<Vec<Condition>> {
    let certificate = take(&mut words.client_certificate).optional();
    if let Some(Some(certificate)) = &certificate {
        report_unsendable(certificate, "a certificate has", |text| !text.is_empty(), reader);
    }
    let headers = entries(take(&mut words.headers), "a field has", is_field_value, reader);
    let cookies = entries(take(&mut words.cookies), "a cookie has", is_cookie_value, reader);
    let query = entries(take(&mut words.query), "a parameter has", |_| true, reader);
    let mut conditions = Vec::new();
    conditions.extend(certificate?.map(|certificate| Condition::ClientCertificate(certificate.value)));
    conditions.extend(headers?.into_iter().map(|(name, value)| Condition::Header(name.0, value)));
    conditions.extend(cookies?.into_iter().map(|(name, value)| Condition::Cookie(name.0, value)));
    conditions.extend(query?.into_iter().map(|(name, value)| Condition::Query(name.0, value)));
    if let Some(networks) = take(&mut words.source).optional()? {
        let mut networks = IpNet::aggregate(&values(networks.value));
        networks.sort();
        conditions.push(Condition::Source(networks));
    }
    if let Some(names) = take(&mut words.subprotocols).optional()? {
        let mut names: Vec<String> = values(names.value).into_iter().map(|name| name.0).collect();
        names.sort();
        names.dedup();
        conditions.push(Condition::Subprotocols(names));
    }
    if let Some(methods) = take(&mut words.methods).optional()? {
        let mut methods: Vec<Method> = values(methods.value).into_iter().map(|method| method.0).collect();
        methods.sort_by(|one, other| one.as_str().cmp(other.as_str()));
        methods.dedup();
        conditions.push(Condition::Methods(methods));
    }
    conditions.extend(take(&mut words.kind).optional()?.map(|kind| Condition::Kind(kind.value)));
    Some(conditions)
}

/// Reports what no request could meet, and what would be of no use.
fn report_impossible(words: &RouteWords, reader: &mut Reader) {
    let kind = match &words.kind {
        Found::Written(kind) => Some(kind.value),
        _ => None,
    };
    if kind == Some(Kind::Http) {
        let remedy = "remove it, or write kind = \"websocket\"";
        if let Some(place) = words.subprotocols.place() {
            reader.report(place, "only a WebSocket has subprotocols, and kind is \"http\"", remedy);
        }
        if let Some(place) = words.origins.place() {
            reader.report(place, "`origins` are for WebSockets, and kind is \"http\"", remedy);
        }
        if let Some(place) = words.handshake_rate.place() {
            reader.report(place, "only WebSockets have a `handshake_rate`, and kind is \"http\"", remedy);
        }
    } else if kind == Some(Kind::WebSocket) || !words.subprotocols.is_absent() {
        // Wrong entries are left out; what is left may lack GET for that reason.
        if let Found::Written(At { value: List(methods), place }) = &words.methods
            && !methods.is_empty()
            && methods.iter().all(|method| method.value.0 != Method::GET)
        {
            reader.report(place, "a WebSocket is opened with GET", "add \"GET\", or remove `methods`");
        }
    }
}

/// The entries of a table, if there is one; values that nothing can have are reported.
fn entries<K>(
    words: Found<Entries<K, ValueMatch>>,
    what: &str,
    can_be: impl Fn(&str) -> bool,
    reader: &mut Reader,
) -> Option<Vec<(K, ValueMatch)>> {
    let Some(entries) = words.optional()? else {
        return Some(Vec::new());
    };
    for (_, value) in &entries.value.0 {
        report_unsendable(value, what, &can_be, reader);
    }
    Some(entries.value.0.into_iter().map(|(key, value)| (key, value.value)).collect())
}

fn report_unsendable(
    At { value, place }: &At<ValueMatch>,
    what: &str,
    can_be: impl Fn(&str) -> bool,
    reader: &mut Reader,
) {
    if let ValueMatch::Exact(text) = value
        && !can_be(text)
    {
        let message = format!("\"{}\" is no value that {what}", shown(text));
        reader.report(place, message, "write another, or true for any value");
    }
}

fn is_field_value(text: &str) -> bool {
    HeaderValue::from_bytes(text.as_bytes()).is_ok() && text.trim_ascii() == text
}

fn is_cookie_value(text: &str) -> bool {
    is_field_value(text) && !text.contains(';')
}

fn values<T, const MIN: usize>(list: List<T, MIN>) -> Vec<T> {
    list.0.into_iter().map(|entry| entry.value).collect()
}
