//! The HTTP/2 connections, each by a number that its tunnels know: when the process stops, all tunnels of one are asked to go
//! together, and then the connection is.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::net::http2::watched::Grounds;

/// All that are open.
#[derive(Default)]
pub struct Carriers {
    open: Mutex<HashMap<u32, Grounds>>,
    count: AtomicU32,
}

/// Keeps a connection among them.
pub struct Carrier {
    number: u32,
    carriers: Arc<Carriers>,
}

impl Carriers {
    /// A number for a connection that begins, never 0.
    pub fn number(&self) -> u32 {
        loop {
            // After four billion connections an old one may still be open.
            let number = self.count.fetch_add(1, Relaxed).wrapping_add(1);
            if number != 0 && !self.open().contains_key(&number) {
                return number;
            }
        }
    }

    /// The connection `number` is open; `grounds` tells it to go.
    pub fn enter(self: &Arc<Carriers>, number: u32, grounds: Grounds) -> Carrier {
        self.open().insert(number, grounds);
        Carrier { number, carriers: self.clone() }
    }

    /// Those that are open.
    pub fn numbers(&self) -> Vec<u32> {
        self.open().keys().copied().collect()
    }

    /// Asks a connection to go (GOAWAY, RFC 9113 6.8): what is open on it goes on, tunnels that it opens later are refused.
    pub fn ask_to_go(&self, number: u32) {
        if let Some(grounds) = self.open().get(&number) {
            grounds.ask_to_go();
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u32, Grounds>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        let mut open = self.carriers.open();
        open.remove(&self.number);
        if open.len() < open.capacity() / 8 {
            open.shrink_to_fit();
        }
    }
}
