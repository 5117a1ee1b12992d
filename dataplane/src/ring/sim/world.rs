//! State of the simulated network: virtual time, queue of events, hosts with their descriptors, links, seats of rings.
//!
//! # Invariants
//! * Time moves only in [`World::advance`]; every event at one instant runs before time moves on.
//! * Ordered maps only, so that nothing depends on a hash seed or on addresses.
//! * A descriptor number is the lowest free one of its host, as in a process: it comes back at once after a close.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};

use viaduct_proto::time::Now;

use super::faults::Faults;
use super::socket::{Packet, Phase, SeatId, SockId, Socket};
use super::{SimConfig, SimCounters};
use crate::ring::Waker;

/// What happens at an instant.
#[derive(Debug, Clone, Copy)]
pub(super) enum Event {
    /// The oldest packet of this socket's wire arrives.
    Deliver(SockId),
    /// A connection attempt is sent again: the listener's queue was full.
    RetrySyn(SockId, SocketAddr),
    /// The answer to a connection attempt that met no listener.
    Refuse(SockId),
    ConnectTimeout(SockId),
    /// A partition has lasted so long that connections across it fail.
    Silence(Link),
}

/// Names a scheduled event; the number keeps the order of equals.
pub(super) type EventKey = (Now, u64);

/// Two hosts, in order.
pub(super) type Link = (IpAddr, IpAddr);

/// What the network keeps for a ring.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) host: IpAddr,
    /// The host's life this ring belongs to; a ring of an earlier life touches nothing.
    pub(super) incarnation: u32,
    /// Sockets that changed since the ring last looked.
    pub(super) changed: BTreeSet<SockId>,
    /// When the ring wants its next turn.
    pub(super) alarm: Option<Now>,
    /// That time has come, and the turn has not.
    pub(super) due: bool,
    pub(super) waker: Waker,
    /// The waker was used since the ring last looked.
    pub(super) woken: bool,
}

#[derive(Debug, Default)]
struct Host {
    incarnation: u32,
    fds: BTreeMap<i32, SockId>,
    free_fds: BTreeSet<i32>,
    fds_seen: i32,
    last_port: u16,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) now: Now,
    pub(super) faults: Faults,
    pub(super) counters: SimCounters,
    pub(super) sockets: BTreeMap<SockId, Socket>,
    pub(super) listeners: BTreeMap<SocketAddr, Vec<SockId>>,
    pub(super) seats: Vec<Seat>,
    events: BTreeMap<EventKey, Event>,
    hosts: BTreeMap<IpAddr, Host>,
    /// Partitions, each with its [`Event::Silence`].
    held: BTreeMap<Link, EventKey>,
    next_event: u64,
    next_socket: u64,
    trace: u64,
}

impl World {
    pub(super) fn new(config: SimConfig) -> Self {
        Self {
            now: EPOCH,
            faults: Faults::new(config),
            counters: SimCounters::default(),
            sockets: BTreeMap::new(),
            listeners: BTreeMap::new(),
            seats: Vec::new(),
            events: BTreeMap::new(),
            hosts: BTreeMap::new(),
            held: BTreeMap::new(),
            next_event: 0,
            next_socket: 0,
            trace: FNV_OFFSET,
        }
    }

    // ---- time ----

    /// When something happens next: a packet, a deadline of a ring, a wake-up.
    pub(super) fn next_due(&mut self) -> Option<Now> {
        let now = self.now;
        let alarms = self.seats.iter_mut().filter_map(|seat| {
            if seat.waker.take() {
                seat.woken = true;
                seat.alarm = Some(now);
            }
            seat.alarm.map(|at| at.max(now))
        });
        let event = self.events.keys().next().map(|&(at, _)| at);
        alarms.chain(event).min()
    }

    /// Moves to the next instant at which something happens, if it is not after `limit`, and lets it happen.
    pub(super) fn advance(&mut self, limit: Now) -> bool {
        let Some(due) = self.next_due().filter(|&due| due <= limit) else {
            if limit != FOREVER {
                self.now = self.now.max(limit);
            }
            return false;
        };
        self.now = self.now.max(due);
        while let Some(entry) = self.events.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            let event = entry.remove();
            self.run(event);
        }
        let now = self.now;
        for seat in &mut self.seats {
            let alarm = seat.alarm.filter(|&at| at > now);
            seat.due |= alarm != seat.alarm;
            seat.alarm = alarm;
        }
        true
    }

    pub(super) fn schedule(&mut self, at: Now, event: Event) -> EventKey {
        let key = (at, self.next_event);
        self.events.insert(key, event);
        self.next_event += 1;
        key
    }

    pub(super) fn unschedule(&mut self, key: EventKey) {
        self.events.remove(&key);
    }

    /// Folds what happened into the fingerprint.
    pub(super) fn note(&mut self, what: &[u64]) {
        for word in [self.now.0].iter().chain(what) {
            self.trace = (self.trace ^ word).wrapping_mul(FNV_PRIME).rotate_left(23);
        }
    }

    pub(super) fn fingerprint(&self) -> u64 {
        self.trace
    }

    // ---- seats ----

    pub(super) fn take_seat(&mut self, host: IpAddr, waker: Waker) -> SeatId {
        let incarnation = self.incarnation(host);
        self.seats.push(Seat {
            host,
            incarnation,
            changed: BTreeSet::new(),
            alarm: None,
            due: false,
            waker,
            woken: false,
        });
        SeatId(self.seats.len() - 1)
    }

    /// Whether the seat's ring still has a living host.
    pub(super) fn is_seated(&self, seat: SeatId) -> bool {
        self.seats
            .get(seat.0)
            .is_some_and(|s| self.hosts.get(&s.host).map_or(0, |h| h.incarnation) == s.incarnation)
    }

    /// Whether a ring of this host has something to do now.
    pub(super) fn is_due(&self, host: IpAddr) -> bool {
        self.seats
            .iter()
            .filter(|seat| seat.host == host)
            .any(|seat| seat.due || seat.woken || seat.alarm.is_some_and(|at| at <= self.now))
    }

    /// Asks for a turn of a ring at `at`, or earlier if it asked for that before.
    pub(super) fn want_turn(&mut self, seat: SeatId, at: Now) {
        if let Some(seat) = self.seats.get_mut(seat.0) {
            seat.alarm = Some(seat.alarm.map_or(at, |alarm| alarm.min(at)));
        }
    }

    /// Tells the socket's ring that something changed, and that it should have a turn at this very instant.
    pub(super) fn touch(&mut self, id: SockId) {
        let seat = self.sockets.get(&id).and_then(|s| s.seat);
        if let Some(seat) = seat.and_then(|seat| self.seats.get_mut(seat.0)) {
            seat.changed.insert(id);
            seat.alarm = Some(self.now);
        }
    }

    // ---- hosts ----

    pub(super) fn incarnation(&mut self, host: IpAddr) -> u32 {
        self.hosts.entry(host).or_default().incarnation
    }

    /// Ends a host's life: its descriptors are gone, its rings' calls fail.
    pub(super) fn bury(&mut self, host: IpAddr) {
        let host = self.hosts.entry(host).or_default();
        *host = Host {
            incarnation: host.incarnation + 1,
            last_port: host.last_port,
            ..Host::default()
        };
    }

    pub(super) fn open_fds(&self, host: IpAddr) -> usize {
        self.hosts.get(&host).map_or(0, |h| h.fds.len())
    }

    pub(super) fn has_free_fd(&self, host: IpAddr) -> bool {
        self.open_fds(host) < self.faults.config.fd_limit
    }

    pub(super) fn alloc_fd(&mut self, host: IpAddr, id: SockId) -> io::Result<i32> {
        if !self.has_free_fd(host) {
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        let host = self.hosts.entry(host).or_default();
        let fd = host.free_fds.pop_first().unwrap_or_else(|| {
            host.fds_seen += 1;
            FIRST_FD + host.fds_seen - 1
        });
        host.fds.insert(fd, id);
        Ok(fd)
    }

    pub(super) fn free_fd(&mut self, host: IpAddr, fd: i32) -> Option<SockId> {
        let host = self.hosts.get_mut(&host)?;
        let id = host.fds.remove(&fd)?;
        host.free_fds.insert(fd);
        Some(id)
    }

    pub(super) fn socket_of(&self, host: IpAddr, fd: i32) -> io::Result<SockId> {
        let id = self.hosts.get(&host).and_then(|h| h.fds.get(&fd)).copied();
        id.ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))
    }

    /// The next port a socket of this host is bound to when it asks for none.
    pub(super) fn ephemeral(&mut self, host: IpAddr) -> u16 {
        let host = self.hosts.entry(host).or_default();
        host.last_port = if host.last_port < FIRST_PORT {
            FIRST_PORT
        } else {
            host.last_port.wrapping_add(1)
        };
        host.last_port.max(FIRST_PORT)
    }

    pub(super) fn add_socket(&mut self, local: SocketAddr, host: IpAddr, phase: Phase) -> SockId {
        let id = SockId(self.next_socket);
        self.next_socket += 1;
        self.sockets.insert(id, Socket::new(local, host, phase));
        id
    }

    /// Sockets that satisfy a condition, oldest first; a copy, so that they can change while it is walked.
    pub(super) fn ids_where(&self, condition: impl Fn(&Socket) -> bool) -> Vec<SockId> {
        self.sockets
            .iter()
            .filter(|(_, s)| condition(s))
            .map(|(&id, _)| id)
            .collect()
    }

    // ---- links ----

    /// Stops delivery between two hosts; both may be the same one.
    pub(super) fn hold(&mut self, a: IpAddr, b: IpAddr) {
        let link = link(a, b);
        let at = self.now.after(self.faults.config.silence_limit);
        let silence = self.schedule(at, Event::Silence(link));
        if let Some(earlier) = self.held.insert(link, silence) {
            self.unschedule(earlier);
        }
    }

    /// Delivers what a partition held back, in order.
    pub(super) fn release(&mut self, a: IpAddr, b: IpAddr) {
        if let Some(silence) = self.held.remove(&link(a, b)) {
            self.unschedule(silence);
        }
        for id in self.ids_where(|s| s.stalled > 0) {
            if self.is_held(id) {
                continue;
            }
            let events = self
                .sockets
                .get_mut(&id)
                .map_or(0, |s| std::mem::take(&mut s.stalled));
            for _ in 0..events {
                self.schedule(self.now, Event::Deliver(id));
            }
        }
    }

    /// Whether what this socket sends is held back by a partition.
    pub(super) fn is_held(&self, id: SockId) -> bool {
        self.link_of(id).is_some_and(|link| self.held.contains_key(&link))
    }

    /// The link between a socket's host and the host it talks to.
    pub(super) fn link_of(&self, id: SockId) -> Option<Link> {
        let socket = self.sockets.get(&id)?;
        let remote = socket.remote?;
        let far = socket
            .peer
            .and_then(|peer| self.sockets.get(&peer))
            .map(|peer| peer.host);
        Some(link(socket.host, far.unwrap_or_else(|| self.host_at(remote))))
    }

    /// The host that listens at an address, or the one its IP address names.
    fn host_at(&self, addr: SocketAddr) -> IpAddr {
        let listener = self.listeners.get(&addr).and_then(|ids| ids.first());
        listener
            .and_then(|id| self.sockets.get(id))
            .map_or(addr.ip(), |s| s.host)
    }

    /// Puts a packet on a socket's wire; it arrives after all that were put there before.
    pub(super) fn transmit(&mut self, id: SockId, packet: Packet) {
        let at = self.now.after(self.faults.latency());
        let Some(socket) = self.sockets.get_mut(&id) else {
            return;
        };
        socket.last_arrival = socket.last_arrival.max(at);
        let at = socket.last_arrival;
        socket.wire.push_back(packet);
        self.schedule(at, Event::Deliver(id));
    }
}

pub(super) fn link(a: IpAddr, b: IpAddr) -> Link {
    if a <= b { (a, b) } else { (b, a) }
}

/// Virtual time starts here and not at zero, so that subtracting from it is seen in tests.
const EPOCH: Now = Now(1_000_000_000_000);
/// A limit that is no instant.
pub(super) const FOREVER: Now = Now(u64::MAX);
const FIRST_FD: i32 = 3;
const FIRST_PORT: u16 = 32_768;
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;
