//! What longhaul says about itself: metrics and logs.
//!
//! [`metrics`] is the one table of all metrics, with a typed way to each, [`labels`] their closed sets. Hot ones live in [`cells`], cold ones in a
//! map of the [`registry`]; [`export`] turns both into the text that Prometheus scrapes. [`log`] is the one way to
//! stdout, which never blocks who writes; [`access`] are the records of requests and tunnels. Nothing here opens a
//! socket: `admin` serves the text.

pub mod access;
pub mod cells;
pub mod export;
pub mod labels;
pub mod log;
pub mod metrics;
pub mod process;
pub mod registry;

pub use metrics::Metrics;
