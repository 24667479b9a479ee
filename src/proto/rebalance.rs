//! Who has too many tunnels, and how many: what is to be asked to go so that others, who have come later, get their share.
//!
//! Whoever carries more than its share by a band is over. Once anybody is, all that are over half of the band give down to
//! it, and nobody below its share; so what has been evened out does not begin again. Percents are of the share.

/// Who may get tunnels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Tunnels that it carries, without those that are asked to go.
    pub load: u64,
    /// Its part of all weights.
    pub weight: u64,
}

/// How many each is to give. `away` are those that were asked to go and are still to come back: they count as a part of the
/// whole. Nobody gives anything unless it `is_running` or somebody is over the whole band, by two tunnels at least.
pub fn surplus(members: &[Member], away: u64, band_percent: u32, is_running: bool) -> Vec<u64> {
    let whole: u128 = members.iter().map(|member| u128::from(member.load)).sum::<u128>() + u128::from(away);
    let weights: u128 = members.iter().map(|member| u128::from(member.weight)).sum::<u128>().max(1);
    // Rounded up: who has a part of one may have all of it.
    let with = |member: &Member, thousandths: u128| {
        let most = whole.saturating_mul(member.weight.into()).saturating_mul(1_000 + thousandths);
        u64::try_from(most.div_ceil(weights.saturating_mul(1_000))).unwrap_or(u64::MAX)
    };
    let band = u128::from(band_percent) * 10;
    let is_over = |member: &Member| {
        member.load > with(member, band) && member.load >= with(member, 0).saturating_add(2)
    };
    let begins = is_running || members.iter().any(is_over);
    let gives = |member: &Member| member.load.saturating_sub(with(member, band / 2));
    members.iter().map(|member| if begins { gives(member) } else { 0 }).collect()
}

/// At most `budget` of them, from those that have most to give.
pub fn portion(mut surplus: Vec<u64>, mut budget: u64) -> Vec<u64> {
    let mut order: Vec<usize> = (0..surplus.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(surplus.get(*index).copied()));
    for index in order {
        if let Some(gives) = surplus.get_mut(index) {
            *gives = (*gives).min(budget);
            budget -= *gives;
        }
    }
    surplus
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn members(parts: &[(u64, u64)]) -> Vec<Member> {
        parts.iter().map(|(load, weight)| Member { load: *load, weight: *weight }).collect()
    }

    #[test]
    fn who_is_over_the_band_gives_down_to_half_of_it() {
        let given = |parts: &[(u64, u64)], away, is_running| surplus(&members(parts), away, 20, is_running);
        // The share is 50, the band ends at 60, its half at 55.
        assert_eq!(given(&[(100, 1), (0, 1)], 0, false), [45, 0]);
        assert_eq!(given(&[(60, 1), (40, 1)], 0, false), [0, 0]);
        assert_eq!(given(&[(60, 1), (40, 1)], 0, true), [5, 0]);
        assert_eq!(given(&[(61, 1), (39, 1)], 0, false), [6, 0]);
        // Who is away counts, or the others would give for ever.
        assert_eq!(given(&[(55, 1), (0, 1)], 45, true), [0, 0]);
        assert_eq!(given(&[(75, 3), (25, 1)], 0, false), [0, 0]);
        assert_eq!(given(&[(100, 3), (0, 1)], 0, false), [17, 0]);
    }

    #[test]
    fn few_tunnels_are_left_alone() {
        for parts in [&[(1, 1), (0, 1)][..], &[(2, 1), (0, 1)], &[(0, 1)], &[(5, 1)], &[]] {
            let given = surplus(&members(parts), 0, 10, false);
            assert!(given.iter().all(|gives| *gives == 0), "{parts:?} {given:?}");
        }
        assert_eq!(surplus(&members(&[(4, 1), (0, 1)]), 0, 10, false), [1, 0]);
        // The share is ten and a third: eleven may be had, and thirteen are two more.
        assert_eq!(surplus(&members(&[(12, 1), (10, 1), (9, 1)]), 0, 1, false), [0, 0, 0]);
        assert_eq!(surplus(&members(&[(13, 1), (9, 1), (9, 1)]), 0, 1, false), [2, 0, 0]);
    }

    #[test]
    fn what_is_immense_does_not_overflow() {
        let parts = [(u64::MAX, 1), (0, u64::MAX)];
        assert_eq!(surplus(&members(&parts), u64::MAX, u32::MAX, true).len(), 2);
        assert_eq!(portion(vec![u64::MAX, 3], 2), [2, 0]);
        assert_eq!(portion(vec![1, 3, 2], 4), [0, 3, 1]);
    }

    proptest! {
        /// Who was asked comes back to whoever has least by weight, at once or when all is over: nobody falls below its share,
        /// not more go than had too many, in the end all are within the band, and it does not begin again.
        #[test]
        fn it_comes_to_rest(
            parts in prop::collection::vec((0..200_u64, 1..5_u64), 1..8),
            band in 1..100_u32,
            budget in 1..50_u64,
            come_back in any::<bool>(),
        ) {
            let mut all = members(&parts);
            let whole: u64 = all.iter().map(|member| member.load).sum();
            let weights: u64 = all.iter().map(|member| member.weight).sum();
            let share = |member: &Member| (whole * member.weight).div_ceil(weights);
            let back = |all: &mut Vec<Member>, count| for _ in 0..count {
                let least = all.iter_mut().min_by_key(|member| (member.load + 1) * 1_000 / member.weight);
                least.expect("a member").load += 1;
            };
            let (mut away, mut is_running, mut asked) = (0, false, 0);
            let too_many: u64 = all.iter().map(|member| member.load.saturating_sub(share(member))).sum();
            for round in 0.. {
                let gives = portion(surplus(&all, away, band, is_running), budget);
                let count: u64 = gives.iter().sum();
                prop_assert!(count <= budget && round <= 2_000);
                if count == 0 {
                    break;
                }
                is_running = true;
                asked += count;
                for (member, gives) in all.iter_mut().zip(gives) {
                    member.load -= gives;
                    prop_assert!(gives == 0 || member.load >= share(member));
                }
                if come_back { back(&mut all, count) } else { away += count }
            }
            prop_assert!(asked <= too_many, "{asked} of {too_many}");
            back(&mut all, away);
            prop_assert_eq!(all.iter().map(|member| member.load).sum::<u64>(), whole);
            prop_assert!(surplus(&all, 0, band, false).iter().all(|gives| *gives == 0), "{all:?}");
        }
    }
}
