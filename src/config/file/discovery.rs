//! The words of who names a pool's backends.

use crate::config::reader::words;
use crate::config::syntax::FilePath;
use crate::config::units::Delay;
use crate::config::words::{Number, Off, choices};

words! {
    /// `pools.NAME.discovery`
    struct DiscoveryWords = "`pools.NAME.discovery`" {
        /// Who names the backends: `"file"` is a list in a file, which is watched.
        required kind: SourceKind,
        /// The TOML file of the list, `backends = [ … ]`; relative to this file; required with `"file"`.
        optional path: FilePath,
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
}

choices!(SourceKind { "file" => Self::File, });
