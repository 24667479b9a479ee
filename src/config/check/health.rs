//! Probes: which keys each kind has, and what one key demands of another.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::config::file::{HealthWords, ProbeKind, ProbeMethod};
use crate::config::problem::shown;
use crate::config::reader::Reader;
use crate::config::words::{List, StatusRange};
use crate::config::{
    At, Health, HealthKind, HttpProbe, Place, ProbeTarget, Statuses, WebSocketProbe, defaults,
};

pub fn health(pool: &str, words: At<HealthWords>, reader: &mut Reader) -> Option<Health> {
    let At { value: words, place } = words;
    let kind = kind(pool, &words, &place, reader);
    let interval = words.interval.or(defaults::HEALTH_INTERVAL);
    let interval_down = words.interval_down.optional();
    let faster = interval?.min(defaults::HEALTH_INTERVAL_DOWN);
    Some(Health {
        kind: kind?,
        interval: interval?,
        interval_down: interval_down?.map_or(faster, |time| time.value.into()),
        timeout: words.timeout.or(defaults::HEALTH_TIMEOUT)?,
        rise: words.rise.or(defaults::HEALTH_RISE)?,
        fall: words.fall.or(defaults::HEALTH_FALL)?,
        on_down: words.on_down.or(defaults::ON_DOWN)?,
    })
}

fn kind(pool: &str, words: &HealthWords, place: &Place, reader: &mut Reader) -> Option<HealthKind> {
    let kind = words.kind.clone().written()?.value;
    let is_own = !report_foreign(words, kind, reader);
    let kind = match kind {
        ProbeKind::Tcp => Some(HealthKind::Tcp),
        ProbeKind::Http => {
            let target = target(pool, words, place, reader);
            http(words, target, reader).map(HealthKind::Http)
        }
        ProbeKind::WebSocket => {
            let target = target(pool, words, place, reader);
            websocket(words, target, reader).map(HealthKind::WebSocket)
        }
    };
    kind.filter(|_| is_own)
}

/// Reports keys that are of another kind; whether there are any.
fn report_foreign(words: &HealthWords, kind: ProbeKind, reader: &mut Reader) -> bool {
    use ProbeKind::{Http, WebSocket};
    let name = |kind| match kind {
        ProbeKind::Tcp => "\"tcp\"",
        Http => "\"http\"",
        WebSocket => "\"websocket\"",
    };
    let keys: [(&str, Option<&Place>, &[ProbeKind]); 8] = [
        ("path", words.path.place(), &[Http, WebSocket]),
        ("headers", words.headers.place(), &[Http, WebSocket]),
        ("method", words.method.place(), &[Http]),
        ("status", words.status.place(), &[Http]),
        ("body", words.body.place(), &[Http]),
        ("body_bytes_max", words.body_bytes_max.place(), &[Http]),
        ("subprotocol", words.subprotocol.place(), &[WebSocket]),
        ("ping_timeout", words.ping_timeout.place(), &[WebSocket]),
    ];
    let foreign = keys.into_iter().filter(|(_, _, kinds)| !kinds.contains(&kind));
    let mut any = false;
    for (key, place, kinds) in foreign {
        let Some(place) = place else { continue };
        let kinds: Vec<_> = kinds.iter().map(|kind| name(*kind)).collect();
        let message = format!("a probe of kind {} has no `{key}`", name(kind));
        reader.report(place, message, format!("remove it, or write kind = {}", kinds.join(" or ")));
        any = true;
    }
    any
}

fn target(pool: &str, words: &HealthWords, place: &Place, reader: &mut Reader) -> Option<ProbeTarget> {
    let headers = words.headers.clone().optional();
    let Some(path) = words.path.clone().optional()? else {
        let message = format!("`pools.{}.health` has no `path`", shown(pool));
        reader.report_missing(place, message, "add what a probe asks for, such as path = \"/health\"");
        return None;
    };
    let entries = headers?.map(|headers| headers.value.0).unwrap_or_default();
    let headers = entries.into_iter().map(|(name, value)| (name.0, value.value.0)).collect();
    Some(ProbeTarget { path: path.value.0, headers })
}

fn http(words: &HealthWords, target: Option<ProbeTarget>, reader: &mut Reader) -> Option<HttpProbe> {
    let is_head = words.method.clone().optional()?.is_some_and(|method| method.value == ProbeMethod::Head);
    let statuses = words.status.clone().optional()?;
    let body = words.body.clone().optional()?;
    if let (true, Some(body)) = (is_head, &body) {
        let remedy = "remove it, or write method = \"GET\"";
        reader.report(&body.place, "the answer to HEAD has no body", remedy);
    }
    let bytes_max = words.body_bytes_max.clone();
    if let (None, Some(place)) = (&body, bytes_max.place()) {
        reader.report(place, "without `body` no body is read", "remove it, or add `body`");
    }
    Some(HttpProbe {
        target: target?,
        is_head,
        statuses: self::statuses(statuses, defaults::HEALTH_STATUSES),
        body: body.map(|body| body.value),
        body_bytes_max: bytes_max.or(defaults::HEALTH_BODY_BYTES_MAX)?,
    })
}

/// The statuses that are written, or else these.
pub fn statuses(written: Option<At<List<StatusRange, 1>>>, absent: RangeInclusive<u16>) -> Statuses {
    match written {
        Some(list) => Statuses(list.value.0.into_iter().map(|range| range.value.0).collect()),
        None => Statuses(vec![absent]),
    }
}

fn websocket(
    words: &HealthWords,
    target: Option<ProbeTarget>,
    reader: &mut Reader,
) -> Option<WebSocketProbe> {
    let subprotocol = words.subprotocol.clone().optional()?;
    let ping = words.ping_timeout.clone().optional()?;
    if let (Some(ping), Some(whole)) = (&ping, words.timeout.clone().or(defaults::HEALTH_TIMEOUT))
        && Duration::from(ping.value) > whole
    {
        let message = "`ping_timeout` is longer than `timeout`, which is for the whole probe";
        reader.report(&ping.place, message, "write a shorter one, or a longer `timeout`");
    }
    Some(WebSocketProbe {
        target: target?,
        subprotocol: subprotocol.map(|subprotocol| subprotocol.value.0),
        ping_timeout: ping.map(|ping| ping.value.into()),
    })
}
