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
//! * A cancel takes a while; until it works the operation can still give its result, and what it held comes back either way.
//! * An operation holds its socket: closing the descriptor neither ends it nor tells the peer anything, and the number may
//!   name another socket at once.
//! * Completions of one operation keep their order; those of different operations change places.
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

use super::slots::Slots;
use super::{Completion, Fd, Op, OpKey, Outcome, RingCounters, Token, Waker};
use crate::buf::Pool;
use execute::{Flight, Gain, Step};
use socket::{SeatId, SockId};

pub use client::{SimListener, SimSocket};
pub use faults::SimConfig;
pub use net::{CLIENT_HOST, SimCounters, SimNet};

/// A ring on a simulated host.
pub struct SimRing {
    net: SimNet,
    host: IpAddr,
    seat: SeatId,
    small: Pool,
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
            slots: Slots::default(),
            flights: BTreeMap::new(),
            pending: BTreeMap::new(),
            agenda: BTreeMap::new(),
            steps: 0,
            waker,
            counters: RingCounters::default(),
        }
    }

    /// Starts an operation; its first try is a step of a later `wait`.
    pub fn submit(&mut self, op: Op, token: Token) -> OpKey {
        self.counters.submitted += 1;
        let socket = self.socket_of(op.fd());
        let connect_to = if let Op::Connect { addr, .. } = op {
            Some(addr)
        } else {
            None
        };
        let key = self.slots.insert(op, token);
        self.flights.insert(key.index, Flight::new(connect_to));
        match socket {
            Ok(id) => self.take_off(key, id),
            Err(error) => self.land(key, Err(error), Gain::Nothing),
        }
        key
    }

    /// Asks for the end of an operation. Harmless when it has ended.
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
        let full = out.len() + BATCH;
        if self.take_wake() {
            out.push(Completion {
                token: Token::WAKE,
                more: false,
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

    /// Operations whose final completion has not been given out.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.slots.len()
    }

    /// What this ring has counted.
    #[must_use]
    pub fn counters(&self) -> RingCounters {
        self.counters
    }

    /// Listens; answers the address with the port that was picked if none was given.
    ///
    /// # Errors
    /// `EADDRINUSE`, `EMFILE`.
    pub fn listen(&mut self, addr: SocketAddr, reuse_port: bool) -> io::Result<(Fd, SocketAddr)> {
        self.check_alive()?;
        let (id, addr) = self.net.world().listen(self.host, addr, reuse_port)?;
        Ok((self.open(id)?, addr))
    }

    /// A socket to connect with.
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn socket(&mut self, _addr: &SocketAddr, bind: Option<SocketAddr>) -> io::Result<Fd> {
        self.check_alive()?;
        let id = self.net.world().fresh(self.host, bind);
        self.open(id)
    }

    /// Half-close: the peer reads to the end of what was sent.
    ///
    /// # Errors
    /// `ENOTCONN` when there is no connection (any more).
    pub fn shutdown_write(&mut self, fd: Fd) -> io::Result<()> {
        let id = self.socket_of(fd)?;
        self.net.world().shutdown(id)
    }

    /// Gives the descriptor's number free. The connection ends when no operation holds it either.
    pub fn close(&mut self, fd: Fd) {
        if !self.is_alive() {
            return;
        }
        let mut world = self.net.world();
        if let Some(id) = world.free_fd(self.host, fd.0) {
            if self.pending.contains_key(&id) {
                world.counters.closes_in_flight += 1;
            }
            world.note(&[3, id.0]);
            world.let_go(id);
        }
    }

    /// Closes so that the peer's next call fails: what is on the way may be lost.
    pub fn reset(&mut self, fd: Fd) {
        if let Ok(id) = self.socket_of(fd)
            && let Some(socket) = self.net.world().sockets.get_mut(&id)
        {
            socket.linger_zero = true;
        }
        self.close(fd);
    }

    /// Takes a socket out of this ring; nothing may be in flight on it.
    pub fn detach(&mut self, fd: Fd) {
        self.assign(fd, None);
    }

    /// Takes over a socket that another ring of this host accepted or opened and has detached.
    pub fn adopt(&mut self, fd: Fd) {
        self.assign(fd, Some(self.seat));
    }

    /// Ends all operations and frees what they hold; their completions are not given out.
    pub fn teardown(&mut self) {
        let agenda = std::mem::take(&mut self.agenda);
        for step in agenda.into_values() {
            if let Step::Accepted {
                result: Ok((fd, _)), ..
            } = step
            {
                self.close(fd);
            }
        }
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

    fn socket_of(&self, fd: Fd) -> io::Result<SockId> {
        self.check_alive()?;
        self.net.world().socket_of(self.host, fd.0)
    }

    /// Gives a new socket a descriptor.
    fn open(&mut self, id: SockId) -> io::Result<Fd> {
        let mut world = self.net.world();
        let fd = world.alloc_fd(self.host, id);
        match fd {
            Ok(_) => {
                if let Some(socket) = world.sockets.get_mut(&id) {
                    socket.seat = Some(self.seat);
                }
            }
            Err(_) => world.let_go(id),
        }
        fd.map(Fd)
    }

    fn assign(&mut self, fd: Fd, seat: Option<SeatId>) {
        let Ok(id) = self.socket_of(fd) else { return };
        debug_assert!(
            !self.pending.contains_key(&id),
            "a socket moves with nothing in flight"
        );
        if let Some(socket) = self.net.world().sockets.get_mut(&id) {
            socket.seat = seat;
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

/// Completions per `wait`.
const BATCH: usize = 1024;
