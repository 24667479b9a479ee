//! What a choice costs, by one thread alone and by two at once that choose from the same pool: nanoseconds for each pick and
//! the end of its lease, the least of several rounds. `cargo bench --bench pick`.

use std::hint::black_box;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use longhaul::config::{BackendAddress, Balance, Hash, HashKey, State};
use longhaul::upstream::backend::{Backend, Health};
use longhaul::upstream::members::{Member, Members, Tried, Wish};

const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_millis(60);

fn main() {
    let slow_start = Some(Duration::from_secs(30));
    let hash = |load_max| Balance::Hash(Hash { key: HashKey::Path, load_max });
    let ways = [
        ("round robin", Balance::RoundRobin, None),
        ("round robin, by weights", Balance::RoundRobin, None),
        ("least connections", Balance::LeastConnections { slow_start }, None),
        ("least connections, bounded backends", Balance::LeastConnections { slow_start }, Some(1_000)),
        ("random", Balance::Random, None),
        ("power of two", Balance::PowerOfTwo { slow_start }, None),
        ("power of two, bounded backends", Balance::PowerOfTwo { slow_start }, Some(1_000)),
        ("hash", hash(None), None),
        ("hash, bounded load", hash(Some(125)), None),
    ];
    println!("| ns a pick | 3: 1 thread | 2 threads | 100: 1 | 2 | 5,000: 1 | 2 |");
    println!("|---|---|---|---|---|---|---|");
    for (name, balance, seats_max) in &ways {
        let mut row = format!("| {name} |");
        let weight = if name.ends_with("by weights") { 10 } else { 1 };
        for count in [3, 100, 5_000] {
            let members = members(balance, count, *seats_max, weight);
            for threads in [1, 2] {
                let least = (0..ROUNDS).map(|_| nanoseconds(&members, threads)).fold(f64::INFINITY, f64::min);
                row += &format!(" {least:.0} |");
            }
        }
        println!("{row}");
    }
}

/// Each of so many threads picks for a while; how long each pick takes the thread that makes it.
fn nanoseconds(members: &Members, threads: usize) -> f64 {
    let barrier = Barrier::new(threads);
    let begin = || {
        barrier.wait();
        let begun = Instant::now();
        let mut picks = 0;
        while begun.elapsed() < ROUND {
            for _ in 0..16 {
                picks += 1;
                let wish = Wish { key: Some(fastrand::u64(..)), ..Wish::default() };
                // As a tunnel does: in a pool without a bound that is one number more to count.
                assert!(members.seat(black_box(wish), &mut Tried::default()).is_ok());
            }
        }
        begun.elapsed().as_nanos() as f64 / f64::from(picks)
    };
    thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(begin)).collect();
        let times = all.into_iter().map(|thread| thread.join().expect("a thread that picks"));
        times.sum::<f64>() / threads as f64
    })
}

/// So many, of weights up to `weight`.
fn members(balance: &Balance, count: usize, seats_max: Option<usize>, weight: u32) -> Members {
    let member = |index| {
        let host = format!("192.0.{}.{}", index / 256, index % 256);
        let address = BackendAddress::Tcp { host, port: 80 };
        let backend = Arc::new(Backend::new(Arc::from("pool"), address, Health::Up));
        backend.set_seats_max(seats_max);
        let weight = 1 + index % weight;
        Member { backend, weight, state: State::Active, is_kept: false, rank: 0, seats_max }
    };
    let count = u32::try_from(count).expect("a few");
    Members::new(balance, (0..count).map(member).collect())
}
