//! The routes of one host and one path, which differ in their conditions alone.
//!
//! A few are tried one after the other. Of many, each is found by one of its conditions that names what the request must
//! have: the one that the fewest others share.

use std::collections::{BTreeSet, HashMap};

use http::{HeaderName, HeaderValue};
use ipnet::IpNet;

use super::request::Request;
use crate::config::{Condition, Match, ValueMatch};
use crate::proto::{cookie, query};

/// The place of a route among all, the most specific first.
pub type Rank = u32;

/// So many are tried one after the other.
const LISTED_MAX: usize = 8;

/// The routes of one host and one path.
#[derive(Default)]
pub struct Choices {
    /// Tried one after the other; ascending.
    listed: Vec<Rank>,
    /// The others, each in one of these.
    indexed: HashMap<Key, Found>,
}

/// Where a request has what routes are found by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Certificate,
    Source,
    Subprotocol,
    Cookie(String),
    Header(HeaderName),
    Query(String),
}

/// What a route is found by, and the routes in their order.
#[derive(Default)]
struct Found {
    texts: HashMap<Vec<u8>, Vec<Rank>>,
    networks: HashMap<IpNet, Vec<Rank>>,
    /// Of which lengths `networks` has some.
    lengths: BTreeSet<u8>,
}

/// Where to look, and the values of which a request must have one there.
type Handle = (Key, Vec<Value>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Value {
    Text(Vec<u8>),
    Network(IpNet),
}

impl Choices {
    /// Adds a route. They come in their order.
    pub fn add(&mut self, rank: Rank) {
        self.listed.push(rank);
    }

    /// All routes have come; these are their matches, by rank.
    pub fn seal(&mut self, matches: &[&Match]) {
        if self.listed.len() <= LISTED_MAX {
            return;
        }
        let keys = |rank| usize::try_from(rank).map_or_else(|_| Vec::new(), |at| keys(matches[at]));
        let routes: Vec<_> =
            std::mem::take(&mut self.listed).into_iter().map(|rank| (rank, keys(rank))).collect();
        let mut shared: HashMap<(&Key, &Value), usize> = HashMap::new();
        let all = routes.iter().flat_map(|(_, keys)| keys);
        for (key, value) in all.flat_map(|(key, values)| values.iter().map(move |value| (key, value))) {
            *shared.entry((key, value)).or_default() += 1;
        }
        for (rank, keys) in &routes {
            let sharing = |(key, values): &&Handle| {
                values.iter().filter_map(|value| shared.get(&(key, value))).max().copied()
            };
            match keys.iter().min_by_key(sharing) {
                Some((key, values)) => self.indexed.entry(key.clone()).or_default().add(values, *rank),
                None => self.listed.push(*rank),
            }
        }
    }

    /// The first route that `holds`.
    pub fn first(&self, request: &Request<'_>, holds: impl Fn(Rank) -> bool) -> Option<Rank> {
        let mut first = self.listed.iter().copied().find(|rank| holds(*rank));
        for (key, found) in &self.indexed {
            let mut consider = |ranks: Option<&Vec<Rank>>| {
                let earlier = ranks
                    .into_iter()
                    .flatten()
                    .copied()
                    .take_while(|rank| Some(*rank) < first || first.is_none());
                let better = earlier.into_iter().find(|rank| holds(*rank));
                first = better.or(first);
            };
            found.look(key, request, &mut consider);
        }
        first
    }
}

impl Found {
    fn add(&mut self, values: &[Value], rank: Rank) {
        for value in values {
            match value {
                Value::Text(text) => self.texts.entry(text.clone()).or_default().push(rank),
                Value::Network(network) => {
                    self.lengths.insert(network.prefix_len());
                    self.networks.entry(*network).or_default().push(rank);
                }
            }
        }
    }

    /// Shows `consider` the routes of each value that the request has.
    fn look(&self, key: &Key, request: &Request<'_>, consider: &mut impl FnMut(Option<&Vec<Rank>>)) {
        let mut text = |value: &[u8]| consider(self.texts.get(value));
        match key {
            Key::Certificate => request.certificate_names().for_each(text),
            Key::Subprotocol => request.subprotocols().for_each(|name| text(name.as_bytes())),
            Key::Cookie(name) => cookie::values(request.headers, name).for_each(text),
            Key::Header(name) => {
                request.headers.get_all(name).iter().map(HeaderValue::as_bytes).for_each(text);
            }
            Key::Query(name) => {
                query::values(request.query, name).for_each(|value| text(&value.decode()));
            }
            Key::Source => {
                let Some(client) = request.client else { return };
                let around = |length: &u8| Some(IpNet::new(client, *length).ok()?.trunc());
                self.lengths
                    .iter()
                    .filter_map(around)
                    .for_each(|around| consider(self.networks.get(&around)));
            }
        }
    }
}

/// By what a route can be found: any of these.
fn keys(matches: &Match) -> Vec<Handle> {
    let text = |text: &String| vec![Value::Text(text.clone().into_bytes())];
    let key = |condition: &Condition| match condition {
        Condition::ClientCertificate(ValueMatch::Exact(name)) => Some((Key::Certificate, text(name))),
        Condition::Source(networks) => {
            Some((Key::Source, networks.iter().copied().map(Value::Network).collect()))
        }
        Condition::Subprotocols(names) => Some((Key::Subprotocol, names.iter().flat_map(text).collect())),
        Condition::Cookie(name, ValueMatch::Exact(value)) => Some((Key::Cookie(name.clone()), text(value))),
        Condition::Header(name, ValueMatch::Exact(value)) => Some((Key::Header(name.clone()), text(value))),
        Condition::Query(name, ValueMatch::Exact(value)) => Some((Key::Query(name.clone()), text(value))),
        _ => None,
    };
    matches.conditions().iter().filter_map(key).collect()
}
