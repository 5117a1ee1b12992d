//! Bounded queue between threads, with wake-up.

use std::sync::Arc;

use crossbeam_queue::ArrayQueue;

use crate::ring::Waker;

/// The queue is full; here is the value back.
#[derive(Debug)]
pub struct Full<T>(pub T);

/// Sends to one shard.
#[derive(Debug)]
pub struct Sender<T> {
    queue: Arc<ArrayQueue<T>>,
    waker: Waker,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self {
            queue: Arc::clone(&self.queue),
            waker: self.waker.clone(),
        }
    }
}

/// The shard's end.
#[derive(Debug)]
pub struct Receiver<T> {
    queue: Arc<ArrayQueue<T>>,
    waker: Waker,
}

/// A mailbox of `capacity`.
pub fn mailbox<T: Send>(capacity: usize, waker: Waker) -> (Sender<T>, Receiver<T>) {
    let queue = Arc::new(ArrayQueue::new(capacity));
    (
        Sender {
            queue: Arc::clone(&queue),
            waker: waker.clone(),
        },
        Receiver { queue, waker },
    )
}

impl<T: Send> Sender<T> {
    /// Sends and wakes.
    ///
    /// # Errors
    /// The mailbox is full.
    pub fn send(&self, value: T) -> Result<(), Full<T>> {
        self.queue.push(value).map_err(Full)?;
        self.waker.wake();
        Ok(())
    }
}

impl<T> Receiver<T> {
    /// Takes up to `max`.
    pub fn drain(&mut self, max: usize, mut f: impl FnMut(T)) -> usize {
        for n in 0..max {
            match self.queue.pop() {
                Some(value) => f(value),
                None => return n,
            }
        }
        self.waker.wake();
        max
    }
}
