//! The services of a name (SRV, RFC 2782): ports, weights, priorities, and targets whose addresses are asked for.
//!
//! The best priority serves of which any target has an address. Those of the others stand by, each behind those that are
//! better: nobody of one is used while somebody of a better one is up.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures_util::{StreamExt, stream};

use super::backend;
use super::host::{Host, Looked};
use crate::config;
use crate::net::dns::{Name, Resolver, Service};

/// Targets that are asked for at once.
const QUESTIONS_MAX: usize = 16;
/// The greatest weight of a backend.
const WEIGHT_MAX: u32 = 1_000;

/// What is asked for, and what was found last.
pub struct Services {
    name: Name,
    /// Targets at most.
    targets_max: usize,
    found: Vec<Service>,
    hosts: HashMap<Name, Host>,
}

impl Services {
    /// Nothing is known yet.
    pub fn new(name: Name, targets_max: usize) -> Services {
        Services { name, targets_max, found: Vec::new(), hosts: HashMap::new() }
    }

    /// Asks for the services, and then for the addresses of their targets. A target that nobody knows of any more keeps the
    /// addresses that it had, for as long as it is named.
    pub async fn look(&mut self, resolver: &Resolver) -> Looked {
        let answer = match resolver.services(&self.name).await {
            Ok(answer) => answer,
            Err(fault) => return Looked { ttl: None, faults: vec![fault] },
        };
        self.found = answer.records;
        self.found.sort_by(|one, other| (one.priority, &one.target).cmp(&(other.priority, &other.target)));
        // "." is no target: there is decidedly no such service (RFC 2782).
        self.found.retain(|service| !service.target.is_root());
        let mut targets = BTreeSet::new();
        for service in &self.found {
            // One more than there is room for, so that it shows.
            if targets.len() <= self.targets_max {
                targets.insert(service.target.clone());
            }
        }
        let mut known = std::mem::take(&mut self.hosts);
        let asking = targets.into_iter().map(|target| {
            let mut host = known.remove(&target).unwrap_or_default();
            async move {
                let looked = host.look(resolver, &target).await;
                (target, host, looked)
            }
        });
        let asking: Vec<_> = asking.collect();
        let mut asked = stream::iter(asking).buffer_unordered(QUESTIONS_MAX);
        let mut all = Looked { ttl: Some(answer.ttl), faults: Vec::new() };
        while let Some((target, host, looked)) = asked.next().await {
            self.hosts.insert(target, host);
            all.ttl = all.ttl.into_iter().chain(looked.ttl).min();
            all.faults.extend(looked.faults);
        }
        all
    }

    /// The backends that were found last.
    pub fn backends(&self) -> Vec<config::Backend> {
        let addresses =
            |service: &Service| self.hosts.get(&service.target).map(Host::addresses).into_iter().flatten();
        // The heaviest service of each priority that any target can be reached at, the best one first.
        let mut heaviest = BTreeMap::new();
        for service in self.found.iter().filter(|service| addresses(service).next().is_some()) {
            let weight = heaviest.entry(service.priority).or_insert(service.weight);
            *weight = service.weight.max(*weight);
        }
        let ranks: HashMap<u16, (u16, u16)> =
            (0..).zip(heaviest).map(|(rank, (priority, heaviest))| (priority, (rank, heaviest))).collect();
        let of = |service: &Service| {
            let (rank, heaviest) = ranks.get(&service.priority).copied().unwrap_or_default();
            let (port, weight) = (service.port, share(service.weight, heaviest));
            let backend = move |address| config::Backend { rank, ..backend(address, port, weight) };
            addresses(service).map(backend).collect::<Vec<_>>()
        };
        self.found.iter().flat_map(of).collect()
    }
}

/// A weight of a backend, from 1 to 1,000, that is to others as those of SRV are to each other. 0 is for the least there is
/// (RFC 2782).
fn share(weight: u16, heaviest: u16) -> u32 {
    let (weight, heaviest) = (u32::from(weight), u32::from(heaviest));
    let scaled = if heaviest > WEIGHT_MAX { weight * WEIGHT_MAX / heaviest } else { weight };
    scaled.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_keep_their_proportion_within_the_bounds() {
        let shares = |weights: &[u16]| -> Vec<u32> {
            let heaviest = weights.iter().copied().max().unwrap();
            weights.iter().map(|weight| share(*weight, heaviest)).collect()
        };
        assert_eq!(shares(&[1, 3, 10]), [1, 3, 10]);
        assert_eq!(shares(&[0, 0]), [1, 1]);
        assert_eq!(shares(&[0, 1_000]), [1, 1_000]);
        assert_eq!(shares(&[65_535, 32_768, 1]), [1_000, 500, 1]);
    }
}
