//! Backends that came later get their share: of those that carry too much, tunnels are asked to go, some a second.
//!
//! It begins only when a backend has become ready beside others that were, and all have been the same for a while; nobody is
//! asked because clients come and go. A change of who is ready ends it, and it begins anew when that has been calm. Who is
//! growing (`slow_start`) has the share that it has grown to. How many go is [`proto::rebalance`](crate::proto::rebalance).

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::waves::{Waves, key};
use crate::config::{Balance, Rebalance};
use crate::proto::rebalance::{Member, portion, surplus};
use crate::proxy::Plane;
use crate::telemetry::access::Id;
use crate::tunnel::sessions::Sessions;
use crate::upstream::backend::Health;
use crate::upstream::balance::slow_start::{FULL, Shares};
use crate::upstream::members;
use crate::upstream::pool::Pool;

/// Between two looks.
const TICK: Duration = Duration::from_secs(1);

/// What is remembered of a pool.
struct Watched {
    /// Who could be chosen, by the addresses of their labels.
    ready: BTreeSet<usize>,
    since: Instant,
    /// Somebody has come.
    is_due: bool,
    /// While it runs: the tunnels that the pool had at most.
    running: Option<u64>,
}

/// What a backend carries.
#[derive(Default)]
struct Carried {
    /// Those that are not asked to go, and since when they are idle.
    tunnels: Vec<(Instant, Id)>,
}

/// Looks after all pools until it is dropped.
pub async fn run(plane: Arc<Plane>, waves: Waves) {
    let mut pools: HashMap<Arc<str>, Watched> = HashMap::new();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let snapshot = plane.snapshot.load_full();
        let wanted = |name: &str| snapshot.config.pools.get(name).and_then(|words| words.rebalance);
        pools.retain(|name, _| wanted(name).is_some());
        for pool in snapshot.pools.iter() {
            let Some(words) = wanted(&pool.name) else { continue };
            let ready = ready(pool);
            let watched = pools.entry(pool.name.clone()).or_insert_with(|| Watched::new(&ready));
            if !watched.is_calm(&ready, words.calm) {
                continue;
            }
            let slow_start = match snapshot.config.pools.get(&*pool.name).map(|words| &words.balance) {
                Some(Balance::LeastConnections { slow_start } | Balance::PowerOfTwo { slow_start }) => {
                    *slow_start
                }
                _ => None,
            };
            let goers =
                watched.look(&plane.sessions, &waves.chosen(), &ready, &Shares::new(slow_start), words);
            tell(&plane, pool, &goers, words);
            if !words.dry_run && !goers.is_empty() {
                waves.part_some(goers, TICK);
            }
        }
    }
}

/// Those that new tunnels may get, but for backups.
fn ready(pool: &Pool) -> Vec<&members::Member> {
    let members = pool.members.all().iter();
    members.filter(|member| member.rank == 0 && member.backend.is_ready_and(Health::Up, false)).collect()
}

impl Watched {
    fn new(ready: &[&members::Member]) -> Watched {
        let ready = ready.iter().map(|member| key(&member.backend.label)).collect();
        Watched { ready, since: Instant::now(), is_due: false, running: None }
    }

    /// Whether there is something to do, and all has been quiet for long enough to do it.
    fn is_calm(&mut self, ready: &[&members::Member], calm: Duration) -> bool {
        let now: BTreeSet<_> = ready.iter().map(|member| key(&member.backend.label)).collect();
        if now != self.ready {
            // Where nobody was, clients come to whoever is there.
            let has_come = !self.ready.is_empty() && !now.is_subset(&self.ready);
            self.is_due |= has_come || self.running.is_some();
            (self.ready, self.since, self.running) = (now, Instant::now(), None);
        }
        self.is_due && self.since.elapsed() >= calm
    }

    /// Who is to be asked now.
    fn look(
        &mut self,
        sessions: &Sessions,
        chosen: &HashSet<Id>,
        ready: &[&members::Member],
        shares: &Shares,
        words: Rebalance,
    ) -> Vec<Id> {
        let mut carried = carried(sessions, ready, chosen);
        let shown: Vec<_> = ready
            .iter()
            .zip(&carried)
            .map(|(member, carried)| Member {
                load: carried.tunnels.len() as u64,
                weight: u64::from(member.weight) * shares.of(&member.backend),
            })
            .collect();
        let whole: u64 = shown.iter().map(|member| member.load).sum();
        let most = self.running.map_or(whole, |most| most.max(whole));
        let gives = surplus(&shown, most - whole, words.band, self.running.is_some());
        let gives = if words.dry_run { gives } else { portion(gives, words.per_second.into()) };
        let is_growing = ready.iter().any(|member| shares.of(&member.backend) < FULL);
        let is_done = gives.iter().all(|gives| *gives == 0);
        self.running = (!is_done || self.running.is_some() && is_growing).then_some(most);
        self.is_due = if words.dry_run { is_done && is_growing } else { !is_done || is_growing };
        let mut goers = Vec::new();
        for (carried, gives) in carried.iter_mut().zip(gives) {
            carried.tunnels.sort_unstable();
            let gives = usize::try_from(gives).unwrap_or(usize::MAX);
            goers.extend(carried.tunnels.iter().take(gives).map(|(_, id)| *id));
        }
        goers
    }
}

/// What each of these carries, but for those that were `chosen` before: the turn of one to be asked may still be to come.
fn carried(sessions: &Sessions, ready: &[&members::Member], chosen: &HashSet<Id>) -> Vec<Carried> {
    let places: HashMap<_, _> =
        ready.iter().enumerate().map(|(at, member)| (key(&member.backend.label), at)).collect();
    let mut carried: Vec<Carried> = ready.iter().map(|_| Carried::default()).collect();
    for shard in Sessions::shards() {
        sessions.visit(shard, |session| {
            let place = places.get(&key(&session.backend));
            if let Some(carried) = place.and_then(|at| carried.get_mut(*at))
                && session.goodbye().is_none()
                && !chosen.contains(&session.id)
            {
                carried.tunnels.push((session.active(), session.id));
            }
        });
    }
    carried
}

fn tell(plane: &Plane, pool: &Pool, goers: &[Id], words: Rebalance) {
    if !goers.is_empty() {
        let (pool, tunnels) = (&pool.name, goers.len());
        plane.metrics.rebalanced(pool, words.dry_run, tunnels as u64);
        match words.dry_run {
            true => tracing::info!(%pool, tunnels, "rebalance: tunnels would be asked to go"),
            false => tracing::debug!(%pool, tunnels, "rebalance: tunnels are asked to go"),
        }
    }
}
