//! A tunnel: a client's stream and a backend's, joined until both have ended.
//!
//! However it came to be (an HTTP/1.1 upgrade, with TLS or without), it is two [`Stream`](crate::net::stream::Stream)s
//! and its [`Terms`]. [`splice`] moves the bytes, [`flow`] is one of its two directions, [`tap`] counts
//! what passes, [`sessions`] is the live table.

pub mod care;
pub mod carriers;
pub mod clock;
pub mod flow;
pub mod goodbye;
pub mod inject;
pub mod lifetime;
pub mod parting;
pub mod pings;
pub mod recorder;
pub mod scratch;
pub mod seldom;
pub mod sessions;
pub mod splice;
pub mod tap;

use std::sync::Arc;
use std::time::Duration;

use crate::config::{Inspect, MaxAge, Pings};
use crate::proto::limit::Limits;
use crate::telemetry::metrics::RouteMetrics;

/// What a route gives its tunnels for life. A later configuration makes new terms; these stay as they are.
pub struct Terms {
    /// The route's name.
    pub route: Arc<str>,
    /// How long a tunnel may live without anything of either peer's own.
    pub idle_timeout: Duration,
    /// How old a tunnel may become.
    pub max_age: Option<MaxAge>,
    /// How long one direction may go on after the other ended.
    pub half_close_timeout: Duration,
    /// How long a side may take to answer a Close of longhaul's own, and to come to the place where one fits.
    pub close_timeout: Duration,
    /// What is done with its frames.
    pub inspect: Inspect,
    /// Pings of the proxy's own.
    pub pings: Pings,
    /// How much the client may send.
    pub to_backend: Option<Limits>,
    /// How much the backend may.
    pub to_client: Option<Limits>,
    /// How many headers of frames are remembered.
    pub record_frames: Option<usize>,
    /// How long a reader may take nothing of what there is for it.
    pub write_timeout: Option<Duration>,
    /// Where the tunnel counts.
    pub metrics: RouteMetrics,
}
