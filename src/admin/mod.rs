//! What operators and their machines ask: metrics and health, on a thread of its own, so that it answers under load.

pub mod scrape;
