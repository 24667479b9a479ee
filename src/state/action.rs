//! What becomes of the requests of a route, as the data plane does it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, StatusCode};

use super::pools::{PoolIndex, Pools};
use super::{Route, Snapshot};
use crate::config::{self, BODY_BYTES_MAX, Body, Problems, Redirect, Respond, Template};
use crate::outcome::Refusal;
use crate::proto::peer::Peer;
use crate::upstream::members::Wish;
use crate::upstream::pool::Pool;
use crate::upstream::split::Split;

/// The one action of a route. Pools are named by their place in the same snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A pool answers.
    Pool(PoolIndex),
    /// One of several pools answers.
    Split(Split<PoolIndex>),
    /// Clients are sent elsewhere.
    Redirect(Redirect),
    /// longhaul itself answers.
    Respond(Answer),
}

/// What is always answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its fields.
    pub headers: Vec<(HeaderName, Template)>,
    /// What the body is, if there is one.
    pub content_type: Option<HeaderValue>,
    /// May be empty.
    pub body: Bytes,
}

impl Action {
    /// What `words` say of these pools; `None` where one of them is missing, or a file cannot be used, which is added to
    /// `problems`.
    pub(super) fn new(words: &config::Action, pools: &Pools, problems: &mut Problems) -> Option<Action> {
        match words {
            config::Action::Pool(pool) => pools.index(&pool.value).map(Action::Pool),
            config::Action::Split(config::Split { shares, by }) => {
                let share = |share: &config::Share| Some((pools.index(&share.pool.value)?, share.weight));
                let shares: Option<Vec<_>> = shares.iter().map(share).collect();
                Some(Action::Split(Split::new(shares?, by.clone())))
            }
            config::Action::Redirect(redirect) => Some(Action::Redirect(redirect.clone())),
            config::Action::Respond(respond) => Answer::new(respond, problems).map(Action::Respond),
        }
    }
}

impl Answer {
    fn new(words: &Respond, problems: &mut Problems) -> Option<Answer> {
        let body = match &words.body {
            None => Bytes::new(),
            Some(Body::Text(text)) => Bytes::copy_from_slice(text.as_bytes()),
            Some(Body::File(path)) => match content(&path.value) {
                Ok(bytes) => bytes.into(),
                Err((message, remedy)) => {
                    problems.push(path.place.clone(), message, remedy);
                    return None;
                }
            },
        };
        Some(Answer {
            status: words.status,
            headers: words.headers.clone(),
            content_type: words.body.is_some().then(|| words.content_type.clone()),
            body,
        })
    }
}

/// What a file has, if that is not too much; else what is wrong and what to do.
fn content(path: &Path) -> Result<Vec<u8>, (String, &'static str)> {
    let shown = path.display();
    let unreadable = |error: io::Error| {
        (format!("cannot read {shown}: {error}"), "give the path of a file that longhaul may read")
    };
    // A pipe might never end.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err((format!("{shown} is not a file"), "give the path of a file"));
    }
    let mut bytes = Vec::new();
    let limit = u64::try_from(BODY_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)).map_err(unreadable)?;
    if bytes.len() > BODY_BYTES_MAX {
        return Err((
            format!("{shown} is larger than 1 MiB"),
            "write a shorter one, or let a backend serve it",
        ));
    }
    Ok(bytes)
}

impl Snapshot {
    /// Who serves a request of `client` on a route of this snapshot, and what it asks of them. Where several pools may,
    /// the client goes back to the one that it has a cookie of; else by its key, or by chance.
    ///
    /// # Errors
    /// [`Refusal::NoBackend`] for a route of another one, or one without a pool.
    pub fn serving(&self, route: &Route, head: &Parts, client: Peer) -> Result<(&Arc<Pool>, Wish), Refusal> {
        let at = |index: &PoolIndex| self.pools.at(*index).ok_or(Refusal::NoBackend);
        let wished = |pool: &Arc<Pool>| pool.members.wish(head, client);
        match &route.action {
            Action::Pool(index) => at(index).map(|pool| (pool, wished(pool))),
            Action::Split(split) => {
                let wishes =
                    split.pools().filter_map(|index| at(index).ok()).map(|pool| (pool, wished(pool)));
                if let Some(known) = { wishes }.find(|(_, wish)| wish.cookie.member.is_some()) {
                    return Ok(known);
                }
                let drawn = split.pick(head, client, |sum| fastrand::u64(0..sum));
                drawn.ok_or(Refusal::NoBackend).and_then(at).map(|pool| (pool, wished(pool)))
            }
            Action::Redirect(_) | Action::Respond(_) => Err(Refusal::NoBackend),
        }
    }
}
