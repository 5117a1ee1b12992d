//! The rings: submit an operation, wait, get completions.
//!
//! One [`Ring`] per data thread, opened and used there. Above this module nobody can tell which kind it is:
//! all of them take the same operations and answer with the same completions in the same circumstances.
//!
//! # Driving contract
//! * `submit`, `cancel`, `close`, `reset` never complete anything and never fail; `wait` hands out
//!   completions.
//! * Every operation gives exactly one final completion (`more == false`), also when it was cancelled or its
//!   socket closed. Whatever the operation held comes back in it.
//! * One receive (or accept), one send (or connect) and one poll may be in flight per socket; one more is
//!   answered with `EBUSY`. An operation on a socket that the ring does not have is answered with `EBADF`, a
//!   receive into a full buffer with `EINVAL`.
//! * `ENOBUFS` on a receive: no buffer was free. The owner queues the socket and submits again when
//!   [`Ring::buffers_available`] is not zero.
//! * A connection can still be handed out after its accept was cancelled (not after its listener was closed):
//!   whoever drops a completion closes the socket in it.
//! * After `close` or `reset` the number may not be used, even while completions of the socket are due.
//!
//! # Invariants
//! * What the kernel may still touch is owned by the operation's slot until its last completion.
//! * A completion for a slot or a socket that was reused is recognised and what it carries is reclaimed.
//! * `wait` is bounded: about [`BATCH_MAX`] completions.
#![expect(unsafe_code, reason = "io_uring and epoll system calls")]

#[cfg(test)]
mod conformance;
mod epoll;
mod fds;
mod op;
mod probe;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
mod slots;
mod uring;
mod waker;

use std::io;
use std::net::SocketAddr;

use viaduct_proto::time::Now;

pub use epoll::EpollRing;
pub use op::{Completion, Fd, Interest, Op, OpKey, Outcome, Readiness, RecvInto, Token};
pub use probe::{Engine, EngineReport};
pub use uring::UringRing;
pub use waker::Waker;

#[cfg(any(test, feature = "sim"))]
use self::sim::{SimNet, SimRing};
use crate::buf::Pool;
pub use crate::config::EngineChoice;

/// The ring of one data thread.
#[derive(Debug)]
pub enum Ring {
    /// Over io_uring.
    Uring(Box<UringRing>),
    /// Over epoll.
    Epoll(Box<EpollRing>),
    /// Over a simulated network in virtual time.
    #[cfg(any(test, feature = "sim"))]
    Sim(Box<SimRing>),
}

/// Calls the same method of whichever ring it is.
macro_rules! each {
    ($self:expr, $ring:ident => $call:expr) => {
        match $self {
            Ring::Uring($ring) => $call,
            Ring::Epoll($ring) => $call,
            #[cfg(any(test, feature = "sim"))]
            Ring::Sim($ring) => $call,
        }
    };
}

/// Sizes of a ring.
#[derive(Debug, Clone)]
pub struct RingConfig {
    /// Submission queue entries; what does not fit waits in a list.
    pub entries: u32,
    /// Completion queue entries: at least twice the connections and buffers of the ring, or the kernel's slow
    /// path for overflow is taken.
    pub cq_entries: u32,
    /// Where provided receives take their buffers from.
    pub small: Pool,
    /// Buffers lent to the kernel at a time, at most 256 and at most half of the pool (io_uring only).
    pub provided: u32,
}

impl RingConfig {
    /// Usual sizes over a pool.
    #[must_use]
    pub fn new(small: Pool) -> Self {
        Self {
            entries: 1024,
            cq_entries: 32 * 1024,
            small,
            provided: 256,
        }
    }
}

impl Ring {
    /// Opens a ring of the kind asked for; with [`EngineChoice::Auto`], io_uring if it passes a test on
    /// loopback, else epoll. Must be called on the thread that will use it.
    ///
    /// # Errors
    /// The kind asked for does not work here, or epoll does not either.
    pub fn open(choice: EngineChoice, config: &RingConfig) -> io::Result<(Self, EngineReport)> {
        probe::open(choice, config)
    }

    /// A ring of a simulated host. Its `wait` never sleeps: the network's time is moved from outside.
    #[cfg(any(test, feature = "sim"))]
    #[must_use]
    pub fn sim(net: &SimNet, host: std::net::IpAddr, small: Pool) -> Self {
        Self::Sim(Box::new(SimRing::new(net, host, small)))
    }

    /// Takes an operation in. It completes with `token` in a later [`Self::wait`].
    pub fn submit(&mut self, op: Op, token: Token) -> OpKey {
        each!(self, ring => ring.submit(op, token))
    }

    /// Asks to end an operation early. It still gives its one final completion: `ECANCELED`, or its real
    /// result if that came first. Cancelling twice or with a stale key does nothing.
    pub fn cancel(&mut self, key: OpKey) {
        each!(self, ring => ring.cancel(key));
    }

    /// Submits everything and appends completions to `out`; sleeps until there is one, or until `deadline`
    /// (`None`: no limit; one in the past: does not sleep).
    ///
    /// # Errors
    /// The kernel refuses to work with this ring; no answer of a socket ends here.
    pub fn wait(&mut self, deadline: Option<Now>, out: &mut Vec<Completion>) -> io::Result<()> {
        each!(self, ring => ring.wait(deadline, out))
    }

    /// A listener on `addr`, and the address it got. `reuse_port` lets other rings listen on the same one.
    ///
    /// # Errors
    /// What `socket`, `bind` or `listen` says.
    pub fn listen(&mut self, addr: SocketAddr, reuse_port: bool) -> io::Result<(Fd, SocketAddr)> {
        each!(self, ring => ring.listen(addr, reuse_port))
    }

    /// A socket that can connect to `addr`, from `bind` if given.
    ///
    /// # Errors
    /// What `socket` or `bind` says.
    pub fn socket(&mut self, addr: &SocketAddr, bind: Option<SocketAddr>) -> io::Result<Fd> {
        each!(self, ring => ring.socket(addr, bind))
    }

    /// Ends the sending direction after what was sent; no send may be in flight.
    ///
    /// # Errors
    /// `ENOTCONN` if the connection is gone.
    pub fn shutdown_write(&mut self, fd: Fd) -> io::Result<()> {
        each!(self, ring => ring.shutdown_write(fd))
    }

    /// Closes a socket. Operations in flight are cancelled, and the descriptor is released after the last one
    /// ended.
    pub fn close(&mut self, fd: Fd) {
        each!(self, ring => ring.close(fd));
    }

    /// Closes a connection with a reset instead of an orderly end.
    pub fn reset(&mut self, fd: Fd) {
        each!(self, ring => ring.reset(fd));
    }

    /// Whether closing the connection resets it, also when the process dies and the kernel closes it.
    pub fn reset_on_close(&mut self, fd: Fd, reset: bool) {
        each!(self, ring => ring.reset_on_close(fd, reset));
    }

    /// Bytes that the kernel still holds for a peer that has not taken them, the end of the stream counted as one.
    #[must_use]
    pub fn unacknowledged(&self, fd: Fd) -> usize {
        each!(self, ring => ring.unacknowledged(fd))
    }

    /// Takes a socket out of this ring without closing it, for another ring to adopt. Nothing may be in
    /// flight on it.
    pub fn detach(&mut self, fd: Fd) {
        each!(self, ring => ring.detach(fd));
    }

    /// Takes in a socket that another ring has detached.
    pub fn adopt(&mut self, fd: Fd) {
        each!(self, ring => ring.adopt(fd));
    }

    /// Cancels everything, waits for the kernel to let go, drops what operations held, and closes all
    /// sockets. Dropping the ring does the same.
    pub fn teardown(&mut self) {
        each!(self, ring => ring.teardown());
    }

    /// The time that deadlines are compared with.
    #[must_use]
    pub fn now(&self) -> Now {
        each!(self, ring => ring.now())
    }

    /// A handle with which other threads end a wait.
    #[must_use]
    pub fn waker(&self) -> Waker {
        each!(self, ring => ring.waker())
    }

    /// Operations whose final completion was not handed out yet.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        each!(self, ring => ring.in_flight())
    }

    /// Sockets of this ring.
    #[must_use]
    pub fn open_fds(&self) -> usize {
        each!(self, ring => ring.open_fds())
    }

    /// Buffers that provided receives can still take. After `ENOBUFS`, submit again when this is not zero.
    #[must_use]
    pub fn buffers_available(&self) -> u32 {
        each!(self, ring => ring.buffers_available())
    }

    /// Counts since the ring was opened.
    #[must_use]
    pub fn counters(&self) -> RingCounters {
        each!(self, ring => ring.counters())
    }
}

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

/// Completions that one wait hands out at most, give or take those of one listener.
pub const BATCH_MAX: usize = 1024;
