//! Least connections: the member with the fewest open tunnels, handshakes and requests in flight, over all workers, in
//! proportion to its weight. Ties are broken at random: by order, every fresh process would load the first one first.

use super::share::Share;
use crate::upstream::pool::Member;

/// The least loaded of `candidates`. `random` gives a number below its argument.
pub fn pick(
    members: &[Member],
    candidates: impl Iterator<Item = usize>,
    random: impl Fn(u32) -> u32,
) -> Option<usize> {
    let mut best: Option<(usize, Share)> = None;
    let mut ties = 1;
    for index in candidates {
        let share = Share::of(&members[index]);
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
            let index = pick(&members, 0..3, |bound| fastrand::u32(0..bound)).unwrap();
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
            counts[pick(&members, 0..3, |bound| rng.borrow_mut().u32(0..bound)).unwrap()] += 1;
        }
        assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
    }
}
