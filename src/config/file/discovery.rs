//! The words of who names a pool's backends.

use crate::config::reader::words;
use crate::config::syntax::{DnsName, DnsServer, FilePath};
use crate::config::units::{Delay, Timeout};
use crate::config::words::{List, Number, Off, choices};

words! {
    /// `pools.NAME.discovery`
    struct DiscoveryWords = "`pools.NAME.discovery`" {
        /// Who names the backends: `"file"` is a watched list, `"dns"` are the addresses of a name, `"srv"` its services.
        required kind: SourceKind,
        /// The TOML file of the list, `backends = [ … ]`; relative to this file; required with `"file"`.
        optional path: FilePath,
        /// The name in DNS, whole: search domains are not added; required with `"dns"` and `"srv"`.
        optional name: DnsName,
        /// The port of all backends, 1 to 65,535; required with `"dns"`.
        optional port: Number<1, 65_535>,
        /// The DNS servers that are asked, `IP` or `IP:port`; absent: those of `/etc/resolv.conf`.
        optional resolvers: List<DnsServer, 1>,
        /// An answer holds at least so long, whatever its TTL, up to 7d; default 1s.
        optional ttl_min: Timeout,
        /// An answer holds at most so long, whatever its TTL, up to 7d; default 5m.
        optional ttl_max: Timeout,
        /// How long one question of DNS may take, up to 7d; default 5s.
        optional timeout: Timeout,
        /// Backends at most, 1 to 10,000; default 1,000.
        optional backends_max: Number<1, 10_000>,
        /// How long tunnels stay on a backend that is no longer named, up to 7d, or `"off"`: for ever; default 10m.
        optional removal_grace: Off<Delay>,
    }
}

/// `pools.NAME.discovery.kind`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// A list in a file.
    File,
    /// The addresses of a name.
    Dns,
    /// The services of a name.
    Srv,
}

impl SourceKind {
    /// As it is written.
    pub fn label(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Dns => "dns",
            Self::Srv => "srv",
        }
    }
}

choices!(SourceKind { "file" => Self::File, "dns" => Self::Dns, "srv" => Self::Srv, });
