//! Metrics of routes, listeners and pools that are counted without a look at their labels.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::Version;

use super::Metrics;
use super::table::*;
use crate::outcome::{Party, RetryCause};
use crate::proto::frame::Violation;
use crate::proto::scan::{Frame, Kind};
use crate::telemetry::labels::{Direction, Result, TUNNEL_VERSIONS, http_version, violation};
use crate::telemetry::registry::{Counter, Gauge, GaugeGuard, Histogram, Registry};

impl Metrics {
    /// The hot metrics of the route `name`.
    pub fn route(&self, name: &str) -> RouteMetrics {
        let registry = &self.registry;
        let tunnels = |http| {
            let labels = [name, http_version(http)];
            TunnelMetrics {
                opened: registry.counter(&TUNNELS_OPENED, &labels),
                active: registry.gauge(&TUNNELS_ACTIVE, &labels),
                handshakes: registry.counter(&HANDSHAKES, &[labels[0], labels[1], Result::Opened.label()]),
            }
        };
        RouteMetrics {
            tunnels: TUNNEL_VERSIONS.map(tunnels),
            directions: Direction::BOTH.map(|way| DirectionMetrics::new(registry, name, way)),
            handshake: registry.histogram(&HANDSHAKE_DURATION, &[name]),
            duration: registry.histogram(&TUNNEL_DURATION, &[name]),
            round_trips: Default::default(),
            name: name.into(),
            registry: registry.clone(),
        }
    }

    /// The hot metrics of the listener `name`.
    pub fn listener(&self, name: &str) -> ListenerMetrics {
        ListenerMetrics {
            accepted: self.registry.counter(&CONNECTIONS_TOTAL, &[name]),
            active: self.registry.gauge(&CONNECTIONS_ACTIVE, &[name]),
        }
    }

    /// The hot metrics of the pool `name`.
    pub fn pool(&self, name: &str) -> PoolMetrics {
        PoolMetrics {
            opened: self.registry.counter(&BACKEND_CONNECTIONS, &[name, "opened"]),
            reused: self.registry.counter(&BACKEND_CONNECTIONS, &[name, "reused"]),
            resent: self.registry.counter(&BACKEND_RESENDS, &[name]),
            waited: self.registry.counter(&POOL_WAITS, &[name]),
            delayed: self.registry.counter(&POOL_DELAYS, &[name]),
            retries: RetryCause::ALL.map(|cause| self.registry.counter(&RETRIES, &[name, cause.label()])),
            retries_refused: self.registry.counter(&RETRIES_REFUSED, &[name]),
        }
    }
}

/// The hot metrics of a route.
pub struct RouteMetrics {
    /// Tunnels, by the version of HTTP that they were opened by.
    tunnels: [TunnelMetrics; 2],
    directions: [DirectionMetrics; 2],
    /// From a handshake's head to its 101.
    handshake: Histogram,
    /// The lives of tunnels that ended.
    pub duration: Histogram,
    /// Of Pings, by the direction they go in, where they do.
    round_trips: [OnceLock<Histogram>; 2],
    name: Box<str>,
    registry: Arc<Registry>,
}

/// The hot metrics of what a route's tunnels pass on in one direction.
pub struct DirectionMetrics {
    /// Bytes taken from the sender.
    pub bytes: Counter,
    texts: Counter,
    binaries: Counter,
    message_bytes: Histogram,
    closes: Counter,
    pings: Counter,
    pongs: Counter,
}

impl DirectionMetrics {
    fn new(registry: &Registry, route: &str, direction: Direction) -> DirectionMetrics {
        let way = direction.label();
        let messages = |opcode| registry.counter(&TUNNEL_MESSAGES, &[route, way, opcode]);
        let control = |opcode| registry.counter(&TUNNEL_CONTROL_FRAMES, &[route, way, opcode]);
        DirectionMetrics {
            bytes: registry.counter(&TUNNEL_BYTES, &[route, way]),
            texts: messages("text"),
            binaries: messages("binary"),
            message_bytes: registry.histogram(&TUNNEL_MESSAGE_BYTES, &[route, way]),
            closes: control("close"),
            pings: control("ping"),
            pongs: control("pong"),
        }
    }

    /// A frame has passed.
    pub fn frame(&self, frame: Frame) {
        let count = match frame.kind {
            Kind::Fragment => return,
            Kind::Text => &self.texts,
            Kind::Binary => &self.binaries,
            Kind::Close => &self.closes,
            Kind::Ping => &self.pings,
            Kind::Pong => &self.pongs,
        };
        count.increment();
        if frame.kind.is_message() {
            self.message_bytes.count(frame.bytes);
        }
    }
}

/// The hot metrics of a route's tunnels.
struct TunnelMetrics {
    /// Tunnels opened.
    opened: Counter,
    /// Tunnels that are open.
    active: Gauge,
    /// Handshakes that opened a tunnel; those with other results are looked up by their labels.
    handshakes: Counter,
}

/// The hot metrics of a listener.
pub struct ListenerMetrics {
    /// Connections accepted.
    pub accepted: Counter,
    /// Connections that are open.
    pub active: Gauge,
}

/// The hot metrics of a pool.
pub struct PoolMetrics {
    /// Connections opened for plain requests.
    pub opened: Counter,
    /// Kept connections that plain requests went out on.
    pub reused: Counter,
    /// Requests that such a connection had died under, and that were sent again.
    pub resent: Counter,
    /// Handshakes that found all backends full.
    pub waited: Counter,
    /// Handshakes that waited for their backend's turn.
    pub delayed: Counter,
    /// Requests that went on to another backend, by [`RetryCause`].
    retries: [Counter; 4],
    /// Requests that did not, because the budget was spent.
    pub retries_refused: Counter,
}

impl PoolMetrics {
    /// Requests that went on to another backend for this.
    pub fn retries(&self, cause: RetryCause) -> &Counter {
        let [connect, timeout, reset, status] = &self.retries;
        match cause {
            RetryCause::Connect => connect,
            RetryCause::Timeout => timeout,
            RetryCause::Reset => reset,
            RetryCause::Status => status,
        }
    }
}

impl RouteMetrics {
    /// A handshake that took so long opened a tunnel.
    pub fn opened(&self, http: Version, took: Duration) {
        let tunnels = self.tunnels(http);
        tunnels.opened.increment();
        tunnels.handshakes.increment();
        self.handshake.observe(took);
    }

    /// A tunnel is open until the guard is dropped.
    pub fn enter(&self, http: Version) -> GaugeGuard {
        self.tunnels(http).active.enter()
    }

    /// Of what is passed on in this direction.
    pub fn direction(&self, direction: Direction) -> &DirectionMetrics {
        let [up, down] = &self.directions;
        if direction == Direction::ToBackend { up } else { down }
    }

    /// Pings go in this direction.
    pub fn pings(&self, direction: Direction) {
        self.round_trips(direction);
    }

    /// A Ping in this direction was answered after so long.
    pub fn round_trip(&self, direction: Direction, took: Duration) {
        self.round_trips(direction).observe(took);
    }

    fn round_trips(&self, direction: Direction) -> &Histogram {
        let side = if direction == Direction::ToClient { Party::Client } else { Party::Backend };
        let made = || self.registry.histogram(&PING_ROUND_TRIP, &[&self.name, side.label()]);
        self.round_trips[direction as usize].get_or_init(made)
    }

    /// A sender is not read for a while.
    pub fn waits(&self, direction: Direction) {
        self.registry.count(&TUNNEL_WAITS, &[&self.name, direction.label()]);
    }

    /// A direction broke the rules of frames, which it does once.
    pub fn violation(&self, direction: Direction, kind: Violation) {
        self.registry.count(&TUNNEL_VIOLATIONS, &[&self.name, direction.label(), violation(kind)]);
    }

    fn tunnels(&self, http: Version) -> &TunnelMetrics {
        let [older, newer] = &self.tunnels;
        if http == Version::HTTP_2 { newer } else { older }
    }
}
