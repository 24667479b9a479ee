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
const WEIGHT_MAX: u64 = 1_000;

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

    /// The backends that were found last. The addresses of a target share its weight.
    pub fn backends(&self) -> Vec<config::Backend> {
        let addresses =
            |service: &Service| self.hosts.get(&service.target).map(Host::addresses).into_iter().flatten();
        let count = |service: &Service| addresses(service).count() as u64;
        // Of the priorities that any target can be reached at, the best one first.
        let mut scales = BTreeMap::<u16, Scale>::new();
        let reachable =
            || self.found.iter().map(|service| (service, count(service))).filter(|(_, count)| *count > 0);
        for (service, count) in reachable() {
            scales.entry(service.priority).or_default().divide(count);
        }
        for (service, count) in reachable() {
            scales.entry(service.priority).or_default().weigh(service.weight, count);
        }
        let ranks: HashMap<u16, (u16, Scale)> =
            (0..).zip(scales).map(|(rank, (priority, scale))| (priority, (rank, scale))).collect();
        let of = |(service, count): (&Service, u64)| {
            let (rank, scale) = ranks.get(&service.priority).copied().unwrap_or_default();
            let (port, weight) = (service.port, scale.share(service.weight, count));
            let backend = move |address| config::Backend { rank, ..backend(address, port, weight) };
            addresses(service).map(backend).collect::<Vec<_>>()
        };
        reachable().flat_map(of).collect()
    }
}

/// How the weights of one priority become weights of backends, from 1 to 1,000.
#[derive(Clone, Copy)]
struct Scale {
    /// What the number of each target's addresses divides, as far as it may grow.
    common: u64,
    /// The greatest part of an address.
    heaviest: u64,
}

/// A weight times as much fits with ease.
const COMMON_MAX: u64 = 1 << 32;

impl Default for Scale {
    fn default() -> Scale {
        Scale { common: 1, heaviest: 0 }
    }
}

impl Scale {
    /// There is a target with so many addresses.
    fn divide(&mut self, count: u64) {
        let common = self.common / divisor(self.common, count) * count;
        if common <= COMMON_MAX {
            self.common = common;
        }
    }

    /// It has this weight.
    fn weigh(&mut self, weight: u16, count: u64) {
        self.heaviest = self.heaviest.max(self.part(weight, count));
    }

    /// The weight of each of its addresses, which is to others as those of SRV are to each other. 0 is for the least there
    /// is (RFC 2782).
    fn share(self, weight: u16, count: u64) -> u32 {
        let part = self.part(weight, count);
        let heaviest = self.heaviest.max(1);
        let scaled = if heaviest > WEIGHT_MAX { (part * WEIGHT_MAX + heaviest / 2) / heaviest } else { part };
        u32::try_from(scaled.max(1)).unwrap_or(1)
    }

    fn part(self, weight: u16, count: u64) -> u64 {
        u64::from(weight) * self.common / count.max(1)
    }
}

/// The greatest one of both.
fn divisor(mut one: u64, mut other: u64) -> u64 {
    while other > 0 {
        (one, other) = (other, one % other);
    }
    one.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The weight of each address of targets with these weights and so many addresses.
    fn shares(targets: &[(u16, u64)]) -> Vec<u32> {
        let mut scale = Scale::default();
        targets.iter().for_each(|(_, count)| scale.divide(*count));
        targets.iter().for_each(|(weight, count)| scale.weigh(*weight, *count));
        targets.iter().map(|(weight, count)| scale.share(*weight, *count)).collect()
    }

    #[test]
    fn weights_keep_their_proportion_within_the_bounds() {
        let shares = |weights: &[u16]| shares(&weights.iter().map(|weight| (*weight, 1)).collect::<Vec<_>>());
        assert_eq!(shares(&[1, 3, 10]), [1, 3, 10]);
        assert_eq!(shares(&[0, 0]), [1, 1]);
        assert_eq!(shares(&[0, 1_000]), [1, 1_000]);
        assert_eq!(shares(&[65_535, 32_768, 1]), [1_000, 500, 1]);
    }

    #[test]
    fn the_addresses_of_a_target_share_its_weight() {
        assert_eq!(shares(&[(20, 3), (20, 1)]), [20, 60]);
        assert_eq!(shares(&[(20, 2), (20, 2)]), [20, 20]);
        assert_eq!(shares(&[(1, 2), (3, 3), (0, 1)]), [3, 6, 1]);
        assert_eq!(shares(&[(65_535, 1), (65_535, 4)]), [1_000, 250]);
        // As many different numbers as there can be.
        let many: Vec<(u16, u64)> = (1..=64).map(|count| (u16::MAX, count)).collect();
        let found = shares(&many);
        assert_eq!((found[0], found[1], found[9], found[63]), (1_000, 500, 100, 16));
    }
}
