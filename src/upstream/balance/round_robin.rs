//! Smooth weighted round robin: in every cycle each member is chosen as often as its weight says, and heavy ones are
//! spread over the cycle instead of being chosen in a row.
//!
//! Each choice credits every candidate with its weight, takes the one with the most credit and charges it the sum.

use std::sync::{Mutex, PoisonError};

use crate::upstream::members::Member;

/// The credit of every member. Shared by all workers, so that the cycle holds over all of them.
pub struct RoundRobin {
    credit: Mutex<Box<[i64]>>,
}

impl RoundRobin {
    /// Nobody has credit yet.
    pub fn new(members: usize) -> RoundRobin {
        RoundRobin { credit: Mutex::new(vec![0; members].into()) }
    }

    /// The next among `candidates`; ties go to the first.
    pub fn pick(&self, members: &[Member], candidates: impl Iterator<Item = usize>) -> Option<usize> {
        let mut credit = self.credit.lock().unwrap_or_else(PoisonError::into_inner);
        let mut total = 0;
        let mut best: Option<(usize, i64)> = None;
        for index in candidates {
            let weight = i64::from(members[index].weight);
            total += weight;
            credit[index] += weight;
            if best.is_none_or(|(_, most)| credit[index] > most) {
                best = Some((index, credit[index]));
            }
        }
        let (index, _) = best?;
        credit[index] -= total;
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::balance::tests::members;

    #[test]
    fn each_gets_its_share_of_every_cycle_spread_out() {
        let members = members(&[5, 1, 1]);
        let state = RoundRobin::new(3);
        let picks: Vec<usize> = (0..14).map(|_| state.pick(&members, 0..3).unwrap()).collect();
        assert_eq!(picks[..7], [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(picks[..7], picks[7..]);
    }

    #[test]
    fn who_is_no_candidate_is_not_picked_and_gathers_no_credit() {
        let members = members(&[1, 1, 1]);
        let state = RoundRobin::new(3);
        for _ in 0..100 {
            assert_ne!(state.pick(&members, [0, 2].into_iter()), Some(1));
        }
        let picks: Vec<usize> = (0..3).map(|_| state.pick(&members, 0..3).unwrap()).collect();
        assert_eq!(picks, [0, 1, 2]);
        assert_eq!(state.pick(&members, std::iter::empty()), None);
    }
}
