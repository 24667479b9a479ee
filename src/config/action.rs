//! What becomes of the requests that a route takes.

use std::fmt;

use super::{At, HashKey};

/// The one action of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The backends of a pool that exists answer.
    Pool(At<String>),
    /// Each request goes to one of several pools.
    Split(Split),
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

impl Action {
    /// The pools that it names.
    pub fn pools(&self) -> impl Iterator<Item = &At<String>> {
        let (one, several) = match self {
            Self::Pool(pool) => (Some(pool), [].as_slice()),
            Self::Split(split) => (None, split.shares.as_slice()),
        };
        one.into_iter().chain(several.iter().map(|share| &share.pool))
    }
}

/// For people, in a sentence: "to pool `chat`".
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pool(pool) => write!(f, "to pool `{}`", pool.value),
            Self::Split(split) => split.fmt(f),
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
