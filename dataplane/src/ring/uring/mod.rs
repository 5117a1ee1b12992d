//! The ring over io_uring (kernel 6.1 or later).
//!
//! One ring per thread with `SINGLE_ISSUER | DEFER_TASKRUN`: the kernel does the thread's completions only
//! while the thread is in `wait`. Receives into provided buffers are one-shot with buffer selection, so
//! waiting holds no buffer and a socket cannot take more than one per turn.
//!
//! **Invariants.**
//! * An entry leaves `slots` with its final completion and not before, staged and backlogged operations
//!   included.
//! * A socket in `fds` is closed only when its lanes are empty, so its number cannot be reused under an
//!   operation.
//! * `backlog` is first in, first out, and a cancel enters it after its target: a cancel never overtakes.
//! * Memory that the kernel may write to is released only after the last completion; if the kernel does not
//!   let go while the ring is torn down, it is leaked.

mod complete;
mod enter;
mod provided;
mod setup;
mod submit;
mod teardown;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;

use io_uring::{IoUring, cqueue, squeue};
use viaduct_proto::time::Now;

use self::enter::{Gate, Patience};
use self::provided::Provided;
pub(crate) use self::setup::SetupError;
use super::fds::FdTable;
use super::op::{Completion, Fd, Op, OpKey, Token};
use super::slots::{Held, Lanes, Slots};
use super::{BATCH_MAX, RingConfig, RingCounters, Waker};
use crate::buf::Pool;
use crate::sys::clock;
use crate::sys::socket::{self, Blocking};

/// A ring over io_uring.
pub struct UringRing {
    ring: IoUring,
    gate: Gate,
    provided: Provided,
    pool: Pool,
    waker: Waker,
    waker_watched: bool,
    fds: FdTable<Socket>,
    slots: Slots,
    /// What found the submission queue full.
    backlog: VecDeque<Request>,
    /// Operations that ended without the kernel.
    done: VecDeque<Completion>,
    /// Completions of one turn, copied out so that the queue is free again before they are looked at.
    reaped: Vec<cqueue::Entry>,
    counters: RingCounters,
}

#[derive(Debug, Default)]
struct Socket {
    lanes: Lanes,
    /// Its owner has closed it; the descriptor goes when the last operation ends.
    closing: bool,
}

/// An entry to be staged.
#[derive(Debug, Clone, Copy)]
enum Request {
    Start(OpKey),
    Cancel(OpKey),
}

impl UringRing {
    /// Opens the ring; must be called on the thread that uses it.
    ///
    /// # Errors
    /// The step that failed: creating the ring (old kernel, seccomp, sysctl), registering buffers, or the
    /// waker.
    pub(crate) fn open(config: &RingConfig) -> Result<Self, SetupError> {
        let ring = setup::create(config).map_err(SetupError::at("creating the ring"))?;
        let pool = config.small.clone();
        let provided = Provided::register(&ring, pool.clone(), config.provided)
            .map_err(SetupError::at("registering buffers"))?;
        let waker = Waker::event().map_err(SetupError::at("creating an eventfd"))?;
        Ok(Self {
            gate: Gate::new(&ring),
            ring,
            provided,
            pool,
            waker,
            waker_watched: false,
            fds: FdTable::new(),
            slots: Slots::default(),
            backlog: VecDeque::new(),
            done: VecDeque::new(),
            reaped: Vec::with_capacity(BATCH_MAX),
            counters: RingCounters::default(),
        })
    }

    /// See [`Ring::submit`](super::Ring::submit).
    pub fn submit(&mut self, op: Op, token: Token) -> OpKey {
        self.counters.submitted += 1;
        let fd = op.fd();
        let key = self.slots.insert(op, token);
        let Some(entry) = self.slots.get_mut(key) else {
            return key;
        };
        let socket = self.fds.get_mut(fd).filter(|socket| !socket.closing);
        match entry.admit(key, socket.map(|socket| &mut socket.lanes)) {
            Ok(()) => self.request(Request::Start(key)),
            Err(errno) => {
                let entry = self.slots.remove(key);
                self.done.extend(entry.map(|entry| entry.failed(errno)));
            }
        }
        key
    }

    /// See [`Ring::cancel`](super::Ring::cancel).
    pub fn cancel(&mut self, key: OpKey) {
        if let Some(entry) = self.slots.get_mut(key)
            && !entry.cancelled
        {
            entry.cancelled = true;
            self.request(Request::Cancel(key));
        }
    }

    /// See [`Ring::wait`](super::Ring::wait).
    ///
    /// # Errors
    /// What `io_uring_enter` says, less what a later call mends.
    pub fn wait(&mut self, deadline: Option<Now>, out: &mut Vec<Completion>) -> io::Result<()> {
        let before = out.len();
        let limit = before + BATCH_MAX;
        loop {
            self.prepare(out, limit)?;
            let idle = out.len() == before && self.done.is_empty() && self.ring.completion().is_empty();
            let patience = match deadline {
                _ if !idle => Patience::None,
                None => Patience::Forever,
                Some(at) if at > clock::monotonic() => Patience::Until(at),
                Some(_) => Patience::None,
            };
            let entered = self.enter(patience)?;
            self.reap(out, limit);
            if out.len() > before || !entered || deadline.is_some_and(|at| clock::monotonic() >= at) {
                return Ok(());
            }
        }
    }

    /// See [`Ring::listen`](super::Ring::listen).
    ///
    /// # Errors
    /// As there.
    pub fn listen(&mut self, addr: SocketAddr, reuse_port: bool) -> io::Result<(Fd, SocketAddr)> {
        let fd = socket::listener(&addr, reuse_port, Blocking::Yes)?;
        let bound = socket::local_addr(fd).inspect_err(|_| socket::close(fd))?;
        Ok((self.take_in(fd), bound))
    }

    /// See [`Ring::socket`](super::Ring::socket).
    ///
    /// # Errors
    /// As there.
    pub fn socket(&mut self, addr: &SocketAddr, bind: Option<SocketAddr>) -> io::Result<Fd> {
        let fd = socket::stream(addr, Blocking::Yes)?;
        if let Some(local) = bind {
            socket::bind(fd, &local).inspect_err(|_| socket::close(fd))?;
        }
        Ok(self.take_in(fd))
    }

    /// See [`Ring::shutdown_write`](super::Ring::shutdown_write).
    ///
    /// # Errors
    /// As there.
    pub fn shutdown_write(&mut self, fd: Fd) -> io::Result<()> {
        socket::shutdown_write(fd.0)
    }

    /// See [`Ring::close`](super::Ring::close).
    pub fn close(&mut self, fd: Fd) {
        let Some(socket) = self.fds.get_mut(fd) else {
            return;
        };
        if socket.closing {
            return;
        }
        socket.closing = true;
        for key in socket.lanes.keys() {
            self.cancel(key);
        }
        self.close_if_over(fd);
    }

    /// See [`Ring::reset`](super::Ring::reset).
    pub fn reset(&mut self, fd: Fd) {
        if self.fds.get_mut(fd).is_some_and(|socket| !socket.closing) {
            // A socket that refuses the option has no connection to reset.
            drop(socket::set_reset_on_close(fd.0, true));
            self.close(fd);
        }
    }

    /// See [`Ring::reset_on_close`](super::Ring::reset_on_close).
    pub fn reset_on_close(&mut self, fd: Fd, reset: bool) {
        // A socket that refuses the option has no connection to end.
        drop(socket::set_reset_on_close(fd.0, reset));
    }

    /// See [`Ring::unacknowledged`](super::Ring::unacknowledged).
    pub fn unacknowledged(&self, fd: Fd) -> usize {
        socket::unacknowledged(fd.0).unwrap_or(0)
    }

    /// See [`Ring::detach`](super::Ring::detach).
    pub fn detach(&mut self, fd: Fd) {
        let Some(socket) = self.fds.remove(fd) else { return };
        debug_assert!(
            socket.lanes.is_empty(),
            "a socket moves only when nothing is in flight on it"
        );
    }

    /// See [`Ring::adopt`](super::Ring::adopt).
    pub fn adopt(&mut self, fd: Fd) {
        // A number that is not a descriptor fails in the first operation on it.
        drop(socket::set_blocking(fd.0, Blocking::Yes));
        self.take_in(fd.0);
    }

    /// See [`Ring::now`](super::Ring::now).
    #[must_use]
    pub fn now(&self) -> Now {
        clock::monotonic()
    }

    /// See [`Ring::waker`](super::Ring::waker).
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// See [`Ring::in_flight`](super::Ring::in_flight).
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.slots.len() + self.done.len()
    }

    /// See [`Ring::open_fds`](super::Ring::open_fds).
    #[must_use]
    pub fn open_fds(&self) -> usize {
        self.fds.len()
    }

    /// See [`Ring::buffers_available`](super::Ring::buffers_available).
    #[must_use]
    pub fn buffers_available(&self) -> u32 {
        self.provided.available() + self.pool.free()
    }

    /// See [`Ring::counters`](super::Ring::counters).
    #[must_use]
    pub fn counters(&self) -> RingCounters {
        self.counters
    }

    /// Most buffers that are lent to the kernel at a time.
    pub(crate) fn lent_max(&self) -> usize {
        self.provided.limit()
    }

    /// Starts counting from here, as if the ring was new.
    pub(crate) fn set_counters(&mut self, counters: RingCounters) {
        self.counters = counters;
    }

    fn take_in(&mut self, raw: i32) -> Fd {
        let fd = Fd(raw);
        self.fds.insert(fd, Socket::default());
        fd
    }

    /// Hands out what ended without the kernel and stages everything that is to be submitted.
    fn prepare(&mut self, out: &mut Vec<Completion>, limit: usize) -> io::Result<()> {
        self.provided.top_up();
        // Watched before anything else: a wait without it could sleep through a wake.
        while !self.waker_watched {
            self.waker_watched = self.push(&submit::watch_waker(self.waker.raw_fd()));
            if !self.waker_watched && !self.enter(Patience::None)? {
                break;
            }
        }
        while let Some(&request) = self.backlog.front() {
            if self.stage(request) {
                self.backlog.pop_front();
            } else if !self.enter(Patience::None)? {
                // The kernel wants completions to be reaped first.
                break;
            }
        }
        while out.len() < limit
            && let Some(completion) = self.done.pop_front()
        {
            out.push(completion);
        }
        Ok(())
    }

    fn request(&mut self, request: Request) {
        if !self.backlog.is_empty() || !self.stage(request) {
            self.counters.backlogged += 1;
            self.backlog.push_back(request);
        }
    }

    /// Puts an entry into the submission queue; `false` if that is full.
    fn stage(&mut self, request: Request) -> bool {
        let (Request::Start(key) | Request::Cancel(key)) = request;
        // An operation that has ended meanwhile needs neither.
        let Some(entry) = self.slots.get_mut(key) else {
            return true;
        };
        let sqe = match request {
            Request::Start(_) if entry.cancelled => {
                let entry = self.finish(key);
                self.done.extend(entry.map(|entry| entry.failed(libc::ECANCELED)));
                return true;
            }
            Request::Start(_) => submit::start(entry, key),
            Request::Cancel(_) => submit::cancel(key, matches!(entry.held, Held::Accept)),
        };
        self.push(&sqe)
    }

    fn push(&mut self, sqe: &squeue::Entry) -> bool {
        // JUSTIFICATION: the crate cannot know how long the memory behind an entry lives.
        // SAFETY: an entry made by `submit::start` points into an operation in `slots`, which keeps it,
        // unchanged and at the same address, until the final completion; the other entries point to nothing.
        unsafe { self.ring.submission().push(sqe) }.is_ok()
    }

    /// Submits what is staged and waits. `false` if the kernel first wants completions to be reaped or memory
    /// to be freed.
    fn enter(&mut self, patience: Patience) -> io::Result<bool> {
        let queue = self.ring.submission();
        let (staged, taskrun, overflow) = (queue.len(), queue.taskrun(), queue.cq_overflow());
        drop(queue);
        if overflow {
            self.counters.overflows += 1;
        }
        if staged == 0 && !taskrun && !overflow && matches!(patience, Patience::None) {
            return Ok(true);
        }
        self.counters.enters += 1;
        match self.gate.enter(staged, patience) {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EAGAIN)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Releases the descriptor of a closed socket whose last operation has ended.
    fn close_if_over(&mut self, fd: Fd) {
        if self
            .fds
            .get_mut(fd)
            .is_some_and(|socket| socket.closing && socket.lanes.is_empty())
        {
            self.fds.remove(fd);
            socket::close(fd.0);
        }
    }
}

impl std::fmt::Debug for UringRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UringRing")
            .field("in_flight", &self.slots.len())
            .field("backlog", &self.backlog.len())
            .field("provided", &self.provided)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
