//! Waking a ring from another thread.

use std::io;
use std::sync::Arc;
#[cfg(any(test, feature = "sim"))]
use std::sync::atomic::{AtomicBool, Ordering};

use crate::sys::event::EventFd;

/// Wakes one ring: its next or current wait returns with [`Outcome::Woken`](super::Outcome::Woken). Calls
/// between two waits count as one.
#[derive(Debug, Clone)]
pub struct Waker(Arc<Signal>);

#[derive(Debug)]
enum Signal {
    Event(EventFd),
    /// In a simulation nobody sleeps.
    #[cfg(any(test, feature = "sim"))]
    Flag(AtomicBool),
}

impl Waker {
    /// Wakes the ring. Never blocks; harmless when the ring is gone.
    pub fn wake(&self) {
        match &*self.0 {
            Signal::Event(event) => event.signal(),
            #[cfg(any(test, feature = "sim"))]
            Signal::Flag(flag) => flag.store(true, Ordering::Release),
        }
    }

    /// A waker over an eventfd.
    pub(crate) fn event() -> io::Result<Self> {
        Ok(Self(Arc::new(Signal::Event(EventFd::new()?))))
    }

    /// A waker that nothing sleeps on: its owner asks [`Self::take`].
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn flag() -> Self {
        Self(Arc::new(Signal::Flag(AtomicBool::new(false))))
    }

    /// Whether somebody woke it since the last call; for wakers made by `flag`.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn take(&self) -> bool {
        match &*self.0 {
            Signal::Event(_) => false,
            #[cfg(any(test, feature = "sim"))]
            Signal::Flag(flag) => flag.swap(false, Ordering::AcqRel),
        }
    }

    /// The descriptor that a ring waits for; -1 for wakers made by `flag`.
    pub(crate) fn raw_fd(&self) -> i32 {
        match &*self.0 {
            Signal::Event(event) => event.raw(),
            #[cfg(any(test, feature = "sim"))]
            Signal::Flag(_) => -1,
        }
    }

    /// Forgets the wakes so far. The ring calls this before it reports them, so that a later one is a new
    /// event.
    pub(crate) fn drain(&self) {
        match &*self.0 {
            Signal::Event(event) => event.drain(),
            #[cfg(any(test, feature = "sim"))]
            Signal::Flag(flag) => flag.store(false, Ordering::Release),
        }
    }
}
