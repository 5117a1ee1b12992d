//! How a simulated ring carries operations out: try when something changed, keep the result for a while, give it out.

use std::io;
use std::net::SocketAddr;

use viaduct_proto::time::Now;

use super::socket::{Phase, SockId, Socket};
use super::{SimRing, stream::bad_fd};
use crate::buf::{IOV_MAX_PER_SEND, Lease};
use crate::ring::slots::{Entry, Held};
use crate::ring::{Completion, Fd, Interest, OpKey, Outcome};

/// The part of an operation in flight that the slot table does not keep.
#[derive(Debug)]
pub(super) struct Flight {
    /// The socket it holds, until it has been executed.
    socket: Option<SockId>,
    /// Where a connect is to go, until it has started.
    connect_to: Option<SocketAddr>,
    /// Its descriptor was closed: an accept hands out no more connections.
    pub(super) closed: bool,
    /// A try is on the agenda.
    try_planned: bool,
}

/// An entry of the agenda.
#[derive(Debug)]
pub(super) enum Step {
    Try(OpKey),
    Cancel(OpKey),
    Accepted {
        key: OpKey,
        result: Accepted,
        more: bool,
    },
    /// `provided` is the buffer of a provided receive.
    End {
        key: OpKey,
        result: io::Result<usize>,
        provided: Option<Lease>,
    },
}

type Accepted = io::Result<(Fd, Option<SocketAddr>)>;

impl Flight {
    pub(super) fn new(connect_to: Option<SocketAddr>) -> Self {
        Self {
            socket: None,
            connect_to,
            closed: false,
            try_planned: false,
        }
    }
}

impl SimRing {
    /// Ties a new operation to its socket and plans its first try.
    pub(super) fn take_off(&mut self, key: OpKey, id: SockId) {
        self.pending.entry(id).or_default().push(key);
        if let Some(flight) = self.flights.get_mut(&key.index) {
            flight.socket = Some(id);
        }
        if let Some(socket) = self.net.world().sockets.get_mut(&id) {
            socket.holders += 1;
        }
        self.plan_try(key);
    }

    /// The operation has been executed: lets its socket go and plans the final completion.
    fn land(&mut self, key: OpKey, result: io::Result<usize>, provided: Option<Lease>) {
        let at = self.visible_at(key);
        self.untie(key);
        self.plan(
            at,
            Step::End {
                key,
                result,
                provided,
            },
        );
    }

    pub(super) fn fail(&mut self, key: OpKey, errno: i32) {
        self.land(key, Err(io::Error::from_raw_os_error(errno)), None);
    }

    pub(super) fn plan(&mut self, at: Now, step: Step) {
        self.agenda.insert((at, self.steps), step);
        self.steps += 1;
        self.net.world().want_turn(self.seat, at);
    }

    /// Plans a try of every operation whose socket changed.
    pub(super) fn retry_changed(&mut self) {
        let changed = self
            .net
            .world()
            .seats
            .get_mut(self.seat.0)
            .map(|seat| std::mem::take(&mut seat.changed));
        for id in changed.unwrap_or_default() {
            for key in self.pending.get(&id).cloned().unwrap_or_default() {
                self.plan_try(key);
            }
        }
    }

    /// Carries out one step, which may give a completion.
    pub(super) fn take(&mut self, step: Step, out: &mut Vec<Completion>) {
        match step {
            Step::Try(key) => self.try_operation(key),
            Step::Cancel(key) => self.on_cancel(key),
            Step::Accepted { key, result, more } => {
                let closed = self.flights.get(&key.index).is_some_and(|flight| flight.closed);
                let result = if closed { self.take_back(result) } else { result };
                if closed && more {
                    return;
                }
                let token = self.slots.get_mut(key).map(|entry| entry.token);
                if !more {
                    self.forget(key);
                }
                if let Some(token) = token {
                    self.give(
                        Completion {
                            token,
                            more,
                            outcome: Outcome::Accepted(result),
                        },
                        out,
                    );
                }
            }
            Step::End {
                key,
                result,
                provided,
            } => {
                if let Some(entry) = self.forget(key) {
                    let completion = match result {
                        Ok(n) => entry.completed(n, provided),
                        Err(error) => entry.failed(error.raw_os_error().unwrap_or(libc::EIO)),
                    };
                    self.give(completion, out);
                }
            }
        }
    }

    fn plan_try(&mut self, key: OpKey) {
        let Some(flight) = self.flights.get_mut(&key.index) else {
            return;
        };
        if !std::mem::replace(&mut flight.try_planned, true) {
            let delay = self.net.world().faults.op_delay();
            self.plan(self.net.now().after(delay), Step::Try(key));
        }
    }

    fn try_operation(&mut self, key: OpKey) {
        let Some(id) = self.socket_in_flight(key) else {
            return;
        };
        if let Some(flight) = self.flights.get_mut(&key.index) {
            flight.try_planned = false;
        }
        let Some(entry) = self.slots.get_mut(key) else {
            return;
        };
        match &mut entry.held {
            Held::Accept => {
                if self.flights.get(&key.index).is_some_and(|flight| !flight.closed) {
                    self.try_accept(key, id);
                }
            }
            Held::Connect(_) => self.try_connect(key, id),
            Held::Poll(interest) => {
                let interest = *interest;
                self.try_poll(key, id, interest);
            }
            Held::RecvProvided => self.try_recv_provided(key, id),
            Held::RecvLease(lease) => {
                let result = self.net.world().recv(id, lease.spare_mut());
                self.land_unless_blocked(key, result);
            }
            Held::Send(gather) => {
                let parts = gather
                    .chunks()
                    .take(IOV_MAX_PER_SEND)
                    .map(|chunk| chunk.as_slice());
                let result = self.net.world().send(id, parts);
                if result.as_ref().is_ok_and(|&n| n < gather.len()) {
                    self.counters.short_sends += 1;
                }
                self.land_unless_blocked(key, result);
            }
        }
    }

    /// Takes connections until the queue is empty, up to a turn's worth.
    fn try_accept(&mut self, key: OpKey, id: SockId) {
        for _ in 0..ACCEPTS_PER_TRY {
            let result = self.accept_one(id);
            if result
                .as_ref()
                .is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock)
            {
                return;
            }
            let more = result.is_ok() && {
                let mut world = self.net.world();
                let end = world.faults.config.accept_end;
                !world.faults.chance(end)
            };
            let at = self.visible_at(key);
            if !more {
                self.untie(key);
            }
            self.plan(at, Step::Accepted { key, result, more });
            if !more {
                return;
            }
        }
        self.plan_try(key);
    }

    fn accept_one(&mut self, listener: SockId) -> Accepted {
        let mut world = self.net.world();
        let waiting = world.sockets.get(&listener).ok_or_else(bad_fd)?.is_readable();
        let emfile = world.faults.config.emfile;
        if waiting && world.faults.chance(emfile) {
            world.counters.emfile += 1;
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        if waiting && !world.has_free_fd(self.host) {
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        let id = world.accept(listener)?;
        let socket = world.sockets.get(&id).ok_or_else(bad_fd)?;
        let peer = if socket.phase == Phase::Ended {
            None
        } else {
            socket.remote
        };
        drop(world);
        Ok((self.open(id)?, peer))
    }

    /// What an accept whose listener was closed meanwhile answers.
    fn take_back(&mut self, accepted: Accepted) -> Accepted {
        let (fd, _) = accepted?;
        self.close(fd);
        Err(io::Error::from_raw_os_error(libc::ECANCELED))
    }

    fn try_connect(&mut self, key: OpKey, id: SockId) {
        let connect_to = self
            .flights
            .get_mut(&key.index)
            .and_then(|flight| flight.connect_to.take());
        let mut world = self.net.world();
        let result = match connect_to {
            Some(addr) => match world.connect(id, addr) {
                Ok(()) => return,
                Err(error) => Err(error),
            },
            None => match world
                .sockets
                .get_mut(&id)
                .map_or_else(|| Some(Err(bad_fd())), |s| s.connect_result())
            {
                Some(result) => result,
                None => return,
            },
        };
        drop(world);
        self.land(key, result.map(|()| 0), None);
    }

    fn try_poll(&mut self, key: OpKey, id: SockId, interest: Interest) {
        let Some(flags) = self.net.world().sockets.get(&id).map(Socket::poll_flags) else {
            return;
        };
        let wanted = interest.poll_flags() | libc::POLLHUP | libc::POLLERR;
        if flags & wanted != 0 {
            let found = usize::from((flags & wanted).cast_unsigned());
            self.land(key, Ok(found), None);
        }
    }

    fn try_recv_provided(&mut self, key: OpKey, id: SockId) {
        let mut world = self.net.world();
        let Some(socket) = world.sockets.get(&id) else {
            return;
        };
        if !socket.is_readable() {
            return;
        }
        let made_up = world.faults.enobufs();
        world.counters.enobufs += u64::from(made_up);
        let lease = if made_up { None } else { self.small.take() };
        let Some(mut lease) = lease else {
            drop(world);
            self.counters.enobufs += 1;
            self.fail(key, libc::ENOBUFS);
            return;
        };
        let result = world.recv(id, lease.spare_mut());
        drop(world);
        let received = result.as_ref().is_ok_and(|&n| n > 0);
        self.land(key, result, Some(lease).filter(|_| received));
    }

    fn land_unless_blocked(&mut self, key: OpKey, result: io::Result<usize>) {
        if !result
            .as_ref()
            .is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock)
        {
            self.land(key, result, None);
        }
    }

    fn on_cancel(&mut self, key: OpKey) {
        if self.socket_in_flight(key).is_some() {
            self.fail(key, libc::ECANCELED);
        } else if self.slots.get_mut(key).is_some() {
            self.net.world().counters.late_cancels += 1;
        }
    }

    /// The socket of an operation that has not been executed; `None` also for stale keys.
    fn socket_in_flight(&mut self, key: OpKey) -> Option<SockId> {
        self.slots.get_mut(key)?;
        self.flights.get(&key.index)?.socket
    }

    fn untie(&mut self, key: OpKey) {
        let Some(id) = self
            .flights
            .get_mut(&key.index)
            .and_then(|flight| flight.socket.take())
        else {
            return;
        };
        if let Some(keys) = self.pending.get_mut(&id) {
            keys.retain(|&other| other != key);
            if keys.is_empty() {
                self.pending.remove(&id);
            }
        }
        self.net.world().let_go(id);
    }

    fn forget(&mut self, key: OpKey) -> Option<Entry> {
        let entry = self.slots.remove(key)?;
        self.flights.remove(&key.index);
        if let Some(socket) = self.fds.get_mut(entry.fd) {
            socket.lanes.release(entry.lane(), key);
        }
        Some(entry)
    }

    /// When a completion becomes visible: not before those of operations on the same socket that were executed earlier.
    fn visible_at(&mut self, key: OpKey) -> Now {
        let id = self.flights.get(&key.index).and_then(|flight| flight.socket);
        let mut world = self.net.world();
        let at = world.now.after(world.faults.op_delay());
        let Some(socket) = id.and_then(|id| world.sockets.get_mut(&id)) else {
            return at;
        };
        socket.visible = socket.visible.max(at);
        socket.visible
    }

    fn give(&mut self, completion: Completion, out: &mut Vec<Completion>) {
        self.counters.cqes += 1;
        let token = completion.token;
        let label = [
            u64::from(token.index()),
            u64::from(token.generation()),
            u64::from(token.kind()),
        ];
        let mut world = self.net.world();
        world.note(&label);
        world.note(&[4, self.seat.0 as u64, code(&completion.outcome)]);
        drop(world);
        out.push(completion);
    }
}

/// What a completion adds to the fingerprint.
fn code(outcome: &Outcome) -> u64 {
    fn of<T>(kind: u64, result: &io::Result<T>, value: impl Fn(&T) -> u64) -> u64 {
        let value = match result {
            Ok(ok) => value(ok) << 1,
            Err(error) => u64::from(error.raw_os_error().unwrap_or(0).unsigned_abs()) << 1 | 1,
        };
        value << 3 | kind
    }
    match outcome {
        Outcome::Accepted(result) => of(0, result, |(fd, _)| u64::from(fd.0.unsigned_abs())),
        Outcome::Connected(result) => of(1, result, |()| 0),
        Outcome::Polled(result) => of(2, result, |r| u64::from(r.readable) | u64::from(r.hangup) << 1),
        Outcome::Received { result, .. } => of(3, result, |&n| n as u64),
        Outcome::Sent { result, .. } => of(4, result, |&n| n as u64),
        Outcome::Woken => 5,
    }
}

/// Connections one try takes, so that a flood of them leaves room for others.
const ACCEPTS_PER_TRY: usize = 64;
