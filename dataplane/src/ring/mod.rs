//! The rings: submit an operation, wait, get completions.
#![expect(unsafe_code, reason = "io_uring and epoll system calls")]

mod op;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
mod slots;
mod waker;

pub use op::{Completion, Fd, Interest, Op, OpKey, Outcome, Readiness, RecvInto, Token};
pub use waker::Waker;

/// What a ring has counted since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RingCounters {
    /// Calls into the kernel that submit or wait (`io_uring_enter`, `epoll_wait`).
    pub enters: u64,
    /// Operations submitted by the owner.
    pub submitted: u64,
    /// Completions taken from the kernel, internal ones included; under epoll: events.
    pub cqes: u64,
    /// Receives that found no buffer.
    pub enobufs: u64,
    /// Times the kernel's completion queue had overflowed.
    pub overflows: u64,
    /// Sends that transmitted a part only.
    pub short_sends: u64,
    /// Operations that had to wait for room in the submission queue.
    pub backlogged: u64,
    /// Operations that the kernel gave back with `EAGAIN` or `EINTR` and that were started again.
    pub retried: u64,
    /// Completions for operations that had ended; what they carried was reclaimed.
    pub stale: u64,
}
