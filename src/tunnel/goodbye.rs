//! A goodbye: the order to end a tunnel politely, with a Close that says why.
//!
//! The client gets the Close first, at the next end of a frame. What it sends before its own Close still reaches the backend,
//! and so does that Close; what the backend sends meanwhile is thrown away and counted. When the backend has answered, the
//! tunnel ends, cleanly (RFC 6455 7.1.4). Each of these steps may take the route's `close_timeout`; who does not take it in
//! time is cut. A tunnel whose frames are not read is cut at once.
//!
//! [`Session::part`](super::sessions::Session::part) gives the order, from any thread. Where many tunnels are to go, who goes
//! when is for the caller to say: one order costs a lock-free store and a wake-up, and
//! [`Sessions::page`](super::sessions::Sessions::page) walks the table in steps. An order that comes behind another does
//! nothing, nor does one that comes when the tunnel is ending anyway; to cut at once there is
//! [`Sessions::cut_all`](super::sessions::Sessions::cut_all), which holds at any time.

use std::sync::Arc;

use super::inject::REASON_BYTES_MAX;
use crate::outcome::EndReason;
use crate::proto::close::may_be_sent;

/// What a client is told, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Goodbye {
    code: u16,
    reason: Arc<str>,
    why: Why,
}

/// Why longhaul says goodbye.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The process stops.
    Drain,
    /// An operator, or the configuration, drains the backend.
    BackendDraining,
    /// The backend was removed.
    BackendRemoved,
    /// The backend's health checks fail.
    BackendDown,
    /// The route was removed.
    RouteRemoved,
    /// Other backends have less to carry.
    Rebalance,
    /// Neither peer has anything to say.
    Idle,
    /// The time has come that the backend had told.
    Deadline,
    /// The tunnel is as old as tunnels may become.
    MaxAge,
    /// An operator wishes it.
    Operator,
}

impl Goodbye {
    /// One that says `code` and `reason`, UTF-8 of at most 123 bytes (RFC 6455 5.5); shared by all tunnels that get it.
    ///
    /// `None` for a code that may not be sent (RFC 6455 7.4), and for a longer reason.
    pub fn new(code: u16, reason: Arc<str>, why: Why) -> Option<Goodbye> {
        (may_be_sent(code) && reason.len() <= REASON_BYTES_MAX).then_some(Goodbye { code, reason, why })
    }

    /// The Close code.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// The text behind it.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Why.
    pub fn why(&self) -> Why {
        self.why
    }
}

impl Why {
    /// What the tunnel's ending says then.
    pub fn ending(self) -> EndReason {
        match self {
            Why::Drain => EndReason::Drain,
            Why::BackendDraining => EndReason::BackendDraining,
            Why::BackendRemoved => EndReason::BackendRemoved,
            Why::BackendDown => EndReason::BackendDown,
            Why::RouteRemoved => EndReason::RouteRemoved,
            Why::Rebalance => EndReason::Rebalance,
            Why::Idle => EndReason::IdleTimeout,
            Why::Deadline => EndReason::Deadline,
            Why::MaxAge => EndReason::MaxAge,
            Why::Operator => EndReason::Operator,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_not_be_sent_is_no_goodbye() {
        let goodbye = |code, reason: &str| Goodbye::new(code, reason.into(), Why::Drain);
        assert!(goodbye(1012, &"x".repeat(123)).is_some() && goodbye(4000, "").is_some());
        assert!(goodbye(1012, &"x".repeat(124)).is_none());
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 5000] {
            assert!(goodbye(code, "").is_none(), "{code}");
        }
    }
}
