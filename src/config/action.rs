//! What becomes of the requests that a route takes.

use std::fmt;

use std::path::PathBuf;

use http::{HeaderName, HeaderValue, StatusCode};

use super::{At, HashKey, Template};

/// The longest body of an answer of longhaul's own.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;

/// The one action of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The backends of a pool that exists answer.
    Pool(At<String>),
    /// Each request goes to one of several pools.
    Split(Split),
    /// Clients are sent elsewhere.
    Redirect(Redirect),
    /// longhaul itself answers, always the same.
    Respond(Respond),
}

/// `split`: pools, and how many of the requests each of them gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// At least one, in the order of their names, each name once; all exist. Not all weights are 0.
    pub shares: Vec<Share>,
    /// Requests in which this is the same go to the same pool; `None` draws for each of them.
    pub by: Option<HashKey>,
}

/// One entry of `split`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// The name of the pool.
    pub pool: At<String>,
    /// 0 to 1,000,000; a pool of weight 0 gets nothing.
    pub weight: u32,
}

/// `redirect`: where clients are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// A URL with a scheme and a host, or a path. Nothing of a request can change where it leads, but for the host that
    /// was asked for.
    pub to: Template,
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
}

/// `respond`: what is always answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Respond {
    /// 200 to 599, and no redirect.
    pub status: StatusCode,
    /// None of those that frame a message or speak of its connection; names unique.
    pub headers: Vec<(HeaderName, Template)>,
    /// What is said.
    pub body: Option<Body>,
    /// What that is.
    pub content_type: HeaderValue,
}

/// The body of an answer that is always the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Up to [`BODY_BYTES_MAX`].
    Text(String),
    /// The content of a file.
    File(At<PathBuf>),
}

/// `request_headers`, `response_headers`: what is changed of fields. First some are removed, then some set, then some
/// added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderEdits {
    /// All lines of these.
    pub remove: Vec<HeaderName>,
    /// The one line of these; one that would be empty is removed.
    pub set: Vec<(HeaderName, Template)>,
    /// One more line of these.
    pub add: Vec<(HeaderName, Template)>,
}

/// For people, behind "the request takes route `chat`, ": "to pool `chat`".
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pool(pool) => write!(f, "to pool `{}`", pool.value),
            Self::Split(split) => split.fmt(f),
            Self::Redirect(Redirect { to, status }) => {
                write!(f, "which redirects it to {to} ({})", status.as_u16())
            }
            Self::Respond(respond) => write!(f, "which answers with {}", respond.status.as_u16()),
        }
    }
}

/// "to pool `canary` (5%) or `chat` (95%), by cookie:sid".
impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum: f64 = self.shares.iter().map(|share| f64::from(share.weight)).sum();
        let share = |Share { pool, weight }: &Share| {
            // Hundredths of a percent, without zeros at the end.
            let percent = (f64::from(*weight) / sum * 10_000.0).round() / 100.0;
            format!("`{}` ({percent}%)", pool.value)
        };
        let shares: Vec<_> = self.shares.iter().map(share).collect();
        write!(f, "to pool {}", shares.join(" or "))?;
        match &self.by {
            Some(key) => write!(f, ", by {key}"),
            None => Ok(()),
        }
    }
}
