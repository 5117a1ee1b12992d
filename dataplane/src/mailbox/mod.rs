//! Bounded messages from any thread to a data thread.
//!
//! [`Sender::send`] never blocks. It wakes the receiving ring only when that may be asleep, so a busy shard
//! costs its senders no system call.
//!
//! **Invariant** (no lost wake-up): when [`Receiver::drain`] has returned and a message is in the queue, the
//! waker has been called after that drain emptied the queue. Sender and receiver each write one word and then
//! read the other's: the sender the queue, then `dozing`; the receiver `dozing`, then the queue. A
//! sequentially consistent fence between the two steps on both sides rules out that both miss each other. The
//! model checker runs this protocol under `cfg(loom)`.

mod primitive;

use std::fmt;

use self::primitive::{Arc, AtomicBool, Ordering, Queue, fence};
use crate::ring::Waker;

/// A mailbox for up to `capacity` messages whose receiver is woken with `waker`.
///
/// # Panics
/// If `capacity` is zero.
#[must_use]
pub fn mailbox<T: Send>(capacity: usize, waker: Waker) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared {
        queue: Queue::new(capacity),
        // Until the first drain the receiver may be asleep.
        dozing: AtomicBool::new(true),
        waker,
    });
    (
        Sender {
            shared: Arc::clone(&shared),
        },
        Receiver { shared },
    )
}

/// Sends messages; clones send to the same mailbox.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

/// Receives messages.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
}

/// The mailbox is full; the message comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full<T>(pub T);

struct Shared<T> {
    queue: Queue<T>,
    /// The receiver has found the queue empty and may go to sleep.
    dozing: AtomicBool,
    waker: Waker,
}

impl<T: Send> Sender<T> {
    /// Queues a message and wakes the receiver if need be.
    ///
    /// # Errors
    /// [`Full`], with the message.
    pub fn send(&self, message: T) -> Result<(), Full<T>> {
        self.shared.queue.push(message).map_err(Full)?;
        fence(Ordering::SeqCst);
        let dozing = &self.shared.dozing;
        // A failed exchange writes nothing, so only the sender that wakes ever changes the word.
        if dozing.load(Ordering::Relaxed)
            && dozing
                .compare_exchange(true, false, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            self.shared.waker.wake();
        }
        Ok(())
    }
}

impl<T: Send> Receiver<T> {
    /// Hands up to `max` messages to `f`, oldest first, and returns their number. If more are left, the next
    /// wait of the receiver's ring returns at once.
    pub fn drain(&mut self, max: usize, mut f: impl FnMut(T)) -> usize {
        let shared = &*self.shared;
        let mut taken = 0;
        loop {
            shared.dozing.store(false, Ordering::Relaxed);
            while taken < max
                && let Some(message) = shared.queue.pop()
            {
                f(message);
                taken += 1;
            }
            // A swap and not a store: it takes a definite place among the swaps of the senders.
            shared.dozing.swap(true, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            if shared.queue.is_empty() {
                return taken;
            }
            if taken >= max {
                shared.waker.wake();
                return taken;
            }
        }
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
