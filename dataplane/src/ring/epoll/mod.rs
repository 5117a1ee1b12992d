//! The ring over epoll and non-blocking calls, for hosts where io_uring is old or forbidden.
//!
//! Readiness never leaves this module. An operation is recorded at submission; `wait` tries it, parks it when
//! the kernel answers `EAGAIN`, and tries it again when epoll reports an edge. So a waiting receive holds no
//! buffer.
//!
//! **Invariants.**
//! * A socket is registered once, edge-triggered for everything, when an operation on it first had to wait.
//!   Adding it reports what is ready already, so no edge is lost.
//! * `ready` of a socket is an upper bound: a flag is cleared only by a call that found nothing left
//!   (`EAGAIN`, or on a registered socket a count short of what was asked for) and set by an edge. A socket
//!   with an operation in a ready lane is in `work`.
//! * Nothing completes inside `submit`, `cancel` or `close`; ended operations wait in `done`.

mod attempt;
mod calls;
mod select;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;

use viaduct_proto::time::Now;

use self::select::{Event, Selector};
use super::fds::FdTable;
use super::op::{Completion, Fd, Op, OpKey, Outcome, Token};
use super::slots::{Entry, Lane, Lanes, Slots};
use super::{BATCH_MAX, RingConfig, RingCounters, Waker};
use crate::buf::Pool;
use crate::sys::clock;
use crate::sys::socket::{self, Blocking};

/// A ring over epoll.
#[derive(Debug)]
pub struct EpollRing {
    selector: Selector,
    waker: Waker,
    fds: FdTable<Socket>,
    slots: Slots,
    /// Sockets with an operation to try.
    work: VecDeque<Fd>,
    /// Operations that ended without the kernel.
    done: VecDeque<Completion>,
    pool: Pool,
    counters: RingCounters,
    /// Raised for each socket taken in, so that an event for a former owner of a number is recognised.
    generation: u32,
}

#[derive(Debug)]
struct Socket {
    lanes: Lanes,
    ready: Ready,
    generation: u32,
    registered: bool,
    /// In `work`.
    queued: bool,
    /// `connect` was called and is under way.
    connecting: bool,
}

/// What a call on the socket may find; see the invariants of the module.
#[derive(Debug, Clone, Copy)]
struct Ready {
    read: bool,
    write: bool,
    /// The peer hung up or an error is pending: reads stay ready, as their end is still to be read.
    hangup: bool,
}

impl EpollRing {
    /// Opens the ring.
    ///
    /// # Errors
    /// What `epoll_create1` or `eventfd` says.
    pub fn open(config: &RingConfig) -> io::Result<Self> {
        let selector = Selector::new()?;
        let waker = Waker::event()?;
        selector.add_waker(waker.raw_fd())?;
        Ok(Self {
            selector,
            waker,
            fds: FdTable::new(),
            slots: Slots::default(),
            work: VecDeque::new(),
            done: VecDeque::new(),
            pool: config.small.clone(),
            counters: RingCounters::default(),
            generation: 0,
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
        let lanes = self.fds.get_mut(fd).map(|socket| &mut socket.lanes);
        match entry.admit(key, lanes) {
            Ok(()) => self.enqueue(fd),
            Err(errno) => {
                let entry = self.slots.remove(key);
                self.done.extend(entry.map(|entry| entry.failed(errno)));
            }
        }
        key
    }

    /// See [`Ring::cancel`](super::Ring::cancel).
    pub fn cancel(&mut self, key: OpKey) {
        if let Some(entry) = self.finish(key) {
            self.done.push_back(entry.failed(libc::ECANCELED));
        }
    }

    /// See [`Ring::wait`](super::Ring::wait).
    ///
    /// # Errors
    /// What `epoll_wait` says.
    pub fn wait(&mut self, deadline: Option<Now>, out: &mut Vec<Completion>) -> io::Result<()> {
        let before = out.len();
        let limit = before + BATCH_MAX;
        loop {
            self.work(out, limit);
            let idle = out.len() == before && self.work.is_empty() && self.done.is_empty();
            let wait_until = if idle { deadline } else { Some(Now(0)) };
            self.counters.enters += 1;
            let events = self.selector.wait(wait_until)?;
            self.counters.cqes += events as u64;
            for index in 0..events {
                self.on_event(self.selector.event(index), out);
            }
            self.work(out, limit);
            if out.len() > before || deadline.is_some_and(|at| clock::monotonic() >= at) {
                return Ok(());
            }
        }
    }

    /// See [`Ring::listen`](super::Ring::listen).
    ///
    /// # Errors
    /// As there.
    pub fn listen(&mut self, addr: SocketAddr, reuse_port: bool) -> io::Result<(Fd, SocketAddr)> {
        let fd = socket::listener(&addr, reuse_port, Blocking::No)?;
        let bound = socket::local_addr(fd).inspect_err(|_| socket::close(fd))?;
        Ok((self.take_in(fd), bound))
    }

    /// See [`Ring::socket`](super::Ring::socket).
    ///
    /// # Errors
    /// As there.
    pub fn socket(&mut self, addr: &SocketAddr, bind: Option<SocketAddr>) -> io::Result<Fd> {
        let fd = socket::stream(addr, Blocking::No)?;
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
        let Some(socket) = self.fds.remove(fd) else { return };
        for key in socket.lanes.keys() {
            self.cancel(key);
        }
        socket::close(fd.0);
    }

    /// See [`Ring::reset`](super::Ring::reset).
    pub fn reset(&mut self, fd: Fd) {
        if self.fds.get_mut(fd).is_some() {
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
        if socket.registered {
            self.selector.remove(fd);
        }
    }

    /// See [`Ring::adopt`](super::Ring::adopt).
    pub fn adopt(&mut self, fd: Fd) {
        // A number that is not a descriptor fails in the first operation on it.
        drop(socket::set_blocking(fd.0, Blocking::No));
        self.take_in(fd.0);
    }

    /// See [`Ring::teardown`](super::Ring::teardown).
    pub fn teardown(&mut self) {
        for fd in self.fds.all() {
            self.close(fd);
        }
        self.work.clear();
        self.done.clear();
        debug_assert_eq!(self.slots.len(), 0, "every operation belongs to a socket");
    }

    /// See [`Ring::waker`](super::Ring::waker).
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// See [`Ring::now`](super::Ring::now).
    #[must_use]
    pub fn now(&self) -> Now {
        clock::monotonic()
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
        self.pool.free()
    }

    /// See [`Ring::counters`](super::Ring::counters).
    #[must_use]
    pub fn counters(&self) -> RingCounters {
        self.counters
    }

    fn take_in(&mut self, raw: i32) -> Fd {
        let fd = Fd(raw);
        self.generation = self.generation.wrapping_add(1);
        let socket = Socket {
            lanes: Lanes::default(),
            ready: Ready {
                read: true,
                write: true,
                hangup: false,
            },
            generation: self.generation,
            registered: false,
            queued: false,
            connecting: false,
        };
        self.fds.insert(fd, socket);
        fd
    }

    /// Takes an operation out of its slot and its lane.
    fn finish(&mut self, key: OpKey) -> Option<Entry> {
        let entry = self.slots.remove(key)?;
        if let Some(socket) = self.fds.get_mut(entry.fd) {
            socket.lanes.release(entry.lane(), key);
        }
        Some(entry)
    }

    fn enqueue(&mut self, fd: Fd) {
        if let Some(socket) = self.fds.get_mut(fd)
            && !socket.queued
        {
            socket.queued = true;
            self.work.push_back(fd);
        }
    }

    fn on_event(&mut self, event: Event, out: &mut Vec<Completion>) {
        let Event::Socket {
            fd,
            generation,
            readable,
            writable,
            hangup,
        } = event
        else {
            self.waker.drain();
            out.push(Completion {
                token: Token::WAKE,
                more: true,
                outcome: Outcome::Woken,
            });
            return;
        };
        let Some(socket) = self
            .fds
            .get_mut(fd)
            .filter(|socket| socket.generation == generation)
        else {
            self.counters.stale += 1;
            return;
        };
        socket.ready.read |= readable || hangup;
        socket.ready.write |= writable || hangup;
        socket.ready.hangup |= hangup;
        if !socket.lanes.is_empty() {
            self.enqueue(fd);
        }
    }

    /// Hands out ended operations and tries each queued socket once, until `limit` completions are out.
    fn work(&mut self, out: &mut Vec<Completion>, limit: usize) {
        while out.len() < limit
            && let Some(completion) = self.done.pop_front()
        {
            out.push(completion);
        }
        // Sockets queued meanwhile wait for the next call: one socket cannot hold the loop.
        for _ in 0..self.work.len() {
            if out.len() >= limit {
                return;
            }
            let Some(fd) = self.work.pop_front() else { return };
            if let Some(socket) = self.fds.get_mut(fd) {
                socket.queued = false;
                self.attempt_socket(fd, out);
            }
        }
    }

    fn attempt_socket(&mut self, fd: Fd, out: &mut Vec<Completion>) {
        let Some(socket) = self.fds.get_mut(fd) else {
            return;
        };
        let ready = socket.ready;
        let [poll, read, write] = [Lane::Poll, Lane::Read, Lane::Write].map(|lane| socket.lanes.get(lane));
        if let Some(key) = poll {
            self.attempt(key, out);
        }
        if let Some(key) = read.filter(|_| ready.read) {
            self.attempt(key, out);
        }
        if let Some(key) = write.filter(|_| ready.write) {
            self.attempt(key, out);
        }
    }
}

impl Drop for EpollRing {
    fn drop(&mut self) {
        self.teardown();
    }
}
