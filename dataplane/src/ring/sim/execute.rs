//! How a simulated ring carries operations out: try when something changed, keep the result for a while, give it out.

use std::io;
use std::net::SocketAddr;

use viaduct_proto::time::Now;

use super::socket::{Phase, SockId};
use super::{SimRing, stream::bad_fd};
use crate::buf::{IOV_MAX_PER_SEND, Lease};
use crate::ring::slots::{Entry, Held};
use crate::ring::{Completion, Fd, Interest, OpKey, Outcome, Readiness};

/// The part of an operation in flight that the slot table does not keep.
#[derive(Debug)]
pub(super) struct Flight {
    /// The socket it holds, until it has been executed.
    socket: Option<SockId>,
    /// Where a connect is to go, until it has started.
    connect_to: Option<SocketAddr>,
    /// A try is on the agenda.
    try_planned: bool,
    /// When the newest completion becomes visible: the next one is not earlier.
    visible: Now,
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
    End {
        key: OpKey,
        result: io::Result<usize>,
        gain: Gain,
    },
}

type Accepted = io::Result<(Fd, Option<SocketAddr>)>;

/// What an operation brings beside its result.
#[derive(Debug)]
pub(super) enum Gain {
    Nothing,
    Buffer(Lease),
    Readiness(Readiness),
}

impl Flight {
    pub(super) fn new(connect_to: Option<SocketAddr>) -> Self {
        Self {
            socket: None,
            connect_to,
            try_planned: false,
            visible: Now(0),
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
    pub(super) fn land(&mut self, key: OpKey, result: io::Result<usize>, gain: Gain) {
        self.untie(key);
        let at = self.visible_at(key);
        self.plan(at, Step::End { key, result, gain });
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
            Step::End { key, result, gain } => {
                if let Some(Entry { token, held, .. }) = self.forget(key) {
                    self.give(
                        Completion {
                            token,
                            more: false,
                            outcome: outcome(held, result, gain),
                        },
                        out,
                    );
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
            Held::Accept => self.try_accept(key, id),
            Held::Connect(_) => self.try_connect(key, id),
            Held::Poll(interest) => {
                let interest = *interest;
                self.try_poll(key, id, interest);
            }
            Held::RecvProvided => self.try_recv_provided(key, id),
            Held::RecvLease(lease) => {
                let result = self.net.world().recv(id, lease.spare_mut());
                if let Ok(n) = result {
                    lease.set_filled(lease.filled() + n);
                }
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
            if !more {
                self.untie(key);
            }
            let at = self.visible_at(key);
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
        let fd = world.alloc_fd(self.host, id)?;
        let Some(socket) = world.sockets.get_mut(&id) else {
            return Err(bad_fd());
        };
        socket.seat = Some(self.seat);
        let peer = if socket.phase == Phase::Ended {
            None
        } else {
            socket.remote
        };
        Ok((Fd(fd), peer))
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
        self.land(key, result.map(|()| 0), Gain::Nothing);
    }

    fn try_poll(&mut self, key: OpKey, id: SockId, interest: Interest) {
        let Some(readiness) = self.net.world().sockets.get(&id).map(|socket| Readiness {
            readable: socket.is_readable(),
            hangup: socket.is_hung_up(),
            error: socket.error.is_some(),
        }) else {
            return;
        };
        let wanted = (readiness.readable && interest.contains(Interest::READ))
            || (readiness.hangup && interest.contains(Interest::HANGUP));
        if wanted || readiness.error {
            self.land(key, Ok(0), Gain::Readiness(readiness));
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
            self.land(
                key,
                Err(io::Error::from_raw_os_error(libc::ENOBUFS)),
                Gain::Nothing,
            );
            return;
        };
        let result = world.recv(id, lease.spare_mut());
        drop(world);
        let gain = match result {
            Ok(n) if n > 0 => {
                lease.set_filled(n);
                Gain::Buffer(lease)
            }
            _ => Gain::Nothing,
        };
        self.land(key, result, gain);
    }

    fn land_unless_blocked(&mut self, key: OpKey, result: io::Result<usize>) {
        if !result
            .as_ref()
            .is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock)
        {
            self.land(key, result, Gain::Nothing);
        }
    }

    fn on_cancel(&mut self, key: OpKey) {
        if self.socket_in_flight(key).is_some() {
            self.land(
                key,
                Err(io::Error::from_raw_os_error(libc::ECANCELED)),
                Gain::Nothing,
            );
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
        Some(entry)
    }

    fn visible_at(&mut self, key: OpKey) -> Now {
        let delay = self.net.world().faults.op_delay();
        let at = self.net.now().after(delay);
        let Some(flight) = self.flights.get_mut(&key.index) else {
            return at;
        };
        flight.visible = flight.visible.max(at);
        flight.visible
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

fn outcome(held: Held, result: io::Result<usize>, gain: Gain) -> Outcome {
    match held {
        Held::Accept => {
            let ended = result
                .err()
                .unwrap_or_else(|| io::Error::from_raw_os_error(libc::ECANCELED));
            Outcome::Accepted(Err(ended))
        }
        Held::Connect(_) => Outcome::Connected(result.map(drop)),
        Held::Poll(_) => {
            let readiness = if let Gain::Readiness(found) = gain {
                found
            } else {
                Readiness::default()
            };
            Outcome::Polled(result.map(|_| readiness))
        }
        Held::RecvProvided => {
            let lease = if let Gain::Buffer(lease) = gain {
                Some(lease)
            } else {
                None
            };
            Outcome::Received { result, lease }
        }
        Held::RecvLease(lease) => Outcome::Received {
            result,
            lease: Some(lease),
        },
        Held::Send(gather) => Outcome::Sent { result, gather },
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
