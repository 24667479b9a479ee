//! Pings of longhaul's own in a route's tunnels (RFC 6455 5.5.2).

use std::time::Duration;

/// `routes.pings`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pings {
    /// Between two to the client; `None` sends none.
    pub client: Option<Duration>,
    /// The same to the backend.
    pub backend: Option<Duration>,
    /// How long either may be silent after one.
    pub timeout: Duration,
}
