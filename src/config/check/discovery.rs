//! Who names the backends of a pool that lists none.

use std::path::PathBuf;

use crate::config::discovery::{Discovery, Lookup, Source};
use crate::config::file::{DiscoveryWords, SourceKind};
use crate::config::problem::shown;
use crate::config::reader::{Found, Reader};
use crate::config::shape::duration;
use crate::config::syntax::FilePath;
use crate::config::units::Timeout;
use crate::config::{At, Place, defaults};

/// What `pools.NAME.discovery` means. The list that it may name is not opened.
pub fn discovery(pool: &str, words: At<DiscoveryWords>, reader: &mut Reader) -> Option<Discovery> {
    let At { value: words, place } = words;
    let backends_max = words.backends_max.or(defaults::DISCOVERY_BACKENDS_MAX);
    let removal_grace = words.removal_grace.or(defaults::REMOVAL_GRACE);
    let kind = words.kind.written()?.value;
    let (by_file, by_name) = (&[SourceKind::File][..], &[SourceKind::Dns, SourceKind::Srv][..]);
    let mut keys = Keys { kind, pool, place, reader };
    let path =
        keys.required("path", by_file, words.path, "the TOML file of the list, such as path = \"chat.toml\"");
    let name =
        keys.required("name", by_name, words.name, "the whole name, such as name = \"chat.example.com\"");
    let port = keys.required(
        "port",
        &[SourceKind::Dns],
        words.port,
        "the port of all backends, such as port = 8080",
    );
    let resolvers = keys.optional("resolvers", by_name, words.resolvers);
    let ttl_min = keys.optional("ttl_min", by_name, words.ttl_min);
    let ttl_max = keys.optional("ttl_max", by_name, words.ttl_max);
    let timeout = keys.optional("timeout", by_name, words.timeout);
    let lookup = Lookup {
        resolvers: resolvers?
            .map_or_else(Vec::new, |list| list.value.0.into_iter().map(|at| at.value.0).collect()),
        timeout: timeout?.map_or(defaults::LOOKUP_TIMEOUT, |at| at.value.0),
        ttl_min: defaults::TTL_MIN,
        ttl_max: defaults::TTL_MAX,
    };
    let lookup = bounded(lookup, ttl_min?, ttl_max?, reader)?;
    let source = match kind {
        SourceKind::File => Source::File { path: absolute(path??, reader) },
        SourceKind::Srv => Source::Srv { name: name??.value.0, lookup },
        SourceKind::Dns => {
            Source::Dns { name: name??.value.0, port: u16::try_from(port??.value.0).ok()?, lookup }
        }
    };
    Some(Discovery { source, backends_max: backends_max?, removal_grace: removal_grace? })
}

/// The keys of a source, of which each belongs to some kinds.
struct Keys<'a> {
    kind: SourceKind,
    pool: &'a str,
    /// Of the table.
    place: Place,
    reader: &'a mut Reader,
}

impl Keys<'_> {
    /// What was written for a key that only these kinds have; `None` when it is wrong.
    fn optional<T>(&mut self, key: &str, kinds: &[SourceKind], found: Found<T>) -> Option<Option<At<T>>> {
        let written = found.optional()?;
        if let Some(at) = &written
            && !kinds.contains(&self.kind)
        {
            let (own, other) = (self.kind.label(), kinds.first().map_or("", |kind| kind.label()));
            let remedy = format!("remove it, or write kind = \"{other}\"");
            self.reader.report(&at.place, format!("a source of kind \"{own}\" has no `{key}`"), remedy);
            return None;
        }
        Some(written)
    }

    /// The same for a key that these kinds must have.
    fn required<T>(
        &mut self,
        key: &str,
        kinds: &[SourceKind],
        found: Found<T>,
        what: &str,
    ) -> Option<Option<At<T>>> {
        let written = self.optional(key, kinds, found)?;
        if written.is_none() && kinds.contains(&self.kind) {
            let message = format!("`pools.{}.discovery` has no `{key}`", shown(self.pool));
            self.reader.report_missing(&self.place, message, format!("add {what}"));
            return None;
        }
        Some(written)
    }
}

/// With what was written of the bounds, which must leave room between them.
fn bounded(
    lookup: Lookup,
    ttl_min: Option<At<Timeout>>,
    ttl_max: Option<At<Timeout>>,
    reader: &mut Reader,
) -> Option<Lookup> {
    let place = ttl_max.as_ref().or(ttl_min.as_ref()).map(|at| at.place.clone()).unwrap_or_default();
    let least = ttl_min.map_or(lookup.ttl_min, |at| at.value.0);
    let most = ttl_max.map_or(lookup.ttl_max, |at| at.value.0);
    if most < least {
        let bounds = format!("`ttl_max` is {}, and `ttl_min` {}", duration(most), duration(least));
        reader.report(&place, bounds, "write a `ttl_max` that is not less than `ttl_min`");
        return None;
    }
    Some(Lookup { ttl_min: least, ttl_max: most, ..lookup })
}

/// The path of a list, which is watched by others than the configuration's files are.
fn absolute(At { value, place }: At<FilePath>, reader: &mut Reader) -> At<PathBuf> {
    At { value: reader.path(value.0, &place), place }
}
