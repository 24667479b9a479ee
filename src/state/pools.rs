//! The pools of one generation. Routes know theirs by its place, so that a pool can be re-made without them.

use std::sync::Arc;

use crate::upstream::pool::Pool;

/// Pools in the order of their names.
#[derive(Clone, Default)]
pub struct Pools(Vec<Arc<Pool>>);

/// The place of a pool among those of one snapshot; it means nothing in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolIndex(usize);

impl Pools {
    /// These pools, names unique.
    pub fn new(mut pools: Vec<Arc<Pool>>) -> Pools {
        pools.sort_by(|one, other| one.name.cmp(&other.name));
        Pools(pools)
    }

    /// The pool of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Pool>> {
        self.at(self.index(name)?)
    }

    /// Where the pool of this name is.
    pub fn index(&self, name: &str) -> Option<PoolIndex> {
        self.0.binary_search_by(|pool| (*pool.name).cmp(name)).ok().map(PoolIndex)
    }

    /// The pool at a place.
    pub fn at(&self, index: PoolIndex) -> Option<&Arc<Pool>> {
        self.0.get(index.0)
    }

    /// All of them.
    pub fn iter(&self) -> std::slice::Iter<'_, Arc<Pool>> {
        self.0.iter()
    }

    /// The same with `pool` in place of the one of its name; `None` when there is none.
    pub fn with(&self, pool: Arc<Pool>) -> Option<Pools> {
        let index = self.index(&pool.name)?;
        let mut pools = self.clone();
        *pools.0.get_mut(index.0)? = pool;
        Some(pools)
    }
}
