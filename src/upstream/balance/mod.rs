//! How a pool chooses: a closed set, one file each.

mod least_connections;
mod round_robin;

use super::pool::Member;
use crate::config::Balance;

/// One way to choose, with what it must remember.
pub enum Balancer {
    /// One after the other, as often as their weights say.
    RoundRobin(round_robin::RoundRobin),
    /// The least load by weight.
    LeastConnections,
}

impl Balancer {
    /// A balancer for `members` members.
    pub fn new(balance: Balance, members: usize) -> Balancer {
        match balance {
            Balance::RoundRobin => Balancer::RoundRobin(round_robin::RoundRobin::new(members)),
            Balance::LeastConnections => Balancer::LeastConnections,
        }
    }

    /// The index of the member that is next, among those that are `eligible`.
    pub fn pick(&self, members: &[Member], eligible: impl Fn(&usize) -> bool) -> Option<usize> {
        let indices = (0..members.len()).filter(eligible);
        match self {
            Balancer::RoundRobin(state) => state.pick(members, indices),
            Balancer::LeastConnections => {
                least_connections::pick(members, indices, |bound| fastrand::u32(0..bound))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::BackendAddress;
    use crate::upstream::backend::{Backend, Health};

    /// Members with these weights, all up.
    pub fn members(weights: &[u32]) -> Vec<Member> {
        let member = |weight: &u32| {
            let address = BackendAddress::Tcp { host: "192.0.2.1".into(), port: 80 };
            let backend = Arc::new(Backend::new(Arc::from("pool"), address, Health::Up));
            Member { backend, weight: *weight }
        };
        weights.iter().map(member).collect()
    }
}
