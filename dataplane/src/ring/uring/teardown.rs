//! Ending a ring: the kernel lets go first, then memory is released.

use std::time::Duration;

use super::enter::Patience;
use super::{Request, UringRing, submit};
use crate::sys::{clock, socket};

impl UringRing {
    /// See [`Ring::teardown`](crate::ring::Ring::teardown).
    pub fn teardown(&mut self) {
        for request in std::mem::take(&mut self.backlog) {
            // What never reached the kernel needs no completion from it. A restarted operation is not in the
            // kernel either.
            if let Request::Start(key) = request {
                self.finish(key);
            }
        }
        self.done.clear();
        self.drain_kernel();
        if self.slots.len() == 0 {
            self.provided.unregister(&self.ring);
        } else {
            // The kernel may write to these after the ring is closed, which it finishes in the background.
            std::mem::forget(std::mem::take(&mut self.slots));
            self.provided.abandon();
        }
        for fd in self.fds.all() {
            self.fds.remove(fd);
            socket::close(fd.0);
        }
        self.gate.release(&self.ring);
    }

    /// Cancels everything and collects final completions until none is owed, or until the kernel had its
    /// time.
    fn drain_kernel(&mut self) {
        let give_up = clock::monotonic().after(DRAIN_TIME);
        let mut dropped = Vec::new();
        while self.slots.len() > 0 && clock::monotonic() < give_up {
            // Repeated each round: a multishot that was in the middle of a completion can escape one cancel.
            self.push(&submit::cancel_all());
            let patience = Patience::Until(clock::monotonic().after(ROUND_TIME).min(give_up));
            // An error here is answered by the next round, or by the leak above.
            drop(self.enter(patience));
            self.reap(&mut dropped, usize::MAX);
            dropped.clear();
        }
    }
}

impl Drop for UringRing {
    fn drop(&mut self) {
        self.teardown();
    }
}

/// Time that the kernel gets to give everything back. It takes microseconds; this bounds a kernel fault.
const DRAIN_TIME: Duration = Duration::from_secs(2);
const ROUND_TIME: Duration = Duration::from_millis(50);
