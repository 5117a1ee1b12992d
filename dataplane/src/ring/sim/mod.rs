//! A deterministic network in virtual time, and a ring on it with the completion semantics of the kernel's.
//!
//! * [`SimNet`] is the network. Its time moves only in [`SimNet::advance_to_next`]; one seed decides everything.
//! * [`SimRing`] is a ring of one host. [`SimRing::wait`] never blocks: it gives the completions that are due now.
//! * [`SimSocket`] and [`SimListener`] are peers that a test plays by hand, without a ring.
//!
//! A test gives each ring its turn, then advances:
//! ```text
//! loop { for each shard: ring.wait(next timer) -> completions -> machines -> ring.submit;
//!        if !net.advance_to_next(limit) { break } }
//! ```
//!
//! # Invariants
//! * An operation has exactly one final completion, never from within `submit` or `cancel`.
//! * A cancel takes a while; until it works the operation can still give its result. What it held comes back in either
//!   case.
//! * An operation holds its socket: after `close` the peer learns nothing until the last one has ended, while the
//!   number may name another socket at once. What the numbers of a host mean is kept by the network.
//! * Completions of one socket keep the order in which its operations were executed, as the kernel's do: only the first
//!   one after a reset is told of it. Those of different sockets change places.
#![forbid(unsafe_code)]

mod client;
mod execute;
mod faults;
mod net;
mod socket;
mod stream;
#[cfg(test)]
mod tests;
mod world;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

use viaduct_proto::time::Now;

use super::fds::FdTable;
use super::slots::{Lanes, Slots};
use super::{BATCH_MAX, Completion, Fd, Op, OpKey, Outcome, RingCounters, Token, Waker};
use crate::buf::Pool;
use execute::{Flight, Step};
use socket::{SeatId, SockId};
use stream::bad_fd;

pub use client::{SimListener, SimSocket};
pub use faults::SimConfig;
pub use net::{CLIENT_HOST, SimCounters, SimNet};

/// A ring on a simulated host.
pub struct SimRing {
    net: SimNet,
    host: IpAddr,
    seat: SeatId,
    small: Pool,
    fds: FdTable<Owned>,
    slots: Slots,
    /// What `slots` does not know of an operation, by slot index.
    flights: BTreeMap<u32, Flight>,
    /// Operations of each socket that have not been executed.
    pending: BTreeMap<SockId, Vec<OpKey>>,
    /// What to do when; the number keeps the order of equals.
    agenda: BTreeMap<(Now, u64), Step>,
    steps: u64,
    waker: Waker,
    counters: RingCounters,
}

/// A socket of this ring.
#[derive(Debug)]
struct Owned {
    id: SockId,
    lanes: Lanes,
}

impl SimRing {
    /// A ring of `host`, receiving into buffers of `small`. Rings of one host share its descriptors, as threads do.
    #[must_use]
    pub fn new(net: &SimNet, host: IpAddr, small: Pool) -> Self {
        let waker = Waker::flag();
        let seat = net.world().take_seat(host, waker.clone());
        Self {
            net: net.clone(),
            host,
            seat,
            small,
            fds: FdTable::new(),
            slots: Slots::default(),
            flights: BTreeMap::new(),
            pending: BTreeMap::new(),
            agenda: BTreeMap::new(),
            steps: 0,
            waker,
            counters: RingCounters::default(),
        }
    }

    /// See [`Ring::submit`](super::Ring::submit).
    pub fn submit(&mut self, op: Op, token: Token) -> OpKey {
        self.counters.submitted += 1;
        let fd = op.fd();
        let connect_to = if let Op::Connect { addr, .. } = op {
            Some(addr)
        } else {
            None
        };
        let key = self.slots.insert(op, token);
        self.flights.insert(key.index, Flight::new(connect_to));
        let socket = self.fds.get_mut(fd);
        let id = socket.as_ref().map(|socket| socket.id);
        let lanes = socket.map(|socket| &mut socket.lanes);
        let Some(entry) = self.slots.get_mut(key) else {
            return key;
        };
        match (entry.admit(key, lanes), id) {
            (Ok(()), Some(id)) => self.take_off(key, id),
            (Ok(()), None) => self.fail(key, libc::EBADF),
            (Err(errno), _) => self.fail(key, errno),
        }
        key
    }

    /// See [`Ring::cancel`](super::Ring::cancel).
    pub fn cancel(&mut self, key: OpKey) {
        let Some(entry) = self.slots.get_mut(key) else {
            return;
        };
        if !std::mem::replace(&mut entry.cancelled, true) {
            let delay = self.net.world().faults.op_delay();
            self.plan(self.net.now().after(delay), Step::Cancel(key));
        }
    }

    /// Appends what is due at the network's present time, and notes `deadline` as an event of the network.
    ///
    /// # Errors
    /// Never; the signature is that of the other rings.
    pub fn wait(&mut self, deadline: Option<Now>, out: &mut Vec<Completion>) -> io::Result<()> {
        self.counters.enters += 1;
        if !self.is_alive() {
            return Ok(());
        }
        let full = out.len() + BATCH_MAX;
        if self.take_wake() {
            out.push(Completion {
                token: Token::WAKE,
                more: true,
                outcome: Outcome::Woken,
            });
        }
        self.retry_changed();
        let now = self.net.now();
        while out.len() < full {
            let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 <= now) else {
                break;
            };
            let step = entry.remove();
            self.take(step, out);
        }
        self.retry_changed();
        let next = self.agenda.keys().next().map(|&(at, _)| at);
        if let Some(seat) = self.net.world().seats.get_mut(self.seat.0) {
            seat.alarm = next.into_iter().chain(deadline).min();
            seat.due = false;
        }
        Ok(())
    }

    /// Virtual time.
    #[must_use]
    pub fn now(&self) -> Now {
        self.net.now()
    }

    /// Wakes this ring, from any thread; the wake-up is an event of the network.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// See [`Ring::in_flight`](super::Ring::in_flight).
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.slots.len()
    }

    /// See [`Ring::open_fds`](super::Ring::open_fds).
    #[must_use]
    pub fn open_fds(&self) -> usize {
        self.fds.len()
    }

    /// See [`Ring::buffers_available`](super::Ring::buffers_available). During a burst of made-up `ENOBUFS` this is not
    /// zero; each receive that is submitted again brings its end nearer.
    #[must_use]
    pub fn buffers_available(&self) -> u32 {
        self.small.free()
    }

    /// See [`Ring::counters`](super::Ring::counters).
    #[must_use]
    pub fn counters(&self) -> RingCounters {
        self.counters
    }

    /// See [`Ring::listen`](super::Ring::listen).
    ///
    /// # Errors
    /// `EADDRINUSE`, `EMFILE`; `ENETDOWN` after the host was killed.
    pub fn listen(&mut self, addr: SocketAddr, reuse_port: bool) -> io::Result<(Fd, SocketAddr)> {
        self.check_alive()?;
        let (id, addr) = self.net.world().listen(self.host, addr, reuse_port)?;
        Ok((self.open(id)?, addr))
    }

    /// See [`Ring::socket`](super::Ring::socket).
    ///
    /// # Errors
    /// `EMFILE`; `ENETDOWN` after the host was killed.
    pub fn socket(&mut self, _addr: &SocketAddr, bind: Option<SocketAddr>) -> io::Result<Fd> {
        self.check_alive()?;
        let id = self.net.world().fresh(self.host, bind);
        self.open(id)
    }

    /// See [`Ring::shutdown_write`](super::Ring::shutdown_write).
    ///
    /// # Errors
    /// As there; `ENETDOWN` after the host was killed.
    pub fn shutdown_write(&mut self, fd: Fd) -> io::Result<()> {
        self.check_alive()?;
        let id = self.id_of(fd).ok_or_else(bad_fd)?;
        self.net.world().shutdown(id)
    }

    /// See [`Ring::close`](super::Ring::close). The number is free at once, as under epoll.
    pub fn close(&mut self, fd: Fd) {
        let Some(Owned { id, lanes }) = self.fds.remove(fd) else {
            return;
        };
        for key in lanes.keys() {
            if let Some(flight) = self.flights.get_mut(&key.index) {
                flight.closed = true;
            }
            self.cancel(key);
        }
        if self.is_alive() {
            let mut world = self.net.world();
            world.counters.closes_in_flight += u64::from(self.pending.contains_key(&id));
            world.note(&[3, id.0]);
            world.free_fd(self.host, fd.0);
            world.let_go(id);
        }
    }

    /// See [`Ring::reset`](super::Ring::reset). What is on the way may be lost.
    pub fn reset(&mut self, fd: Fd) {
        self.reset_on_close(fd, true);
        self.close(fd);
    }

    /// See [`Ring::reset_on_close`](super::Ring::reset_on_close).
    pub fn reset_on_close(&mut self, fd: Fd, reset: bool) {
        if let Some(id) = self.id_of(fd)
            && let Some(socket) = self.net.world().sockets.get_mut(&id)
        {
            socket.linger_zero = reset;
        }
    }

    /// See [`Ring::unacknowledged`](super::Ring::unacknowledged). The simulated network delivers what was sent, whoever
    /// closes.
    pub const fn unacknowledged(&self, _fd: Fd) -> usize {
        0
    }

    /// See [`Ring::detach`](super::Ring::detach).
    pub fn detach(&mut self, fd: Fd) {
        let Some(Owned { id, lanes }) = self.fds.remove(fd) else {
            return;
        };
        debug_assert!(
            lanes.is_empty(),
            "a socket moves only when nothing is in flight on it"
        );
        if let Some(socket) = self.net.world().sockets.get_mut(&id) {
            socket.seat = None;
        }
    }

    /// See [`Ring::adopt`](super::Ring::adopt). The socket comes from a ring of the same host.
    pub fn adopt(&mut self, fd: Fd) {
        let id = self
            .check_alive()
            .and_then(|()| self.net.world().socket_of(self.host, fd.0));
        if let Ok(id) = id {
            self.take_in(fd, id);
        }
    }

    /// See [`Ring::teardown`](super::Ring::teardown).
    pub fn teardown(&mut self) {
        for fd in self.fds.all() {
            self.close(fd);
        }
        self.agenda.clear();
        for (id, keys) in std::mem::take(&mut self.pending) {
            for _ in keys {
                self.net.world().let_go(id);
            }
        }
        for key in self.slots.keys().collect::<Vec<_>>() {
            self.slots.remove(key);
        }
        self.flights.clear();
        if let Some(seat) = self.net.world().seats.get_mut(self.seat.0) {
            seat.alarm = None;
            seat.changed.clear();
        }
    }

    fn is_alive(&self) -> bool {
        self.net.world().is_seated(self.seat)
    }

    fn check_alive(&self) -> io::Result<()> {
        if self.is_alive() {
            Ok(())
        } else {
            Err(io::Error::from_raw_os_error(libc::ENETDOWN))
        }
    }

    fn id_of(&mut self, fd: Fd) -> Option<SockId> {
        self.fds.get_mut(fd).map(|socket| socket.id)
    }

    /// Gives a new socket a descriptor.
    fn open(&mut self, id: SockId) -> io::Result<Fd> {
        let fd = self.net.world().alloc_fd(self.host, id);
        match fd {
            Ok(fd) => self.take_in(Fd(fd), id),
            Err(_) => self.net.world().let_go(id),
        }
        fd.map(Fd)
    }

    fn take_in(&mut self, fd: Fd, id: SockId) {
        self.fds.insert(
            fd,
            Owned {
                id,
                lanes: Lanes::default(),
            },
        );
        if let Some(socket) = self.net.world().sockets.get_mut(&id) {
            socket.seat = Some(self.seat);
        }
    }

    fn take_wake(&mut self) -> bool {
        let mut world = self.net.world();
        let seat = world.seats.get_mut(self.seat.0);
        let woken = seat.is_some_and(|seat| std::mem::take(&mut seat.woken));
        self.waker.take() || woken
    }
}

impl Drop for SimRing {
    fn drop(&mut self) {
        self.teardown();
    }
}

impl fmt::Debug for SimRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let in_flight = self.slots.len();
        f.debug_struct("SimRing")
            .field("host", &self.host)
            .field("in_flight", &in_flight)
            .finish_non_exhaustive()
    }
}
