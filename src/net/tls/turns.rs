//! Whose TLS handshake is computed next, where many come at once.
//!
//! A handshake costs the worker most of a millisecond in one go: the key exchange and the signature that answer a
//! ClientHello. When a crowd comes back, hundreds are there at the same time, and one after the other they would keep
//! everybody's tunnels waiting. So only a few are computed in a row; then whoever else is ready has its turn. Nothing is
//! held while a client is awaited, so slow ones are in nobody's way.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::sync::Semaphore;
use tokio::task::yield_now;

thread_local! {
    static ROW: RefCell<Row> = RefCell::new(Row { left: 0, max: 0, free: Arc::new(Semaphore::new(0)) });
}

/// Those of the calling thread that are computed before others have their turn.
struct Row {
    /// How many more.
    left: usize,
    /// How many the next row has.
    max: usize,
    /// In which those wait, in the order in which they came, who are not among them.
    free: Arc<Semaphore>,
}

/// One place in the row.
pub struct Turn {
    is_last: bool,
}

/// A place for a handshake that is about to be computed, one of `max` in a row.
pub async fn turn(max: usize) -> Turn {
    let free = ROW.with_borrow_mut(|row| {
        let is_first = row.max == 0;
        row.max = max;
        if is_first {
            row.refill();
        }
        row.free.clone()
    });
    // Never closed.
    if let Ok(place) = free.acquire().await {
        place.forget();
    }
    let left = ROW.with_borrow_mut(|row| {
        row.left -= 1;
        row.left
    });
    Turn { is_last: left == 0 }
}

impl Turn {
    /// Drives `handshake` to its end. Its first poll is when it is computed.
    pub async fn compute<T>(self, mut handshake: Pin<&mut impl Future<Output = T>>) -> T {
        let computed = poll_fn(|context| Poll::Ready(handshake.as_mut().poll(context)));
        if let Poll::Ready(done) = computed.await {
            return done;
        }
        if self.is_last {
            // Behind all that is ready now.
            yield_now().await;
        }
        drop(self);
        handshake.await
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.is_last {
            ROW.with_borrow_mut(Row::refill);
        }
    }
}

impl Row {
    fn refill(&mut self) {
        self.left = self.max;
        self.free.add_permits(self.max);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::pin::pin;
    use std::rc::Rc;

    use tokio::runtime::Builder;
    use tokio::task::{LocalSet, spawn_local};

    use super::*;

    /// Runs `count` handshakes beside somebody who is always ready. How many were computed between two turns of hers.
    fn in_a_row(max: usize, count: usize) -> Vec<usize> {
        let (rows, done) = (Rc::new(RefCell::new(vec![0])), Rc::new(RefCell::new(0)));
        let local = LocalSet::new();
        for index in 0..count {
            let (rows, done) = (rows.clone(), done.clone());
            local.spawn_local(async move {
                let handshake = async {
                    *rows.borrow_mut().last_mut().unwrap() += 1;
                    // The client's answer.
                    yield_now().await;
                };
                let mut computed = pin!(async { turn(max).await.compute(pin!(handshake)).await });
                // Some leave before they have heard anything.
                if index % 5 == 4 {
                    let _ = poll_fn(|context| Poll::Ready(computed.as_mut().poll(context))).await;
                } else {
                    computed.await;
                }
                *done.borrow_mut() += 1;
            });
        }
        let runtime = Builder::new_current_thread().build().unwrap();
        local.block_on(&runtime, async {
            let bystander = rows.clone();
            spawn_local(async move {
                while *done.borrow() < count {
                    bystander.borrow_mut().push(0);
                    yield_now().await;
                }
            })
            .await
            .unwrap();
        });
        rows.take()
    }

    #[test]
    fn so_many_are_computed_in_a_row_and_then_others_have_their_turn() {
        for max in [1, 3, 8, 2] {
            // What is left of the row before.
            in_a_row(max, 1);
            let rows = in_a_row(max, 200);
            assert!(rows.iter().sum::<usize>() >= 160, "{rows:?}");
            assert_eq!(rows.iter().max(), Some(&max), "{rows:?}");
        }
    }
}
