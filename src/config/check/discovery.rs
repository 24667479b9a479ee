//! Who names the backends of a pool that lists none.

use std::path::PathBuf;

use crate::config::discovery::{Discovery, Source};
use crate::config::file::{DiscoveryWords, SourceKind};
use crate::config::problem::shown;
use crate::config::reader::Reader;
use crate::config::syntax::FilePath;
use crate::config::{At, defaults};

/// What `pools.NAME.discovery` means. The list that it may name is not opened.
pub fn discovery(pool: &str, words: At<DiscoveryWords>, reader: &mut Reader) -> Option<Discovery> {
    let At { value: words, place } = words;
    let path = words.path.optional();
    let source = words.kind.written().and_then(|kind| match (kind.value, path?) {
        (SourceKind::File, Some(path)) => Some(Source::File { path: absolute(path, reader) }),
        (SourceKind::File, None) => {
            let message = format!("`pools.{}.discovery` has no `path`", shown(pool));
            reader.report_missing(
                &place,
                message,
                "add the TOML file of the list, such as path = \"chat.backends.toml\"",
            );
            None
        }
    });
    Some(Discovery {
        source: source?,
        backends_max: words.backends_max.or(defaults::DISCOVERY_BACKENDS_MAX)?,
        removal_grace: words.removal_grace.or(defaults::REMOVAL_GRACE)?,
    })
}

/// The path of a list, which is watched by others than the configuration's files are.
fn absolute(At { value, place }: At<FilePath>, reader: &mut Reader) -> At<PathBuf> {
    At { value: reader.path(value.0, &place), place }
}
