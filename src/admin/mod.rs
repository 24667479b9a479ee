//! What operators and their machines ask: [`scrape`] answers metrics and health and may face the network, [`api`] shows
//! and steers, and may not. Both run on a thread of their own, so that they answer under load.

pub mod api;
mod backends;
pub mod scrape;
pub mod serve;
mod tunnels;
