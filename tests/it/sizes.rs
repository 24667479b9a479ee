//! Bytes of what there is one of, or two, for every open tunnel: it may shrink, but not grow unnoticed.

use longhaul::net::stream::Stream;
use longhaul::net::tls::stream::TlsStream;
use longhaul::proto::scan::Scanner;
use longhaul::proxy::Presence;
use longhaul::tunnel::flow::Flow;
use longhaul::tunnel::sessions::{Registration, Session};
use longhaul::tunnel::splice::Splice;
use longhaul::upstream::backend::Lease;
use tokio::time::Sleep;

#[test]
fn the_parts_of_a_tunnel_stay_small() {
    let parts = [
        ("Scanner", size_of::<Scanner>(), 40),
        ("Flow", size_of::<Flow>(), 80),
        ("Splice", size_of::<Splice>(), 296),
        ("Session", size_of::<Session>(), 160),
        ("Registration", size_of::<Registration>(), 16),
        ("Stream", size_of::<Stream>(), 32),
        ("TlsStream", size_of::<TlsStream>(), 1_240),
        ("Sleep", size_of::<Sleep>(), 96),
        ("Lease", size_of::<Lease>(), 8),
        ("Presence", size_of::<Presence>(), 24),
    ];
    let grown: Vec<_> = parts.iter().filter(|(_, bytes, bytes_max)| bytes > bytes_max).collect();
    assert!(grown.is_empty(), "larger than they were: {grown:?}");
}
