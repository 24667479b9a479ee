//! The words of a pool's probes.

use crate::config::reader::words;
use crate::config::syntax::{FieldValue, ProbeField, ProbePath, ProbeSubprotocol};
use crate::config::units::{Size, Timeout};
use crate::config::words::{Entries, List, Number, StatusRange, choices};
use crate::config::{BodyMatch, OnDown};

words! {
    /// `pools.NAME.health`
    struct HealthWords = "`pools.NAME.health`" {
        /// What a probe does: `"tcp"` connects, `"http"` asks for a path, `"websocket"` opens a WebSocket.
        required kind: ProbeKind,
        /// What is asked for; required with `"http"` and `"websocket"`, refused with `"tcp"`.
        optional path: ProbePath,
        /// Fields of the request, such as `Host`; absent: `Host` is the address of the backend.
        optional headers: Entries<ProbeField, FieldValue>,
        /// The method of an HTTP probe, `"GET"` or `"HEAD"`; absent: GET.
        optional method: ProbeMethod,
        /// What the status of the answer to an HTTP probe may be: 204, `"200-299"`; absent: 200 to 399.
        optional status: List<StatusRange, 1>,
        /// What the answer to an HTTP probe must contain: a text, or after `~` a regular expression; absent: anything.
        optional body: BodyMatch,
        /// How much of the answer is searched for `body`, 1B to 1MiB; absent: 64KiB.
        optional body_bytes_max: Size<1, 1_048_576>,
        /// The subprotocol that a WebSocket probe offers and the backend must choose; absent: none.
        optional subprotocol: ProbeSubprotocol,
        /// How long the answer to the ping of a WebSocket probe may take, up to 7d; absent: no ping is sent.
        optional ping_timeout: Timeout,
        /// From the end of one probe to the start of the next, up to 7d; default 5s.
        optional interval: Timeout,
        /// The same while a backend is not up, up to 7d; absent: 1s, or `interval` where that is shorter.
        optional interval_down: Timeout,
        /// How long one probe may take, up to 7d; default 2s.
        optional timeout: Timeout,
        /// Successes in a row until a backend is up, 1 to 100; default 2.
        optional rise: Number<1, 100>,
        /// Failures in a row until a backend is down, 1 to 100; default 3.
        optional fall: Number<1, 100>,
        /// Live tunnels of a backend that goes down: `"keep"`, or `"drain"`, which ends them; default keep.
        optional on_down: OnDown,
    }
}

/// `pools.NAME.health.kind`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeKind {
    /// Connects.
    Tcp,
    /// Asks for a path.
    Http,
    /// Opens a WebSocket.
    WebSocket,
}

/// `pools.NAME.health.method`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeMethod {
    /// With a body.
    Get,
    /// Without.
    Head,
}

choices!(ProbeKind { "tcp" => Self::Tcp, "http" => Self::Http, "websocket" => Self::WebSocket, });
choices!(ProbeMethod { "GET" => Self::Get, "HEAD" => Self::Head, });
choices!(OnDown { "keep" => Self::Keep, "drain" => Self::Drain, });
