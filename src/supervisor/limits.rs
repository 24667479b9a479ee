//! How much the process may take on, from what the kernel allows it.

use crate::config;

/// Descriptors for everything that is not a client's connection: listeners, metrics, the log, probes, files, pollers.
const RESERVE_MIN: usize = 64;
/// Connections that are always left to refuse tunnels over the limit, and to serve plain requests.
const REFUSAL_ROOM_MIN: usize = 16;

/// The bounds in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Client connections at once.
    pub connections_max: usize,
    /// Tunnels at once.
    pub tunnels_max: usize,
    /// Idle connections to backends, over all workers.
    pub idle_max: usize,
    /// Health checks at once.
    pub probes_max: usize,
}

/// Bounds for `descriptors` descriptors, unless the configuration sets them. A connection may need two: its own and its
/// backend's. Of the connections 1 in 32 stays free of tunnels, so that a client over the limit gets an answer. What is
/// idle is taken from the reserve: it must not be in the way of what is wanted. So are health checks.
pub fn derive(limits: &config::Limits, descriptors: usize) -> Bounds {
    let reserve = (descriptors / 32).max(RESERVE_MIN);
    let possible = descriptors.saturating_sub(reserve) / 2;
    let connections_max = limits.connections_max.unwrap_or(possible).max(1);
    let room = (connections_max / 32).max(REFUSAL_ROOM_MIN);
    let tunnels_max = limits.tunnels_max.unwrap_or(connections_max.saturating_sub(room)).max(1);
    if connections_max > possible {
        tracing::warn!(
            connections_max,
            possible,
            descriptors,
            "limits.connections_max is more than the descriptor limit allows; raise it (LimitNOFILE, ulimit -n)"
        );
    }
    Bounds { connections_max, tunnels_max, idle_max: reserve / 2, probes_max: reserve / 4 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn two_descriptors_a_connection_and_room_to_refuse() {
        let mut limits = config::Limits {
            connections_max: None,
            tunnels_max: None,
            head_bytes_max: 0,
            head_fields_max: 0,
            target_bytes_max: 0,
            head_timeout: Duration::ZERO,
            keepalive_timeout: Duration::ZERO,
            handshakes_max: 1,
            tls_handshakes_max: 1,
            proxy_header_timeout: Duration::ZERO,
            tls_handshake_timeout: Duration::ZERO,
            http2_streams_max: 1,
            http2_idle_timeout: Duration::ZERO,
            http2_ping_interval: None,
            http2_ping_timeout: Duration::ZERO,
        };
        let bounds = |connections_max, tunnels_max, idle_max, probes_max| Bounds {
            connections_max,
            tunnels_max,
            idle_max,
            probes_max,
        };
        assert_eq!(derive(&limits, 20_000), bounds(9_687, 9_385, 312, 156));
        assert_eq!(derive(&limits, 256), bounds(96, 80, 32, 16));
        assert_eq!(derive(&limits, 10), bounds(1, 1, 32, 16));
        limits.tunnels_max = Some(5);
        assert_eq!(derive(&limits, 256), bounds(96, 5, 32, 16));
    }
}
