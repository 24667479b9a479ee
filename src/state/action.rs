//! What becomes of the requests of a route, as the data plane does it.

use std::sync::Arc;

use http::request::Parts;

use super::pools::{PoolIndex, Pools};
use super::{Route, Snapshot};
use crate::config;
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
}

impl Action {
    /// What `words` say of these pools; `None` where one of them is missing.
    pub(super) fn new(words: &config::Action, pools: &Pools) -> Option<Action> {
        match words {
            config::Action::Pool(pool) => pools.index(&pool.value).map(Action::Pool),
            config::Action::Split(config::Split { shares, by }) => {
                let share = |share: &config::Share| Some((pools.index(&share.pool.value)?, share.weight));
                let shares: Option<Vec<_>> = shares.iter().map(share).collect();
                Some(Action::Split(Split::new(shares?, by.clone())))
            }
        }
    }
}

impl Snapshot {
    /// Who serves a request of `client` on a route of this snapshot, and what it asks of them. Where several pools may,
    /// the client goes back to the one that it has a cookie of; else by its key, or by chance.
    ///
    /// # Errors
    /// [`Refusal::NoBackend`] for a route of another one.
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
        }
    }
}
