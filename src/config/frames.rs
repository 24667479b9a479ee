//! How much each side of a route's tunnels may send.

use crate::proto::limit::Limits;

/// `routes.frames`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frames {
    /// For what clients send; `None` is anything.
    pub to_backend: Option<Limits>,
    /// For what backends send.
    pub to_client: Option<Limits>,
}

/// What becomes of frames that come too fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// They are not read until it is their turn.
    Wait,
    /// They end the tunnel.
    Close,
}
