//! Storage for hot metrics: one array of cells per worker, so that counting never shares a cache line with another core.
//!
//! A *series* (one metric with one set of labels) is a block of neighbouring cells: one for a counter or a gauge,
//! buckets and a sum for a histogram. The block has the same place in every worker's array; a scrape sums over the
//! workers. Blocks are taken when a snapshot is built and are reused when the last handle of a series is gone.
//!
//! Why not the cells of the `prometheus` crate: one shared atomic per metric is written by all cores, and its vectors
//! look a series up by a hash of its label values without separators, which merges some different label sets into one.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Cells that are allocated at once. No block straddles two chunks.
const CHUNK_CELLS: usize = 512;
/// Chunks of a worker, at most: two million cells, enough for twenty-five thousand routes.
const CHUNKS_MAX: usize = 4096;
/// The index of the array that all threads but the workers share.
const SHARED: usize = 0;

thread_local! {
    static SHARD: Cell<usize> = const { Cell::new(SHARED) };
}

/// Declares the calling thread to be worker `index` (from 0), the only thread that is.
///
/// tokio's own `worker_index()` is no help: on a current-thread runtime it is always 0.
pub fn enter_worker(index: usize) {
    SHARD.set(index + 1);
}

/// The cells of all workers.
pub struct Store {
    shards: Box<[Shard]>,
    free: Mutex<Free>,
}

/// The cells of one worker.
struct Shard {
    chunks: Box<[OnceLock<Box<Chunk>>]>,
}

type Chunk = [AtomicU64; CHUNK_CELLS];

struct Free {
    next: usize,
    /// Starts of blocks that were given back, by length.
    blocks: HashMap<usize, Vec<usize>>,
}

impl Store {
    /// Cells for `workers` workers and everybody else.
    pub fn new(workers: usize) -> Arc<Store> {
        let shard = || Shard { chunks: (0..CHUNKS_MAX).map(|_| OnceLock::new()).collect() };
        let free = Free { next: 0, blocks: HashMap::new() };
        Arc::new(Store { shards: (0..=workers).map(|_| shard()).collect(), free: Mutex::new(free) })
    }

    /// A block of `length` cells, all zero; `None` when the store is full.
    pub fn block(self: &Arc<Store>, length: usize) -> Option<Block> {
        debug_assert!((1..=CHUNK_CELLS).contains(&length));
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let reused = free.blocks.get_mut(&length).and_then(Vec::pop);
        let start = match reused {
            Some(start) => start,
            None => {
                let room = CHUNK_CELLS - free.next % CHUNK_CELLS;
                let start = if room < length { free.next + room } else { free.next };
                if start + length > CHUNK_CELLS * CHUNKS_MAX {
                    return None;
                }
                free.next = start + length;
                start
            }
        };
        Some(Block { store: self.clone(), start, length })
    }

    fn cell(&self, shard: usize, index: usize) -> &AtomicU64 {
        let shard = self.shards.get(shard).unwrap_or(&self.shards[SHARED]);
        let chunk = shard.chunks[index / CHUNK_CELLS]
            .get_or_init(|| Box::new([const { AtomicU64::new(0) }; CHUNK_CELLS]));
        &chunk[index % CHUNK_CELLS]
    }
}

/// The cells of one series, in every worker's array. Given back, as zeros, when dropped.
pub struct Block {
    store: Arc<Store>,
    start: usize,
    length: usize,
}

impl Block {
    /// Adds to one cell of the calling thread's array, wrapping: a gauge goes down by adding `-1`.
    pub fn add(&self, offset: usize, amount: u64) {
        debug_assert!(offset < self.length);
        let shard = SHARD.get();
        let cell = self.store.cell(shard, self.start + offset);
        if shard == SHARED {
            cell.fetch_add(amount, Relaxed);
        } else {
            // Only this thread writes here, so the addition needs no locked instruction.
            cell.store(cell.load(Relaxed).wrapping_add(amount), Relaxed);
        }
    }

    /// The sum over all workers, wrapping.
    pub fn sum(&self, offset: usize) -> u64 {
        let index = self.start + offset;
        let chunk = |shard: &Shard| {
            let chunk = shard.chunks[index / CHUNK_CELLS].get()?;
            Some(chunk[index % CHUNK_CELLS].load(Relaxed))
        };
        self.store.shards.iter().filter_map(chunk).fold(0, u64::wrapping_add)
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        for shard in &self.store.shards {
            if let Some(chunk) = shard.chunks[self.start / CHUNK_CELLS].get() {
                let first = self.start % CHUNK_CELLS;
                for cell in &chunk[first..first + self.length] {
                    cell.store(0, Relaxed);
                }
            }
        }
        let mut free = self.store.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.blocks.entry(self.length).or_default().push(self.start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_over_workers_and_threads() {
        let store = Store::new(2);
        let block = Arc::new(store.block(3).unwrap());
        let threads: Vec<_> = [Some(0), Some(1), None, None]
            .into_iter()
            .map(|worker| {
                let block = block.clone();
                std::thread::spawn(move || {
                    worker.into_iter().for_each(enter_worker);
                    for _ in 0..1000 {
                        block.add(1, 5);
                        block.add(2, 1u64.wrapping_neg());
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(block.sum(0), 0);
        assert_eq!(block.sum(1), 4 * 5000);
        assert_eq!(block.sum(2) as i64, -4000);
    }

    #[test]
    fn a_block_given_back_is_reused_as_zeros() {
        let store = Store::new(1);
        let first = store.block(7).unwrap();
        let other = store.block(7).unwrap();
        first.add(3, 9);
        let start = first.start;
        drop(first);
        let again = store.block(7).unwrap();
        assert_eq!((again.start, again.sum(3)), (start, 0));
        assert_ne!(other.start, again.start);
    }

    #[test]
    fn no_block_straddles_a_chunk_and_a_full_store_says_so() {
        let store = Store::new(0);
        let mut blocks = Vec::new();
        while let Some(block) = store.block(200) {
            assert!(block.start % CHUNK_CELLS + 200 <= CHUNK_CELLS);
            blocks.push(block);
        }
        assert_eq!(blocks.len(), CHUNKS_MAX * (CHUNK_CELLS / 200));
    }
}
