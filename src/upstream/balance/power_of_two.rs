//! Power of two choices: two members are drawn at random, heavy ones more often, and the one with less load by weight is
//! taken, as far as it has [grown](super::slow_start). It levels loads nearly as well as a look at all of them, and costs
//! the same for any number of members.

use std::time::Duration;

use super::draw::Draw;
use super::share::Share;
use super::slow_start::Shares;
use crate::upstream::members::Member;

/// The less loaded of two that `draw` gives. `random` gives a number below its argument.
pub fn pick(
    draw: &Draw,
    members: &[Member],
    eligible: impl Fn(usize) -> bool,
    slow_start: Option<Duration>,
    random: impl Fn(u64) -> u64,
) -> Option<usize> {
    let shares = Shares::new(slow_start);
    let first = draw.pick(members, &eligible, &random)?;
    let second = draw.pick(members, |index| index != first && eligible(index), &random);
    let share = |index: usize| Share::of(&members[index], &shares);
    let is_less = |index: &usize| share(*index).is_less(&share(first));
    second.filter(is_less).or(Some(first))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use fastrand::Rng;

    use super::*;
    use crate::upstream::backend::Lease;
    use crate::upstream::balance::tests::{members, near};

    #[test]
    fn loads_are_levelled_by_weight() {
        let members = members(&[1, 2, 5, 2]);
        let draw = Draw::new(&members);
        let rng = RefCell::new(Rng::with_seed(5));
        let mut leases = Vec::new();
        for _ in 0..100_000 {
            let index =
                pick(&draw, &members, |_| true, None, |bound| rng.borrow_mut().u64(0..bound)).unwrap();
            leases.push(Lease::new(members[index].backend.clone()));
        }
        let loads: Vec<usize> = members.iter().map(|member| member.backend.load()).collect();
        near(&loads, &[0.1, 0.2, 0.5, 0.2]);
    }

    #[test]
    fn of_two_the_idle_one_is_taken_whichever_is_drawn_first() {
        let members = members(&[1, 1]);
        let draw = Draw::new(&members);
        let _lease = Lease::new(members[0].backend.clone());
        for first in [0, 1] {
            let drawn = RefCell::new([first, 1 - first].into_iter().cycle());
            let random = |_| drawn.borrow_mut().next().unwrap();
            assert_eq!(pick(&draw, &members, |_| true, None, random), Some(1));
            let drawn = RefCell::new([first, 1 - first].into_iter().cycle());
            let random = |_| drawn.borrow_mut().next().unwrap();
            assert_eq!(pick(&draw, &members, |index| index == 0, None, random), Some(0));
        }
    }
}
