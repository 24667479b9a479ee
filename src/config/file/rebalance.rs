//! The words of a pool's rebalancing.

use crate::config::reader::words;
use crate::config::units::{Percent, Timeout};
use crate::config::words::Number;

words! {
    /// `pools.NAME.rebalance`
    struct RebalanceWords = "`pools.NAME.rebalance`" {
        /// Tunnels that are asked to go a second, 1 to 100,000; default 10.
        optional per_second: Number<1, 100_000>,
        /// How much more than its share a backend may carry, in percent of that; default 20%.
        optional band: Percent<1, 1_000>,
        /// How long the same backends must have been ready before it begins, up to 7d; default 30s.
        optional calm: Timeout,
        /// Whether it only counts and tells who would be asked to go; default false.
        optional dry_run: bool,
    }
}
