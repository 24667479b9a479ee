//! What a member would carry with one tunnel more, in proportion to its weight.

use super::slow_start::Shares;
use crate::upstream::members::Member;

/// Load by weight, compared without a division.
pub struct Share {
    load: u64,
    weight: u64,
}

impl Share {
    /// With the load that it would have: so a member without any still counts by its weight.
    pub fn of(member: &Member, shares: &Shares) -> Share {
        let weight = u64::from(member.weight) * shares.of(&member.backend);
        Share { load: member.backend.load() as u64 + 1, weight }
    }

    /// Whether it is less than `other`.
    pub fn is_less(&self, other: &Share) -> bool {
        self.load * other.weight < other.load * self.weight
    }
}
