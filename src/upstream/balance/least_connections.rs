//! Least connections: the member with the fewest open tunnels, handshakes and requests in flight, over all workers, in
//! proportion to its weight and to how far it has [grown](super::slow_start). Ties are broken at random: by order, every
//! fresh process would load the first one first.

use std::time::Duration;

use super::share::Share;
use super::slow_start::Shares;
use crate::upstream::members::Member;

/// The least loaded of `candidates`. `random` gives a number below its argument.
pub fn pick(
    members: &[Member],
    candidates: impl Iterator<Item = usize>,
    slow_start: Option<Duration>,
    random: impl Fn(u32) -> u32,
) -> Option<usize> {
    let shares = Shares::new(slow_start);
    let mut best: Option<(usize, Share)> = None;
    let mut ties = 1;
    for index in candidates {
        let share = Share::of(&members[index], &shares);
        match &best {
            Some((_, least)) if share.is_less(least) => {
                (best, ties) = (Some((index, share)), 1);
            }
            Some((_, least)) if !least.is_less(&share) => {
                // The k-th of equals replaces the choice with probability 1/k.
                ties += 1;
                if random(ties) == 0 {
                    best = Some((index, share));
                }
            }
            Some(_) => {}
            None => best = Some((index, share)),
        }
    }
    best.map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::backend::Lease;
    use crate::upstream::balance::tests::members;

    #[test]
    fn load_is_spread_by_weight() {
        let members = members(&[1, 2, 5]);
        let mut leases = Vec::new();
        for _ in 0..800 {
            let index = pick(&members, 0..3, None, |bound| fastrand::u32(0..bound)).unwrap();
            leases.push(Lease::new(members[index].backend.clone()));
        }
        let loads: Vec<usize> = members.iter().map(|member| member.backend.load()).collect();
        assert_eq!(loads, [100, 200, 500]);
        drop(leases);
        assert!(members.iter().all(|member| member.backend.load() == 0));
    }

    #[test]
    fn ties_are_broken_evenly() {
        let members = members(&[1, 1, 1]);
        let mut random = fastrand::Rng::with_seed(7);
        let mut counts = [0; 3];
        for _ in 0..30_000 {
            let rng = std::cell::RefCell::new(&mut random);
            counts[pick(&members, 0..3, None, |bound| rng.borrow_mut().u32(0..bound)).unwrap()] += 1;
        }
        assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_newcomer_is_filled_up_to_its_share() {
        let members = members(&[1, 1, 2]);
        let lease = |index: usize| Lease::new(members[index].backend.clone());
        let mut leases: Vec<Lease> = [1; 50].into_iter().chain([2; 100]).map(lease).collect();
        members[0].backend.standing.arrive();
        let hour = Some(Duration::from_secs(3600));
        // A tenth of what the others have at first, and all of it without a slow start.
        for (slow_start, filled) in [(hour, 5), (None, 50)] {
            while members[0].backend.load() < filled {
                let index = pick(&members, 0..3, slow_start, |bound| fastrand::u32(0..bound));
                assert_eq!(index, Some(0), "before {filled}");
                leases.push(lease(0));
            }
            let next = pick(&members, 0..3, hour, |bound| fastrand::u32(0..bound));
            assert_ne!(next, Some(0), "after {filled}");
        }
    }
}
