//! What differs between two accepted configurations: what a reload acts on, and what it says it did.
//!
//! Parts are compared by name. Where they are written, and in which order, is no difference.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{Backend, Config, Listener, Pool, Route, Server};

/// How many names of a kind [`Change`] shows; further ones are counted.
pub const NAMES_SHOWN_MAX: usize = 5;

/// What changes from one accepted configuration to the next. Shown as one short line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Listeners by name.
    pub listeners: Names,
    /// Routes by name.
    pub routes: Names,
    /// Pools by name.
    pub pools: Names,
    /// Backends that the pools on both sides gained.
    pub backends_added: usize,
    /// Backends that the pools on both sides lost.
    pub backends_removed: usize,
    /// Something in `[limits]`.
    pub limits: bool,
    /// Something in `[tcp]`.
    pub tcp: bool,
    /// Something in `[log]`.
    pub log: bool,
    /// Something in `server.drain`.
    pub drain: bool,
    /// The content of a certificate or key whose path is the same. No configuration knows it: whoever loads the files
    /// sets it.
    pub certificates: bool,
    /// The content of a file that a route answers with, whose path is the same; set like `certificates`.
    pub answers: bool,
    /// Keys whose new value holds only after a restart.
    pub needs_restart: Vec<&'static str>,
}

/// The named parts of one kind that differ, each list in the order of the names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Only in the new configuration.
    pub added: Vec<String>,
    /// Only in the old one.
    pub removed: Vec<String>,
    /// In both, with another meaning.
    pub changed: Vec<String>,
}

impl Change {
    /// What changes from `old` to `new`.
    pub fn between(old: &Config, new: &Config) -> Self {
        // Every key is named, so that a new one cannot be forgotten.
        let Config {
            server,
            limits,
            tcp,
            metrics,
            admin,
            log,
            listeners,
            routes,
            pools,
            warnings: _,
            sources: _,
            watched: _,
        } = new;
        let Server { workers, drain, handover } = server;
        let restarts = [
            ("server.workers", *workers != old.server.workers),
            ("server.handover", *handover != old.server.handover),
            ("metrics.address", *metrics != old.metrics),
            ("admin.address", *admin != old.admin),
        ];
        let (backends_added, backends_removed) = backends(&old.pools, pools);
        Self {
            listeners: Names::between(by_name(&old.listeners), by_name(listeners)),
            routes: Names::between(by_name(&old.routes), by_name(routes)),
            pools: Names::between(by_name(old.pools.values()), by_name(pools.values())),
            backends_added,
            backends_removed,
            limits: *limits != old.limits,
            tcp: *tcp != old.tcp,
            log: *log != old.log,
            drain: *drain != old.server.drain,
            certificates: false,
            answers: false,
            needs_restart: restarts.iter().filter(|(_, differs)| *differs).map(|(key, _)| *key).collect(),
        }
    }

    /// Whether both configurations mean the same, and no certificate changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Names {
    fn between<T: PartialEq>(old: BTreeMap<&str, &T>, new: BTreeMap<&str, &T>) -> Self {
        let mut names = Self::default();
        for (name, part) in &new {
            match old.get(name) {
                None => names.added.push((*name).to_owned()),
                Some(before) if before != part => names.changed.push((*name).to_owned()),
                Some(_) => {}
            }
        }
        let removed = old.keys().filter(|name| !new.contains_key(*name));
        names.removed = removed.map(|name| (*name).to_owned()).collect();
        names
    }

    /// Whether nothing of this kind differs.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

/// How many backends the pools of both sides gained, and how many they lost.
fn backends(old: &BTreeMap<String, Pool>, new: &BTreeMap<String, Pool>) -> (usize, usize) {
    let only_in = |these: &[Backend], those: &[Backend]| {
        let known: BTreeSet<_> = those.iter().map(|backend| &backend.address.value).collect();
        these.iter().filter(|backend| !known.contains(&backend.address.value)).count()
    };
    let (mut added, mut removed) = (0, 0);
    for (name, pool) in new {
        if let Some(before) = old.get(name) {
            added += only_in(&pool.backends, &before.backends);
            removed += only_in(&before.backends, &pool.backends);
        }
    }
    (added, removed)
}

/// A part that is known by its name.
trait Named {
    fn name(&self) -> &str;
}

impl Named for Listener {
    fn name(&self) -> &str {
        &self.name.value
    }
}

impl Named for Route {
    fn name(&self) -> &str {
        &self.name.value
    }
}

impl Named for Pool {
    fn name(&self) -> &str {
        &self.name.value
    }
}

fn by_name<'a, T: Named + 'a>(parts: impl IntoIterator<Item = &'a T>) -> BTreeMap<&'a str, &'a T> {
    parts.into_iter().map(|part| (part.name(), part)).collect()
}

/// One line: `routes +2 -1 (added chat, news; removed old), pools ~1 (chat), backends +1, limits`.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        for (noun, names) in
            [("listeners", &self.listeners), ("routes", &self.routes), ("pools", &self.pools)]
        {
            if !names.is_empty() {
                parts.push(format!("{noun} {names}"));
            }
        }
        let backends = counts(&[('+', self.backends_added), ('-', self.backends_removed)]);
        if !backends.is_empty() {
            parts.push(format!("backends {backends}"));
        }
        let flags = [
            ("limits", self.limits),
            ("tcp", self.tcp),
            ("log", self.log),
            ("drain", self.drain),
            ("certificates", self.certificates),
            ("answers", self.answers),
        ];
        parts.extend(flags.iter().filter(|(_, differs)| *differs).map(|(noun, _)| (*noun).to_owned()));
        let now = parts.join(", ");
        let later = self.needs_restart.join(", ");
        match (now.as_str(), later.as_str()) {
            ("", "") => f.write_str("nothing"),
            (now, "") => f.write_str(now),
            ("", later) => write!(f, "after a restart: {later}"),
            (now, later) => write!(f, "{now}; after a restart: {later}"),
        }
    }
}

/// `+2 -1 ~1 (added chat, news; removed old; changed api)`, or `~1 (api)` when the sign says it all.
impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds =
            [('+', "added", &self.added), ('-', "removed", &self.removed), ('~', "changed", &self.changed)];
        f.write_str(&counts(&kinds.map(|(sign, _, names)| (sign, names.len()))))?;
        let mut shown = Vec::new();
        for (_, verb, names) in kinds.iter().filter(|(_, _, names)| !names.is_empty()) {
            let list: Vec<&str> = names.iter().take(NAMES_SHOWN_MAX).map(String::as_str).collect();
            let more = match names.len().saturating_sub(NAMES_SHOWN_MAX) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            shown.push((verb, format!("{}{more}", list.join(", "))));
        }
        match shown.as_slice() {
            [] => Ok(()),
            [(_, only)] => write!(f, " ({only})"),
            several => {
                let several: Vec<_> = several.iter().map(|(verb, names)| format!("{verb} {names}")).collect();
                write!(f, " ({})", several.join("; "))
            }
        }
    }
}

/// `+2 -1`: those that are not 0.
fn counts(counts: &[(char, usize)]) -> String {
    let counts = counts.iter().filter(|(_, count)| *count > 0);
    counts.map(|(sign, count)| format!("{sign}{count}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(text: &str) -> Config {
        Config::parse("a.toml", text, Path::new("/")).unwrap_or_else(|problems| panic!("{problems}"))
    }

    fn change(old: &str, new: &str) -> String {
        Change::between(&config(old), &config(new)).to_string()
    }

    const BASE: &str = r#"
[server]
workers = 2
[metrics]
address = "127.0.0.1:1"
[admin]
address = "unix:/a"
[[listeners]]
name = "public"
address = "127.0.0.1:2"
tls = { certificates = [{ cert = "a.pem", key = "a.key" }] }
[[listeners]]
name = "local"
address = "127.0.0.1:3"
[[routes]]
name = "chat"
path = "/chat"
pool = "chat"
[[routes]]
name = "rest"
pool = "chat"
[pools.chat]
backends = ["10.0.0.1:80", "10.0.0.2:80"]
"#;

    #[test]
    fn places_texts_and_order_are_no_difference() {
        let other = r#"
# The same in other words.
server = { workers = 2, drain = { delay = "2000ms" } }
metrics = { address = "127.0.0.1:1" }
admin = { address = "unix:a" }
pools = { chat = { backends = [{ address = "10.0.0.1:80", weight = 1 }, "10.0.0.2:80"] } }
[[routes]]
name = "rest"
path = "/*"
pool = "chat"
[[routes]]
name = "chat"
path = "/chat"
pool = "chat"
[[listeners]]
name = "local"
address = "127.0.0.1:3"
[[listeners]]
name = "public"
address = "127.0.0.1:2"
[listeners.tls]
certificates = [{ cert = "/a.pem", key = "/a.key" }]
"#;
        assert_eq!(config(BASE), config(other));
        assert_eq!(change(BASE, other), "nothing");
    }

    #[test]
    fn each_part_is_told_apart() {
        let changed = |from: &str, to: &str| {
            assert!(BASE.contains(from));
            let new = BASE.replace(from, to);
            assert_ne!(config(BASE), config(&new));
            change(BASE, &new)
        };
        for (from, to, expected) in [
            ("127.0.0.1:3", "127.0.0.1:4", "listeners ~1 (local)"),
            ("a.key", "b.key", "listeners ~1 (public)"),
            ("path = \"/chat\"", "path = \"/ws\"", "routes ~1 (chat)"),
            ("path = \"/chat\"", "path = \"/chat\"\nkind = \"http\"", "routes ~1 (chat)"),
            ("path = \"/chat\"", "path = \"/chat\"\nheaders = { A = \"1\" }", "routes ~1 (chat)"),
            ("path = \"/chat\"", "path = \"~/chat\"", "routes ~1 (chat)"),
            ("name = \"rest\"", "name = \"all\"", "routes +1 -1 (added all; removed rest)"),
            ("\"10.0.0.2:80\"", "\"10.0.0.2:80\", \"b:1\"", "pools ~1 (chat), backends +1"),
            ("\"10.0.0.2:80\"", "\"b:1\"", "pools ~1 (chat), backends +1 -1"),
            ("backends", "balance = \"round-robin\"\nbackends", "pools ~1 (chat)"),
            ("[metrics]", "[limits]\ntunnels_max = 5\n[metrics]", "limits"),
            ("[metrics]", "[tcp]\nkeepalive = \"off\"\n[metrics]", "tcp"),
            ("[metrics]", "[log]\nformat = \"json\"\n[metrics]", "log"),
            ("workers = 2", "workers = 2\ndrain = { delay = \"0s\" }", "drain"),
            ("workers = 2", "workers = 3", "after a restart: server.workers"),
            ("[metrics]\naddress = \"127.0.0.1:1\"", "", "after a restart: metrics.address"),
            ("unix:/a", "unix:/b", "after a restart: admin.address"),
            (
                "workers = 2\n[metrics]",
                "[tcp]\nkeepalive = \"off\"\n[metrics]",
                "tcp; after a restart: server.workers",
            ),
        ] {
            assert_eq!(changed(from, to), expected);
        }
    }

    #[test]
    fn the_line_is_short_however_much_changes() {
        let route =
            |name: &str| format!("[[routes]]\nname = \"{name}\"\npath = \"/{name}\"\npool = \"chat\"\n");
        let mut old = BASE.to_owned();
        let mut new = BASE
            .replace("[[routes]]\nname = \"rest\"\npool", "[[routes]]\nname = \"rest\"\nhost = \"a\"\npool");
        for index in 0..1_000 {
            old.push_str(&route(&format!("old{index:03}")));
            new.push_str(&route(&format!("new{index:03}")));
        }
        let expected = "routes +1000 -1000 ~1 (added new000, new001, new002, new003, new004 and 995 more; removed \
                        old000, old001, old002, old003, old004 and 995 more; changed rest)";
        assert_eq!(change(&old, &new), expected);
    }

    #[test]
    fn changed_certificates_are_a_change() {
        let change = Change { certificates: true, ..Change::default() };
        assert!(!change.is_empty());
        assert_eq!(change.to_string(), "certificates");
        assert!(Change::default().is_empty());
    }
}
