//! What is measured: the rows of the table.

/// One row.
pub struct Case {
    /// For the command line.
    pub name: &'static str,
    /// For the table.
    pub title: &'static str,
    /// Which way the client comes in.
    pub door: Door,
    /// What clients do.
    pub work: Work,
    /// Settings of longhaul that differ from those of the other rows.
    pub variant: Variant,
}

/// Where a proxy takes connections, and how it goes on from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// Plain text on both legs.
    Plain,
    /// TLS from the client, plain text to the backend.
    Tls,
    /// TLS on both legs.
    TlsBoth,
    /// HTTP/2 over TLS from the client, plain text and HTTP/1.1 to the backend. The floor has none.
    Http2 {
        /// How many a client opens on one connection.
        per_connection: usize,
    },
}

/// What clients do.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// Open tunnels, echo one message in each, and leave them: memory.
    Idle,
    /// The same, when each has answered a Ping of the proxy's own. Only longhaul sends any.
    Pinged,
    /// The same as idle, and then: CPU time that the proxy spends meanwhile.
    Rest,
    /// Echo messages over and over.
    Echo {
        /// Open tunnels.
        tunnels: usize,
        /// Tunnels that have messages on their way at a time; all have their turn.
        active: usize,
        /// Payload of a message.
        message_bytes: usize,
        /// Messages that a client sends before it waits for them.
        in_flight: usize,
    },
    /// Open a tunnel, close it with a Close frame, over and over.
    Open {
        /// Handshakes at a time.
        active: usize,
        /// The key exchange of TLS.
        group: Group,
    },
}

/// What clients offer for the key exchange of TLS 1.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    X25519,
    X25519MLKEM768,
}

/// How longhaul (and nobody else) is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// One worker, no access log.
    Usual,
    /// With its access log, into a file. Peers have theirs off.
    AccessLog,
    /// `inspect = "off"`, and so no Pings: what it costs to know frames. The same rows without it stand above.
    Blind,
    /// Two workers on two cores, beside the load; so has the floor. Other peers are left out.
    TwoWorkers,
}

impl Case {
    /// Whether measuring again says nothing new.
    pub fn is_exact(&self) -> bool {
        matches!(self.work, Work::Idle | Work::Pinged | Work::Rest)
    }

    /// What the figures of this row count.
    pub fn unit(&self) -> &'static str {
        match self.work {
            Work::Idle | Work::Pinged => "KiB",
            Work::Rest => "ms CPU per s",
            Work::Echo { in_flight: 1, .. } => "us CPU per round trip",
            Work::Echo { .. } => "us CPU per message",
            Work::Open { .. } => "us CPU",
        }
    }
}

const fn case(name: &'static str, title: &'static str, door: Door, work: Work) -> Case {
    Case { name, title, door, work, variant: Variant::Usual }
}

const fn blind(name: &'static str, title: &'static str, door: Door, work: Work) -> Case {
    Case { variant: Variant::Blind, ..case(name, title, door, work) }
}

const fn echo(active: usize, message_bytes: usize, in_flight: usize) -> Work {
    Work::Echo { tunnels: active, active, message_bytes, in_flight }
}

const fn turns(tunnels: usize) -> Work {
    Work::Echo { tunnels, active: 64, message_bytes: SMALL, in_flight: 1 }
}

const SMALL: usize = 125;
const MIDDLE: usize = 16 * 1024;
const LARGE: usize = 1024 * 1024;
const OPEN: Work = Work::Open { active: 16, group: Group::X25519 };

/// All rows, in the order of the table.
pub static CASES: &[Case] = &[
    case("idle-plain", "idle tunnel, plain", Door::Plain, Work::Idle),
    case("idle-tls", "idle tunnel, TLS", Door::Tls, Work::Idle),
    case("pinged-plain", "idle tunnel, plain, after a Ping", Door::Plain, Work::Pinged),
    case("pinged-tls", "idle tunnel, TLS, after a Ping", Door::Tls, Work::Pinged),
    case("idle-tls-both", "idle tunnel, TLS on both legs", Door::TlsBoth, Work::Idle),
    case("idle-http2", "idle tunnel, HTTP/2, 1 a connection", Door::Http2 { per_connection: 1 }, Work::Idle),
    case(
        "idle-http2-10",
        "idle tunnel, HTTP/2, 10 a connection",
        Door::Http2 { per_connection: 10 },
        Work::Idle,
    ),
    case(
        "idle-http2-100",
        "idle tunnel, HTTP/2, 100 a connection",
        Door::Http2 { per_connection: 100 },
        Work::Idle,
    ),
    case("rest-plain", "all idle tunnels together, plain", Door::Plain, Work::Rest),
    case("small-plain", "echo 125 B, plain", Door::Plain, echo(64, SMALL, 1)),
    case("small-plain-1", "echo 125 B, plain, 1 tunnel", Door::Plain, echo(1, SMALL, 1)),
    case("small-plain-1000", "echo 125 B, plain, 1,000 tunnels at once", Door::Plain, echo(1_000, SMALL, 1)),
    case("small-tls", "echo 125 B, TLS", Door::Tls, echo(64, SMALL, 1)),
    case("small-tls-both", "echo 125 B, TLS on both legs", Door::TlsBoth, echo(64, SMALL, 1)),
    case(
        "small-http2",
        "echo 125 B, HTTP/2, 1 tunnel a connection",
        Door::Http2 { per_connection: 1 },
        echo(64, SMALL, 1),
    ),
    case(
        "small-http2-64",
        "echo 125 B, HTTP/2, 64 tunnels on a connection",
        Door::Http2 { per_connection: 64 },
        echo(64, SMALL, 1),
    ),
    blind("small-plain-off", "echo 125 B, plain, longhaul with inspect off", Door::Plain, echo(64, SMALL, 1)),
    blind("small-tls-off", "echo 125 B, TLS, longhaul with inspect off", Door::Tls, echo(64, SMALL, 1)),
    case("many-tls", "echo 125 B, TLS, 16 in flight", Door::Tls, echo(64, SMALL, 16)),
    case("many-plain", "echo 125 B, plain, 16 in flight", Door::Plain, echo(64, SMALL, 16)),
    blind(
        "many-plain-off",
        "echo 125 B, plain, 16 in flight, longhaul with inspect off",
        Door::Plain,
        echo(64, SMALL, 16),
    ),
    case("middle-plain", "echo 16 KiB, plain", Door::Plain, echo(16, MIDDLE, 1)),
    case("middle-tls", "echo 16 KiB, TLS", Door::Tls, echo(16, MIDDLE, 1)),
    case("middle-tls-both", "echo 16 KiB, TLS on both legs", Door::TlsBoth, echo(16, MIDDLE, 1)),
    case("large-tls", "echo 1 MiB, TLS", Door::Tls, echo(4, LARGE, 1)),
    case("large-plain", "echo 1 MiB, plain", Door::Plain, echo(4, LARGE, 1)),
    case("open-plain", "open + upgrade + close, plain", Door::Plain, OPEN),
    case("open-tls", "open + upgrade + close, TLS 1.3, X25519, P-256", Door::Tls, OPEN),
    case("open-tls-both", "open + upgrade + close, TLS on both legs", Door::TlsBoth, OPEN),
    case(
        "open-tls-mlkem",
        "open + upgrade + close, TLS 1.3, X25519MLKEM768, P-256",
        Door::Tls,
        Work::Open { active: 16, group: Group::X25519MLKEM768 },
    ),
    Case {
        variant: Variant::AccessLog,
        ..case("open-plain-log", "open + upgrade + close, plain, longhaul with access log", Door::Plain, OPEN)
    },
    case("turns-100", "echo 125 B, plain, 100 tunnels in turn", Door::Plain, turns(100)),
    case("turns-9000", "echo 125 B, plain, 9,000 tunnels in turn", Door::Plain, turns(9_000)),
    Case {
        variant: Variant::TwoWorkers,
        ..case("turns-100-two", "echo 125 B, plain, 100 tunnels in turn, 2 workers", Door::Plain, turns(100))
    },
    Case {
        variant: Variant::TwoWorkers,
        ..case(
            "turns-9000-two",
            "echo 125 B, plain, 9,000 tunnels in turn, 2 workers",
            Door::Plain,
            turns(9_000),
        )
    },
];
