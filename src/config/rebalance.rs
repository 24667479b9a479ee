//! When tunnels are asked to go so that backends that came later get their share.

use std::time::Duration;

/// `pools.NAME.rebalance`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rebalance {
    /// Tunnels that are asked to go a second, at least one.
    pub per_second: u32,
    /// How much more than its share a backend may carry, in percent of the share, from 1.
    pub band: u32,
    /// How long the same backends must have been ready before it begins.
    pub calm: Duration,
    /// Only counts and tells.
    pub dry_run: bool,
}
